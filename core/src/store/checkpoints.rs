//! Signed checkpoints of the log: what the next one is made of, writing it, reading them back, and how far they have been written
//! outside the database.

use std::time::Duration;

use uuid::Uuid;

use super::log::StreamKind;
use super::tree::{hash, signed};
use super::write::{Expect, Write};
use super::{Db, StoreError};
use crate::audit::tree::{Hash, Node};
use crate::clock::Timestamp;
use crate::value::StreamId;

/// The stream that every `CheckpointSigned` of a log stands on. Its guard row makes one of two signers the first.
pub const STREAM: StreamId = StreamId(Uuid::from_u128(0x6c6f_6700_0000_7000_8000_0000_0000_0001));

/// Where signing stands.
#[derive(Debug)]
pub struct Head {
    pub origin: String,
    /// Of the stream of checkpoints, to be found again by the write.
    pub version: i64,
    /// Of the last checkpoint; 0 and `None` before the first.
    pub size: i64,
    pub root: Option<Vec<u8>>,
    pub sealed: i64,
    /// How long the oldest event has been sealed that is under no checkpoint and speaks of none, in milliseconds.
    pub oldest_ms: Option<i64>,
}

impl Head {
    /// The root that the last checkpoint names.
    pub fn root(&self) -> Result<Option<Hash>, StoreError> {
        self.root.as_deref().map(hash).transpose()
    }
}

/// Strong: one statement, and the write compares the version.
pub async fn head(db: &Db) -> Result<Head, StoreError> {
    Ok(sqlx::query_as!(
        Head,
        r#"with last as (select size, root from checkpoints where log_id = 1 order by size desc limit 1)
           select l.origin, coalesce((select version from streams where stream_id = $1), 0) as "version!",
                  coalesce((select size from last), 0) as "size!", (select root from last) as root,
                  coalesce((select max(position) from event_seals where log_id = 1), 0) as "sealed!",
                  (select (extract(epoch from clock_timestamp() - s.sealed_at) * 1000)::bigint
                   from event_seals s join events e on e.retention_class = s.retention_class and e.event_id = s.event_id
                   where s.log_id = 1 and s.position > coalesce((select size from last), 0) and e.type <> 'CheckpointSigned'
                   order by s.position limit 1) as oldest_ms
           from logs l where l.log_id = 1"#,
        STREAM.0
    )
    .fetch_one(db)
    .await?)
}

/// Leaf hashes behind a position, in order; a hole among them is an error.
pub async fn leaf_hashes(db: &Db, after: i64, limit: i64) -> Result<Vec<Hash>, StoreError> {
    let rows = sqlx::query!(
        "select position, leaf_hash from event_seals where log_id = 1 and position > $1 order by position limit $2",
        after,
        limit
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .zip(after + 1..)
        .map(|(row, position)| {
            let lost = || StoreError::Inconsistent(format!("position {position} of the log has no seal"));
            if row.position == position { hash(&row.leaf_hash) } else { Err(lost()) }
        })
        .collect()
}

/// A checkpoint that has just been signed.
pub struct NewCheckpoint {
    pub size: u64,
    pub root: Hash,
    pub note: String,
    pub key_id: String,
    /// Key ids and verifier keys of all who signed it.
    pub keys: Vec<(String, String)>,
    pub leaves: Vec<Hash>,
    /// Inner nodes that these leaves have completed.
    pub nodes: Vec<(Node, Hash)>,
}

impl Write {
    /// Guard: one more event on the stream of checkpoints, which stands at `version`; conflict when another signer was faster.
    pub fn extend_checkpoints(&mut self, version: i64) {
        if version == 0 {
            self.open_stream(STREAM, StreamKind::Operator, None, 1);
        } else {
            self.extend_stream(STREAM, version, 1);
        }
    }

    pub fn insert_checkpoint(&mut self, new: NewCheckpoint) {
        let size = self.bind(signed(new.size));
        let root = self.bind(new.root.to_vec());
        let (note, key) = (self.bind(new.note), self.bind(new.key_id));
        let leaves = self.bind(new.leaves.concat());
        self.step(
            "checkpoint",
            Expect::Rows(1),
            format!(
                "insert into checkpoints (log_id, size, root, note, key_id, leaf_hashes)
                 select 1, {size}, {root}, {note}, {key}, {leaves} returning 1"
            ),
        );
        let (ids, verifiers): (Vec<String>, Vec<String>) = new.keys.into_iter().unzip();
        let (ids, verifiers) = (self.bind(ids), self.bind(verifiers));
        self.step(
            "checkpoint_keys",
            Expect::Any,
            format!(
                "insert into checkpoint_keys (log_id, key_id, verifier)
                 select 1, id, verifier from unnest({ids}::text[], {verifiers}::text[]) as k(id, verifier)
                 on conflict do nothing returning 1"
            ),
        );
        let count = new.nodes.len();
        let heights: Vec<i16> =
            new.nodes.iter().map(|(node, _)| i16::try_from(node.height).unwrap_or(i16::MAX)).collect();
        let indexes: Vec<i64> = new.nodes.iter().map(|(node, _)| signed(node.index)).collect();
        let hashes: Vec<Vec<u8>> = new.nodes.iter().map(|(_, hash)| hash.to_vec()).collect();
        let (heights, indexes, hashes) = (self.bind(heights), self.bind(indexes), self.bind(hashes));
        self.step(
            "log_nodes",
            Expect::Rows(count),
            format!(
                "insert into log_nodes (log_id, height, node_index, hash)
                 select 1, height, node_index, hash
                 from unnest({heights}::smallint[], {indexes}::bigint[], {hashes}::bytea[]) as n(height, node_index, hash) returning 1"
            ),
        );
    }
}

/// A checkpoint as stored.
#[derive(Clone, Debug)]
pub struct StoredCheckpoint {
    pub size: i64,
    pub root: Vec<u8>,
    pub note: String,
    pub key_id: String,
    pub leaf_hashes: Vec<u8>,
    pub signed_at: Timestamp,
}

/// Checkpoints of more than `after` events, the smallest first, at most `limit`.
pub async fn after(db: &Db, after: i64, limit: i64) -> Result<Vec<StoredCheckpoint>, StoreError> {
    Ok(sqlx::query_as!(
        StoredCheckpoint,
        r#"select size, root, note, key_id, leaf_hashes, signed_at as "signed_at: Timestamp"
           from checkpoints where log_id = 1 and size > $1 order by size limit $2"#,
        after,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Checkpoints of fewer than `before` events, the largest first, at most `limit`.
pub async fn before(db: &Db, before: i64, limit: i64) -> Result<Vec<StoredCheckpoint>, StoreError> {
    Ok(sqlx::query_as!(
        StoredCheckpoint,
        r#"select size, root, note, key_id, leaf_hashes, signed_at as "signed_at: Timestamp"
           from checkpoints where log_id = 1 and size < $1 order by size desc limit $2"#,
        before,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// The checkpoint of exactly this many events.
pub async fn of_size(db: &Db, size: i64) -> Result<Option<StoredCheckpoint>, StoreError> {
    Ok(sqlx::query_as!(
        StoredCheckpoint,
        r#"select size, root, note, key_id, leaf_hashes, signed_at as "signed_at: Timestamp"
           from checkpoints where log_id = 1 and size = $1"#,
        size
    )
    .fetch_optional(db)
    .await?)
}

/// The name of the log.
pub async fn origin(db: &Db) -> Result<String, StoreError> {
    Ok(sqlx::query_scalar!("select origin from logs where log_id = 1").fetch_one(db).await?)
}

/// Public keys that have ever signed: key id, verifier key, first use.
pub async fn keys(db: &Db) -> Result<Vec<(String, String, Timestamp)>, StoreError> {
    let rows = sqlx::query!(
        r#"select key_id, verifier, first_used_at as "at: Timestamp" from checkpoint_keys where log_id = 1 order by first_used_at, key_id"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key_id, row.verifier, row.at)).collect())
}

/// How far the sink is behind.
#[derive(Debug)]
pub struct SinkLag {
    /// Checkpoints that are not written yet, counted up to 10,000.
    pub waiting: i64,
    /// For how long the oldest of them has been signed, in milliseconds.
    pub oldest_ms: i64,
}

pub async fn sink_lag(db: &Db) -> Result<SinkLag, StoreError> {
    Ok(sqlx::query_as!(
        SinkLag,
        r#"with waiting as (
               select c.signed_at from checkpoints c
               where c.log_id = 1 and c.size > (select written_size from checkpoint_sink where log_id = 1)
               order by c.size limit 10000)
           select count(*) as "waiting!",
                  coalesce((extract(epoch from clock_timestamp() - min(signed_at)) * 1000)::bigint, 0) as "oldest_ms!"
           from waiting"#
    )
    .fetch_one(db)
    .await?)
}

/// Takes or keeps the right to write to the sink, and says up to which size that is done. `None` while another worker has it.
pub async fn hold_sink(db: &Db, holder: &str, lease: Duration) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar!(
        "update checkpoint_sink set holder = $1, lease_until = clock_timestamp() + $2 * interval '1 millisecond'
         where log_id = 1 and (holder = $1 or lease_until < clock_timestamp()) returning written_size",
        holder,
        lease.as_secs_f64() * 1_000.0
    )
    .fetch_optional(db)
    .await?)
}

/// Notes that the checkpoints up to this size are written. False when another worker has taken over.
pub async fn advance_sink(db: &Db, holder: &str, size: i64) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update checkpoint_sink set written_size = $2 where log_id = 1 and holder = $1 and written_size < $2",
        holder,
        size
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the right to write to the sink back.
pub async fn release_sink(db: &Db, holder: &str) -> Result<(), StoreError> {
    sqlx::query!("update checkpoint_sink set lease_until = '-infinity' where log_id = 1 and holder = $1", holder)
        .execute(db)
        .await?;
    Ok(())
}
