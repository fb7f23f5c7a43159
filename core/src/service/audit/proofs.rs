//! What an auditor takes away to prove the trail elsewhere: signed checkpoints, and paths from an event or an earlier checkpoint to
//! one of them. `docs/AUDIT-FORMAT.md` says how they are verified.

use super::{Doorbook, Refusal};
use crate::audit::tree::Hash;
use crate::clock::Timestamp;
use crate::store::checkpoints::{self, StoredCheckpoint};
use crate::store::{log, tree};
use crate::value::EventId;

/// Most checkpoints of one page.
pub const CHECKPOINTS_PAGE_MAX: u32 = 100;

/// A public key that has signed checkpoints.
#[derive(Debug)]
pub struct SigningKey {
    pub key_id: String,
    /// In the form of the signed notes of C2SP.
    pub verifier: String,
    pub first_used_at: Timestamp,
}

/// That an event is under a checkpoint.
#[derive(Debug)]
pub struct Inclusion {
    pub position: i64,
    pub leaf_hash: Hash,
    pub path: Vec<Hash>,
    pub checkpoint: StoredCheckpoint,
}

/// That the log of one checkpoint goes on from that of an earlier one.
#[derive(Debug)]
pub struct Consistency {
    pub from: StoredCheckpoint,
    pub to: StoredCheckpoint,
    pub path: Vec<Hash>,
}

impl Doorbook {
    /// Checkpoints, the newest first, of fewer than `before` events.
    pub async fn list_checkpoints(&self, before: Option<i64>, limit: u32) -> Result<Vec<StoredCheckpoint>, Refusal> {
        let limit = i64::from(limit.clamp(1, CHECKPOINTS_PAGE_MAX));
        Ok(checkpoints::before(&self.db, before.unwrap_or(i64::MAX), limit).await?)
    }

    /// Every public key that has ever signed, the oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>, Refusal> {
        let keys = checkpoints::keys(&self.db).await?;
        let key = |(key_id, verifier, first_used_at)| SigningKey { key_id, verifier, first_used_at };
        Ok(keys.into_iter().map(key).collect())
    }

    /// The path from an event to the checkpoint of this size, or to the newest. `NotFound` for an event that is not sealed and for a
    /// size that was not signed; `NotSigned` for an event that is younger than the checkpoint.
    pub async fn prove_inclusion(&self, event: EventId, size: Option<i64>) -> Result<Inclusion, Refusal> {
        let position = log::positions_of(&self.db, &[event]).await?.pop().ok_or(Refusal::NotFound)?;
        let checkpoint = match size {
            Some(size) => checkpoints::of_size(&self.db, size).await?.ok_or(Refusal::NotFound)?,
            None => checkpoints::before(&self.db, i64::MAX, 1).await?.pop().ok_or(Refusal::NotSigned)?,
        };
        let path = tree::inclusion(&self.db, unsigned(position), unsigned(checkpoint.size)).await?;
        let path = path.ok_or(Refusal::NotSigned)?;
        let leaf = checkpoints::leaf_hashes(&self.db, position - 1, 1).await?;
        let leaf_hash = leaf.first().copied().ok_or(Refusal::NotFound)?;
        Ok(Inclusion { position, leaf_hash, path, checkpoint })
    }

    /// The path from one checkpoint to a later one.
    pub async fn prove_consistency(&self, from: i64, to: i64) -> Result<Consistency, Refusal> {
        let from = checkpoints::of_size(&self.db, from).await?.ok_or(Refusal::NotFound)?;
        let to = checkpoints::of_size(&self.db, to).await?.ok_or(Refusal::NotFound)?;
        let path = tree::consistency(&self.db, unsigned(from.size), unsigned(to.size)).await?;
        Ok(Consistency { path: path.ok_or(Refusal::NotFound)?, from, to })
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
