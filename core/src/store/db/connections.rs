//! Connections on their way from one statement to the next.
//!
//! sqlx's pool asks each connection that it is given back whether it is well, a round trip a statement, and lets nobody have it meanwhile. One
//! whose statements were all answered is well: it is kept here, and the next statement has it at once. What broke off is asked first. sqlx
//! opens and counts them all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgSeverity, Postgres};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::patience::ANSWER_TIMEOUT;
use crate::token::random;

/// How often a request for which a connection is opened looks for one that somebody else has given back.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// One that nobody has used for so long is closed: what is between may have forgotten it. Source: sqlx.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// One that is older is closed: its process at the server has grown by then. Source: sqlx.
const AGE_MAX: Duration = Duration::from_mins(30);
/// By so much sooner at most, by chance: those that were opened together are not all opened anew in one moment, when everybody would wait.
const AGE_SPREAD: Duration = Duration::from_mins(15);

/// The connections of one process.
#[derive(Debug)]
pub(super) struct Connections {
    pool: PgPool,
    /// A pool made elsewhere is used by others too: what is kept here they would wait for.
    keeps: bool,
    /// One for each that there may be, for whoever has one or waits for one.
    places: Arc<Semaphore>,
    /// Whoever begins waits here before he waits for a place, so that at most one of them is before those who go on.
    entry: Semaphore,
    /// One for each that may be opened at once.
    openers: Arc<Semaphore>,
    /// Those that nobody has, the one used last on top.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    opened: Instant,
    since: Instant,
}

impl Kept {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE_MAX && self.opened.elapsed() < AGE_MAX
    }

    fn close(mut self) {
        self.connection.close_on_drop();
    }
}

impl Connections {
    pub(super) fn new(pool: PgPool, keeps: bool) -> Arc<Self> {
        let max = usize::try_from(pool.options().get_max_connections()).unwrap_or(Semaphore::MAX_PERMITS);
        let semaphore = || Arc::new(Semaphore::new(max));
        let (places, openers, entry) = (semaphore(), semaphore(), Semaphore::new(1));
        Arc::new(Self { pool, keeps, places, entry, openers, kept: Mutex::default() })
    }

    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Open, idle, and the most there may be.
    pub(super) fn count(&self) -> (usize, usize, u32) {
        let open = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        let idle = self.pool.num_idle() + self.lock().len();
        (open, idle.min(open), self.pool.options().get_max_connections())
    }

    /// Whether fewer are open than may be, beside those that are being opened.
    pub(super) fn are_few(&self) -> bool {
        let max = usize::try_from(self.pool.options().get_max_connections()).unwrap_or(usize::MAX);
        let opening = max.saturating_sub(self.openers.available_permits());
        self.count().0.saturating_sub(opening) < max
    }

    /// A connection for whoever comes when one is idle and nobody waits.
    pub(super) fn idle(self: &Arc<Self>) -> Option<Lease> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (connection, opened) = self.next()?;
        Some(self.lease(connection, opened, place))
    }

    /// A connection: one that is idle, is given back, or is opened. A request that `goes_on` has been at Postgres before: were it turned away now,
    /// that would have been in vain, and a Postgres that is too slow for all would be of use to nobody.
    pub(super) async fn wait(self: &Arc<Self>, goes_on: bool) -> sqlx::Result<Lease> {
        let entry = if goes_on { None } else { Some(self.entry.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?) };
        let place = self.place().await?;
        drop(entry);
        let (connection, opened) = match self.next() {
            Some(next) => next,
            None => self.opened().await?,
        };
        Ok(self.lease(connection, opened, place))
    }

    /// Room for a connection that somebody else opens in the pool, for as long as this is held.
    pub(super) async fn reserve(&self) -> sqlx::Result<OwnedSemaphorePermit> {
        let place = self.place().await?;
        if let Some((mut connection, _)) = self.next() {
            connection.close_on_drop();
        }
        Ok(place)
    }

    /// Asks all that are idle whether they are well: one was found dead, and they have waited beside it.
    pub(super) fn distrust(self: &Arc<Self>) {
        let kept = std::mem::take(&mut *self.lock());
        let others = std::iter::from_fn(|| self.pool.try_acquire()).map(|connection| (connection, age_from()));
        let idle: Vec<_> = kept.into_iter().map(|kept| (kept.connection, kept.opened)).chain(others).collect();
        for (connection, opened) in idle {
            self.examine(connection, opened, None, ANSWER_TIMEOUT);
        }
    }

    /// Keeps a connection if it answers in time, behind whatever was asked on it before; otherwise it is closed without a word. sqlx would ask
    /// without an end, and have no place for another one meanwhile: for minutes when the network swallows what is sent, or for ever.
    fn examine(
        self: &Arc<Self>,
        mut connection: PoolConnection<Postgres>,
        opened: Instant,
        place: Option<OwnedSemaphorePermit>,
        time: Duration,
    ) {
        let home = Arc::clone(self);
        let examined = async move {
            match timeout(time, connection.ping()).await {
                Ok(Ok(())) => home.keep(connection, opened),
                Ok(Err(_)) | Err(_) => drop(connection.detach()),
            }
            // Last: who waits for it finds the connection, or room for one.
            drop(place);
        };
        // Without a runtime the process ends.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(examined);
        }
    }

    fn lease(
        self: &Arc<Self>,
        connection: PoolConnection<Postgres>,
        opened: Instant,
        place: OwnedSemaphorePermit,
    ) -> Lease {
        Lease { connection: Some(connection), home: Arc::clone(self), opened, place: Some(place) }
    }

    async fn place(&self) -> sqlx::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)
    }

    /// One that is idle, and when it was opened as far as anybody knows.
    fn next(&self) -> Option<(PoolConnection<Postgres>, Instant)> {
        loop {
            let Some(kept) = self.lock().pop() else { break };
            if kept.is_fresh() {
                return Some((kept.connection, kept.opened));
            }
            kept.close();
        }
        self.pool.try_acquire().map(|connection| (connection, age_from()))
    }

    async fn opened(&self) -> sqlx::Result<(PoolConnection<Postgres>, Instant)> {
        let opened = async {
            let Some(opening) = self.open_one_more() else { return self.pool.acquire().await };
            opening.await.map_err(|_| sqlx::Error::WorkerCrashed)?
        };
        let given_back = async {
            loop {
                sleep(LOOK_EVERY).await;
                if let Some(next) = self.next() {
                    return next;
                }
            }
        };
        tokio::select! {
            opened = opened => opened.map(|connection| (connection, age_from())),
            next = given_back => Ok(next),
        }
    }

    /// Opens a connection if there is room for one, whoever gets it. Were it given up with the request that wanted it first, a server
    /// that is slow to let anybody in would be asked again and again and never be of use.
    fn open_one_more(&self) -> Option<JoinHandle<sqlx::Result<PoolConnection<Postgres>>>> {
        let has_room = self.pool.size() < self.pool.options().get_max_connections();
        let opener = has_room.then(|| Arc::clone(&self.openers).try_acquire_owned().ok()).flatten()?;
        let pool = self.pool.clone();
        Some(tokio::spawn(async move {
            let _opener = opener;
            pool.acquire().await
        }))
    }

    fn keep(&self, connection: PoolConnection<Postgres>, opened: Instant) {
        if !self.keeps {
            return;
        }
        let mut kept = self.lock();
        kept.push(Kept { connection, opened, since: Instant::now() });
        // The one at the bottom has waited longest.
        let stale = kept.first().is_some_and(|first| !first.is_fresh()).then(|| kept.remove(0));
        drop(kept);
        if let Some(stale) = stale {
            stale.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that somebody has. Dropped in the middle of a statement, it is asked whether it is well.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<PoolConnection<Postgres>>,
    home: Arc<Connections>,
    opened: Instant,
    // Last: who waits for it finds the connection.
    place: Option<OwnedSemaphorePermit>,
}

impl Lease {
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Gives it to the next statement: everything that was asked on it has been answered.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.keep(connection, self.opened);
        }
    }

    /// Gives it back behind such an answer.
    pub(super) fn give_back_after<T>(self, answer: &sqlx::Result<T>) {
        match answer {
            Ok(_) => self.give_back(),
            Err(sqlx::Error::Database(error)) if !is_end(&**error) => self.give_back(),
            Err(sqlx::Error::Database(_) | sqlx::Error::Io(_)) => self.home.distrust(),
            Err(_) => {}
        }
    }

    /// Closes it without a word: nobody is heard on it.
    pub(super) fn close(mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
    }

    /// Lets a statement end for which nobody waits any more, if it does so in time. A connection that is well stays: a server that is slow takes
    /// much longer to open another one, and what is closed for being slow would make the next request slower still.
    pub(super) fn outlast(mut self, time: Duration) {
        self.examine(time);
    }

    fn examine(&mut self, time: Duration) {
        if let Some(connection) = self.connection.take() {
            self.home.examine(connection, self.opened, self.place.take(), time);
        }
    }

    /// Closes it with a word to the server.
    pub(super) fn close_politely(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.examine(ANSWER_TIMEOUT);
    }
}

/// From when on the age of a connection counts that was just opened.
fn age_from() -> Instant {
    let chance = f64::from(u16::from_be_bytes(random())) / f64::from(u16::MAX);
    let now = Instant::now();
    now.checked_sub(AGE_SPREAD.mul_f64(chance)).unwrap_or(now)
}

/// Whether the server ends a connection with this error.
fn is_end(error: &dyn DatabaseError) -> bool {
    let severity = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
    severity.is_none_or(|severity| matches!(severity, PgSeverity::Fatal | PgSeverity::Panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when `core/src/store/db/connections.rs`: `AGE_SPREAD.mul_f64(chance)` → `AGE_SPREAD.mul_f64(0.0 * chance)`.
    #[test]
    fn connections_that_are_opened_together_do_not_age_together() {
        let ages: Vec<Duration> = (0..100).map(|_| age_from().elapsed()).collect();
        assert!(ages.iter().all(|age| *age < AGE_SPREAD + Duration::from_secs(1)), "{ages:?}");
        let minutes: std::collections::HashSet<_> = ages.iter().map(|age| age.as_secs() / 60).collect();
        // A machine that has just started has no such past.
        assert!(minutes.len() > 5 || Instant::now().checked_sub(AGE_SPREAD).is_none(), "{minutes:?}");
    }
}
