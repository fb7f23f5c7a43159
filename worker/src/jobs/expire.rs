//! Appends the events of tokens and sessions that time has ended, and erases accounts whose grace period it has. Nothing waits for it:
//! time is checked at use.

use doorbook_core::service::{Context, Doorbook};
use doorbook_core::store::jobs::Claimed;

use super::Verdict;

/// Batches of one run, at most; the next tick goes on. Bounds a run after a long downtime.
const ROUNDS_MAX: usize = 100;

pub async fn run(doorbook: &Doorbook, job: &Claimed) -> Verdict {
    let context = Context::system(job.trace_id.unwrap_or_default());
    let mut closed = 0;
    for _ in 0..ROUNDS_MAX {
        match doorbook.expire(&context).await {
            Ok(0) => break,
            Ok(batch) => closed += batch,
            Err(error) => return Verdict::retry(&error),
        }
    }
    if closed > 0 {
        tracing::info!(closed, "expiry recorded");
    }
    Verdict::Done
}
