//! What operators and the system itself do.

use serde::{Deserialize, Serialize};

use crate::value::EventId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum OperatorEvent {
    /// Somebody asked for what only auditors or admins get; `right` is what was missing.
    AuthorizationDenied {
        right: String,
    },
    /// One a search, not a page. `fields` are what was searched by; what was looked for stands nowhere.
    AuditSearched {
        fields: Vec<String>,
    },
    AuditExported {
        fields: Vec<String>,
        format: String,
    },
    PersonalDataRevealed {
        event: EventId,
        reason: String,
    },
    KeyRotated {
        purpose: String,
        key_id: String,
    },
    ProjectionRebuilt {
        projection: String,
        events: i64,
    },
}
