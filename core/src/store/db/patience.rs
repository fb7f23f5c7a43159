//! How long Postgres is waited for: at one statement, and at all the statements of a request together.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::unheard;
use crate::store::StoreError;

/// A statement whose answer has not come by then, counted from the wait for its connection, is given up with its connection: a server
/// that is not heard of any more ends no statement for us. A request has no more for all its statements: half a second less than the 3 s
/// of bar 6, within which it must be refused.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A request waits this long for a connection, then answers 503: within the 1.5 s of bar 7.17, the answer's own way included. While Postgres
/// does not let in as many as may be, a request has no more for all its connections.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1_400);

/// With less than this left nothing is sent: it would cost a connection that is well.
pub(super) const SHORTEST: Duration = Duration::from_millis(20);

/// Longest that a batch of the sealer or a follower takes: 1,000 events of 2 KB need 16 s at 1 Mbit/s.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

tokio::task_local! {
    static OF_REQUEST: Patience;
}

/// How long one request has waited for Postgres. Its own work, hashes above all, takes nothing of it. It asks for one thing at a time: two
/// waits at once would be counted twice, and the end of one would hide the other.
#[derive(Clone, Debug)]
pub struct Patience {
    waits: Arc<Mutex<Waits>>,
    /// Told when what is left has become less.
    shortened: Arc<Notify>,
    /// Whether its statements end with it.
    ends_statements: bool,
}

#[derive(Debug, Default)]
struct Waits {
    over: Duration,
    /// Since when one is going on.
    since: Option<Instant>,
    /// Those of them for connections that Postgres did not give.
    outside: Duration,
    outside_since: Option<Instant>,
}

impl Patience {
    /// That of a request that begins.
    pub fn of_request() -> Self {
        Self { waits: Arc::default(), shortened: Arc::default(), ends_statements: true }
    }

    /// That of the request which this is part of, for a command that it begins: the request is answered when its patience ends, and the
    /// command goes on. A guess that was taken into account must be settled, however slow Postgres is.
    pub fn of_command() -> Option<Self> {
        OF_REQUEST.try_with(|patience| Self { ends_statements: false, ..patience.clone() }).ok()
    }

    /// Does work whose statements all count here.
    pub fn around<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        OF_REQUEST.scope(self, work)
    }

    /// Returns when Postgres has been waited for long enough.
    pub async fn ended(&self) {
        loop {
            // Before the look: what is told right after it would be missed.
            let shortened = self.shortened.notified();
            let left = self.left();
            if left < SHORTEST {
                return;
            }
            tokio::select! {
                () = sleep(left) => {}
                () = shortened => {}
            }
        }
    }

    /// Whether this is part of a request that has waited for an answer before, or of none.
    pub(super) fn goes_on() -> bool {
        OF_REQUEST.try_with(|patience| !patience.waits().over.is_zero()).unwrap_or(true)
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> Duration {
        let waits = self.waits();
        let going_on = waits.since.map_or(Duration::ZERO, |since| since.elapsed());
        let left = ANSWER_TIMEOUT.saturating_sub(waits.over + going_on);
        let outside = |since: Instant| ACQUIRE_TIMEOUT.saturating_sub(waits.outside + since.elapsed());
        waits.outside_since.map_or(left, |since| left.min(outside(since)))
    }
}

/// A connection if one comes within `most` and, in a request, before it has waited for too long `outside`: while Postgres lets in fewer than it
/// is asked for.
pub(super) async fn connected<T>(most: Duration, outside: bool, wait: impl Future<Output = T>) -> Option<T> {
    let patience = outside.then(|| OF_REQUEST.try_with(Patience::clone).ok()).flatten();
    let Some(patience) = patience else { return timeout(most, wait).await.ok() };
    let begun = Instant::now();
    patience.waits().outside_since = Some(begun);
    patience.shortened.notify_waiters();
    let most = if patience.ends_statements { most.min(patience.left()) } else { most };
    let connection = timeout(most, wait).await.ok();
    let mut waits = patience.waits();
    waits.outside += begun.elapsed();
    waits.outside_since = None;
    connection
}

/// The answer to a statement if it comes within `most` and, in a request, within what is left of its patience.
pub(super) async fn answered<T>(most: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let Ok(patience) = OF_REQUEST.try_with(Patience::clone) else { return timeout(most, answer).await.ok() };
    let most = if patience.ends_statements { most.min(patience.left()) } else { most };
    if most < SHORTEST {
        return None;
    }
    let begun = Instant::now();
    patience.waits().since = Some(begun);
    let answer = timeout(most, answer).await.ok();
    let mut waits = patience.waits();
    waits.over += begun.elapsed();
    waits.since = None;
    answer
}

/// Gives a batch of several statements up when it takes too long. Its statements wait without a clock of their own, and a server that has
/// vanished ends none of them; its transaction is dropped with its connection.
pub(crate) async fn bounded<T, E: From<StoreError>>(batch: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    timeout(BATCH_TIMEOUT, batch).await.unwrap_or_else(|_| Err(StoreError::Unavailable(unheard()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when `core/src/store/db/patience.rs`: `timeout(BATCH_TIMEOUT, batch).await` → `timeout(Duration::MAX, batch).await`.
    #[tokio::test(start_paused = true)]
    async fn a_batch_that_hears_nothing_is_given_up_after_a_minute_and_one_that_takes_its_time_is_not() {
        let slow = async {
            sleep(Duration::from_secs(59)).await;
            Ok::<_, StoreError>(())
        };
        assert!(bounded(slow).await.is_ok());
        let unheard = timeout(Duration::from_secs(61), bounded::<(), StoreError>(std::future::pending())).await;
        assert!(matches!(unheard, Ok(Err(StoreError::Unavailable(_)))), "{unheard:?}");
    }

    const MOST: Duration = Duration::from_secs(2);

    async fn statement(millis: u64) -> Option<()> {
        answered(MOST, sleep(Duration::from_millis(millis))).await
    }

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

    async fn outside(millis: u64) -> Option<Option<()>> {
        answered(MOST, connected(ACQUIRE_TIMEOUT, true, sleep(Duration::from_millis(millis)))).await
    }

    /// Breaks when `core/src/store/db/patience.rs`: `waits.outside += begun.elapsed();` → `waits.outside += Duration::ZERO;`.
    #[tokio::test(start_paused = true)]
    async fn a_request_waits_once_for_all_its_connections_while_postgres_lets_nobody_in() {
        Patience::of_request()
            .around(async {
                assert_eq!(outside(1_000).await, Some(Some(())));
                assert_eq!(statement(600).await, Some(()), "what answers has its own time");
                let inside = connected(ACQUIRE_TIMEOUT, false, sleep(Duration::from_millis(500)));
                assert_eq!(answered(MOST, inside).await, Some(Some(())), "and so has what others have");
                let begun = Instant::now();
                assert_eq!(outside(1_000).await, Some(None));
                assert_eq!(begun.elapsed().as_millis(), 400);
            })
            .await;
        Patience::of_request()
            .around(async {
                let patience = Patience::of_command().unwrap();
                let begun = Instant::now();
                let command = tokio::spawn(patience.clone().around(async {
                    sleep(Duration::from_millis(200)).await;
                    (outside(1_300).await, outside(1_300).await)
                }));
                patience.ended().await;
                let waited = begun.elapsed();
                assert!((1_580..1_610).contains(&waited.as_millis()), "{waited:?}");
                assert_eq!(command.await.unwrap(), (Some(Some(())), Some(Some(()))), "the command goes on");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_goes_on_when_the_request_that_began_it_is_told_that_it_waited_long_enough() {
        Patience::of_request()
            .around(async {
                assert_eq!(statement(1_000).await, Some(()));
                let patience = Patience::of_command().unwrap();
                let begun = Instant::now();
                let command = tokio::spawn(patience.clone().around(async {
                    // Its own work.
                    sleep(Duration::from_secs(3)).await;
                    (statement(1_400).await, statement(1_900).await)
                }));
                patience.ended().await;
                let waited = begun.elapsed();
                assert!((4_480..4_510).contains(&waited.as_millis()), "{waited:?}");
                assert_eq!(command.await.unwrap(), (Some(()), Some(())));
            })
            .await;
    }
}
