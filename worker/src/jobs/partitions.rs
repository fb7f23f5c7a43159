//! Keeps the partitions of the event log ahead of time.

use doorbook_core::service::Doorbook;
use doorbook_core::store::jobs;

use super::Verdict;

/// Months that must exist in advance: a worker that stands still for two years stops no append. Source: design 3.
const MONTHS_AHEAD: i32 = 24;

pub async fn run(doorbook: &Doorbook) -> Verdict {
    match jobs::make_partitions(&doorbook.db, MONTHS_AHEAD).await {
        Ok(made) => {
            if made > 0 {
                tracing::info!(made, "event partitions made");
            }
            Verdict::Done
        }
        Err(error) => Verdict::retry(&error),
    }
}
