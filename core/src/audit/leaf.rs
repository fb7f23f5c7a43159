//! The leaf of an event: every column that a reader sees, in one order, each with its length before it. Two different events
//! can have no equal encoding, and nothing can move from one column to another unseen. Not encoded: `xid`, `seq` and `epoch`,
//! which mean something only inside one cluster and change with a restore. Frozen by golden files under `core/tests/golden`.

use aws_lc_rs::digest;
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;

/// First bytes of every leaf of this version. A new version changes them and nothing that was hashed before.
const VERSION: &[u8] = b"doorbook/leaf/v1\0";
/// Stands where the length would, for a column without a value.
const NULL: [u8; 4] = [0xff; 4];

/// An event as a reader of the log sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    pub log_id: i16,
    pub position: i64,
    pub event_id: Uuid,
    pub retention_class: String,
    pub tenant_id: Uuid,
    pub stream_id: Uuid,
    pub version: i64,
    pub event_type: String,
    pub schema_version: i16,
    pub subject_id: Option<Uuid>,
    pub payload: Value,
    pub pii: Option<Vec<u8>>,
    pub pii_key_id: Option<Uuid>,
    pub actor_kind: String,
    pub actor_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub trace_id: Option<Uuid>,
    pub correlation_id: Option<Uuid>,
    pub causation_id: Option<Uuid>,
    pub recorded_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
#[error("the payload of event {event} has no canonical form: {cause}")]
pub struct NotCanonical {
    event: Uuid,
    cause: String,
}

impl Leaf {
    /// The bytes that are hashed. The payload stands in its RFC 8785 form.
    pub fn encode(&self) -> Result<Vec<u8>, NotCanonical> {
        let payload = serde_json_canonicalizer::to_vec(&self.payload)
            .map_err(|cause| NotCanonical { event: self.event_id, cause: cause.to_string() })?;
        let mut out = VERSION.to_vec();
        let mut put = |value: Option<&[u8]>| match value {
            None => out.extend_from_slice(&NULL),
            Some(bytes) => {
                out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1).to_be_bytes());
                out.extend_from_slice(bytes);
            }
        };
        put(Some(&self.log_id.to_be_bytes()));
        put(Some(&self.position.to_be_bytes()));
        put(Some(self.event_id.as_bytes()));
        put(Some(self.retention_class.as_bytes()));
        put(Some(self.tenant_id.as_bytes()));
        put(Some(self.stream_id.as_bytes()));
        put(Some(&self.version.to_be_bytes()));
        put(Some(self.event_type.as_bytes()));
        put(Some(&self.schema_version.to_be_bytes()));
        put(self.subject_id.as_ref().map(|id| id.as_bytes().as_slice()));
        put(Some(&payload));
        put(self.pii.as_deref());
        put(self.pii_key_id.as_ref().map(|id| id.as_bytes().as_slice()));
        put(Some(self.actor_kind.as_bytes()));
        for id in [self.actor_id, self.session_id, self.trace_id, self.correlation_id, self.causation_id] {
            put(id.as_ref().map(|id| id.as_bytes().as_slice()));
        }
        put(Some(&self.recorded_at.micros().to_be_bytes()));
        Ok(out)
    }

    /// The same for whoever verifies. Payloads hold integers alone; `100.0` has the canonical form of `100`, and a reader of whole numbers refuses it.
    pub fn exact_hash(&self) -> Result<[u8; 32], NotCanonical> {
        if is_exact(&self.payload) {
            return self.hash();
        }
        Err(NotCanonical { event: self.event_id, cause: "it holds a number that is no integer".to_owned() })
    }

    /// RFC 9162 leaf hash: SHA-256 over a zero byte and the encoding.
    pub fn hash(&self) -> Result<[u8; 32], NotCanonical> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[0]);
        context.update(&self.encode()?);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(hash)
    }
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(fields) => fields.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
