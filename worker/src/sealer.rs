//! Seals the log as it grows, and watches how far sealing is behind.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::alert::{Rule, Subject};
use doorbook_core::service::Doorbook;
use doorbook_core::store::StoreError;
use doorbook_core::store::seal::{self, BATCH, Lag};

use crate::follower;
use crate::metrics::Metrics;
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Pause when all that was settled is sealed. Each batch costs a search through all partitions and a commit, however few events it takes:
/// the pause decides what a busy service pays for being sealed, and how long its events wait.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause after an error.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
const LAG_EVERY: Duration = Duration::from_secs(5);
/// An event that waits longer is worth a warning; some transaction holds the sealer up.
const OLDEST_WARN_MS: i64 = 1_000;

/// Seals until `stop`. Any number of processes may do so.
pub async fn run(doorbook: Arc<Doorbook>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("sealing events");
    while !stop.requested() {
        let pause = match seal_settled(&doorbook, &metrics, &stop).await {
            Ok(()) => {
                trouble.worked();
                IDLE_PAUSE
            }
            Err(error) => {
                trouble.failed(&error);
                ERROR_PAUSE
            }
        };
        stop.pause(pause).await;
    }
}

async fn seal_settled(doorbook: &Doorbook, metrics: &Metrics, stop: &Stop) -> Result<(), StoreError> {
    while !stop.requested() {
        let sealed = seal::seal_batch(&doorbook.db).await?;
        metrics.sealed.add(sealed as u64);
        if sealed < BATCH {
            break;
        }
    }
    Ok(())
}

/// Reads the lag until `stop`.
pub async fn watch(doorbook: Arc<Doorbook>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("reading the sealer's lag");
    while stop.pause(LAG_EVERY).await {
        match seal::lag(&doorbook.db).await {
            Ok(lag) => {
                trouble.worked();
                metrics.set_lag(&lag);
                tell(&lag);
                if lag.overdue > 0 {
                    let overdue = lag.overdue.unsigned_abs();
                    follower::raise(&doorbook, &metrics, Rule::SealLag, Subject::All, overdue).await;
                }
            }
            Err(error) => trouble.failed(&error),
        }
    }
}

fn tell(lag: &Lag) {
    let Lag { waiting, oldest_ms, overdue } = *lag;
    if overdue > 0 {
        tracing::error!(waiting, oldest_ms, overdue, "seal lag: events are unsealed after 60 s");
    } else if oldest_ms > OLDEST_WARN_MS {
        tracing::warn!(waiting, oldest_ms, overdue, "seal lag");
    } else {
        tracing::info!(waiting, oldest_ms, overdue, "seal lag");
    }
}
