//! Keeps what follows the log up with it, the search view and the rules of alerts, and watches every follower: one that stands still is
//! an alarm.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::alert::{Rule, Subject};
use doorbook_core::service::{Doorbook, Refusal};
use doorbook_core::store::{StoreError, alerts, follow, search};

use crate::metrics::Metrics;
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Pause when all that is sealed has been taken in. A batch costs a transaction of some eight statements however few events it takes. With the
/// sealer's pause it is half of the second in which a reader is to see what was answered. Source: bar 6.
const IDLE_PAUSE: Duration = Duration::from_millis(400);
/// So many positions at once have more behind them.
const MANY: usize = 100;
/// Pause after an error.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// What follows the log.
#[derive(Clone, Copy)]
pub enum View {
    Search,
    Alerts,
}

impl View {
    const fn name(self) -> &'static str {
        match self {
            Self::Search => search::FOLLOWER,
            Self::Alerts => alerts::FOLLOWER,
        }
    }

    const fn trouble(self) -> Trouble {
        match self {
            Self::Search => Trouble::new("following the log"),
            Self::Alerts => Trouble::new("raising alerts"),
        }
    }

    /// One batch; how many positions it has come on.
    async fn go_on(self, doorbook: &Doorbook, metrics: &Metrics) -> Result<usize, Refusal> {
        match self {
            Self::Search => Ok(doorbook.follow_search().await?),
            Self::Alerts => {
                let followed = doorbook.follow_alerts().await?;
                for rule in followed.raised {
                    told(rule, metrics);
                }
                Ok(followed.positions)
            }
        }
    }
}

/// Follows until `stop`. Any number of processes may do so.
pub async fn run(view: View, doorbook: Arc<Doorbook>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = view.trouble();
    while !stop.requested() {
        let pause = match view.go_on(&doorbook, &metrics).await {
            Ok(count) => {
                trouble.worked();
                metrics.followed.add(count as u64);
                if count >= MANY {
                    continue;
                }
                IDLE_PAUSE
            }
            Err(error) => {
                note(&doorbook, view.name(), &error).await;
                trouble.failed(&error);
                ERROR_PAUSE
            }
        };
        stop.pause(pause).await;
    }
}

/// Says in the follower's row why it stands still; a database that is away, or somebody who was faster, is no reason.
async fn note(doorbook: &Doorbook, name: &'static str, error: &Refusal) {
    if matches!(error, Refusal::Unavailable(StoreError::Unavailable(_) | StoreError::Conflict)) {
        return;
    }
    if let Err(error) = follow::stopped(&doorbook.db, name, &error.to_string()).await {
        tracing::warn!(%error, "a follower stands still, and its row could not be told");
    }
}

/// Raises an alert about what this process sees, unless it is told already.
pub async fn raise(doorbook: &Doorbook, metrics: &Metrics, rule: Rule, subject: Subject, count: u64) {
    match doorbook.raise_while_seen(rule, subject, count).await {
        Ok(true) => told(rule, metrics),
        Ok(false) => {}
        Err(error) => tracing::warn!(rule = rule.as_str(), %error, "an alert could not be raised yet"),
    }
}

fn told(rule: Rule, metrics: &Metrics) {
    metrics.count_alert(rule);
    tracing::warn!(rule = rule.as_str(), severity = rule.severity().as_str(), "security alert raised");
}

/// Reads where the followers are until `stop`.
pub async fn watch(doorbook: Arc<Doorbook>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("reading where followers are");
    while stop.pause(WATCH_EVERY).await {
        match follow::all(&doorbook.db).await {
            Ok(followers) => {
                trouble.worked();
                metrics.set_followers(&followers);
                for follower in followers {
                    let Some(fault) = follower.fault else { continue };
                    let (name, position) = (follower.name, follower.position);
                    tracing::error!(name, position, fault, "a follower of the log stands still");
                    raise(&doorbook, &metrics, Rule::FollowerStopped, Subject::Follower(name), 1).await;
                }
            }
            Err(error) => trouble.failed(&error),
        }
    }
}
