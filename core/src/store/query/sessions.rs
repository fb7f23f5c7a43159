use std::time::Duration;

use sqlx::types::Json;

use crate::clock::Timestamp;
use crate::limit::Counter;
use crate::store::{Db, StoreError};
use crate::value::{AccountId, DeviceId, SessionId};

/// A session row as a refresh or a logout decides on it.
pub struct SessionRow {
    pub session_id: SessionId,
    pub account_id: AccountId,
    pub generation: i64,
    pub key_id: String,
    pub previous_key_id: Option<String>,
    pub salt: Vec<u8>,
    pub device_id: Option<DeviceId>,
    pub rotated_at: Timestamp,
    pub absolute_end: Timestamp,
    pub idle_end: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// The account's sessions have been ended since this one began, whatever the row says.
    pub outlived: bool,
    pub stream_version: i64,
    /// What the bucket that was asked for holds.
    pub counter: Option<Json<Counter>>,
    pub now: Timestamp,
}

/// A session, and in the same read what a counter holds, by the names of its bucket.
pub async fn by_id(db: &Db, session: SessionId, buckets: &[Vec<u8>]) -> Result<Option<SessionRow>, StoreError> {
    Ok(sqlx::query_as!(
        SessionRow,
        r#"select s.session_id as "session_id: SessionId", s.account_id as "account_id: AccountId", s.generation, s.key_id,
                  s.previous_key_id, s.salt, s.device_id as "device_id: DeviceId", s.rotated_at as "rotated_at: Timestamp",
                  s.absolute_end as "absolute_end: Timestamp", s.idle_end as "idle_end: Timestamp",
                  s.revoked_at as "revoked_at: Timestamp", a.session_epoch <> s.session_epoch as "outlived!", t.version as stream_version,
                  (select c.state from counters c where c.bucket = any($2) limit 1) as "counter: Json<Counter>", clock_timestamp() as "now!: Timestamp"
           from sessions s join streams t on t.stream_id = s.session_id join streams a on a.stream_id = s.account_id
           where s.session_id = $1"#,
        session.0,
        buckets
    )
    .fetch_optional(db)
    .await?)
}

/// A session whose token was spent for the next.
pub struct Rotated {
    pub account_id: AccountId,
    pub absolute_end: Timestamp,
    pub now: Timestamp,
}

/// What a token says of the row that it spends.
pub struct Spent<'a> {
    pub session: SessionId,
    pub generation: i64,
    pub salt: &'a [u8],
}

/// Current generation to the next, once: whoever comes second with the same token finds it gone. Nothing happens when the session is
/// over, or while one of the buckets `unless_hit` holds `hits` or more, old ones among them.
pub async fn rotate(
    db: &Db,
    spent: &Spent<'_>,
    key_id: &str,
    idle: Option<Duration>,
    (unless_hit, hits): (&[Vec<u8>], u32),
) -> Result<Option<Rotated>, StoreError> {
    Ok(sqlx::query_as!(
        Rotated,
        r#"update sessions s set generation = s.generation + 1, previous_key_id = s.key_id, key_id = $4, rotated_at = clock_timestamp(),
                  last_used_at = clock_timestamp(), idle_end = clock_timestamp() + $5 * interval '1 second'
           from streams a
           where s.session_id = $1 and s.generation = $2 and s.salt = $3 and num_nonnulls(s.revoked_at) = 0 and s.absolute_end > clock_timestamp()
             and (s.idle_end is null or s.idle_end > clock_timestamp())
             and a.stream_id = s.account_id and a.session_epoch = s.session_epoch
             and not exists (select from counters c where c.bucket = any($6) and jsonb_array_length(c.state->'hits') >= $7)
           returning s.account_id as "account_id: AccountId", s.absolute_end as "absolute_end: Timestamp",
                     s.rotated_at as "now!: Timestamp""#,
        spent.session.0,
        spent.generation,
        spent.salt,
        key_id,
        idle.map(|idle| idle.as_secs_f64()),
        unless_hit,
        i32::try_from(hits).unwrap_or(i32::MAX)
    )
    .fetch_optional(db)
    .await?)
}

/// Whether an access token's session and account are in force; one primary-key read. `accounts::in_force` asks the same.
pub struct Standing {
    pub in_force: bool,
    pub now: Timestamp,
}

pub async fn standing(db: &Db, session: SessionId, account: AccountId) -> Result<Standing, StoreError> {
    Ok(sqlx::query_as!(
        Standing,
        r#"select exists (
               select 1 from sessions s
               join streams t on t.stream_id = s.account_id and t.session_epoch = s.session_epoch
               join accounts a on a.account_id = s.account_id and a.status = 'active'
               where s.session_id = $1 and s.account_id is not distinct from $2 and num_nonnulls(s.revoked_at) = 0 and s.absolute_end > clock_timestamp()
                 and (s.idle_end is null or s.idle_end > clock_timestamp())
           ) as "in_force!", clock_timestamp() as "now!: Timestamp""#,
        session.0,
        account.0
    )
    .fetch_one(db)
    .await?)
}

/// A live session as its owner sees it.
pub struct LiveSession {
    pub session_id: SessionId,
    pub origin: Option<Vec<u8>>,
    pub device_id: Option<DeviceId>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub absolute_end: Timestamp,
    pub stream_version: i64,
}

/// Sessions of one account still refreshable, newest first, at most `limit`.
pub async fn live(db: &Db, account: AccountId, limit: i64) -> Result<Vec<LiveSession>, StoreError> {
    Ok(sqlx::query_as!(
        LiveSession,
        r#"select s.session_id as "session_id: SessionId", s.origin, s.device_id as "device_id: DeviceId",
                  s.created_at as "created_at: Timestamp", s.last_used_at as "last_used_at: Timestamp",
                  s.absolute_end as "absolute_end: Timestamp", t.version as stream_version
           from sessions s join streams t on t.stream_id = s.session_id
           join streams a on a.stream_id = s.account_id and a.session_epoch = s.session_epoch
           where s.account_id = $1 and s.revoked_at is null and s.absolute_end > clock_timestamp()
             and (s.idle_end is null or s.idle_end > clock_timestamp())
           order by s.created_at desc, s.session_id desc limit $2"#,
        account.0,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Sessions whose time has run out without an event, oldest first, at most `limit`.
pub async fn run_out(db: &Db, limit: i64) -> Result<Vec<(SessionId, AccountId, i64)>, StoreError> {
    // now(), not clock_timestamp(): only what is stable within the statement can bound an index scan. One for each end: no index serves both.
    Ok(sqlx::query!(
        r#"select s.session_id as "session_id!: SessionId", s.account_id as "account_id!: AccountId", t.version
           from ((select session_id, account_id, absolute_end from sessions
                  where num_nulls(revoked_at) = 1 and absolute_end <= now() order by absolute_end limit $1)
                 union
                 (select session_id, account_id, absolute_end from sessions
                  where revoked_at is null and idle_end <= now() order by idle_end limit $1)) s
           join streams t on t.stream_id = s.session_id
           order by s.absolute_end limit $1"#,
        limit
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(|row| (row.session_id, row.account_id, row.version))
    .collect())
}

/// The password was given again in a session just now; false when it is over.
pub async fn step_up(db: &Db, session: SessionId) -> Result<bool, StoreError> {
    let marked = sqlx::query!(
        "update sessions set stepped_up_at = clock_timestamp() where session_id = $1 and num_nonnulls(revoked_at) = 0",
        session.0
    )
    .execute(db)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Whether the password was given in a session within the last `lifetime`, at its login or since.
pub async fn is_fresh(db: &Db, session: SessionId, lifetime: Duration) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (
               select 1 from sessions where session_id = $1
                 and greatest(created_at, stepped_up_at) > clock_timestamp() - $2 * interval '1 second'
           ) as "fresh!""#,
        session.0,
        lifetime.as_secs_f64()
    )
    .fetch_one(db)
    .await?)
}

/// Devices that an account has logged in from, newest first, at most `limit`.
pub async fn devices_of(db: &Db, account: AccountId, limit: i64) -> Result<Vec<DeviceId>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select device_id as "id: DeviceId" from devices where account_id = $1 order by device_id desc limit $2"#,
        account.0,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// A device that has logged in before.
pub struct DeviceRow {
    pub account_id: AccountId,
    pub key_id: String,
    pub salt: Vec<u8>,
}

pub async fn device(db: &Db, device: DeviceId) -> Result<Option<DeviceRow>, StoreError> {
    Ok(sqlx::query_as!(
        DeviceRow,
        r#"select account_id as "account_id: AccountId", key_id, salt from devices where device_id = $1"#,
        device.0
    )
    .fetch_optional(db)
    .await?)
}
