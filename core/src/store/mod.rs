//! The only SQL of Doorbook. `write` composes one statement a command; `query` reads; everything else follows the log.

pub mod columns;
pub mod epoch;
pub mod foreign;
pub mod inspect;
pub mod jobs;
pub mod keys;
pub mod log;
pub mod pending;
pub mod project;
pub mod query;
pub mod rebuild;
pub mod seal;
pub mod wake;
pub mod write;

use std::time::Duration;

pub use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};

/// All migrations, compiled in: a release needs no files beside it.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Rights of the roles; idempotent.
pub const ROLES_SQL: &str = include_str!("roles.sql");

/// A request waits this long for a connection, then answers 503. Source: bar 7.17.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// A wait for a connection that is longer is counted: the pool is too small or a statement too slow.
const ACQUIRE_SLOW: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has moved a row this command was decided on: reload and decide again.
    #[error("write conflict")]
    Conflict,
    #[error("the database cannot be used now: {0}")]
    Unavailable(sqlx::Error),
    #[error("the database answered with an error: {0}")]
    Failed(sqlx::Error),
    #[error(transparent)]
    Unreadable(#[from] crate::event::Unreadable),
    #[error(transparent)]
    Sealed(#[from] crate::seal::SealError),
    #[error("{0}")]
    Inconsistent(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // serialization_failure (ours among them), deadlock_detected, unique_violation, lock_not_available
                Some("40001" | "40P01" | "23505" | "55P03") => Self::Conflict,
                // connection exceptions, too many connections, shutdown, start-up, statement timeout, read-only, disk full
                Some(code)
                    if code.starts_with("08")
                        || code.starts_with("53")
                        || code.starts_with("57")
                        || code == "25006" =>
                {
                    Self::Unavailable(error)
                }
                _ => Self::Failed(error),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Failed(error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database cannot be reached or refused a statement: {0}")]
    Database(#[from] sqlx::Error),
    #[error("a migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Options of every connection: short statements, short locks, no forgotten transactions. Source: bar 7.17.
fn options(url: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(url
        .parse::<PgConnectOptions>()?
        .application_name("doorbook")
        .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1))
        .log_statements(tracing::log::LevelFilter::Off))
}

/// A pool of at most `max` connections. Opens none yet: a database that is away at start does not stop the process.
pub fn pool(url: &str, max: u32) -> sqlx::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .acquire_slow_threshold(ACQUIRE_SLOW)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(
                    "set statement_timeout = '3s'; set lock_timeout = '1s'; set idle_in_transaction_session_timeout = '5s'; \
                     set timezone = 'UTC'; set plan_cache_mode = 'force_generic_plan'",
                )
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .connect_lazy_with(options(url)?))
}

/// Applies what is missing and grants the roles. `url` is the owner's.
pub async fn migrate(url: &str) -> Result<(), MigrateError> {
    let mut owner = PgConnection::connect_with(&options(url)?).await?;
    MIGRATOR.run(&mut owner).await?;
    sqlx::raw_sql(ROLES_SQL).execute(&mut owner).await?;
    epoch::ensure(&mut owner).await?;
    owner.close().await?;
    Ok(())
}

/// Makes the roles that are missing and grants their rights anew. `url` is the owner's.
pub async fn grant_roles(url: &str) -> Result<(), MigrateError> {
    let mut owner = PgConnection::connect_with(&options(url)?).await?;
    sqlx::raw_sql(ROLES_SQL).execute(&mut owner).await?;
    owner.close().await?;
    Ok(())
}
