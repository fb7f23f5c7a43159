//! The doorbell: apalis on Redis, and the only file that knows either. Tickets of due jobs go in here and come out at some
//! worker; Postgres knows what is due, and Redis may be emptied at any time.
//!
//! What apalis-redis 1.0 needs to be safe, each found by experiment: one task a fetch (a larger batch starves heartbeats), worker
//! names never used twice (a name is refused while its last heartbeat is young), a poll strategy of our own (its interval loses
//! the wake-up), a bounded queue (8,000 due ids wedge it for good), results persisted (without them nothing is ever
//! acknowledged), no `vacuum` (it breaks pending tasks) and finished tasks removed by ourselves (it never does).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use apalis_redis::{Config, RedisStorage};
use futures::FutureExt as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, RedisError, RedisResult, Script};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep, timeout};

use crate::lane::{Lane, PROBATION};
use crate::metrics::Metrics;
use crate::runner::{Runner, Ticket};
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Jobs of one priority that may be with the queue or running. Source: design 6.
pub const WINDOW: i64 = 1_000;
/// Waiting ids that one lane may hold: tickets that were dispatched anew leave stale ones behind. Far below 8,000, where a fetch
/// fails for ever.
const WAITING_MAX: usize = 2 * 1_000;
/// A worker of the queue is dead after three missed heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const HEARTBEATS_MISSED: usize = 3;
/// Pause between two looks at an empty lane; our own pushes wake it at once.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// An answer of Redis may take this long before a lane's worker gives up. apalis' default of 500 ms dies of any stall.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const RECONNECTS: usize = 2;
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// A push that takes longer counts as failed; the tickets run in this process instead.
const PUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How often Redis is asked whether it is there, and how long it may take to say so.
const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before a lane's worker starts again: a Redis that refuses every command must not be asked in a busy loop.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two rounds of the janitor. At 2,000 jobs a second and 790 bytes a finished one, 16 MB wait for it.
const JANITOR_EVERY: Duration = Duration::from_secs(10);
/// Finished tasks that one script removes: 3 ms of Redis' only thread.
const JANITOR_BATCH: usize = 500;
/// Ids that one script moves at the start, below Lua's limit of 8,000 values on its stack.
const REPAIR_BATCH: usize = 1_000;
/// Keys that one round looks at for traces of dead workers.
const SCAN_BATCH: usize = 500;

/// What each does stands in the file.
const FORGET: &str = include_str!("queue/forget.lua");
const PROMOTE: &str = include_str!("queue/promote.lua");
const SIFT: &str = include_str!("queue/sift.lua");
const SIFT_HELD: &str = include_str!("queue/sift_held.lua");

fn config(lane: Lane) -> Config {
    Config::default()
        .queue(lane.queue())
        .batch_size(1)
        .heartbeat_interval(HEARTBEAT_EVERY)
        .missed_heartbeats(HEARTBEATS_MISSED)
        .lock_tasks(false)
        .emit_events(false)
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("the lane holds {0} ids already")]
    Full(usize),
    #[error("Redis does not answer: {0}")]
    Down(String),
}

/// The queue from this process' side.
pub struct Queue {
    connection: ConnectionManager,
    wakes: [Arc<Notify>; Lane::ALL.len()],
    process: String,
    metrics: Arc<Metrics>,
    up: AtomicBool,
    lost: AtomicBool,
}

impl Queue {
    /// Connects to nothing yet. Fails on a URL that cannot be read. `process` must be a name that no process had before.
    pub fn open(url: &str, process: &str, metrics: Arc<Metrics>) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(RECONNECTS)
            .set_max_delay(RECONNECT_PAUSE_MAX);
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config)?,
            wakes: Lane::ALL.map(|_| Arc::new(Notify::new())),
            process: process.to_owned(),
            metrics,
            up: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        })
    }

    /// Whether Redis answered when it was last asked.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether Redis may have lost tickets since this was last asked.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// Asks Redis for a sign of life.
    pub async fn health(&self) -> Result<(), String> {
        let mut connection = self.connection.clone();
        match timeout(PROBE_TIMEOUT, connection.ping::<()>()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", PROBE_TIMEOUT.as_millis())),
        }
    }

    /// Hands tickets over. After an error some of them may have been handed over all the same: to run them elsewhere is safe,
    /// because a job is claimed once a dispatch.
    pub async fn push(&self, lane: Lane, tickets: &[Ticket]) -> Result<(), PushError> {
        let pushed = timeout(PUSH_TIMEOUT, self.push_slowly(lane, tickets)).await;
        let result = pushed.unwrap_or_else(|_| Err(PushError::Down("it takes too long".into())));
        match &result {
            Ok(()) => self.wakes[lane as usize].notify_one(),
            Err(PushError::Down(_)) => self.set_up(false),
            Err(PushError::Full(_)) => {}
        }
        result
    }

    async fn push_slowly(&self, lane: Lane, tickets: &[Ticket]) -> Result<(), PushError> {
        let config = config(lane);
        let mut pipeline = redis::pipe();
        pipeline.zcard(config.scheduled_jobs_set()).llen(config.active_jobs_list());
        let (scheduled, active): (usize, usize) = pipeline
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| PushError::Down(error.to_string()))?;
        if scheduled + active + tickets.len() > WAITING_MAX {
            return Err(PushError::Full(scheduled + active));
        }
        let tasks: Vec<Task<Ticket>> = tickets
            .iter()
            .map(|ticket| {
                let id = TaskId::from_string(format!("{}.{}", ticket.job_id, ticket.dispatch_no));
                TaskBuilder::new(*ticket).task_id(id).build()
            })
            .collect();
        self.storage(lane)
            .push_all(&mut futures::stream::iter(tasks))
            .await
            .map_err(|error| PushError::Down(error.to_string()))
    }

    fn storage(&self, lane: Lane) -> RedisStorage<Ticket> {
        RedisStorage::new(self.connection.clone()).with_config(config(lane))
    }

    fn set_up(&self, up: bool) {
        self.metrics.set_redis(up);
        if self.up.swap(up, Ordering::Relaxed) && !up {
            // Whatever it holds now is offered to those who go on without it; coming back, it brings stale tickets at most.
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Runs the lanes' workers until `stop`, then until no job runs. Redis need not be there.
    pub async fn run(self: Arc<Self>, runner: Arc<Runner>, stop: Stop) {
        let mut monitor = Monitor::new();
        for lane in Lane::ALL {
            let (queue, runner) = (Arc::clone(&self), Arc::clone(&runner));
            monitor = monitor.register(move |restarts| {
                let name = format!("{}-{lane:?}-r{restarts}", queue.process);
                let mender = Arc::clone(&queue);
                let storage = queue.storage(lane).before_start(move |_| Arc::clone(&mender).mend(lane, restarts));
                WorkerBuilder::new(name)
                    .backend(storage.poll_with_strategy(Wake::new(Arc::clone(&queue.wakes[lane as usize]))))
                    .data(Arc::clone(&runner))
                    .concurrency(lane.concurrency())
                    .parallelize(tokio::spawn)
                    .build(handle)
            });
        }
        let (queue, stopping) = (Arc::clone(&self), stop.clone());
        let monitor = monitor
            .should_restart(move |worker, error| {
                queue.metrics.queue_restarts.add(1);
                if queue.is_up() {
                    queue.lost.store(true, Ordering::Relaxed);
                    tracing::warn!(worker = worker.name(), %error, "a lane's worker restarts");
                }
                !stopping.requested()
            })
            // With Redis away its workers never end by themselves; what counts is that no job runs any more.
            .with_terminator(async move {
                runner.drained().await;
                sleep(PROBE_EVERY).await;
            });
        let ended = monitor
            .run_with_signal(async move {
                stop.wait().await;
                Ok(())
            })
            .await;
        if let Err(error) = ended {
            tracing::warn!(%error, "the queue did not end in order");
        }
    }

    /// Before a lane's first fetch: waits for Redis and takes out what would end its worker again.
    async fn mend(self: Arc<Self>, lane: Lane, restarts: usize) -> Result<(), apalis_redis::Error> {
        if restarts > 0 {
            sleep(RESTART_PAUSE).await;
        } else if lane == Lane::Suspect {
            sleep(PROBATION).await;
        }
        while !self.is_up() {
            sleep(PROBE_EVERY).await;
        }
        let (config, mut connection) = (config(lane), self.connection.clone());
        let (scheduled, active) = (config.scheduled_jobs_set(), config.active_jobs_list());
        let promote = Script::new(PROMOTE);
        let mut promote = promote.prepare_invoke();
        promote.key(scheduled).key(&active).arg(REPAIR_BATCH);
        while promote.invoke_async::<usize>(&mut connection).await? > 0 {}
        let data = config.job_data_hash();
        let length: usize = connection.llen(&active).await?;
        let mut dropped = 0;
        for _ in 0..length.div_ceil(REPAIR_BATCH) {
            dropped += Script::new(SIFT)
                .key(&active)
                .key(&data)
                .arg(REPAIR_BATCH.min(length))
                .invoke_async::<usize>(&mut connection)
                .await?;
        }
        dropped += Script::new(SIFT_HELD)
            .key(config.workers_set())
            .key(data)
            .arg(config.inflight_jobs_set())
            .invoke_async::<usize>(&mut connection)
            .await?;
        if dropped > 0 {
            self.lost.store(true, Ordering::Relaxed);
            tracing::error!(?lane, dropped, "Redis had lost the data of tickets: does it evict keys?");
        }
        Ok(())
    }

    /// Watches whether Redis is there, until `stop`.
    pub async fn probe(&self, stop: Stop) {
        let mut trouble = Trouble::new("Redis (jobs run without it)");
        loop {
            let health = self.health().await;
            self.set_up(health.is_ok());
            trouble.observe(&health);
            if !stop.pause(PROBE_EVERY).await {
                return;
            }
        }
    }

    /// Removes what apalis leaves behind, until `stop`.
    pub async fn janitor(&self, stop: Stop) {
        let mut trouble = Trouble::new("cleaning Redis");
        let mut cursor = 0;
        while stop.pause(JANITOR_EVERY).await {
            if self.is_up() {
                trouble.observe(&self.clean(&mut cursor).await);
            }
        }
    }

    async fn clean(&self, cursor: &mut u64) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        let script = Script::new(FORGET);
        for lane in Lane::ALL {
            let config = config(lane);
            for finished in [config.done_jobs_set(), config.dead_jobs_set()] {
                let mut forget = script.prepare_invoke();
                forget.key(finished).key(config.job_data_hash()).arg(JANITOR_BATCH).arg(config.job_meta_hash());
                while forget.invoke_async::<usize>(&mut connection).await? == JANITOR_BATCH {}
            }
        }
        self.forget_dead_workers(&mut connection, cursor).await
    }

    /// One page of the keyspace a round: metadata of workers that are registered no more. Nothing reads it.
    async fn forget_dead_workers(&self, connection: &mut ConnectionManager, cursor: &mut u64) -> RedisResult<()> {
        const MIDDLE: &str = ":workers:metadata:";
        let mut scan = redis::cmd("SCAN");
        scan.arg(*cursor).arg("MATCH").arg(format!("doorbook:*{MIDDLE}*")).arg("COUNT").arg(SCAN_BATCH);
        let (next, keys): (u64, Vec<String>) = scan.query_async(connection).await?;
        *cursor = next;
        for key in keys {
            let Some((queue, worker)) = key.split_once(MIDDLE) else { continue };
            let registered: Option<f64> = connection.zscore(format!("{queue}:workers"), worker).await?;
            if registered.is_none() {
                connection.del::<_, ()>(&key).await?;
            }
        }
        Ok(())
    }
}

/// apalis hears of success alone: what becomes of a job is Postgres' business.
async fn handle(ticket: Ticket, runner: Data<Arc<Runner>>) -> Result<(), BoxDynError> {
    runner.run(ticket).await;
    Ok(())
}

/// Wakes a lane's worker by time and by `notify`. Both are polled until they are pending: otherwise nobody would hold the waker.
struct Wake {
    pause: Pin<Box<Sleep>>,
    notify: Arc<Notify>,
    notified: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Wake {
    fn new(notify: Arc<Notify>) -> Self {
        Self { pause: Box::pin(sleep(POLL_EVERY)), notified: Box::pin(Arc::clone(&notify).notified_owned()), notify }
    }
}

impl PollStrategy for Wake {
    fn poll_drive(&mut self, context: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut fired = false;
        while self.pause.poll_unpin(context).is_ready() {
            self.pause = Box::pin(sleep(POLL_EVERY));
            fired = true;
        }
        while self.notified.poll_unpin(context).is_ready() {
            self.notified = Box::pin(Arc::clone(&self.notify).notified_owned());
            fired = true;
        }
        if fired { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use doorbook_core::value::JobId;
    use uuid::Uuid;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_fires_leaves_its_waker_behind_for_the_next_time() {
        let (count, notify) = (Arc::new(Count::default()), Arc::new(Notify::new()));
        let waker = std::task::Waker::from(Arc::clone(&count));
        let mut wake = Wake::new(Arc::clone(&notify));
        let mut poll = || wake.poll_drive(&mut Context::from_waker(&waker), &PollSnapshot::default());
        assert!(poll().is_pending());
        for round in 1..=3 {
            tokio::time::advance(2 * POLL_EVERY).await;
            assert_eq!(count.0.load(Ordering::Relaxed), round);
            // Only this one poll: whoever polls until it is pending would hide a waker that got lost.
            assert!(poll().is_ready());
        }
        notify.notify_one();
        assert_eq!(count.0.load(Ordering::Relaxed), 4);
        assert!(poll().is_ready());
        assert!(poll().is_pending());
    }

    #[tokio::test]
    async fn a_queue_opens_without_redis_and_says_that_it_is_away() {
        let queue = Queue::open("redis://127.0.0.1:1/0", "test", Arc::default()).unwrap();
        assert!(queue.health().await.is_err());
        let ticket = Ticket { job_id: JobId(Uuid::nil()), dispatch_no: 1 };
        assert!(matches!(queue.push(Lane::Urgent, &[ticket]).await, Err(PushError::Down(_))));
        assert!(!queue.is_up());
    }
}
