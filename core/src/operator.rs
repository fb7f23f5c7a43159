//! What operators and the system itself do.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum OperatorEvent {
    /// An auditor or admin has read one account; told once an hour however often he looks.
    AccountViewed,
    /// Somebody asked for what only auditors or admins get; `right` is what was missing.
    AuthorizationDenied {
        right: String,
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
