//! The trail as it is sealed, as Server-Sent Events.

use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::service::audit::{Filter, Live, Stream};
use futures::stream;
use poem::web::Query;
use poem::web::sse::{Event, SSE};
use poem::{Body, FromRequest, IntoResponse as _, Request, RequestBody};
use poem_openapi::payload::Binary;
use poem_openapi::types::ToJSON as _;
use poem_openapi::{ApiResponse, OpenApi, ResponseContent};
use tokio::sync::watch;

use super::audit::{Asking, TrailEvent};
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
        let Query(asking) = Query::<Asking>::from_request(request, body).await.map_err(|_| Problem::bad_request())?;
        let resume = match request.headers().get(LAST_EVENT_ID).map(|id| id.to_str().map(str::to_owned)) {
            None => None,
            Some(Ok(id)) => Some(id).filter(|id| !id.is_empty()),
            Some(Err(_)) => {
                let fault = FieldError::new(LAST_EVENT_ID, "invalid", "is not from a stream of this search");
                return Err(Problem::validation(vec![fault]).into());
            }
        };
        let until = asked(request)?.doorbook.token_end(bearer_token(request)?).map_err(Problem::from)?;
        let ending = request.data::<Ending>().cloned().ok_or_else(Problem::internal)?;
        Ok(Self { filter: asking.parse()?, resume, until, ending })
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
        Ok(Opened::Stream(Messages::Sse(Binary(body(opened, ending))), "no".to_owned()))
    }
}

fn body(opened: Stream, ending: Ending) -> Body {
    let messages = stream::unfold((opened, ending), |(mut opened, mut ending)| async move {
        let next = tokio::select! {
            // An error means that the sender is gone, and with it the process.
            _ = ending.0.wait_for(|ending| *ending) => None,
            next = opened.next() => next,
        };
        let message = match next? {
            Live::Event(entry, id) => Event::message(TrailEvent::from(*entry).to_json_string()).id(id),
            Live::Progress(id) => Event::message("").id(id),
        };
        Some((message, (opened, ending)))
    });
    SSE::new(messages).keep_alive(HEARTBEAT).into_response().into_body()
}
