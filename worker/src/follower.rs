//! Keeps the search view up with the log, and watches every follower: one that stands still is an alarm.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::service::Doorbook;
use doorbook_core::store::{StoreError, follow, search};

use crate::metrics::Metrics;
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Pause when all that is sealed has been taken in.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause after an error.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Follows until `stop`. Any number of processes may do so.
pub async fn run(doorbook: Arc<Doorbook>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("following the log");
    while !stop.requested() {
        let pause = match doorbook.follow_search().await {
            Ok(0) => {
                trouble.worked();
                IDLE_PAUSE
            }
            Ok(count) => {
                trouble.worked();
                metrics.followed.add(count as u64);
                continue;
            }
            Err(error) => {
                note(&doorbook, &error).await;
                trouble.failed(&error);
                ERROR_PAUSE
            }
        };
        stop.pause(pause).await;
    }
}

/// Says in the follower's row why it stands still; a database that is away, or somebody who was faster, is no reason.
async fn note(doorbook: &Doorbook, error: &StoreError) {
    if matches!(error, StoreError::Unavailable(_) | StoreError::Conflict) {
        return;
    }
    if let Err(error) = follow::stopped(&doorbook.db, search::FOLLOWER, &error.to_string()).await {
        tracing::warn!(%error, "a follower stands still, and its row could not be told");
    }
}

/// Reads where the followers are until `stop`.
pub async fn watch(doorbook: Arc<Doorbook>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("reading where followers are");
    while stop.pause(WATCH_EVERY).await {
        match follow::all(&doorbook.db).await {
            Ok(followers) => {
                trouble.worked();
                metrics.set_followers(&followers);
                for follower in followers.iter().filter(|follower| follower.fault.is_some()) {
                    let (name, position) = (&follower.name, follower.position);
                    let fault = follower.fault.as_deref().unwrap_or_default();
                    tracing::error!(name, position, fault, "a follower of the log stands still");
                }
            }
            Err(error) => trouble.failed(&error),
        }
    }
}
