//! The log as an auditor reads it: every position with the event that stands there, if one does.

use serde_json::Value;
use uuid::Uuid;

use super::{Db, StoreError, Tx};
use crate::audit::leaf::Leaf;
use crate::audit::retired::Retired;
use crate::audit::tree::Hash;
use crate::clock::Timestamp;
use crate::event::RetentionClass;

/// Longest time for the search for events without a position: it looks at each event once.
const SEARCH_TIMEOUT: &str = "set local statement_timeout = '10min'";
/// Events without a position that are named.
const STRAYS_MAX: i64 = 100;

/// A position and what stands there.
pub struct Place {
    pub position: i64,
    pub event_id: Uuid,
    pub leaf_hash: Hash,
    /// Retention class of the seal.
    pub sealed_class: String,
    pub leaf: Option<Leaf>,
}

impl Place {
    /// Whether retention may drop its event.
    pub fn can_expire(&self) -> bool {
        self.sealed_class == RetentionClass::Expire.as_str()
    }

    /// Whether its event was dropped with one of these months.
    pub fn is_dropped(&self, retired: &[Retired]) -> bool {
        self.leaf.is_none() && self.can_expire() && retired.iter().any(|retired| retired.month.holds(self.event_id))
    }
}

struct Row {
    position: i64,
    sealed_id: Uuid,
    leaf_hash: Vec<u8>,
    sealed_class: String,
    event_id: Option<Uuid>,
    retention_class: Option<String>,
    log_id: Option<i16>,
    tenant_id: Option<Uuid>,
    stream_id: Option<Uuid>,
    version: Option<i64>,
    name: Option<String>,
    schema_version: Option<i16>,
    subject_id: Option<Uuid>,
    payload: Option<Value>,
    pii: Option<Vec<u8>>,
    pii_key_id: Option<Uuid>,
    actor_kind: Option<String>,
    actor_id: Option<Uuid>,
    session_id: Option<Uuid>,
    trace_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    recorded_at: Option<Timestamp>,
}

impl Row {
    fn place(self) -> Result<Place, StoreError> {
        let (position, event_id) = (self.position, self.sealed_id);
        let leaf_hash = super::tree::hash(&self.leaf_hash)?;
        let sealed_class = self.sealed_class.clone();
        Ok(Place { position, event_id, leaf_hash, sealed_class, leaf: self.leaf() })
    }

    fn leaf(self) -> Option<Leaf> {
        Some(Leaf {
            log_id: self.log_id?,
            position: self.position,
            event_id: self.event_id?,
            retention_class: self.retention_class?,
            tenant_id: self.tenant_id?,
            stream_id: self.stream_id?,
            version: self.version?,
            event_type: self.name?,
            schema_version: self.schema_version?,
            subject_id: self.subject_id,
            payload: self.payload?,
            pii: self.pii,
            pii_key_id: self.pii_key_id,
            actor_kind: self.actor_kind?,
            actor_id: self.actor_id,
            session_id: self.session_id,
            trace_id: self.trace_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            recorded_at: self.recorded_at?,
        })
    }
}

/// Positions behind `after` up to `until`, in order, at most `limit`.
///
/// The limit inside keeps Postgres from joining whole tables: it knows no number of rows when it plans.
pub async fn places(db: &Db, after: i64, until: i64, limit: i64) -> Result<Vec<Place>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select s.position, s.event_id as sealed_id, s.leaf_hash, s.retention_class as sealed_class, e.event_id as "event_id?", e.retention_class as "retention_class?",
                  e.log_id as "log_id?", e.tenant_id as "tenant_id?", e.stream_id as "stream_id?", e.version as "version?",
                  e.type as "name?", e.schema_version as "schema_version?", e.subject_id as "subject_id?", e.payload as "payload?",
                  e.pii as "pii?", e.pii_key_id as "pii_key_id?", e.actor_kind as "actor_kind?", e.actor_id as "actor_id?",
                  e.session_id as "session_id?", e.trace_id as "trace_id?", e.correlation_id as "correlation_id?",
                  e.causation_id as "causation_id?", e.recorded_at as "recorded_at?: Timestamp"
           from event_seals s
           left join lateral (
               select * from events e where e.retention_class = s.retention_class and e.event_id = s.event_id limit 1
           ) e on true
           where s.log_id = 1 and s.position > $1 and s.position <= $2 order by s.position limit $3"#,
        after,
        until,
        limit
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Row::place).collect()
}

/// Events that have no position though later ones have, that have waited for more than a minute, or that are of a time or a transaction still
/// to come, for which the sealer would wait: nobody who writes by the rules leaves such. An id may stand in both classes, and a seal is of one of them.
/// What has its seal beside the positions that are walked has none, and neither has an event that is walked another one there.
pub async fn strays(db: &Db) -> Result<Vec<Uuid>, StoreError> {
    let mut transaction = patient(db).await?;
    let found = search(&mut transaction).await;
    transaction.rollback().await?;
    found
}

/// Sealed events that no reader finds, since the row of their stream is gone: nobody who writes by the rules takes one away.
pub async fn hidden(db: &Db) -> Result<Vec<Uuid>, StoreError> {
    let mut transaction = patient(db).await?;
    let found = sqlx::query_scalar!(
        "select e.event_id from events e
         where not exists (select 1 from streams s where s.stream_id = e.stream_id)
           and exists (select 1 from event_seals p where p.event_id = e.event_id and p.retention_class = e.retention_class
                           and p.log_id = 1 and p.position > 0)
         order by e.event_id limit $1",
        STRAYS_MAX
    )
    .fetch_all(&mut transaction)
    .await;
    transaction.rollback().await?;
    Ok(found?)
}

/// A transaction for what reads a whole log or a month of it.
pub(super) async fn patient(db: &Db) -> Result<Tx, StoreError> {
    let mut transaction = db.begin().await?;
    sqlx::raw_sql(SEARCH_TIMEOUT).execute(&mut transaction).await?;
    Ok(transaction)
}

async fn search(db: &mut Tx) -> Result<Vec<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"with last as (
             select epoch, xid, seq from event_seals where log_id = 1 order by position desc limit 1
         ), found as (
             select e.event_id from events e
             where not exists (select 1 from event_seals s where s.event_id = e.event_id and s.retention_class = e.retention_class
                                   and s.log_id = 1 and s.position > 0)
               and ((e.epoch, e.xid, e.seq) < (select epoch, xid, seq from last)
                    or e.recorded_at < clock_timestamp() - interval '60 seconds'
                    or e.recorded_at > clock_timestamp() + interval '60 seconds'
                    or e.epoch > (select max(epoch) from epochs)
                    or (e.epoch = (select max(epoch) from epochs) and e.xid >= pg_snapshot_xmax(pg_current_snapshot())))
             union
             select s.event_id from event_seals s where s.log_id <> 1 or s.position < 1
         )
         select event_id as "event_id!" from found order by event_id limit $1"#,
        STRAYS_MAX
    )
    .fetch_all(db)
    .await?)
}
