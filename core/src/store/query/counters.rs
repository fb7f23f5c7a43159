use std::iter;
use std::sync::Arc;

use sqlx::types::Json;

use crate::clock::Timestamp;
use crate::limit::Counter;
use crate::store::keys::identifiers::{Bucket, Identifiers};
use crate::store::keys::{KeyError, Vault};
use crate::store::project::counters::CounterRow;
use crate::store::project::idempotency::IdempotencyKey;
use crate::store::{Db, StoreError};
use crate::value::{AccountId, SessionId, StreamId};

/// A read finds the keys changed at most this often before it gives up: they change once in years.
const CHANGES_MAX: u32 = 3;

/// Asks by the names that buckets have, anew when the answer says that the keys to these names have been changed.
async fn by_name<T, F>(db: &Db, vault: &Vault, ask: impl Fn(Arc<Identifiers>) -> F) -> Result<T, KeyError>
where
    F: Future<Output = Result<(i64, T), StoreError>>,
{
    let mut keys = vault.identifiers();
    for _ in 0..CHANGES_MAX {
        let (version, answer) = ask(Arc::clone(&keys)).await?;
        if version == keys.version {
            return Ok(answer);
        }
        keys = vault.reread_identifiers(db).await?;
    }
    Err(StoreError::Conflict.into())
}

/// What a counter's row holds, as it is read.
#[derive(Default)]
struct Found {
    state: Option<Json<Counter>>,
    name: Option<(Vec<u8>, i64)>,
    target_key_id: Option<String>,
}

impl Found {
    fn at(self, bucket: &Bucket, keys: &Arc<Identifiers>) -> CounterRow {
        CounterRow {
            counter: self.state.map(|state| state.0).unwrap_or_default(),
            bucket: bucket.clone(),
            keys: Arc::clone(keys),
            found: self.name,
            target_key_id: self.target_key_id,
        }
    }
}

/// A bucket and the database's time.
pub async fn read(db: &Db, vault: &Vault, bucket: &Bucket) -> Result<(CounterRow, Timestamp), KeyError> {
    let (row, [], now) = read_with(db, vault, bucket, []).await?;
    Ok((row, now))
}

struct NamedRow {
    now: Timestamp,
    keys_version: i64,
    bucket: Option<Vec<u8>>,
    version: Option<i64>,
    state: Option<Json<Counter>>,
    target_key_id: Option<String>,
}

/// A bucket, others in their order, and the database's time, in one read.
pub async fn read_with<const N: usize>(
    db: &Db,
    vault: &Vault,
    bucket: &Bucket,
    others: [&Bucket; N],
) -> Result<(CounterRow, [CounterRow; N], Timestamp), KeyError> {
    by_name(db, vault, async |keys| {
        let names: Vec<Vec<u8>> = iter::once(bucket).chain(others).flat_map(|bucket| keys.names(bucket)).collect();
        let mut rows = sqlx::query_as!(
            NamedRow,
            r#"select clock_timestamp() as "now!: Timestamp", g.version as keys_version, c.bucket as "bucket?",
                      c.version as "version?", c.state as "state?: Json<Counter>", c.target_key_id
               from key_guards g left join counters c on c.bucket = any($1)
               where g.purpose = 'identifier'"#,
            &names
        )
        .fetch_all(db)
        .await?;
        let (keys_version, now) =
            rows.first().map(|row| (row.keys_version, row.now)).ok_or(sqlx::Error::RowNotFound)?;
        // One row at most: whoever writes under the active key takes away what stood under an earlier one.
        let mut take = |bucket: &Bucket| {
            let names = keys.names(bucket);
            let at = rows.iter().position(|row| row.bucket.as_ref().is_some_and(|name| names.contains(name)));
            let row = at.map(|at| rows.swap_remove(at));
            row.map_or_else(Found::default, |row| Found {
                state: row.state,
                name: row.bucket.zip(row.version),
                target_key_id: row.target_key_id,
            })
            .at(bucket, &keys)
        };
        let row = take(bucket);
        let others = others.map(&mut take);
        Ok((keys_version, (row, others, now)))
    })
    .await
}

/// What decides whether a password may be tried.
pub struct Entry {
    pub row: CounterRow,
    /// Since when a set has had as many members as it may: when the oldest of the newest so many came. `None` while it has fewer.
    pub full_since: Option<Timestamp>,
    pub now: Timestamp,
}

/// The bucket of a guess, and whether a set has its most members, counting those that were seen after `since`.
pub async fn entry(
    db: &Db,
    vault: &Vault,
    bucket: &Bucket,
    set: Option<&Bucket>,
    most: u32,
    since: Timestamp,
) -> Result<Entry, KeyError> {
    by_name(db, vault, async |keys| {
        let row = sqlx::query!(
            r#"select clock_timestamp() as "now!: Timestamp", g.version as keys_version, c.bucket as "bucket?",
                      c.version as "version?", c.state as "state?: Json<Counter>", c.target_key_id,
                      (select m.at from counter_members m where m.bucket = any($2) and m.at > $3
                       order by m.at desc offset $4 limit 1) as "full_since: Timestamp"
               from key_guards g left join counters c on c.bucket = any($1)
               where g.purpose = 'identifier' limit 1"#,
            &keys.names(bucket),
            &set.map(|set| keys.names(set)).unwrap_or_default(),
            since as Timestamp,
            i64::from(most.saturating_sub(1))
        )
        .fetch_one(db)
        .await?;
        let found = Found { state: row.state, name: row.bucket.zip(row.version), target_key_id: row.target_key_id };
        Ok((row.keys_version, Entry { row: found.at(bucket, &keys), full_since: row.full_since, now: row.now }))
    })
    .await
}

/// What decides on a session that begins.
pub struct Beginning {
    pub rows: [CounterRow; 2],
    /// Sessions of the account that `sessions::live` would list, newest first, with the versions of their streams.
    pub live: Vec<(SessionId, i64)>,
    pub now: Timestamp,
}

/// Two buckets, and at most `limit` sessions of an account, in one read.
pub async fn beginning(
    db: &Db,
    vault: &Vault,
    [first, second]: [&Bucket; 2],
    account: AccountId,
    limit: i64,
) -> Result<Beginning, KeyError> {
    by_name(db, vault, async |keys| {
        let row = sqlx::query!(
            r#"select clock_timestamp() as "now!: Timestamp", g.version as keys_version, c.bucket as "bucket?",
                      c.version as "version?", c.state as "state?: Json<Counter>", c.target_key_id, d.bucket as "other_bucket?",
                      d.version as "other_version?", d.state as "other_state?: Json<Counter>", d.target_key_id as other_target_key_id,
                      l.sessions as "sessions!", l.versions as "versions!"
               from key_guards g left join counters c on c.bucket = any($1) left join counters d on d.bucket = any($2)
               cross join lateral (
                   select coalesce(array_agg(r.session_id order by r.created_at desc, r.session_id desc), '{}') as sessions,
                          coalesce(array_agg(r.version order by r.created_at desc, r.session_id desc), '{}') as versions
                   from (select s.session_id, s.created_at, t.version from sessions s join streams t on t.stream_id = s.session_id
                         join streams a on a.stream_id = s.account_id and a.session_epoch = s.session_epoch
                         where s.account_id = $3 and s.revoked_at is null and s.absolute_end > clock_timestamp()
                           and (s.idle_end is null or s.idle_end > clock_timestamp())
                         order by s.created_at desc, s.session_id desc limit $4) r
               ) l
               where g.purpose = 'identifier' limit 1"#,
            &keys.names(first),
            &keys.names(second),
            account.0,
            limit
        )
        .fetch_one(db)
        .await?;
        let one = Found { state: row.state, name: row.bucket.zip(row.version), target_key_id: row.target_key_id };
        let name = row.other_bucket.zip(row.other_version);
        let other = Found { state: row.other_state, name, target_key_id: row.other_target_key_id };
        let live = row.sessions.into_iter().map(SessionId).zip(row.versions).collect();
        let rows = [one.at(first, &keys), other.at(second, &keys)];
        Ok((row.keys_version, Beginning { rows, live, now: row.now }))
    })
    .await
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
