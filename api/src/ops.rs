//! The operators' port of the api: is the process alive, can it serve, and what are its numbers? Not for the public.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorbook_core::service::Doorbook;
use doorbook_core::service::health::Health;
use doorbook_core::telemetry::metrics::{MEDIA_TYPE, Page};
use poem::http::StatusCode;
use poem::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use poem::listener::TcpAcceptor;
use poem::middleware::AddData;
use poem::web::Data;
use poem::{EndpointExt as _, IntoResponse as _, Response, Route, Server, get, handler};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::metrics::REQUESTS;

/// A question to the database that takes longer has no good answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the port tells about.
#[derive(Clone)]
pub struct Ops {
    /// Empty until the database has answered for the first time.
    pub doorbook: Arc<OnceLock<Arc<Doorbook>>>,
    /// True from the signal to end.
    pub stopping: watch::Receiver<bool>,
}

/// What the process can say of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Ready,
    Degraded,
    Ending,
    NotOpen,
    Outdated,
    Unusable,
}

impl Ops {
    /// The numbers of the process.
    pub fn page(&self) -> Page {
        let doorbook = self.doorbook.get();
        let mut page = Page::default();
        page.process("api", doorbook.map(|doorbook| doorbook.clock.now()));
        if let Some(doorbook) = doorbook {
            doorbook.figures(&mut page);
            let help = "Streams of the trail that are open.";
            page.gauge("doorbook_trail_streams_open", help, doorbook.open_streams());
        }
        page.logins();
        REQUESTS.render(&mut page);
        page
    }

    pub async fn ready(&self) -> Ready {
        if *self.stopping.borrow() {
            return Ready::Ending;
        }
        let Some(doorbook) = self.doorbook.get() else { return Ready::NotOpen };
        match timeout(QUERY_TIMEOUT, doorbook.health()).await {
            Ok(Health::Ready) => Ready::Ready,
            Ok(Health::Degraded) => Ready::Degraded,
            Ok(Health::Outdated) => Ready::Outdated,
            Ok(Health::Unavailable) | Err(_) => Ready::Unusable,
        }
    }
}

/// Serves until the process ends: how it ends is what operators watch.
pub async fn serve(listener: TcpListener, ops: Ops) {
    let routes = Route::new()
        .at("/health/live", get(live))
        .at("/health/ready", get(ready))
        .at("/metrics", get(metrics))
        .with(AddData::new(ops))
        .after(|result| async move {
            result.map(|answer: Response| answer.with_header(CACHE_CONTROL, "no-store").into_response())
        });
    let served = match TcpAcceptor::from_tokio(listener) {
        Ok(acceptor) => Server::new_with_acceptor(acceptor).run(routes).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the operators' port failed");
    }
}

#[handler]
fn live() -> &'static str {
    "live\n"
}

#[handler]
async fn ready(ops: Data<&Ops>) -> Response {
    let (status, text) = match ops.ready().await {
        Ready::Ready => (StatusCode::OK, "ready\n"),
        Ready::Degraded => (StatusCode::OK, "degraded\n"),
        Ready::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
        Ready::NotOpen => (StatusCode::SERVICE_UNAVAILABLE, "the database is not open yet\n"),
        Ready::Outdated => (StatusCode::SERVICE_UNAVAILABLE, "the database serves newer releases only\n"),
        Ready::Unusable => (StatusCode::SERVICE_UNAVAILABLE, "the database is not usable\n"),
    };
    Response::builder().status(status).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(text)
}

#[handler]
fn metrics(Data(ops): Data<&Ops>) -> Response {
    Response::builder().header(CONTENT_TYPE, MEDIA_TYPE).body(ops.page().into_text())
}
