use sqlx::types::Json;

use crate::clock::Timestamp;
use crate::limit::Counter;
use crate::store::project::counters::CounterRow;
use crate::store::project::idempotency::IdempotencyKey;
use crate::store::{Db, StoreError};
use crate::value::{SessionId, StreamId};

/// A bucket and the database's time.
pub async fn read(db: &Db, bucket: [u8; 32]) -> Result<(CounterRow, Timestamp), StoreError> {
    let row = sqlx::query!(
        r#"select t.now as "now!: Timestamp", c.version as "version?", c.state as "state?: Json<Counter>"
           from (select clock_timestamp() as now) t left join counters c on c.bucket = $1"#,
        bucket.as_slice()
    )
    .fetch_one(db)
    .await?;
    let counter =
        CounterRow { version: row.version.unwrap_or(0), counter: row.state.map(|state| state.0).unwrap_or_default() };
    Ok((counter, row.now))
}

/// How many distinct members of a set were seen after `since`, counted up to 1,000.
pub async fn members(db: &Db, bucket: [u8; 32], since: Timestamp) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 from counter_members where bucket = $1 and at > $2 limit 1000) m"#,
        bucket.as_slice(),
        since as Timestamp
    )
    .fetch_one(db)
    .await?)
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
