//! Signed checkpoints and proofs, to be verified elsewhere: `docs/AUDIT-FORMAT.md` says how.

use doorbook_core::audit::note::hex;
use doorbook_core::service::audit::CHECKPOINTS_PAGE_MAX;
use doorbook_core::store::checkpoints::StoredCheckpoint;
use doorbook_core::value::EventId;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use crate::auth::Auditor;
use crate::problem::Problem;
use crate::routes::Chapter;
use crate::routes::input::Asked;

pub struct Proofs;

/// Checkpoints of a page when none are asked for.
const PAGE_DEFAULT: u32 = 20;

#[derive(Object)]
pub struct CheckpointAnswer {
    /// Events that it is about: all positions from 1 to this one.
    size: i64,
    /// Root of the tree over them, in hexadecimal digits.
    root: String,
    /// The signed note: origin, size, root and signatures, as C2SP describes it.
    note: String,
    key_id: String,
    /// RFC 3339, UTC, by the database's clock.
    signed_at: String,
}

impl From<StoredCheckpoint> for CheckpointAnswer {
    fn from(checkpoint: StoredCheckpoint) -> Self {
        Self {
            size: checkpoint.size,
            root: hex(&checkpoint.root),
            note: checkpoint.note,
            key_id: checkpoint.key_id,
            signed_at: checkpoint.signed_at.rfc3339(),
        }
    }
}

#[derive(Object)]
pub struct SigningKeyAnswer {
    key_id: String,
    /// Public key in the form of C2SP's signed notes.
    verifier: String,
    first_used_at: String,
}

#[derive(Object)]
pub struct CheckpointsAnswer {
    /// The newest first.
    checkpoints: Vec<CheckpointAnswer>,
    /// Every key that has ever signed one, the oldest first. Whoever verifies takes the key from elsewhere.
    keys: Vec<SigningKeyAnswer>,
    /// Give it as `before` for the next page; null on the last.
    next: Option<i64>,
}

#[derive(Object)]
pub struct InclusionAnswer {
    /// Place of the event in the log.
    position: i64,
    /// Leaf hash of the event, in hexadecimal digits.
    leaf_hash: String,
    /// Hashes from the leaf to the root, in hexadecimal digits.
    path: Vec<String>,
    checkpoint: CheckpointAnswer,
}

#[derive(Object)]
pub struct ConsistencyAnswer {
    from: CheckpointAnswer,
    to: CheckpointAnswer,
    /// Hashes that lead to both roots, in hexadecimal digits.
    path: Vec<String>,
}

#[OpenApi(tag = "Chapter::Administration")]
impl Proofs {
    /// List checkpoints
    #[oai(path = "/api/admin/audit/checkpoints/", method = "get", operation_id = "list_checkpoints")]
    async fn list(
        &self,
        _auditor: Auditor,
        asked: Asked,
        /// `next` of the page before.
        #[oai(validator(minimum(value = "1")))]
        before: Query<Option<i64>>,
        /// Checkpoints a page, 1 to 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<CheckpointsAnswer>, Problem> {
        let limit = limit.0.unwrap_or(PAGE_DEFAULT).min(CHECKPOINTS_PAGE_MAX);
        let found = asked.doorbook.list_checkpoints(before.0, limit).await?;
        let is_full = found.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = found.last().filter(|_| is_full).map(|checkpoint| checkpoint.size);
        let keys = asked.doorbook.signing_keys().await?.into_iter().map(|key| SigningKeyAnswer {
            key_id: key.key_id,
            verifier: key.verifier,
            first_used_at: key.first_used_at.rfc3339(),
        });
        let checkpoints = found.into_iter().map(CheckpointAnswer::from).collect();
        Ok(Json(CheckpointsAnswer { checkpoints, keys: keys.collect(), next }))
    }

    /// Prove that the log goes on from an earlier checkpoint
    #[oai(path = "/api/admin/audit/checkpoints/:size/consistency/", method = "get", operation_id = "prove_consistency")]
    async fn consistency(
        &self,
        _auditor: Auditor,
        asked: Asked,
        /// Size of the later checkpoint.
        #[oai(validator(minimum(value = "1")))]
        size: Path<i64>,
        /// Size of the earlier one.
        #[oai(validator(minimum(value = "1")))]
        from: Query<i64>,
    ) -> Result<Json<ConsistencyAnswer>, Problem> {
        let proof = asked.doorbook.prove_consistency(from.0, size.0).await?;
        let path = proof.path.iter().map(|hash| hex(hash)).collect();
        Ok(Json(ConsistencyAnswer { from: proof.from.into(), to: proof.to.into(), path }))
    }

    /// Prove that an event is under a checkpoint
    ///
    /// Under the newest one, or the one that is asked for. 409 when the event is younger than that: checkpoints are signed every 1,000 events
    /// or 60 seconds.
    #[oai(path = "/api/admin/audit/events/:id/proof/", method = "get", operation_id = "prove_inclusion")]
    async fn inclusion(
        &self,
        _auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
        /// Size of the checkpoint.
        #[oai(validator(minimum(value = "1")))]
        checkpoint: Query<Option<i64>>,
    ) -> Result<Json<InclusionAnswer>, Problem> {
        let proof = asked.doorbook.prove_inclusion(EventId(id.0), checkpoint.0).await?;
        Ok(Json(InclusionAnswer {
            position: proof.position,
            leaf_hash: hex(&proof.leaf_hash),
            path: proof.path.iter().map(|hash| hex(hash)).collect(),
            checkpoint: proof.checkpoint.into(),
        }))
    }
}
