//! Is the service there, and can it do its work?

use std::sync::Arc;

use futures::future::BoxFuture;
use poem_openapi::{Enum, Object, OpenApi, payload::Json};

use crate::problem::Problem;

/// Seconds after which a load balancer may ask again.
const RETRY_AFTER_SECONDS: u64 = 5;

/// What a readiness probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Requests are served; mail or the worker's queue is behind.
    Degraded,
    /// Without database or with migrations pending nothing can be served.
    Unavailable,
}

/// Looks at the dependencies, within a second or two.
pub type ReadinessProbe = Arc<dyn Fn() -> BoxFuture<'static, Readiness> + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
}

#[derive(Object)]
struct Health {
    status: Status,
}

pub struct HealthApi {
    pub ready: ReadinessProbe,
}

#[OpenApi]
#[expect(clippy::unused_async, reason = "the framework takes async handlers only")]
impl HealthApi {
    /// The service answers.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> Json<Health> {
        Json(Health { status: Status::Ok })
    }

    /// The process lives; asks no dependency.
    #[oai(path = "/health/live", method = "get", operation_id = "health_live")]
    async fn live(&self) -> Json<Health> {
        Json(Health { status: Status::Ok })
    }

    /// The service can do its work.
    #[oai(path = "/health/ready", method = "get", operation_id = "health_ready")]
    async fn ready(&self) -> Result<Json<Health>, Problem> {
        match (self.ready)().await {
            Readiness::Ready => Ok(Json(Health { status: Status::Ok })),
            Readiness::Degraded => Ok(Json(Health { status: Status::Degraded })),
            Readiness::Unavailable => Err(Problem::unavailable(RETRY_AFTER_SECONDS)),
        }
    }
}
