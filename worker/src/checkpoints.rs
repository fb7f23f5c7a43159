//! Signs checkpoints of the log as it grows, and writes each of them outside the database.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::config::Secret;
use doorbook_core::service::{Doorbook, Refusal};
use doorbook_core::store::{StoreError, checkpoints};

use crate::metrics::Metrics;
use crate::sink::{Sink, SinkError};
use crate::stop::Stop;
use crate::trouble::Trouble;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after an error of the sink.
const ERROR_PAUSE: Duration = Duration::from_secs(5);
/// Checkpoints written in one go, before others may take over.
const BATCH: i64 = 10;
/// Longer than a batch may take at its worst.
const LEASE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// Signs until `stop`. Any number of processes may do so.
pub async fn sign(doorbook: Arc<Doorbook>, own: Option<Secret>, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("signing checkpoints");
    loop {
        match sign_all_due(&doorbook, own.as_ref(), &metrics, &stop).await {
            Ok(()) => trouble.worked(),
            Err(error) => {
                metrics.checkpoint_failures.add(1);
                trouble.failed(&error);
            }
        }
        if !stop.pause(LOOK_EVERY).await {
            return;
        }
    }
}

async fn sign_all_due(
    doorbook: &Doorbook,
    own: Option<&Secret>,
    metrics: &Metrics,
    stop: &Stop,
) -> Result<(), Refusal> {
    while !stop.requested()
        && let Some(size) = doorbook.sign_due(own).await?
    {
        metrics.checkpoints_signed.add(1);
        tracing::info!(size, "checkpoint signed");
    }
    Ok(())
}

/// Writes to the sink until `stop`. A checkpoint that it does not take is tried again until it does.
pub async fn write(doorbook: Arc<Doorbook>, sink: Sink, holder: String, metrics: Arc<Metrics>, stop: Stop) {
    let mut trouble = Trouble::new("writing checkpoints to CHECKPOINT_SINK");
    loop {
        let pause = match look(&doorbook, &sink, &holder, &metrics, &stop).await {
            Ok(()) => {
                trouble.worked();
                LOOK_EVERY
            }
            Err(error) => {
                metrics.sink_failures.add(1);
                trouble.failed(&error);
                ERROR_PAUSE
            }
        };
        if !stop.pause(pause).await {
            return;
        }
    }
}

async fn look(
    doorbook: &Doorbook,
    sink: &Sink,
    holder: &str,
    metrics: &Metrics,
    stop: &Stop,
) -> Result<(), WriteError> {
    let lag = checkpoints::sink_lag(&doorbook.db).await?;
    metrics.set_sink_lag(&lag);
    if lag.waiting == 0 {
        return Ok(());
    }
    let written = write_waiting(doorbook, sink, holder, metrics, stop).await;
    // Whoever writes next takes over at once; if this fails, the lease ends by itself.
    let _ = checkpoints::release_sink(&doorbook.db, holder).await;
    metrics.set_sink_lag(&checkpoints::sink_lag(&doorbook.db).await?);
    written
}

async fn write_waiting(
    doorbook: &Doorbook,
    sink: &Sink,
    holder: &str,
    metrics: &Metrics,
    stop: &Stop,
) -> Result<(), WriteError> {
    let db = &doorbook.db;
    while let Some(written) = checkpoints::hold_sink(db, holder, LEASE).await? {
        let waiting = checkpoints::after(db, written, BATCH).await?;
        if waiting.is_empty() {
            break;
        }
        for checkpoint in waiting {
            if stop.requested() {
                return Ok(());
            }
            sink.write(checkpoint.note).await?;
            if !checkpoints::advance_sink(db, holder, checkpoint.size).await? {
                return Ok(());
            }
            metrics.checkpoints_written.add(1);
        }
    }
    Ok(())
}
