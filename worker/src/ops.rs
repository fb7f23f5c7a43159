//! The operators' port: is the process alive, can it work, and what are its numbers? Not for the public.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorbook_core::service::Doorbook;
use doorbook_core::service::health::Health;
use doorbook_core::store::jobs;
use doorbook_core::telemetry::metrics::{MEDIA_TYPE, Page};
use poem::http::StatusCode;
use poem::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use poem::listener::TcpAcceptor;
use poem::middleware::AddData;
use poem::web::Data;
use poem::{EndpointExt as _, IntoResponse as _, Response, Route, Server, get, handler};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::stop::Stop;

/// A question to the database that takes longer has no good answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that are still open at the end are cut after this long.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What the port tells about.
pub struct Ops {
    pub metrics: Arc<Metrics>,
    /// Empty until the database has answered for the first time.
    pub doorbook: Arc<OnceLock<Arc<Doorbook>>>,
    pub stop: Stop,
}

impl Ops {
    /// The numbers of the process.
    pub async fn page(&self) -> Page {
        let doorbook = self.doorbook.get();
        let backlog = match doorbook {
            Some(doorbook) => timeout(QUERY_TIMEOUT, jobs::backlog(&doorbook.db)).await.ok().and_then(Result::ok),
            None => None,
        };
        let mut page = Page::default();
        page.process("worker", doorbook.map(|doorbook| doorbook.clock.now()));
        if let Some(doorbook) = doorbook {
            doorbook.figures(&mut page);
        }
        self.metrics.render(&mut page, backlog.as_ref());
        page
    }
}

/// Serves until `stop`.
pub async fn run(listener: TcpListener, ops: Arc<Ops>) {
    if let Err(error) = serve(listener, ops).await {
        tracing::error!(%error, "the operators' port failed");
    }
}

async fn serve(listener: TcpListener, ops: Arc<Ops>) -> std::io::Result<()> {
    let stop = ops.stop.clone();
    let routes = Route::new()
        .at("/health/live", get(live))
        .at("/health/ready", get(ready))
        .at("/metrics", get(metrics))
        .with(AddData::new(ops))
        .after(|result| async move {
            result.map(|answer: Response| answer.with_header(CACHE_CONTROL, "no-store").into_response())
        });
    let acceptor = TcpAcceptor::from_tokio(listener)?;
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(routes, async move { stop.wait().await }, Some(CLOSE_WITHIN))
        .await
}

#[handler]
fn live() -> &'static str {
    "live\n"
}

/// Without Redis or mail the process is ready all the same: jobs run without the one and wait for the other.
#[handler]
async fn ready(ops: Data<&Arc<Ops>>) -> Response {
    if ops.stop.requested() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "ending\n");
    }
    let Some(doorbook) = ops.doorbook.get() else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "the database is not open yet\n");
    };
    match timeout(QUERY_TIMEOUT, doorbook.health()).await {
        Ok(Health::Ready) => answer(StatusCode::OK, "ready\n"),
        Ok(Health::Degraded) => answer(StatusCode::OK, "degraded\n"),
        Ok(Health::Outdated) => answer(StatusCode::SERVICE_UNAVAILABLE, "the database serves newer releases only\n"),
        Ok(Health::Unavailable) | Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "the database is not usable\n"),
    }
}

#[handler]
async fn metrics(ops: Data<&Arc<Ops>>) -> Response {
    Response::builder().header(CONTENT_TYPE, MEDIA_TYPE).body(ops.page().await.into_text())
}

fn answer(status: StatusCode, text: &'static str) -> Response {
    Response::builder().status(status).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(text)
}
