//! One job from its ticket to its outcome: claim, work under a lease that is renewed, settle. What fetched the ticket, Redis or
//! this process itself, makes no difference; nothing that happens to a ticket can lose or double a job's effect in Postgres.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use doorbook_core::job;
use doorbook_core::service::mail::Handover;
use doorbook_core::service::{Doorbook, Refusal};
use doorbook_core::store::jobs::{self, Claimed, Dispatch, LEASE, Outcome, STARTS_MAX};
use doorbook_core::store::query::deliveries::DeliveryRow;
use doorbook_core::store::{StoreError, pacing};
use doorbook_core::telemetry::traces;
use doorbook_core::token::random;
use doorbook_core::value::JobId;
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::ending::{Ending, conclude};
use crate::jobs::{self as work, Outlets, Told, Verdict};
use crate::metrics::Metrics;
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Pause between two renewals of a lease: three may fail before it ends.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Pause between two tries of a statement while Postgres is away.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// An outcome that Postgres does not take, though it is there, is offered for this long.
const SETTLE_PATIENCE: Duration = Duration::from_mins(1);
/// A ticket is kept for this long while Postgres is away; then the sweep offers its job anew.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);

/// What travels through Redis: which job, and which hand-over of it. Nothing else; Redis may be read by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub job_id: JobId,
    pub dispatch_no: i32,
}

impl From<&Dispatch> for Ticket {
    fn from(dispatch: &Dispatch) -> Self {
        Self { job_id: dispatch.job_id, dispatch_no: dispatch.dispatch_no }
    }
}

/// Runs jobs; one a process.
pub struct Runner {
    doorbook: Arc<Doorbook>,
    outlets: Outlets,
    metrics: Arc<Metrics>,
    stop: Stop,
    running: watch::Sender<usize>,
}

impl Runner {
    pub fn new(doorbook: Arc<Doorbook>, outlets: Outlets, metrics: Arc<Metrics>, stop: Stop) -> Self {
        Self { doorbook, outlets, metrics, stop, running: watch::Sender::new(0) }
    }

    /// Runs the ticket's job, if this hand-over is still the valid one. Returns when its outcome is written.
    pub async fn run(&self, ticket: Ticket) {
        let _running = Running::enter(&self.running, &self.metrics);
        if self.stop.requested() {
            self.give_back(ticket).await;
            return;
        }
        let Some((job, leased_at)) = self.claim(ticket).await else { return };
        let trace = job.trace_id.unwrap_or_default();
        let span = tracing::info_span!("job", id = %job.job_id, kind = job.kind, attempt = job.attempt, %trace);
        // The span of a mail stands below that of the request that asked for it; a recurring job begins a trace.
        if let Some(trace) = job.trace_id {
            traces::join(&span, *trace.as_bytes(), job.span_id.map(i64::cast_unsigned));
        }
        traces::attribute(&span, traces::JOB, job.kind.clone());
        traces::attribute(&span, traces::ATTEMPT, i64::from(job.attempt));
        self.carry_out(&job, leased_at).instrument(span).await;
    }

    /// What the heartbeat says of mail.
    pub fn mail_state(&self) -> String {
        self.outlets.post.state()
    }

    /// Returns at that time, or when the process is to end.
    pub async fn wait_until(&self, time: Instant) {
        self.stop.pause(time.saturating_duration_since(Instant::now())).await;
    }

    /// Returns when no job runs.
    pub async fn drained(&self) {
        let mut running = self.running.subscribe();
        let _ = running.wait_for(|count| *count == 0).await;
    }

    async fn give_back(&self, ticket: Ticket) {
        if let Err(error) = jobs::give_back(&self.doorbook.db, &[(ticket.job_id, ticket.dispatch_no)]).await {
            tracing::warn!(job = %ticket.job_id, %error, "not given back at the end; the sweep will offer it anew");
        }
    }

    /// The job, and when its lease began at the latest.
    async fn claim(&self, ticket: Ticket) -> Option<(Claimed, Instant)> {
        let deadline = Instant::now() + CLAIM_PATIENCE;
        let mut unheard = false;
        loop {
            let before = Instant::now();
            match jobs::claim(&self.doorbook.db, ticket.job_id, ticket.dispatch_no).await {
                Ok(None) if unheard => {
                    self.forget_start(ticket).await;
                    return None;
                }
                Ok(claimed) => {
                    let claimed = claimed?;
                    self.doorbook.clock.observe(claimed.now);
                    return Some((claimed, before));
                }
                Err(error) => {
                    unheard |= error.is_unheard();
                    let may_pass = matches!(error, StoreError::Unavailable(_) | StoreError::Conflict);
                    if may_pass && before < deadline && !self.stop.requested() {
                        sleep(STORE_PAUSE).await;
                        continue;
                    }
                    tracing::warn!(job = %ticket.job_id, %error, "not claimed; the sweep will offer it anew");
                    if unheard {
                        self.forget_start(ticket).await;
                    }
                    return None;
                }
            }
        }
    }

    /// It was claimed by us, most likely, and we did not hear it. Its lease has to end, since somebody else may have it; but a job that never ran
    /// must not be set aside for having been started in vain.
    async fn forget_start(&self, ticket: Ticket) {
        tracing::warn!(job = %ticket.job_id, "claimed, and the answer was lost; the sweep will offer it anew");
        if let Err(error) = jobs::forget_start(&self.doorbook.db, ticket.job_id, ticket.dispatch_no).await {
            tracing::warn!(job = %ticket.job_id, %error, "its start counts all the same");
        }
    }

    /// Sets a job aside that has ended its worker at every start: nobody runs it again by itself.
    async fn set_aside(&self, job: &Claimed) {
        self.metrics.quarantined.add(1);
        tracing::error!(starts = job.starts, "set aside: its worker died at every start");
        let answer = "quarantined: its worker died at every start".to_owned();
        let ending = match job.kind.as_str() {
            // Each of them may have died behind the server's answer.
            job::MAIL => Ending::Mail(Handover::Unheard { answer, at: None }),
            _ => Ending::Job(Outcome::Dead { error: answer }),
        };
        self.settle(job, &ending, None).await;
    }

    async fn carry_out(&self, job: &Claimed, leased_at: Instant) {
        if job.starts > STARTS_MAX {
            return self.set_aside(job).await;
        }
        let work = AssertUnwindSafe(work::run(&self.doorbook, &self.outlets, job)).catch_unwind();
        let Told { verdict, delivery } = tokio::select! {
            outcome = work => outcome.unwrap_or_else(|panic| {
                self.metrics.panics.add(1);
                let what = panic_text(panic.as_ref());
                // The panic itself was told, and reported, as an error.
                tracing::warn!("the job panicked");
                Verdict::Retry { error: format!("panicked: {what}") }.into()
            }),
            () = self.keep_lease(job, leased_at) => {
                self.metrics.lost.add(1);
                tracing::warn!("the lease is lost: work stops half-way");
                return;
            }
        };
        let [chance] = random();
        let ending = conclude(job, verdict, delivery.as_ref(), self.doorbook.clock.now(), chance);
        self.settle(job, &ending, delivery).await;
    }

    /// Renews the lease for as long as it is polled. Returns when the job is not this worker's any more.
    async fn keep_lease(&self, job: &Claimed, leased_at: Instant) {
        let mut leased_at = leased_at;
        loop {
            sleep(RENEW_EVERY).await;
            let before = Instant::now();
            match jobs::renew(&self.doorbook.db, job).await {
                Ok(true) => leased_at = before,
                Err(error) if leased_at.elapsed() < LEASE => tracing::warn!(%error, "the lease could not be renewed"),
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Writes an outcome for as long as Postgres is away: what is known here would be lost otherwise, and a mail sent again. Whoever has
    /// taken the job over meanwhile is known by the fence. `delivery` is what the job has read of its mail; once that was not right, it is
    /// read anew.
    async fn settle(&self, job: &Claimed, ending: &Ending, mut delivery: Option<DeliveryRow>) {
        let mut deadline = Instant::now() + SETTLE_PATIENCE;
        let mut trouble = Trouble::new("writing an outcome");
        loop {
            let error = match self.write(job, ending, delivery.take()).await {
                Ok(true) => {
                    trouble.worked();
                    return self.count(ending);
                }
                Ok(false) => StoreError::Conflict,
                Err(Refusal::Unavailable(error)) => error,
                // An error that nobody knows may be over in a moment, too.
                Err(error) => StoreError::Inconsistent(error.to_string()),
            };
            let Some(error) = self.keep(job, error).await else {
                self.metrics.lost.add(1);
                return tracing::warn!("another worker has the job by now: its outcome counts, not ours");
            };
            if matches!(error, StoreError::Unavailable(_)) {
                deadline = Instant::now() + SETTLE_PATIENCE;
            } else if Instant::now() >= deadline {
                return tracing::error!(%error, "the outcome could not be written for long; the job will run again");
            }
            trouble.failed(&error);
            sleep(STORE_PAUSE).await;
        }
    }

    /// Keeps the lease while an outcome waits, as a database that answers with an error may answer others better. What is in the way;
    /// `None` when another worker has the job.
    async fn keep(&self, job: &Claimed, error: StoreError) -> Option<StoreError> {
        if !error.is_answer() {
            return Some(error);
        }
        match jobs::renew(&self.doorbook.db, job).await {
            Ok(false) => None,
            // A row or table that was locked for too long is a conflict too; then the job is still ours.
            Ok(true) | Err(StoreError::Conflict) => Some(error),
            Err(other) => Some(other),
        }
    }

    async fn write(&self, job: &Claimed, ending: &Ending, delivery: Option<DeliveryRow>) -> Result<bool, Refusal> {
        match ending {
            Ending::Held { by, pause } => Ok(pacing::hold(&self.doorbook.db, job, *by, *pause).await?),
            Ending::Job(outcome) => Ok(jobs::settle(&self.doorbook.db, job, outcome).await?),
            Ending::Mail(handover) => self.doorbook.settle_mail(job, delivery, handover).await,
        }
    }

    fn count(&self, ending: &Ending) {
        if let Ending::Mail(handover) = ending {
            self.metrics.count_mail(handover);
        }
        traces::attribute(&tracing::Span::current(), traces::OUTCOME, ending.name());
        match ending {
            Ending::Job(Outcome::Done) | Ending::Mail(Handover::Sent { .. } | Handover::Suppressed { .. }) => {
                self.metrics.done.add(1);
                tracing::debug!("done");
            }
            Ending::Job(Outcome::Retry { at, error }) | Ending::Mail(Handover::Deferred { at, answer: error }) => {
                self.metrics.retried.add(1);
                tracing::warn!(error, again_at = ?at, "failed for now");
            }
            Ending::Held { .. } => {
                self.metrics.held.add(1);
                tracing::debug!("its destination takes no mails now");
            }
            Ending::Mail(Handover::Unheard { answer, at: None }) => {
                self.metrics.dead.add(1);
                tracing::error!(answer, "given up; nobody heard whether the server has the mail");
            }
            Ending::Mail(Handover::Unheard { answer, .. }) => {
                tracing::warn!(answer, "nobody heard whether the server has the mail");
            }
            Ending::Job(Outcome::Dead { error }) | Ending::Mail(Handover::Failed { answer: error }) => {
                self.metrics.dead.add(1);
                tracing::error!(error, "given up");
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

/// Counts one running job until it is dropped, also by a panic.
struct Running(watch::Sender<usize>, Arc<Metrics>);

impl Running {
    fn enter(running: &watch::Sender<usize>, metrics: &Arc<Metrics>) -> Self {
        running.send_modify(|count| *count += 1);
        metrics.add_running(1);
        Self(running.clone(), Arc::clone(metrics))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
        self.1.add_running(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_a_job_and_a_hand_over_and_nothing_else() {
        let ticket = Ticket { job_id: JobId(uuid::Uuid::from_u128(1)), dispatch_no: 4 };
        let text = serde_json::to_string(&ticket).unwrap();
        assert_eq!(text, r#"{"job_id":"00000000-0000-0000-0000-000000000001","dispatch_no":4}"#);
        assert_eq!(serde_json::from_str::<Ticket>(&text).unwrap(), ticket);
    }
}
