//! The only SQL of Doorbook. `write` composes one statement a command; `query` reads; everything else follows the log.

pub mod columns;
pub mod db;
pub mod epoch;
pub mod follow;
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
pub mod search;
mod self_test;
pub mod wake;
pub mod write;

use std::sync::LazyLock;

use sqlx::Connection as _;
use sqlx::postgres::PgPoolOptions;

pub use self::db::{Db, Pooler, Tx};
pub use self::self_test::PoolerError;

/// All migrations, compiled in: a release needs no files beside it.
pub static MIGRATOR: LazyLock<sqlx::migrate::Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../migrations");
    // Its lock belongs to a session; `migrate` takes one that belongs to a transaction.
    migrator.set_locking(false);
    migrator
});

/// Rights of the roles; idempotent.
pub const ROLES_SQL: &str = include_str!("roles.sql");

/// Key of the advisory lock of a migration: `doormove` read as a number, any value that nobody else takes.
const MIGRATION_LOCK: i64 = 0x646f_6f72_6d6f_7665;

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
    #[error(
        "the owner's connection goes through a pooler in transaction mode: DATABASE_MIGRATE_URL must lead to Postgres itself"
    )]
    Pooler,
    #[error("a migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Applies what is missing and grants the roles. `url` is the owner's, straight to Postgres. Of several at once, one works and the
/// others wait.
pub async fn migrate(url: &str) -> Result<(), MigrateError> {
    let options = db::options(url)?;
    let (mut one, mut other) = (db::connect(&options).await?, db::connect(&options).await?);
    if !self_test::are_apart(&mut one, &mut other).await? {
        return Err(MigrateError::Pooler);
    }
    one.close().await?;
    other.close().await?;
    // Without the settings of a service's connections: a migration may take its time.
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
    let owner = Db::from(pool.clone());
    let mut lock = owner.begin().await?;
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0").execute(&mut lock).await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut lock).await?;
    MIGRATOR.run(&pool).await?;
    sqlx::raw_sql(ROLES_SQL).execute(&owner).await?;
    epoch::ensure(&owner).await?;
    lock.commit().await?;
    pool.close().await;
    Ok(())
}

/// Makes the roles that are missing and grants their rights anew. `url` is the owner's.
pub async fn grant_roles(url: &str) -> Result<(), MigrateError> {
    let mut owner = db::connect(&db::options(url)?).await?;
    sqlx::raw_sql(ROLES_SQL).execute(&mut owner).await?;
    owner.close().await?;
    Ok(())
}
