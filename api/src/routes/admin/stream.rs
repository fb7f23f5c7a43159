//! The trail as it is sealed, as Server-Sent Events.

use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::service::audit::{Filter, Live, Stream, TrailEntry};
use futures::stream;
use poem::web::Query;
use poem::web::sse::{Event, SSE};
use poem::{Body, FromRequest, IntoResponse as _, Request, RequestBody, Response};
use poem_openapi::payload::Binary;
use poem_openapi::types::ToJSON as _;
use poem_openapi::{ApiResponse, OpenApi, ResponseContent};
use tokio::sync::watch;

use super::audit::{Asking, TrailEvent, refuse_unknown};
use crate::auth::Auditor;
use crate::bearer::bearer_token;
use crate::problem::{FieldError, Problem};
use crate::routes::Chapter;
use crate::routes::input::{Asked, asked};

pub struct Streams;

/// A comment so often keeps proxies from giving the connection up; theirs do so after 20 s.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Where a client goes on that was cut off. Source: the specification of Server-Sent Events.
const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Tells nginx to pass each message on at once.
const BUFFERING: &str = "X-Accel-Buffering";
const NO_BUFFERING: &str = "no";

/// Whether the process is told to end, for whatever does not end by itself.
#[derive(Clone)]
pub struct Ending(pub watch::Receiver<bool>);

#[derive(ResponseContent)]
enum Messages {
    #[oai(content_type = "text/event-stream")]
    Sse(Binary<Body>),
}

#[derive(ApiResponse)]
enum Opened {
    /// One message an event, its `id` being where to go on. Comments keep the connection alive; a message without data only tells how far the
    /// stream has come.
    #[oai(status = 200)]
    Stream(Messages, #[oai(header = "X-Accel-Buffering")] String),
}

/// What is asked for: the filter of a search, and where to go on. The document has the parameters from the search.
struct Wanted {
    filter: Filter,
    resume: Option<String>,
    /// The end of the access token.
    until: Timestamp,
    ending: Ending,
}

impl<'a> FromRequest<'a> for Wanted {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        refuse_unknown(request, &[])?;
        let Query(asking) = Query::<Asking>::from_request(request, body).await.map_err(|_| Problem::bad_request())?;
        let resume = resume(request)?;
        let until = asked(request)?.doorbook.token_end(bearer_token(request)?).map_err(Problem::from)?;
        let ending = request.data::<Ending>().cloned().ok_or_else(Problem::internal)?;
        Ok(Self { filter: asking.parse()?, resume, until, ending })
    }
}

/// Where to go on, of a client that was cut off.
pub(crate) fn resume(request: &Request) -> Result<Option<String>, Problem> {
    match request.headers().get(LAST_EVENT_ID).map(|id| id.to_str().map(str::to_owned)) {
        None => Ok(None),
        Some(Ok(id)) => Ok(Some(id).filter(|id| !id.is_empty())),
        Some(Err(_)) => {
            let fault = FieldError::new(LAST_EVENT_ID, "invalid", "is not from a stream of this search");
            Err(Problem::validation(vec![fault]))
        }
    }
}

#[OpenApi(tag = "Chapter::Administration")]
impl Streams {
    /// Listen to the trail
    ///
    /// Sealed events as they are sealed, in order; all fields that are given must hold. A stream ends with the access token, the session or
    /// the role, after an hour, and when its reader is too slow: send the last `id` as `Last-Event-ID` and nothing is lost or repeated. Four
    /// for each account. That it was opened is an event.
    #[oai(path = "/api/admin/audit/events/stream/", method = "get", operation_id = "stream_audit")]
    async fn stream(&self, auditor: Auditor, asked: Asked, wanted: Wanted) -> Result<Opened, Problem> {
        let Wanted { filter, resume, until, ending } = wanted;
        let opened = asked.doorbook.open_stream(auditor.0, filter, resume.as_deref(), until, &asked.context).await?;
        let messages = messages(opened, ending, |entry| TrailEvent::from(entry).to_json_string());
        Ok(Opened::Stream(Messages::Sse(Binary(messages.into_body())), NO_BUFFERING.to_owned()))
    }
}

/// The stream as an answer; each event is told as `write` writes it.
pub(crate) fn messages(opened: Stream, ending: Ending, write: fn(TrailEntry) -> String) -> Response {
    let messages = stream::unfold((opened, ending), move |(mut opened, mut ending)| async move {
        let next = tokio::select! {
            // An error means that the sender is gone, and with it the process.
            _ = ending.0.wait_for(|ending| *ending) => None,
            next = opened.next() => next,
        };
        let message = match next? {
            Live::Event(entry, id) => Event::message(write(*entry)).id(id),
            Live::Progress(id) => Event::message("").id(id),
        };
        Some((message, (opened, ending)))
    });
    SSE::new(messages).keep_alive(HEARTBEAT).with_header(BUFFERING, NO_BUFFERING).into_response()
}
