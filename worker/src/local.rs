//! Runs tickets in this process when Redis cannot carry them: Redis is a doorbell, and mail flows without it.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lane::{CONCURRENCY, Lane, PROBATION};
use crate::metrics::Metrics;
use crate::runner::{Runner, Ticket};

/// Tickets that wait for a free place; what is beyond stays in Postgres.
const WAITING_MAX: usize = 96;

/// Takes tickets; dropped, it lets the tasks of [`Local::start`] end.
pub struct Local {
    common: mpsc::Sender<Ticket>,
    suspect: mpsc::Sender<Ticket>,
    metrics: Arc<Metrics>,
}

impl Local {
    /// The tasks end when all tickets are dealt with and the value is dropped.
    pub fn start(runner: &Arc<Runner>, metrics: Arc<Metrics>) -> (Self, JoinSet<()>) {
        let mut tasks = JoinSet::new();
        let mut lane = |concurrency, from| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..concurrency {
                tasks.spawn(serve(Arc::clone(runner), Arc::clone(&receiver), from));
            }
            sender
        };
        let now = Instant::now();
        let local = Self { common: lane(CONCURRENCY, now), suspect: lane(1, now + PROBATION), metrics };
        (local, tasks)
    }

    /// How many more tickets it would take now.
    pub fn room(&self) -> usize {
        self.common.capacity()
    }

    /// False when it is full: the ticket is the caller's again.
    pub fn take(&self, lane: Lane, ticket: Ticket) -> bool {
        let sender = if lane == Lane::Suspect { &self.suspect } else { &self.common };
        let taken = sender.try_send(ticket).is_ok();
        self.metrics.local.add(u64::from(taken));
        taken
    }
}

async fn serve(runner: Arc<Runner>, receiver: Arc<Mutex<mpsc::Receiver<Ticket>>>, from: Instant) {
    runner.wait_until(from).await;
    loop {
        let ticket = receiver.lock().await.recv().await;
        let Some(ticket) = ticket else { return };
        runner.run(ticket).await;
    }
}
