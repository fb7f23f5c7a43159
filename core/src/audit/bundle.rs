//! A part of the log that can be verified far away from it: lines of JSON, described in `docs/AUDIT-FORMAT.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::leaf::Leaf;
use super::note::{hex, unhex};
use super::tree::Hash;
use crate::clock::Timestamp;

pub const FORMAT: &str = "doorbook-bundle/1";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: String,
    pub origin: String,
    /// First and last position.
    pub from: u64,
    pub to: u64,
    /// Covers `to` and maybe more.
    pub checkpoint: String,
    /// Hashes of the perfect subtrees before `from` and behind `to`, up to the checkpoint's size.
    pub before: Vec<HexHash>,
    pub behind: Vec<HexHash>,
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    Event(Box<EventLine>),
    /// An event that retention has dropped.
    Retired(RetiredLine),
    /// A checkpoint of exactly the events so far.
    Checkpoint(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HexHash(pub Hash);

impl From<HexHash> for String {
    fn from(hash: HexHash) -> Self {
        hex(&hash.0)
    }
}

impl TryFrom<String> for HexHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        unhex(&text).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or("64 hexadecimal digits were expected")
    }
}

/// What is left of an event that was dropped.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredLine {
    pub position: u64,
    pub event_id: Uuid,
    pub leaf_hash: HexHash,
}

/// An event with everything that its leaf is made of, and the hash that was sealed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLine {
    pub position: u64,
    pub event_id: Uuid,
    leaf_hash: HexHash,
    log_id: i16,
    retention_class: String,
    tenant_id: Uuid,
    stream_id: Uuid,
    version: i64,
    #[serde(rename = "type")]
    event_type: String,
    schema_version: i16,
    subject_id: Option<Uuid>,
    payload: Value,
    /// Base64.
    pii: Option<String>,
    pii_key_id: Option<Uuid>,
    actor_kind: String,
    actor_id: Option<Uuid>,
    session_id: Option<Uuid>,
    trace_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    /// Microseconds since 1970.
    recorded_at: Timestamp,
}

impl EventLine {
    pub fn new(leaf: Leaf, leaf_hash: Hash) -> Self {
        Self {
            position: u64::try_from(leaf.position).unwrap_or(0),
            event_id: leaf.event_id,
            leaf_hash: HexHash(leaf_hash),
            log_id: leaf.log_id,
            retention_class: leaf.retention_class,
            tenant_id: leaf.tenant_id,
            stream_id: leaf.stream_id,
            version: leaf.version,
            event_type: leaf.event_type,
            schema_version: leaf.schema_version,
            subject_id: leaf.subject_id,
            payload: leaf.payload,
            pii: leaf.pii.map(|pii| STANDARD.encode(pii)),
            pii_key_id: leaf.pii_key_id,
            actor_kind: leaf.actor_kind,
            actor_id: leaf.actor_id,
            session_id: leaf.session_id,
            trace_id: leaf.trace_id,
            correlation_id: leaf.correlation_id,
            causation_id: leaf.causation_id,
            recorded_at: leaf.recorded_at,
        }
    }

    pub const fn leaf_hash(&self) -> Hash {
        self.leaf_hash.0
    }

    /// The leaf of what stands in this line.
    pub fn hash(self) -> Result<Hash, String> {
        let pii = self.pii.map(|pii| STANDARD.decode(pii)).transpose().map_err(|error| format!("pii: {error}"))?;
        let leaf = Leaf {
            log_id: self.log_id,
            position: i64::try_from(self.position).map_err(|error| format!("position: {error}"))?,
            event_id: self.event_id,
            retention_class: self.retention_class,
            tenant_id: self.tenant_id,
            stream_id: self.stream_id,
            version: self.version,
            event_type: self.event_type,
            schema_version: self.schema_version,
            subject_id: self.subject_id,
            payload: self.payload,
            pii,
            pii_key_id: self.pii_key_id,
            actor_kind: self.actor_kind,
            actor_id: self.actor_id,
            session_id: self.session_id,
            trace_id: self.trace_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            recorded_at: self.recorded_at,
        };
        leaf.exact_hash().map_err(|error| error.to_string())
    }
}
