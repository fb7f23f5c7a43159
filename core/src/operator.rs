//! What operators and the system itself do.

use serde::{Deserialize, Serialize};

use crate::value::EventId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum OperatorEvent {
    /// An auditor or admin has read one account; told once an hour however often he looks.
    AccountViewed,
    /// One a search, not a page. `fields` are what was searched by; what was looked for stands nowhere.
    AuditSearched {
        fields: Vec<String>,
    },
    AuditExported {
        fields: Vec<String>,
        format: String,
    },
    /// One a stream and all that it is continued by.
    AuditStreamOpened {
        fields: Vec<String>,
    },
    PersonalDataRevealed {
        event: EventId,
        reason: String,
    },
    KeyRotated {
        purpose: String,
        key_id: String,
    },
    /// A month of what expires has been dropped: so many events, and the hash over their positions and leaf hashes in hexadecimal digits.
    EventsRetired {
        month: String,
        events: u64,
        digest: String,
    },
    ProjectionRebuilt {
        projection: String,
        events: i64,
    },
    /// A process has started with other settings than the last one of its kind.
    SettingsLoaded {
        process: String,
        hash: String,
    },
    /// Somebody with a valid session has asked for what is not his to ask for.
    AuthorizationDenied {
        action: String,
    },
    /// `root` and `key_id` in hexadecimal digits, as everywhere in payloads.
    CheckpointSigned {
        size: i64,
        root: String,
        key_id: String,
    },
}
