//! Reads. One statement a function, bounded; strong unless the doc says otherwise.

pub mod accounts;
pub mod counters;
pub mod deliveries;
pub mod imports;
pub mod sessions;
pub mod tokens;

use crate::clock::Timestamp;

/// The database's time.
pub async fn now(db: &super::Db) -> Result<Timestamp, super::StoreError> {
    Ok(sqlx::query_scalar!(r#"select clock_timestamp() as "now!: Timestamp""#).fetch_one(db).await?)
}

/// Whether this database has exactly the migrations that this build knows.
pub async fn migrations_applied(db: &super::Db) -> Result<bool, super::StoreError> {
    let applied: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("select version, checksum, success from _sqlx_migrations order by version")
            .fetch_all(db)
            .await?;
    let known: Vec<_> =
        super::MIGRATOR.iter().map(|migration| (migration.version, migration.checksum.to_vec(), true)).collect();
    Ok(applied == known)
}

/// Hash of the settings that the last process of a kind has started with.
pub async fn loaded_settings(db: &super::Db, process: &str) -> Result<Option<String>, super::StoreError> {
    Ok(sqlx::query_scalar!("select hash from loaded_settings where process = $1", process).fetch_optional(db).await?)
}

/// Whether a worker has shown itself in the last 20 s, and found Redis and the mail server in order.
pub async fn worker_well(db: &super::Db) -> Result<bool, super::StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (
               select 1 from heartbeats where at > clock_timestamp() - interval '20 seconds' and redis = 'ok' and mail in ('ok', 'unknown')
           ) as "well!""#
    )
    .fetch_one(db)
    .await?)
}
