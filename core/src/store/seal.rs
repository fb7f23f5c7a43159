//! The sealer: stamps settled events with a dense position and their leaf hash, in `(epoch, xid, seq)` order.
//!
//! A sequence is taken at insert and seen at commit, so whoever remembers the largest `seq` loses events. Everything below
//! `pg_snapshot_xmin` is settled: no row can appear there any more. Rows of an older epoch are settled as a whole. Several
//! sealers may run; a transaction-level advisory lock lets one work at a time.

use serde_json::Value;
use uuid::Uuid;

use super::db::bounded;
use super::{Db, StoreError, Tx};
use crate::audit::leaf::Leaf;
use crate::clock::Timestamp;

/// Most events of one batch, and so of one transaction.
pub const BATCH: usize = 1_000;
/// Key of the advisory lock: `doorbook` read as a number, any value that nobody else takes.
const LOCK: i64 = 0x646f_6f72_626f_6f6b;

struct Unsealed {
    event_id: Uuid,
    retention_class: String,
    log_id: i16,
    tenant_id: Uuid,
    stream_id: Uuid,
    version: i64,
    name: String,
    schema_version: i16,
    subject_id: Option<Uuid>,
    payload: Value,
    pii: Option<Vec<u8>>,
    pii_key_id: Option<Uuid>,
    actor_kind: String,
    actor_id: Option<Uuid>,
    session_id: Option<Uuid>,
    trace_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    recorded_at: Timestamp,
    epoch: i32,
    xid: String,
    seq: i64,
}

impl Unsealed {
    fn leaf(&self, position: i64) -> Leaf {
        Leaf {
            log_id: self.log_id,
            position,
            event_id: self.event_id,
            retention_class: self.retention_class.clone(),
            tenant_id: self.tenant_id,
            stream_id: self.stream_id,
            version: self.version,
            event_type: self.name.clone(),
            schema_version: self.schema_version,
            subject_id: self.subject_id,
            payload: self.payload.clone(),
            pii: self.pii.clone(),
            pii_key_id: self.pii_key_id,
            actor_kind: self.actor_kind.clone(),
            actor_id: self.actor_id,
            session_id: self.session_id,
            trace_id: self.trace_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            recorded_at: self.recorded_at,
        }
    }
}

/// Seals one batch; how many events it took. 0 also when another sealer is at work.
pub async fn seal_batch(db: &Db) -> Result<usize, StoreError> {
    bounded(seal_settled(db)).await
}

async fn seal_settled(db: &Db) -> Result<usize, StoreError> {
    let mut transaction = db.begin().await?;
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, LOCK)
        .fetch_one(&mut transaction)
        .await?;
    if !locked {
        transaction.rollback().await?;
        return Ok(0);
    }
    let last = sqlx::query!(
        r#"select position, epoch, xid::text as "xid!", seq from event_seals where log_id = 1 order by position desc limit 1"#
    )
    .fetch_optional(&mut transaction)
    .await?;
    let (position, epoch, xid, seq) =
        last.map_or((0, 0, "0".to_owned(), 0), |row| (row.position, row.epoch, row.xid, row.seq));
    let settled = settled_after(&mut transaction, epoch, &xid, seq).await?;
    let count = settled.len();
    if count > 0 {
        insert(&mut transaction, position, &settled).await?;
    }
    transaction.commit().await?;
    Ok(count)
}

async fn settled_after(db: &mut Tx, epoch: i32, xid: &str, seq: i64) -> Result<Vec<Unsealed>, StoreError> {
    Ok(sqlx::query_as!(
        Unsealed,
        r#"select event_id, retention_class, log_id, tenant_id, stream_id, version, type as name, schema_version, subject_id, payload, pii,
                  pii_key_id, actor_kind, actor_id, session_id, trace_id, correlation_id, causation_id,
                  recorded_at as "recorded_at: Timestamp", epoch, xid::text as "xid!", seq
           from events
           where (epoch, xid, seq) > ($1, $2::text::xid8, $3)
             and (epoch < (select log_epoch()) or xid < pg_snapshot_xmin(pg_current_snapshot()))
           order by epoch, xid, seq limit $4"#,
        epoch,
        xid,
        seq,
        i64::try_from(BATCH).unwrap_or(i64::MAX)
    )
    .fetch_all(db)
    .await?)
}

async fn insert(db: &mut Tx, position: i64, settled: &[Unsealed]) -> Result<(), StoreError> {
    let mut hashes = Vec::with_capacity(settled.len());
    for (event, position) in settled.iter().zip(position + 1..) {
        let leaf = event.leaf(position).hash().map_err(|error| StoreError::Inconsistent(error.to_string()))?;
        hashes.push(leaf.to_vec());
    }
    let positions: Vec<i64> = (position + 1..).take(settled.len()).collect();
    let ids: Vec<Uuid> = settled.iter().map(|event| event.event_id).collect();
    let classes: Vec<String> = settled.iter().map(|event| event.retention_class.clone()).collect();
    let epochs: Vec<i32> = settled.iter().map(|event| event.epoch).collect();
    let xids: Vec<String> = settled.iter().map(|event| event.xid.clone()).collect();
    let seqs: Vec<i64> = settled.iter().map(|event| event.seq).collect();
    sqlx::query!(
        "insert into event_seals (position, event_id, retention_class, epoch, xid, seq, leaf_hash)
         select p, id, class, e, x::xid8, s, h
         from unnest($1::bigint[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::bytea[]) as t(p, id, class, e, x, s, h)",
        &positions,
        &ids,
        &classes,
        &epochs,
        &xids,
        &seqs,
        &hashes
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How far the sealer is behind, for readiness, metrics and alarms.
#[derive(Debug)]
pub struct Lag {
    /// Events not sealed yet that come after the last sealed one; counted up to 10,000.
    pub waiting: i64,
    /// Age of the oldest of them, in milliseconds.
    pub oldest_ms: i64,
    /// Unsealed events older than 60 s: an alarm. Looked for among those that wait, up to 10,000, and, wherever they sort, among the events of the last two
    /// minutes: every one is looked at several times while it is young, and no look costs more when the log grows.
    pub overdue: i64,
}

/// By `now()`, which stands still within a statement: a bound that moves is no bound for an index, and all of the month would be read.
pub async fn lag(db: &Db) -> Result<Lag, StoreError> {
    Ok(sqlx::query_as!(
        Lag,
        r#"with last as (
               select epoch, xid, seq from event_seals where log_id = 1 order by position desc limit 1
           ), waiting as (
               select recorded_at from events
               where (epoch, xid, seq) > (coalesce((select epoch from last), 0), coalesce((select xid from last), '0'), coalesce((select seq from last), 0))
               order by epoch, xid, seq limit 10000
           )
           select (select count(*) from waiting) as "waiting!",
                  coalesce((select extract(epoch from clock_timestamp() - min(recorded_at)) * 1000 from waiting), 0)::bigint as "oldest_ms!",
                  greatest((select count(*) from waiting where recorded_at < now() - interval '60 seconds'),
                  (select count(*) from events e
                   where e.retention_class in ('keep', 'expire')
                     and e.event_id between uuid7_floor(now() - interval '2 minutes') and uuid7_floor(now() - interval '60 seconds')
                     and e.recorded_at < now() - interval '60 seconds'
                     and not exists (select 1 from event_seals s where s.event_id = e.event_id and s.retention_class = e.retention_class))) as "overdue!""#
    )
    .fetch_one(db)
    .await?)
}
