//! Connections of one process, and how a statement goes over them.
//!
//! Straight to Postgres a statement is prepared once a connection, under a name, and commits by itself: one round trip. Behind a
//! pooler in transaction mode two messages outside a transaction may reach two servers, and names outlive their client: there every
//! statement is unnamed and stands between `begin` and `commit`, reads included.

mod connections;
mod patience;
mod unnamed;

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt as _, stream};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{ConnectOptions, Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, SqlStr};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::log::LevelFilter;

use super::self_test::PoolerError;
use crate::telemetry::metrics::POOL_SLOW;
use connections::{Connections, Lease};
use patience::{ACQUIRE_TIMEOUT, ANSWER_TIMEOUT, SHORTEST, answered, connected};
use unnamed::Unnamed;

pub use patience::Patience;
pub(crate) use patience::bounded;

/// A wait for a connection that is longer is counted: the pool is too small or a statement too slow.
const ACQUIRE_SLOW: Duration = Duration::from_millis(100);

/// Time for a connection to be opened, which is longer than a request waits.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a process to open a connection that is no pool's. Source: bar 7.17.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Short statements, short locks, no forgotten transactions (bar 7.17); one time zone; one plan a statement, whatever its parameters; and
/// no compiling of plans: in a long log it took the sealer 400 ms a batch, for a statement of 4 ms. And no reading of whole tables where an
/// index leads to the row: a plan that was made while a table was empty stays until Postgres has analysed the table anew, which takes it a
/// minute, and until then each look at a counter or a session would read all of them. Nor processes of its own for a statement, which Postgres
/// starts as a table grows: of the 41 ms in which a log of a million events told how far its last checkpoint is, they took 40.
const SETTINGS: [&str; 8] = [
    "statement_timeout = '3s'",
    "lock_timeout = '1s'",
    "idle_in_transaction_session_timeout = '5s'",
    "timezone = 'UTC'",
    "plan_cache_mode = 'force_generic_plan'",
    "jit = off",
    "enable_seqscan = off",
    "max_parallel_workers_per_gather = 0",
];

/// `set …` for the life of a connection.
static SET: LazyLock<String> = LazyLock::new(|| SETTINGS.map(|setting| format!("set {setting}")).join("; "));
/// The same until the end of a transaction, in words that follow `begin`: what a session sets stays with the pooler's server.
static SET_LOCAL: LazyLock<String> =
    LazyLock::new(|| SETTINGS.map(|setting| format!("; set local {setting}")).concat());

/// What stands between this process and Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler in session mode.
    None,
    /// A pooler in transaction mode.
    Transaction,
}

/// A pool of connections. Every query of this crate runs on `&Db` or on a [`Tx`] of it.
#[derive(Clone, Debug)]
pub struct Db {
    connections: Arc<Connections>,
    pooler: Pooler,
    /// Longest wait for a connection.
    patience: Duration,
    /// Longest wait for the answer to a statement.
    answers_within: Duration,
}

/// Options of every connection. Without `extra_float_digits`, which sqlx sends at the start, which PgBouncer refuses and which no
/// column of ours needs.
pub(super) fn options(url: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(url
        .parse::<PgConnectOptions>()?
        .application_name("doorbook")
        .extra_float_digits(None)
        .log_slow_statements(LevelFilter::Warn, Duration::from_secs(1))
        .log_statements(LevelFilter::Off))
}

/// A connection of its own, without the settings of a pool's.
pub(super) async fn connect(options: &PgConnectOptions, within: Duration) -> sqlx::Result<PgConnection> {
    timeout(within, PgConnection::connect_with(options)).await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

/// A pool of one connection, for what needs Postgres itself and no other settings than its login has.
pub(super) fn single(url: &str) -> sqlx::Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).connect_lazy_with(options(url)?))
}

impl Db {
    /// A pool of at most `max` connections. Opens none yet: a database that is away at start does not stop the process.
    pub fn new(url: &str, max: u32, pooler: Pooler) -> sqlx::Result<Self> {
        let options = options(url)?;
        let mut pool = PgPoolOptions::new()
            .max_connections(max)
            .acquire_timeout(OPEN_TIMEOUT)
            // Waits are counted where they are: a line for each would fill the disk when the pool is too small.
            .acquire_slow_level(LevelFilter::Off)
            .test_before_acquire(false);
        if pooler == Pooler::None {
            pool = pool.after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SET.as_str()).execute(connection).await.map(drop) })
            });
        }
        let connections = Connections::new(pool.connect_lazy_with(options), true);
        Ok(Self { connections, pooler, patience: ACQUIRE_TIMEOUT, answers_within: ANSWER_TIMEOUT })
    }

    /// [`Db::new`], the self-test and a first connection: for processes.
    pub async fn open(url: &str, max: u32, pooler: Pooler) -> Result<Self, PoolerError> {
        let db = Self::new(url, max, pooler).map_err(PoolerError::Url)?;
        db.self_test().await?;
        // The first connection, even if no request would wait for it: a start that failed would begin with none again.
        db.connections.wait(true).await?.give_back();
        Ok(db)
    }

    /// Connections of this process: open, idle and the most there may be.
    pub fn connections(&self) -> (usize, usize, u32) {
        self.connections.count()
    }

    /// The pool, if its sessions are Postgres' own.
    pub(super) fn direct(&self) -> Option<&PgPool> {
        (self.pooler == Pooler::None).then(|| self.connections.pool())
    }

    /// Room in the pool for a connection that is not this one's to give.
    pub(super) async fn reserve(&self) -> sqlx::Result<OwnedSemaphorePermit> {
        self.connections.reserve().await
    }

    /// A connection in time.
    async fn acquire(&self) -> sqlx::Result<Lease> {
        if let Some(lease) = self.connections.idle() {
            return Ok(lease);
        }
        let began = Instant::now();
        // Boxed: whoever may have to wait would carry it along.
        let wait = Box::pin(self.connections.wait(Patience::goes_on()));
        let lease = connected(self.patience, self.connections.are_few(), wait).await;
        if began.elapsed() > ACQUIRE_SLOW {
            POOL_SLOW.add(1);
        }
        lease.ok_or(sqlx::Error::PoolTimedOut)?
    }

    /// Runs a query by itself, straight at Postgres. The connection of one that is given up is nobody's until it has been answered or closed.
    async fn run<T>(&self, query: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> sqlx::Result<T> {
        crate::failpoint!("db.statement");
        let (began, mut lease) = (Instant::now(), None);
        let answer = async { query(lease.insert(self.acquire().await?).connection()?).await };
        let answer = answered(self.answers_within, answer).await;
        match (answer, lease) {
            (Some(answer), None) => answer,
            (Some(answer), Some(lease)) => {
                lease.give_back_after(&answer);
                answer
            }
            (None, None) => Err(sqlx::Error::PoolTimedOut),
            (None, Some(lease)) => {
                // Its request ended before it, or it had its own time.
                if began.elapsed() + SHORTEST < self.answers_within {
                    lease.outlast(self.answers_within);
                } else {
                    lease.close();
                }
                Err(unheard())
            }
        }
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> sqlx::Result<Tx> {
        self.begin_with("begin").await
    }

    /// Begins a transaction whose reads all see the same moment.
    pub async fn snapshot(&self) -> sqlx::Result<Tx> {
        self.begin_with("begin transaction isolation level repeatable read, read only").await
    }

    /// A pooler that has no server to give answers `begin` late or never: this is the wait for a connection there.
    async fn begin_with(&self, statement: &'static str) -> sqlx::Result<Tx> {
        let begun = async {
            let mut tx = Tx { lease: Some(self.acquire().await?), pooler: self.pooler };
            match self.pooler {
                Pooler::None => tx.control(statement.to_owned()).await?,
                Pooler::Transaction => tx.control(format!("{statement}{}", *SET_LOCAL)).await?,
            }
            Ok(tx)
        };
        timeout(self.patience, begun).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    /// Runs a query in a transaction of its own. What it gives is given only after the commit.
    async fn in_transaction<'q, E>(&self, query: E) -> sqlx::Result<Vec<Either<PgQueryResult, PgRow>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let work = async {
            let mut tx = self.begin().await?;
            match tx.fetch_many(query).try_collect().await {
                Ok(given) => tx.commit().await.map(|()| given),
                Err(error) => {
                    // The query's own error is the one to report. Without an answer to the rollback the connection is closed.
                    let _ = tx.rollback().await;
                    Err(error)
                }
            }
        };
        answered(self.answers_within, work).await.unwrap_or_else(|| Err(unheard()))
    }
}

/// The error of a statement that was given up: it may have been done.
fn unheard() -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// A pool made elsewhere, straight to Postgres.
impl From<PgPool> for Db {
    fn from(pool: PgPool) -> Self {
        let patience = pool.options().get_acquire_timeout();
        Self {
            connections: Connections::new(pool, false),
            pooler: Pooler::None,
            patience,
            answers_within: Duration::MAX,
        }
    }
}

/// A transaction. Dropped without an end it closes its connection: sqlx would give one back to the pool whose `begin` was still
/// under way, and behind a pooler that keeps a server from everybody else.
#[derive(Debug)]
pub struct Tx {
    lease: Option<Lease>,
    pooler: Pooler,
}

impl Tx {
    pub async fn commit(self) -> sqlx::Result<()> {
        self.end("commit").await
    }

    pub async fn rollback(self) -> sqlx::Result<()> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &str) -> sqlx::Result<()> {
        self.control(statement.to_owned()).await?;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        Ok(())
    }

    /// A statement of the transaction itself, unprepared.
    async fn control(&mut self, statement: String) -> sqlx::Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(self.connection()?).await.map(drop)
    }

    fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        self.lease.as_mut().ok_or(sqlx::Error::PoolClosed)?.connection()
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.close_politely();
        }
    }
}

type Future<'e, T> = Pin<Box<dyn std::future::Future<Output = sqlx::Result<T>> + Send + 'e>>;
type Rows<'e> = Pin<Box<dyn Stream<Item = sqlx::Result<Either<PgQueryResult, PgRow>>> + Send + 'e>>;

impl<'c> Executor<'c> for &'c Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let given = async move {
            match self.pooler {
                Pooler::None => self.run(async |connection| connection.fetch_many(query).try_collect().await).await,
                Pooler::Transaction => self.in_transaction(query).await,
            }
        };
        let given = stream::once(given).map_ok(|given: Vec<_>| stream::iter(given.into_iter().map(Ok)));
        Box::pin(given.try_flatten())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Future<'e, Option<PgRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.pooler {
            Pooler::None => {
                Box::pin(async move { self.run(async |connection| connection.fetch_optional(query).await).await })
            }
            Pooler::Transaction => Box::pin(async move {
                Ok(self.in_transaction(query).await?.into_iter().find_map(|given| match given {
                    Either::Left(_) => None,
                    Either::Right(row) => Some(row),
                }))
            }),
        }
    }

    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> Future<'e, PgStatement>
    where
        'c: 'e,
    {
        Box::pin(async { Err(no_handles()) })
    }

    fn describe<'e>(self, _: SqlStr) -> Future<'e, Describe<Postgres>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(no_handles()) })
    }
}

impl<'c> Executor<'c> for &'c mut Tx {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pooler = self.pooler;
        match (self.connection(), pooler) {
            (Ok(connection), Pooler::None) => connection.fetch_many(query),
            (Ok(connection), Pooler::Transaction) => connection.fetch_many(Unnamed(query)),
            (Err(error), _) => Box::pin(stream::once(async { Err(error) })),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Future<'e, Option<PgRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pooler = self.pooler;
        match (self.connection(), pooler) {
            (Ok(connection), Pooler::None) => connection.fetch_optional(query),
            (Ok(connection), Pooler::Transaction) => connection.fetch_optional(Unnamed(query)),
            (Err(error), _) => Box::pin(async { Err(error) }),
        }
    }

    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> Future<'e, PgStatement>
    where
        'c: 'e,
    {
        Box::pin(async { Err(no_handles()) })
    }

    fn describe<'e>(self, _: SqlStr) -> Future<'e, Describe<Postgres>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(no_handles()) })
    }
}

/// A prepared statement that a caller holds has no place behind a pooler, and no caller wants one.
fn no_handles() -> sqlx::Error {
    sqlx::Error::Configuration("statements are prepared only to be run".into())
}
