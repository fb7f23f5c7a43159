//! Hands due jobs over: from Postgres to Redis, or to this process itself when Redis cannot take them. The hand-over is committed
//! before the push; what gets lost between the two is offered again by the sweep.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::config::Secret;
use doorbook_core::service::Doorbook;
use doorbook_core::store::StoreError;
use doorbook_core::store::jobs::{self, Dispatch, HandOver};
use doorbook_core::store::project::outbox::Priority;
use doorbook_core::store::wake::Wakes;
use doorbook_core::value::JobId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lane::Lane;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::queue::{PushError, Queue, WINDOW};
use crate::runner::Ticket;
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Pause between two looks for due jobs. Source: design 6.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// The same while jobs come: writers give word of theirs only so often (`WORD_APART`).
const POLL_BUSY: Duration = Duration::from_millis(10);
/// A priority whose window is full is not looked at for this long: workers that do 2,000 jobs a second empty a fifth of it meanwhile.
const FULL_FOR: Duration = Duration::from_millis(100);
/// Pause while Postgres is away.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// Jobs of one priority that one statement hands over: other relays get their share, and a push stays short.
const BATCH: i64 = 200;

pub struct Relay {
    pub doorbook: Arc<Doorbook>,
    pub queue: Arc<Queue>,
    pub local: Local,
    pub metrics: Arc<Metrics>,
    pub wake: Arc<Notify>,
    full: [Trouble; Lane::ALL.len()],
    rests: Rests,
}

impl Relay {
    pub fn new(
        doorbook: Arc<Doorbook>,
        queue: Arc<Queue>,
        local: Local,
        metrics: Arc<Metrics>,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            doorbook,
            queue,
            local,
            metrics,
            wake,
            full: Lane::ALL.map(|_| Trouble::new("handing jobs to Redis (they run here)")),
            rests: Rests::default(),
        }
    }

    /// Relays until `stop`.
    pub async fn run(mut self, stop: Stop) {
        let mut trouble = Trouble::new("handing jobs over");
        while !stop.requested() {
            let pause = match self.round().await {
                Ok(Found::More) => continue,
                Ok(found) => {
                    trouble.worked();
                    if found == Found::Some { POLL_BUSY } else { POLL_EVERY }
                }
                Err(error) => {
                    trouble.failed(&error);
                    ERROR_PAUSE
                }
            };
            tokio::select! {
                going_on = stop.pause(pause) => if !going_on { return },
                () = self.wake.notified() => {}
            }
        }
    }

    /// One hand-over.
    async fn round(&mut self) -> Result<Found, StoreError> {
        let (batch, priorities) = (self.batch(), self.rests.over(Instant::now()));
        if batch == 0 || priorities.is_empty() {
            return Ok(Found::Nothing);
        }
        let HandOver { jobs: dispatched, full } = jobs::dispatch(&self.doorbook.db, &priorities, batch, WINDOW).await?;
        self.rests.begin(&full, Instant::now());
        let mut left_over = Vec::new();
        for lane in Lane::ALL {
            let tickets: Vec<Ticket> =
                dispatched.iter().filter(|job| Lane::of(job) == lane).map(Ticket::from).collect();
            left_over.extend(self.hand_over(lane, tickets).await);
        }
        if !left_over.is_empty() {
            jobs::give_back(&self.doorbook.db, &left_over).await?;
            return Ok(Found::Nothing);
        }
        Ok(found(&dispatched, batch))
    }

    /// Without Redis, or while it holds too much, no more is dispatched than this process can take: what stays due costs nothing.
    fn batch(&self) -> i64 {
        if self.queue.is_up() && !self.full.iter().any(Trouble::persists) {
            return BATCH;
        }
        i64::try_from(self.local.room() / Priority::ALL.len()).unwrap_or(BATCH).min(BATCH)
    }

    /// Returns what nobody could take.
    async fn hand_over(&mut self, lane: Lane, tickets: Vec<Ticket>) -> Vec<(JobId, i32)> {
        if tickets.is_empty() {
            return Vec::new();
        }
        if self.queue.is_up() {
            match self.queue.push(lane, &tickets).await {
                Ok(()) => {
                    self.full[lane as usize].worked();
                    self.metrics.pushed.add(tickets.len() as u64);
                    return Vec::new();
                }
                Err(error @ PushError::Full(_)) => self.full[lane as usize].failed(&error),
                Err(error @ PushError::Down(_)) => tracing::debug!(?lane, %error, "run here instead"),
            }
        }
        tickets
            .into_iter()
            .filter(|ticket| !self.local.take(lane, *ticket))
            .map(|ticket| (ticket.job_id, ticket.dispatch_no))
            .collect()
    }
}

/// Until when each priority is not looked at, as its window was full.
#[derive(Default)]
struct Rests([Option<Instant>; Priority::ALL.len()]);

impl Rests {
    /// Priorities to look at.
    fn over(&self, now: Instant) -> Vec<Priority> {
        let over = Priority::ALL.into_iter().zip(self.0).filter(|(_, end)| end.is_none_or(|end| end <= now));
        over.map(|(priority, _)| priority).collect()
    }

    fn begin(&mut self, full: &[Priority], now: Instant) {
        for (end, priority) in self.0.iter_mut().zip(Priority::ALL) {
            if full.contains(&priority) {
                *end = Some(now + FULL_FOR);
            }
        }
    }
}

/// What a hand-over has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    /// No job that could be handed over.
    Nothing,
    Some,
    /// Some priority filled its batch, so that more of it may be due.
    More,
}

fn found(dispatched: &[Dispatch], batch: i64) -> Found {
    let is_full = |priority: Priority| {
        let count = dispatched.iter().filter(|job| job.priority == priority.as_i16()).count();
        i64::try_from(count).is_ok_and(|count| count >= batch)
    };
    match dispatched {
        [] => Found::Nothing,
        _ if Priority::ALL.into_iter().any(is_full) => Found::More,
        _ => Found::Some,
    }
}

/// Listens for word of due jobs and wakes the relay, until `stop`. When it cannot, the relay's polling alone goes on.
/// `direct` leads to Postgres itself when a pooler stands before it.
pub async fn listen(doorbook: Arc<Doorbook>, direct: Option<Secret>, wake: Arc<Notify>, stop: Stop) {
    /// Pause before listening is tried again.
    const RETRY_EVERY: Duration = Duration::from_secs(5);
    let mut trouble = Trouble::new("listening for due jobs (polling goes on)");
    loop {
        tokio::select! {
            () = stop.wait() => return,
            ended = pass_on(&doorbook, direct.as_ref(), &wake, &mut trouble) => match ended {
                Ok(()) => {
                    tracing::info!("no DATABASE_DIRECT_URL: due jobs are found by polling alone");
                    return stop.wait().await;
                }
                Err(error) => trouble.failed(&error),
            },
        }
        if !stop.pause(RETRY_EVERY).await {
            return;
        }
    }
}

/// Returns only with an error, unless there is nothing to listen to.
async fn pass_on(
    doorbook: &Doorbook,
    direct: Option<&Secret>,
    wake: &Notify,
    trouble: &mut Trouble,
) -> Result<(), StoreError> {
    let Some(mut wakes) = Wakes::listen(&doorbook.db, direct.map(|url| url.expose().as_str())).await? else {
        return Ok(());
    };
    trouble.worked();
    loop {
        wakes.next().await?;
        wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Breaks when `worker/src/relay.rs`: `*end = Some(now + FULL_FOR);` → `*end = Some(now);`.
    #[test]
    fn a_priority_whose_window_was_full_is_not_looked_at_for_a_while_and_the_others_are() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        assert_eq!(rests.over(now), Priority::ALL);
        rests.begin(&[Priority::Notice], now);
        assert_eq!(rests.over(now), [Priority::Urgent, Priority::Chore]);
        assert_eq!(rests.over(now + FULL_FOR), Priority::ALL);
    }

    #[test]
    fn a_batch_is_full_when_one_priority_filled_it_and_not_when_all_did_together() {
        let job = |priority| Dispatch { job_id: JobId(Uuid::nil()), dispatch_no: 1, priority, suspect: false };
        assert_eq!(found(&[], 2), Found::Nothing);
        assert_eq!(found(&[job(0), job(1), job(2)], 2), Found::Some);
        assert_eq!(found(&[job(0), job(2), job(2)], 2), Found::More);
    }
}
