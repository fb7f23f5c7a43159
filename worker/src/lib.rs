//! Carries out what events promise: relays due jobs to Redis, runs them, seals the log. Any number of workers may run; Postgres
//! must be there for any work to be done, Redis need not.

mod checkpoints;
mod ending;
mod follower;
mod heartbeat;
mod jobs;
mod lane;
mod local;
mod metrics;
mod ops;
mod pacing;
mod queue;
mod relay;
mod runner;
mod schedule;
mod sealer;
mod settings;
mod sink;
pub mod stop;
mod sweep;
mod trouble;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorbook_core::config::{Secret, Settings};
use doorbook_core::service::Doorbook;
use doorbook_core::service::health::Health;
use doorbook_core::service::start::{self, SettingsError};
use doorbook_core::telemetry::metrics::Push;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::follower::View;
use crate::jobs::Outlets;
use crate::jobs::webhook::Hook;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::queue::Queue;
use crate::relay::Relay;
use crate::runner::Runner;
use crate::sink::{Sink, SinkError};
use crate::stop::{Stop, Switch};
use crate::trouble::Trouble;

/// Time for running jobs to finish at the end: the process ends within ten seconds, its last log lines included. A mail whose
/// server takes longer is offered again; its Message-ID stays the same. Source: bar 6.
const GRACE: Duration = Duration::from_secs(7);
/// Why a worker of a release that the schema does not serve any more does nothing.
const OUTDATED: &str = "the database serves newer releases only: start the worker of one";
/// Pause between two tries to reach Postgres at the start.
const OPEN_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("WORKER_OPS_BIND cannot be listened on: {0}")]
    Listen(std::io::Error),
    #[error("REDIS_URL cannot be used: {0}")]
    Redis(String),
    #[error(transparent)]
    Post(#[from] settings::PostError),
    #[error("ALERT_WEBHOOK_URL cannot be used: {0}")]
    Webhook(reqwest::Error),
    #[error("CHECKPOINT_SINK cannot be used: {0}")]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Service(#[from] SettingsError),
    #[error("a part of the worker ended by itself: {0}")]
    Part(String),
}

impl RunError {
    /// Whether no start succeeds before somebody has changed the settings.
    pub const fn is_of_settings(&self) -> bool {
        match self {
            Self::Redis(_) | Self::Post(_) | Self::Webhook(_) | Self::Sink(_) => true,
            Self::Service(error) => error.is_of_settings(),
            Self::Listen(_) | Self::Part(_) => false,
        }
    }
}

/// Works until `stop`, then ends in order. An error means that the process should be started again.
pub async fn run(settings: &Settings, switch: Switch, stop: Stop) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::default());
    let process = heartbeat::process_name();
    let hook = settings.watching.alerts.webhook.as_ref().map(Hook::open).transpose();
    let outlets = Outlets { post: settings::post(settings)?, hook: hook.map_err(RunError::Webhook)? };
    let sink = settings.watching.checkpoints.sink.as_ref().map(Sink::open).transpose()?;
    let queue = Queue::open(settings.redis.url.expose(), &process, Arc::clone(&metrics))
        .map_err(|error| RunError::Redis(error.to_string()))?;
    let listener = TcpListener::bind(settings.http.worker_ops_bind).await.map_err(RunError::Listen)?;
    let opened = Arc::new(OnceLock::new());
    let ops = Arc::new(Ops { metrics: Arc::clone(&metrics), doorbook: Arc::clone(&opened), stop: stop.clone() });
    let mut parts = JoinSet::new();
    parts.spawn(ops::run(listener, Arc::clone(&ops)));
    let push = Push::start(settings.monitoring.otlp_endpoint.as_ref(), "worker", move || {
        let ops = Arc::clone(&ops);
        async move { ops.page().await }
    });
    let Some((doorbook, was_away)) = open(settings, &stop).await? else { return Ok(()) };
    let _ = opened.set(Arc::clone(&doorbook));
    tracing::info!(worker = process, "the worker works");
    let runner = Arc::new(Runner::new(Arc::clone(&doorbook), outlets, Arc::clone(&metrics), stop.clone()));
    let secret = |secret: &Secret| Secret::new(secret.expose().clone());
    let direct = settings.database.direct_url.as_ref().map(secret);
    let signing = settings.watching.checkpoints.private_key.as_ref().map(secret);
    let (queue, stop_parts) = (Arc::new(queue), stop.clone());
    let with = Parts { doorbook, was_away, direct, signing, sink, queue, runner, metrics, process, stop: stop_parts };
    begin(&mut parts, with);
    let ended = tokio::select! {
        () = stop.wait() => Ok(()),
        // At the end all parts return, and the first of them may be seen before the wish to end is.
        Some(ended) = parts.join_next() => if stop.requested() { Ok(()) } else { Err(RunError::Part(reason(&ended))) },
    };
    switch.request();
    tracing::info!("the worker ends");
    if timeout(GRACE, async { while parts.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("jobs were still running after {} s; they will be offered again", GRACE.as_secs());
    }
    if let Some(push) = push {
        push.end().await;
    }
    ended
}

/// Waits for a database that is away or not migrated yet, and tells whether it had to. `None` when the process is to end before it is there.
async fn open(settings: &Settings, stop: &Stop) -> Result<Option<(Arc<Doorbook>, bool)>, SettingsError> {
    let mut trouble = Trouble::new("opening the database");
    loop {
        match start::start(settings).await {
            Ok(doorbook) => match doorbook.health().await {
                Health::Ready | Health::Degraded => {
                    let was_away = trouble.persists();
                    trouble.worked();
                    doorbook.note_settings("worker", settings).await;
                    return Ok(Some((Arc::new(doorbook), was_away)));
                }
                Health::Outdated => trouble.failed(&OUTDATED),
                Health::Unavailable => {
                    trouble.failed(&"it has not the migrations of this release: run `doorbook migrate`");
                }
            },
            Err(error) if error.is_temporary() => trouble.failed(&error),
            Err(error) => return Err(error),
        }
        if !stop.pause(OPEN_EVERY).await {
            return Ok(None);
        }
    }
}

struct Parts {
    doorbook: Arc<Doorbook>,
    /// Postgres could not be used a moment ago.
    was_away: bool,
    /// Where word of due jobs comes from, if not from the pool.
    direct: Option<Secret>,
    /// CHECKPOINT_PRIVATE_KEY.
    signing: Option<Secret>,
    sink: Option<Sink>,
    queue: Arc<Queue>,
    runner: Arc<Runner>,
    metrics: Arc<Metrics>,
    process: String,
    stop: Stop,
}

/// Starts every loop of the process; each ends by itself when `stop` is requested.
fn begin(parts: &mut JoinSet<()>, with: Parts) {
    let Parts { doorbook, was_away, direct, signing, sink, queue, runner, metrics, process, stop } = with;
    let wake = Arc::new(Notify::new());
    let (local, mut local_tasks) = Local::start(&runner, Arc::clone(&metrics));
    parts.spawn(async move { while local_tasks.join_next().await.is_some() {} });
    let relay = Relay::new(Arc::clone(&doorbook), Arc::clone(&queue), local, Arc::clone(&metrics), Arc::clone(&wake));
    parts.spawn(relay.run(stop.clone()));
    parts.spawn(relay::listen(Arc::clone(&doorbook), direct, wake, stop.clone()));
    parts.spawn(sweep::run(Arc::clone(&doorbook), Arc::clone(&queue), Arc::clone(&metrics), was_away, stop.clone()));
    parts.spawn(schedule::run(Arc::clone(&doorbook), stop.clone()));
    parts.spawn(sealer::run(Arc::clone(&doorbook), Arc::clone(&metrics), stop.clone()));
    parts.spawn(sealer::watch(Arc::clone(&doorbook), Arc::clone(&metrics), stop.clone()));
    parts.spawn(checkpoints::sign(Arc::clone(&doorbook), signing, Arc::clone(&metrics), stop.clone()));
    if let Some(sink) = sink {
        parts.spawn(checkpoints::write(
            Arc::clone(&doorbook),
            sink,
            process.clone(),
            Arc::clone(&metrics),
            stop.clone(),
        ));
    }
    for view in [View::Search, View::Alerts] {
        parts.spawn(follower::run(view, Arc::clone(&doorbook), Arc::clone(&metrics), stop.clone()));
    }
    parts.spawn(follower::watch(Arc::clone(&doorbook), metrics, stop.clone()));
    parts.spawn(heartbeat::run(doorbook, Arc::clone(&queue), Arc::clone(&runner), process, stop.clone()));
    let (probing, cleaning, until) = (Arc::clone(&queue), Arc::clone(&queue), stop.clone());
    parts.spawn(async move { probing.probe(until).await });
    let until = stop.clone();
    parts.spawn(async move { cleaning.janitor(until).await });
    parts.spawn(queue.run(runner, stop));
}

fn reason(ended: &Result<(), JoinError>) -> String {
    match ended {
        Ok(()) => "it returned".to_owned(),
        Err(error) => error.to_string(),
    }
}
