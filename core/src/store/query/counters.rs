use std::sync::Arc;

use sqlx::types::Json;

use crate::clock::Timestamp;
use crate::limit::Counter;
use crate::store::keys::identifiers::{Bucket, Identifiers};
use crate::store::keys::{KeyError, Vault};
use crate::store::project::counters::CounterRow;
use crate::store::project::idempotency::IdempotencyKey;
use crate::store::{Db, StoreError};
use crate::value::{SessionId, StreamId};

/// A read finds the keys changed at most this often before it gives up: they change once in years.
const CHANGES_MAX: u32 = 3;

/// A bucket and the database's time.
pub async fn read(db: &Db, vault: &Vault, bucket: &Bucket) -> Result<(CounterRow, Timestamp), KeyError> {
    let mut keys = vault.identifiers();
    for _ in 0..CHANGES_MAX {
        // One row at most: whoever writes under the active key takes away what stood under an earlier one.
        let row = sqlx::query!(
            r#"select clock_timestamp() as "now!: Timestamp", g.version as keys_version, c.bucket as "bucket?",
                      c.version as "version?", c.state as "state?: Json<Counter>", c.target_key_id
               from key_guards g left join counters c on c.bucket = any($1)
               where g.purpose = 'identifier' limit 1"#,
            &keys.names(bucket)
        )
        .fetch_one(db)
        .await?;
        if row.keys_version == keys.version {
            let counter = CounterRow {
                counter: row.state.map(|state| state.0).unwrap_or_default(),
                bucket: bucket.clone(),
                keys,
                found: row.bucket.zip(row.version),
                target_key_id: row.target_key_id,
            };
            return Ok((counter, row.now));
        }
        keys = vault.reread_identifiers(db).await?;
    }
    Err(StoreError::Conflict.into())
}

/// Two buckets and the database's time, in one read.
pub async fn read_two(
    db: &Db,
    vault: &Vault,
    [first, second]: [&Bucket; 2],
) -> Result<([CounterRow; 2], Timestamp), KeyError> {
    let mut keys = vault.identifiers();
    for _ in 0..CHANGES_MAX {
        let row = sqlx::query!(
            r#"select clock_timestamp() as "now!: Timestamp", g.version as keys_version, c.bucket as "bucket?",
                      c.version as "version?", c.state as "state?: Json<Counter>", c.target_key_id, d.bucket as "other_bucket?",
                      d.version as "other_version?", d.state as "other_state?: Json<Counter>", d.target_key_id as other_target_key_id
               from key_guards g left join counters c on c.bucket = any($1) left join counters d on d.bucket = any($2)
               where g.purpose = 'identifier' limit 1"#,
            &keys.names(first),
            &keys.names(second)
        )
        .fetch_one(db)
        .await?;
        if row.keys_version == keys.version {
            let made = |bucket: &Bucket, state: Option<Json<Counter>>, found, target_key_id| CounterRow {
                counter: state.map(|state| state.0).unwrap_or_default(),
                bucket: bucket.clone(),
                keys: Arc::clone(&keys),
                found,
                target_key_id,
            };
            let rows = [
                made(first, row.state, row.bucket.zip(row.version), row.target_key_id),
                made(second, row.other_state, row.other_bucket.zip(row.other_version), row.other_target_key_id),
            ];
            return Ok((rows, row.now));
        }
        keys = vault.reread_identifiers(db).await?;
    }
    Err(StoreError::Conflict.into())
}

/// How many distinct members of a set were seen after `since`, counted up to 1,000.
pub async fn members(db: &Db, vault: &Vault, bucket: &Bucket, since: Timestamp) -> Result<i64, KeyError> {
    let mut keys = vault.identifiers();
    for _ in 0..CHANGES_MAX {
        let row = sqlx::query!(
            r#"select g.version,
                      (select count(*) from (select 1 from counter_members where bucket = any($1) and at > $2 limit 1000) m) as "count!"
               from key_guards g where g.purpose = 'identifier'"#,
            &keys.names(bucket),
            since as Timestamp
        )
        .fetch_one(db)
        .await?;
        if row.version == keys.version {
            return Ok(row.count);
        }
        keys = vault.reread_identifiers(db).await?;
    }
    Err(StoreError::Conflict.into())
}

/// The keys that buckets are named by, as they are now.
pub async fn keys_now(db: &Db, vault: &Vault) -> Result<Arc<Identifiers>, KeyError> {
    let keys = vault.identifiers();
    let version =
        sqlx::query_scalar!("select version from key_guards where purpose = 'identifier'").fetch_one(db).await?;
    if version == keys.version { Ok(keys) } else { vault.reread_identifiers(db).await }
}

/// Whether a stream has begun.
pub async fn stream_exists(db: &Db, stream: StreamId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(r#"select exists (select 1 from streams where stream_id = $1) as "exists!""#, stream.0)
        .fetch_one(db)
        .await?)
}

/// How an idempotent request ended the first time.
pub struct Replay {
    pub same_request: bool,
    pub status: u16,
    /// The session it was made in has ended since.
    pub session_over: bool,
}

pub async fn replay(db: &Db, key: &IdempotencyKey) -> Result<Option<Replay>, StoreError> {
    let row = sqlx::query!(
        r#"select i.request_mac, i.status, i.session_id as "session_id: SessionId",
                  (i.session_id is not null and s.revoked_at is not null) as "session_over!"
           from idempotency i left join sessions s on s.session_id = i.session_id
           where i.scope = $1 and i.key_hash = $2 and i.created_at > clock_timestamp() - interval '24 hours'"#,
        key.scope.as_slice(),
        key.key.as_slice()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Replay {
        same_request: row.request_mac == key.request,
        status: u16::try_from(row.status).unwrap_or(500),
        session_over: row.session_over,
    }))
}

/// Whether a session has made a write that may be repeated.
pub async fn written_in(db: &Db, scope: [u8; 32], key: [u8; 32], session: SessionId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from idempotency where scope = $1 and key_hash = $2 and session_id = $3
                          and created_at > clock_timestamp() - interval '24 hours') as "exists!""#,
        scope.as_slice(),
        key.as_slice(),
        session.0
    )
    .fetch_one(db)
    .await?)
}
