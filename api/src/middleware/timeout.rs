//! The time a request has.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::problem::Problem;

/// Part of a request's time kept back from its body, so that a slow body is answered as such: 408, not 503.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);

/// Seconds after which a client whose request took too long may try again.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// When the request must be answered. Kept in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// When the body must be in.
    pub fn for_body(self) -> Instant {
        self.0.checked_sub(ANSWER_MARGIN).unwrap_or(self.0)
    }

    /// The answer, or 503 when it is not there in time. What ran is dropped; commands go on (`command.rs`).
    pub async fn limit<T>(self, answer: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        timeout_at(self.0, answer).await.unwrap_or_else(|_| {
            tracing::warn!("a request took too long");
            Err(Problem::unavailable(RETRY_AFTER_SECONDS))
        })
    }
}
