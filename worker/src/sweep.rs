//! Offers again what Redis or a dead worker has lost.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::service::Doorbook;
use doorbook_core::store::StoreError;
use doorbook_core::store::{jobs, pacing};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::stop::Stop;
use crate::trouble::Trouble;

const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// A handed-over job that nobody has claimed for this long is offered anew.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two sweeps without patience: each makes all waiting tickets stale, and a Redis that fails again and again must
/// not turn every job around for ever.
const IMPATIENT_EVERY: Duration = Duration::from_secs(10);

/// Leases are left alone for this long after Postgres was away: whoever holds one has not been able to renew it or to write what has
/// become of its job, and comes to that now. Some times as long as that takes.
const RETURNS_WITHIN: Duration = Duration::from_secs(10);

/// Mails of one destination that one statement makes due.
const RELEASE_BATCH: i64 = 1_000;

/// Sweeps until `stop`: without patience at the start and when Redis has lost something. `was_away`: Postgres could not be used a moment ago.
pub async fn run(doorbook: Arc<Doorbook>, queue: Arc<Queue>, metrics: Arc<Metrics>, mut was_away: bool, stop: Stop) {
    let (mut trouble, mut releasing) = (Trouble::new("sweeping jobs"), Trouble::new("releasing mails"));
    let mut lost = true;
    let (mut impatient_at, mut sweep_at) = (Instant::now(), Instant::now());
    loop {
        let released = release(&doorbook, &stop).await;
        releasing.observe(&released);
        let is_away = matches!(released, Err(StoreError::Unavailable(_)));
        if was_away && !is_away {
            sweep_at = Instant::now() + RETURNS_WITHIN;
        }
        was_away = is_away;
        lost |= queue.take_lost();
        let impatient = lost && Instant::now() >= impatient_at;
        if !is_away && Instant::now() >= sweep_at {
            let patience = if impatient { Duration::ZERO } else { PATIENCE };
            let swept = jobs::sweep(&doorbook.db, patience).await;
            trouble.observe(&swept);
            was_away = matches!(swept, Err(StoreError::Unavailable(_)));
            if let Ok(offered) = swept {
                // A full one has left some.
                if impatient && offered < jobs::SWEEP_BATCH {
                    lost = false;
                    impatient_at = Instant::now() + IMPATIENT_EVERY;
                }
                metrics.swept.add(offered);
                if offered > 0 {
                    tracing::info!(offered, impatient, "jobs offered again");
                }
            }
        }
        if !stop.pause(SWEEP_EVERY).await {
            return;
        }
    }
}

/// Makes mails due that waited for a destination which takes mails again.
async fn release(doorbook: &Doorbook, stop: &Stop) -> Result<(), StoreError> {
    while !stop.requested() {
        let released = pacing::release(&doorbook.db, RELEASE_BATCH).await?;
        if released > 0 {
            tracing::info!(released, "mails go on whose server or domain takes mails again, or is tried");
        }
        if released < RELEASE_BATCH.unsigned_abs() {
            return Ok(());
        }
    }
    Ok(())
}
