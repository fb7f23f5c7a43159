//! The Merkle tree over the log as it is stored: leaves in `event_seals`, and in `log_nodes` the roots of perfect subtrees of 256,
//! 65,536, … of them. A proof over any number of events reads at most 128 rows for each of a few dozen subtrees.

use std::ops::Range;

use super::{Db, StoreError};
use crate::audit::tree::{self, Frontier, Hash, Node};

/// Every so many levels the nodes are stored. Source: tiles of the same height serve transparency logs (c2sp.org/tlog-tiles).
const STEP: u32 = 8;

/// Whether a node is stored once it is whole.
pub const fn is_stored(node: Node) -> bool {
    node.height.is_multiple_of(STEP)
}

fn lost(what: &str) -> StoreError {
    StoreError::Inconsistent(format!("the tree of the log lacks {what}: run `doorbook audit verify`"))
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, StoreError> {
    Hash::try_from(bytes).map_err(|_| lost("a hash of 32 bytes"))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

struct Stored {
    wanted: i64,
    hash: Vec<u8>,
}

/// The hashes of perfect subtrees, each made of those stored below it.
async fn hashes(db: &Db, nodes: &[Node]) -> Result<Vec<Hash>, StoreError> {
    let (mut heights, mut firsts, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
    for node in nodes {
        let above = node.height % STEP;
        heights.push(i16::try_from(node.height - above).unwrap_or(i16::MAX));
        firsts.push(signed(node.index << above));
        lasts.push(signed(((node.index + 1) << above) - 1));
    }
    let rows = sqlx::query_as!(
        Stored,
        r#"select w.wanted as "wanted!", n.hash as "hash!"
           from unnest($1::smallint[], $2::bigint[], $3::bigint[]) with ordinality as w(height, first, last, wanted)
           cross join lateral (
               select s.position - 1 as at, s.leaf_hash as hash from event_seals s
               where w.height = 0 and s.log_id = 1 and s.position between w.first + 1 and w.last + 1
               union all
               select l.node_index, l.hash from log_nodes l
               where w.height > 0 and l.log_id = 1 and l.height = w.height and l.node_index between w.first and w.last
           ) n
           order by w.wanted, n.at"#,
        &heights,
        &firsts,
        &lasts
    )
    .fetch_all(db)
    .await?;
    let mut below: Vec<Vec<Hash>> = vec![Vec::new(); nodes.len()];
    for row in rows {
        let wanted = usize::try_from(row.wanted - 1).ok().and_then(|wanted| below.get_mut(wanted));
        wanted.ok_or_else(|| lost("an order"))?.push(hash(&row.hash)?);
    }
    nodes.iter().zip(below).map(|(node, below)| top(*node, below)).collect()
}

fn top(node: Node, below: Vec<Hash>) -> Result<Hash, StoreError> {
    if below.len() != 1 << (node.height % STEP) {
        return Err(lost(&format!("nodes below number {} of height {}", node.index, node.height)));
    }
    let mut level = below;
    while level.len() > 1 {
        level = level.chunks_exact(2).map(|pair| tree::parent(&pair[0], &pair[1])).collect();
    }
    Ok(level[0])
}

/// The right edge of the tree of this size, which must be under a checkpoint.
pub async fn frontier(db: &Db, size: u64) -> Result<Frontier, StoreError> {
    Frontier::of(size, hashes(db, &tree::cover(0..size)).await?).ok_or_else(|| lost("its edge"))
}

/// The hashes of the perfect subtrees that cover these leaves.
pub async fn covering(db: &Db, leaves: Range<u64>) -> Result<Vec<Hash>, StoreError> {
    hashes(db, &tree::cover(leaves)).await
}

/// The proof that the event at this position is under the checkpoint of this size. `None` when it cannot be.
pub async fn inclusion(db: &Db, position: u64, size: u64) -> Result<Option<Vec<Hash>>, StoreError> {
    let Some(path) = position.checked_sub(1).and_then(|index| tree::inclusion(index, size)) else { return Ok(None) };
    roots(db, path).await.map(Some)
}

/// The proof that the log of size `new` goes on from the one of size `old`. `None` when it cannot.
pub async fn consistency(db: &Db, old: u64, new: u64) -> Result<Option<Vec<Hash>>, StoreError> {
    let Some(path) = tree::consistency(old, new) else { return Ok(None) };
    roots(db, path).await.map(Some)
}

/// The roots of these subtrees, in one query.
async fn roots(db: &Db, subtrees: Vec<Range<u64>>) -> Result<Vec<Hash>, StoreError> {
    let covers: Vec<Vec<Node>> = subtrees.into_iter().map(tree::cover).collect();
    let mut hashes = hashes(db, &covers.concat()).await?.into_iter();
    Ok(covers.iter().map(|cover| tree::fold(&hashes.by_ref().take(cover.len()).collect::<Vec<_>>())).collect())
}
