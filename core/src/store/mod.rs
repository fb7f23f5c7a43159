//! The only SQL of Doorbook. `write` composes one statement a command; `query` reads; everything else follows the log.

pub mod alerts;
pub mod audit;
pub mod checkpoints;
pub mod columns;
pub mod db;
pub mod epoch;
pub mod follow;
pub mod foreign;
pub mod inspect;
pub mod jobs;
pub mod keys;
pub mod log;
pub mod migrations;
pub mod pacing;
pub mod past;
pub mod project;
pub mod query;
pub mod rebuild;
pub mod retention;
pub mod seal;
pub mod search;
mod self_test;
pub mod tree;
pub mod wake;
pub mod write;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

pub use self::db::{Db, Patience, Pooler, Tx};
pub use self::migrations::{MigrateError, grant_roles, migrate};
pub use self::self_test::PoolerError;

/// Rights of the roles; idempotent.
pub const ROLES_SQL: &str = include_str!("roles.sql");

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

impl StoreError {
    /// Whether the database has answered, if only that it cannot: it may answer others better.
    pub const fn is_answer(&self) -> bool {
        !matches!(self, Self::Unavailable(error) if !matches!(error, sqlx::Error::Database(_)))
    }

    /// Whether what was asked may have been done: it was sent, and nobody heard what became of it.
    pub const fn is_unheard(&self) -> bool {
        matches!(self, Self::Unavailable(error) if !matches!(error, sqlx::Error::Database(_) | sqlx::Error::PoolTimedOut))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // serialization_failure (ours among them), deadlock_detected, unique_violation, lock_not_available
                Some("40001" | "40P01" | "23505" | "55P03") => Self::Conflict,
                // connection exceptions, too many connections, shutdown, start-up, statement timeout, read-only, disk full, end of a
                // session by an internal error
                Some(code)
                    if code.starts_with("08")
                        || code.starts_with("53")
                        || code.starts_with("57")
                        || code == "25006"
                        || code.starts_with("XX") && is_end_of_session(database.as_ref()) =>
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

/// Whether Postgres ended the session with it. What it says of itself then is no fault of the statement: a new session on a full disk
/// cannot keep what it has read of the catalog, and ends with the code of an internal error.
fn is_end_of_session(error: &dyn DatabaseError) -> bool {
    error
        .try_downcast_ref::<PgDatabaseError>()
        .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}
