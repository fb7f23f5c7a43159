//! The encoding of a leaf is for ever: checkpoints that others hold sign it. The expected bytes were made by an encoder of its own,
//! written from the description in `audit::leaf` and RFC 8785.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

use std::fmt::Write as _;

use doorbook_core::audit::leaf::Leaf;
use doorbook_core::clock::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

const GOLDEN: &str = include_str!("golden/leaves.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frozen {
    about: String,
    leaf: Columns,
    encoding: String,
    hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    log_id: i16,
    position: i64,
    event_id: Uuid,
    retention_class: String,
    tenant_id: Uuid,
    stream_id: Uuid,
    version: i64,
    event_type: String,
    schema_version: i16,
    subject_id: Option<Uuid>,
    payload: Value,
    pii: Option<String>,
    pii_key_id: Option<Uuid>,
    actor_kind: String,
    actor_id: Option<Uuid>,
    session_id: Option<Uuid>,
    trace_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    recorded_at: i64,
}

impl From<Columns> for Leaf {
    fn from(columns: Columns) -> Self {
        Self {
            log_id: columns.log_id,
            position: columns.position,
            event_id: columns.event_id,
            retention_class: columns.retention_class,
            tenant_id: columns.tenant_id,
            stream_id: columns.stream_id,
            version: columns.version,
            event_type: columns.event_type,
            schema_version: columns.schema_version,
            subject_id: columns.subject_id,
            payload: columns.payload,
            pii: columns.pii.map(|digits| bytes(&digits)),
            pii_key_id: columns.pii_key_id,
            actor_kind: columns.actor_kind,
            actor_id: columns.actor_id,
            session_id: columns.session_id,
            trace_id: columns.trace_id,
            correlation_id: columns.correlation_id,
            causation_id: columns.causation_id,
            recorded_at: Timestamp::from_micros(columns.recorded_at),
        }
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn golden() -> Vec<Frozen> {
    serde_json::from_str(GOLDEN).unwrap()
}

#[test]
fn leaves_have_their_frozen_encoding_and_hash() {
    let golden = golden();
    assert_eq!(golden.len(), 3);
    for frozen in golden {
        let leaf = Leaf::from(frozen.leaf);
        assert_eq!(hex(&leaf.encode().unwrap()), frozen.encoding, "{}", frozen.about);
        assert_eq!(hex(&leaf.hash().unwrap()), frozen.hash, "{}", frozen.about);
    }
}

#[test]
fn every_column_changes_the_hash() {
    let leaf = Leaf::from(golden().remove(0).leaf);
    let other = Some(Uuid::from_u128(99));
    let changed = [
        Leaf { log_id: 2, ..leaf.clone() },
        Leaf { position: 43, ..leaf.clone() },
        Leaf { event_id: Uuid::nil(), ..leaf.clone() },
        Leaf { retention_class: "expire".into(), ..leaf.clone() },
        Leaf { tenant_id: Uuid::from_u128(99), ..leaf.clone() },
        Leaf { stream_id: Uuid::nil(), ..leaf.clone() },
        Leaf { version: 4, ..leaf.clone() },
        Leaf { event_type: "PasswordReset".into(), ..leaf.clone() },
        Leaf { schema_version: 2, ..leaf.clone() },
        Leaf { subject_id: None, ..leaf.clone() },
        Leaf { payload: serde_json::json!({}), ..leaf.clone() },
        Leaf { pii: Some(vec![]), ..leaf.clone() },
        Leaf { pii: None, ..leaf.clone() },
        Leaf { pii_key_id: other, ..leaf.clone() },
        Leaf { actor_kind: "system".into(), ..leaf.clone() },
        Leaf { actor_id: other, ..leaf.clone() },
        Leaf { session_id: other, ..leaf.clone() },
        Leaf { trace_id: other, ..leaf.clone() },
        Leaf { correlation_id: other, ..leaf.clone() },
        Leaf { causation_id: other, ..leaf.clone() },
        Leaf { recorded_at: Timestamp::from_micros(0), ..leaf.clone() },
    ];
    let mut hashes: Vec<_> = changed.iter().chain([&leaf]).map(|leaf| leaf.hash().unwrap()).collect();
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn nothing_can_move_from_one_column_to_the_next_unseen() {
    let leaf = Leaf::from(golden().remove(1).leaf);
    let id = Some(Uuid::from_u128(7));
    let moved = |actor_id, session_id| Leaf { actor_id, session_id, ..leaf.clone() }.hash().unwrap();
    assert_ne!(moved(id, None), moved(None, id));
}
