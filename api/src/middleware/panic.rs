//! A panic is an error of ours: the client gets a 500, the connection and the process live on.

use std::{future::Future, panic::AssertUnwindSafe};

use futures::FutureExt;

use crate::problem::Problem;

/// What `answer` returned, or 500 when it panicked. The panic's own text went to the panic hook.
pub async fn caught<T>(answer: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        // The panic itself was told, and reported, as an error.
        tracing::warn!("a handler panicked");
        Err(Problem::internal())
    })
}
