//! Appends what failed logins at addresses without an account are rolled up to.

use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::store::StoreError;
use doorbook_core::store::jobs::Claimed;

use super::Verdict;

/// Minutes of one run, at most; the next tick goes on.
const ROUNDS_MAX: usize = 1_000;

pub async fn run(doorbook: &Doorbook, job: &Claimed) -> Verdict {
    // Nobody's request: the run itself is what led to it.
    let context = Context::system(job.job_id.0);
    let mut told = 0;
    for _ in 0..ROUNDS_MAX {
        match doorbook.roll_up_attempts(&context).await {
            Ok(0) => break,
            Ok(events) => told += events,
            // Another worker is at it.
            Err(Refusal::Unavailable(StoreError::Conflict)) => {}
            Err(error) => return Verdict::retry(&error),
        }
    }
    if told > 0 {
        tracing::info!(told, "failed logins rolled up");
    }
    Verdict::Done
}
