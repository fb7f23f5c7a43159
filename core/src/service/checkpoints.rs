//! Signing checkpoints of the log.

use std::time::Duration;

use super::append::Batch;
use super::{Context, Doorbook, Refusal};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{NoteError, Signer, Verifier, hex};
use crate::config::Secret;
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::store::checkpoints::{self, Head, NewCheckpoint, STREAM};
use crate::store::keys::signing;
use crate::store::{Db, StoreError, query, tree};
use crate::token::keys::RootRing;
use crate::token::random;

/// Most events between two checkpoints. Source: bar 7.2.
const EVENTS_MAX: i64 = 1_000;
/// Longest time that a sealed event waits for a checkpoint. Source: bar 7.2.
const EVERY: Duration = Duration::from_secs(60);
/// How long an earlier service key goes on signing beside the new one, so that those who know it alone see the change happen.
const SUCCESSION: Duration = Duration::from_hours(30 * 24);

/// The private keys of this installation that sign: CHECKPOINT_PRIVATE_KEY, if there is one, the service key, and those that it has
/// followed lately. Several, so that whoever knows one of them can still verify when another has changed.
pub async fn signers(db: &Db, roots: &RootRing, own: Option<&Secret>, origin: &str) -> Result<Vec<Signer>, Refusal> {
    let (seeds, now) = (signing::seeds(db, roots).await?, query::now(db).await?);
    let own = own.map(|pem| Signer::from_pem(origin, pem.expose()));
    let in_force = seeds.iter().filter(|seed| seed.retired_at.is_none_or(|at| now.since(at) < SUCCESSION));
    let service = in_force.map(|seed| Signer::from_seed(origin, &seed.bytes));
    Ok(own.into_iter().chain(service).collect::<Result<_, NoteError>>()?)
}

/// The public keys that this installation's own keys give: those that sign, and service keys that once did.
pub async fn verifiers(
    db: &Db,
    roots: &RootRing,
    own: Option<&Secret>,
    origin: &str,
) -> Result<Vec<Verifier>, Refusal> {
    let own = own.map(|pem| Signer::from_pem(origin, pem.expose()));
    let seeds = signing::seeds(db, roots).await?;
    let service = seeds.iter().map(|seed| Signer::from_seed(origin, &seed.bytes));
    Ok(own.into_iter().chain(service).map(|signer| Ok(signer?.verifier())).collect::<Result<_, NoteError>>()?)
}

impl From<NoteError> for Refusal {
    fn from(error: NoteError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Whether a checkpoint is due. An event that only tells of the last one makes none due by itself: a log without other events
/// would grow for ever.
fn is_due(head: &Head) -> bool {
    let waited = head.oldest_ms.map(|waited| Duration::from_millis(u64::try_from(waited).unwrap_or(0)));
    head.sealed - head.size >= EVENTS_MAX || waited.is_some_and(|waited| waited >= EVERY)
}

impl Doorbook {
    /// The private keys that sign checkpoints here.
    pub async fn checkpoint_signers(&self, own: Option<&Secret>) -> Result<Vec<Signer>, Refusal> {
        let origin = checkpoints::origin(&self.db).await?;
        signers(&self.db, &self.roots, own, &origin).await
    }

    /// Signs the next checkpoint if it is due; the size of the log that it covers. `None` also when another worker was faster.
    pub async fn sign_due(&self, own: Option<&Secret>) -> Result<Option<i64>, Refusal> {
        let head = checkpoints::head(&self.db).await?;
        // The keys are read for each: one that was changed signs from then on, whoever runs.
        if is_due(&head) { self.sign(&head, &self.checkpoint_signers(own).await?).await } else { Ok(None) }
    }

    /// Signs a checkpoint over what is sealed, at most 1,000 events behind the last one.
    pub async fn sign_now(&self, signers: &[Signer]) -> Result<Option<i64>, Refusal> {
        let head = checkpoints::head(&self.db).await?;
        if head.sealed > head.size { self.sign(&head, signers).await } else { Ok(None) }
    }

    async fn sign(&self, head: &Head, signers: &[Signer]) -> Result<Option<i64>, Refusal> {
        let mut edge = tree::frontier(&self.db, u64::try_from(head.size).unwrap_or(0)).await?;
        // What was signed once is not signed again as something else.
        if head.root()?.is_some_and(|root| root != edge.root()) {
            let changed = format!("the log is not the one of its checkpoint at position {}", head.size);
            return Err(StoreError::Inconsistent(format!("{changed}: run `doorbook audit verify`")).into());
        }
        let leaves = checkpoints::leaf_hashes(&self.db, head.size, EVENTS_MAX).await?;
        let mut nodes = Vec::new();
        for leaf in &leaves {
            edge.push(*leaf, |node, hash| {
                if tree::is_stored(node) {
                    nodes.push((node, hash));
                }
            });
        }
        let signed = Checkpoint { origin: head.origin.clone(), size: edge.size(), root: edge.root() };
        let keys: Vec<_> =
            signers.iter().map(|signer| (hex(&signer.verifier().id()), signer.verifier().to_string())).collect();
        let Some((key_id, _)) = keys.first().cloned() else {
            return Err(Refusal::Internal("there is no key to sign checkpoints".to_owned()));
        };
        let size = i64::try_from(signed.size).unwrap_or(i64::MAX);
        let context = Context::system(uuid::Uuid::from_bytes(random()));
        let mut batch = Batch::new(&context, self.now());
        batch.write.extend_checkpoints(head.version);
        let event = OperatorEvent::CheckpointSigned { size, root: hex(&signed.root), key_id: key_id.clone() };
        batch.event(STREAM, head.version + 1, None, None, Event::Operator(event), None)?;
        let note = signed.sign(signers).to_string();
        batch.write.insert_checkpoint(NewCheckpoint {
            size: signed.size,
            root: signed.root,
            note,
            key_id,
            keys,
            leaves,
            nodes,
        });
        match batch.commit(self).await {
            Ok(()) => Ok(Some(size)),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: i64, sealed: i64, oldest_ms: Option<i64>) -> Head {
        Head { origin: "doorbook/log".to_owned(), version: 0, size, root: None, sealed, oldest_ms }
    }

    #[test]
    fn a_checkpoint_is_due_after_a_thousand_events_or_a_minute_and_never_for_its_own_event_alone() {
        assert!(is_due(&head(0, 1_000, Some(0))) && !is_due(&head(0, 999, Some(59_999))));
        assert!(is_due(&head(999, 1_000, Some(60_000))));
        assert!(!is_due(&head(999, 1_000, None)) && !is_due(&head(1_000, 1_000, None)));
    }
}
