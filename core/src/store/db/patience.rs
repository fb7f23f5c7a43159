//! How long Postgres is waited for: at one statement, and at all the statements of a request together.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// A statement whose answer has not come by then, counted from the wait for its connection, is given up with its connection: a server
/// that is not heard of any more ends no statement for us. A request has no more for all its statements: shorter than the statement
/// timeout, so that a refusal is out within the 3 s of bar 6.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

tokio::task_local! {
    static OF_REQUEST: Patience;
}

/// What is left of one request's time for Postgres. Its own work, hashes above all, takes nothing of it.
#[derive(Clone, Debug)]
pub struct Patience(Arc<Mutex<Duration>>);

impl Patience {
    /// That of a request that begins.
    pub fn of_request() -> Self {
        Self(Arc::new(Mutex::new(ANSWER_TIMEOUT)))
    }

    /// That of the request which this is part of: a task it begins does not inherit it by itself.
    pub fn inherited() -> Option<Self> {
        OF_REQUEST.try_with(Self::clone).ok()
    }

    /// Does work whose statements all wait on this.
    pub fn around<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        OF_REQUEST.scope(self, work)
    }

    fn left(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spend(&self, took: Duration) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(took);
    }
}

/// The answer to a statement if it comes within `most` and, in a request, within what is left of its patience.
pub(super) async fn answered<T>(most: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let Some(patience) = Patience::inherited() else { return timeout(most, answer).await.ok() };
    let left = patience.left();
    // Not even begun: a statement that is sent may be done.
    if left.is_zero() {
        return None;
    }
    let begun = Instant::now();
    let answer = timeout(most.min(left), answer).await.ok();
    patience.spend(begun.elapsed());
    answer
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MOST: Duration = Duration::from_secs(2);

    async fn statement(millis: u64) -> Option<()> {
        answered(MOST, sleep(Duration::from_millis(millis))).await
    }

    /// C103. Breaks when `core/src/store/db/patience.rs`: `    patience.spend(begun.elapsed());` → `    patience.spend(Duration::ZERO);`.
    #[tokio::test(start_paused = true)]
    async fn the_statements_of_a_request_share_its_patience_and_its_own_work_takes_none() {
        Patience::of_request()
            .around(async {
                assert_eq!(statement(1_900).await, Some(()));
                sleep(Duration::from_secs(5)).await;
                assert_eq!(statement(500).await, Some(()));
                assert_eq!(statement(101).await, None);
                assert_eq!(statement(0).await, None, "nothing is left");
            })
            .await;
        assert_eq!((statement(2_001).await, statement(1_999).await), (None, Some(())), "outside of a request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_a_request_begins_waits_on_the_same() {
        Patience::of_request()
            .around(async {
                assert_eq!(statement(1_500).await, Some(()));
                let patience = Patience::inherited().unwrap();
                assert_eq!(tokio::spawn(patience.around(statement(1_500))).await.unwrap(), None);
                assert_eq!(statement(1).await, None);
            })
            .await;
    }
}
