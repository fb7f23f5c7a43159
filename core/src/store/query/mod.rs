//! Reads. One statement a function, bounded; strong unless the doc says otherwise.

pub mod accounts;
pub mod attempts;
pub mod counters;
pub mod deliveries;
pub mod imports;
pub mod overview;
pub mod sessions;
pub mod tokens;

use super::migrations::{Lack, differences};
use crate::clock::Timestamp;

/// The database's time.
pub async fn now(db: &super::Db) -> Result<Timestamp, super::StoreError> {
    Ok(sqlx::query_scalar!(r#"select clock_timestamp() as "now!: Timestamp""#).fetch_one(db).await?)
}

/// Whether this database has every migration that this build knows, with its text. It may have more.
pub async fn is_migrated(db: &super::Db) -> Result<bool, super::StoreError> {
    let rows = sqlx::query_as("select version, checksum, success from _sqlx_migrations order by version")
        .fetch_all(db)
        .await?;
    Ok(differences(rows).iter().all(|difference| difference.lack == Lack::Newer))
}

/// Hash of the settings that the last process of a kind has started with.
pub async fn loaded_settings(db: &super::Db, process: &str) -> Result<Option<String>, super::StoreError> {
    Ok(sqlx::query_scalar!("select hash from loaded_settings where process = $1", process).fetch_optional(db).await?)
}

/// What decides, from one moment to the next, whether a process is of use.
pub struct Condition {
    /// The migration that a build must know to be served by this schema.
    pub floor: i64,
    /// Whether a worker has shown itself in the last 20 s, and found Redis and the mail server in order.
    pub is_worker_well: bool,
}

pub async fn condition(db: &super::Db) -> Result<Condition, super::StoreError> {
    Ok(sqlx::query_as!(
        Condition,
        r#"select (select version from schema_floor) as "floor!", exists (
               select 1 from heartbeats where at > clock_timestamp() - interval '20 seconds' and redis = 'ok' and mail in ('ok', 'unknown')
           ) as "is_worker_well!""#
    )
    .fetch_one(db)
    .await?)
}
