//! Commands outlive their request: a client that hangs up or waits too long cancels nothing.

use std::{future::Future, sync::LazyLock, time::Duration};

use doorbook_core::store::Patience;
use tokio::{
    sync::watch,
    task::JoinError,
    time::{Instant, sleep_until, timeout},
};
use tracing::Instrument;

use crate::{middleware::timeout::RETRY_AFTER_SECONDS, problem::Problem};

/// Commands running in this process. One counter for all, because it is the process that must not end before them.
static RUNNING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

struct Running;

impl Running {
    fn start() -> Self {
        RUNNING.send_modify(|running| *running += 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.send_modify(|running| *running -= 1);
    }
}

/// Runs `command` in its own task to the end and returns what it returned. Dropping the returned future stops the
/// waiting, not the command; so does a Postgres that the request has waited for long enough: 503. A command that panics is a 500.
pub async fn run_to_end<T, E>(command: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Problem> + Send + 'static,
{
    let (running, patience) = (Running::start(), Patience::of_command());
    let task = async move {
        let _running = running;
        command.await
    };
    let Some(patience) = patience else { return outcome(tokio::spawn(task.in_current_span()).await) };
    let task = tokio::spawn(patience.clone().around(task).in_current_span());
    tokio::select! {
        biased;
        ended = task => outcome(ended),
        () = patience.ended() => {
            tracing::warn!("a command waits too long for Postgres: it goes on, and its client is told to come back");
            Err(Problem::unavailable(RETRY_AFTER_SECONDS).into())
        }
    }
}

fn outcome<T, E: From<Problem>>(ended: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    ended.unwrap_or_else(|error| {
        // A panic was told, and reported, as an error where it happened.
        if error.is_panic() {
            tracing::warn!("a command panicked");
        } else {
            tracing::error!("a command did not finish");
        }
        Err(Problem::internal().into())
    })
}

/// Step of the times at which some answers leave. Over the time that their work takes on an idle machine, under what a person notices.
const GRID: Duration = Duration::from_millis(2);

/// Gives the outcome of work at a whole number of steps after its beginning. Work for an address that is known and for one that is
/// not is alike to some hundredths of a millisecond; so much can be measured by whoever asks often enough, unless both leave together.
pub async fn on_the_grid<T>(work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let outcome = work.await;
    next_step(begun).await;
    outcome
}

/// The same where only a refusal could tell something.
pub async fn refused_on_the_grid<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let begun = Instant::now();
    let outcome = work.await;
    if outcome.is_err() {
        next_step(begun).await;
    }
    outcome
}

async fn next_step(begun: Instant) {
    let steps = begun.elapsed().as_micros() / GRID.as_micros() + 1;
    sleep_until(begun + GRID * u32::try_from(steps).unwrap_or(1)).await;
}

/// Waits until no command runs, at most `limit`. False: some still do.
pub async fn finished(limit: Duration) -> bool {
    let mut running = RUNNING.subscribe();
    timeout(limit, running.wait_for(|count| *count == 0)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_command_whose_caller_went_away_still_finishes() {
        let (start, started) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<()>();
        let caller = tokio::spawn(run_to_end(async move {
            started.await.expect("the test lets it start");
            done.send(()).expect("the test waits");
            Ok::<_, Problem>(())
        }));
        tokio::task::yield_now().await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        start.send(()).expect("the command lives");
        finished.await.expect("the command ran to its end");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_on_the_grid_leave_together_whatever_their_work_took() {
        for (work, left) in [(0, 2), (1, 2), (2, 4), (5, 6)] {
            let begun = Instant::now();
            on_the_grid(tokio::time::sleep(Duration::from_millis(work))).await;
            assert_eq!(begun.elapsed(), Duration::from_millis(left), "{work} ms");
        }
        for (outcome, left) in [(Ok(()), 1), (Err(()), 2)] {
            let begun = Instant::now();
            let work = async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                outcome
            };
            assert_eq!(refused_on_the_grid(work).await, outcome);
            assert_eq!(begun.elapsed(), Duration::from_millis(left), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_panicking_command_is_an_internal_error() {
        let outcome = run_to_end(async { if true { panic!("on purpose") } else { Ok::<(), Problem>(()) } }).await;
        assert_eq!(outcome, Err(Problem::internal()));
    }
}
