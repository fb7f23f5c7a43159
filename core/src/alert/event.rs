use serde::{Deserialize, Serialize};

use crate::terms::Severity;
use crate::value::{AccountId, EventId};

/// What an alert rests on: numbers, and the events to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// How many there were, of what the rule counts.
    pub count: u64,
    /// From how many on it speaks.
    pub threshold: u64,
    /// Within how long, in seconds; 0 where one event is enough.
    pub seconds: u64,
    /// The latest of them, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventId>,
}

/// Alerts: one stream each, which begins with the alert and ends when somebody has taken note. The stream is named like its first event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum SecurityEvent {
    SecurityAlertRaised {
        rule: String,
        severity: Severity,
        /// Whom it happens to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<AccountId>,
        /// Who does it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<AccountId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follower: Option<String>,
        evidence: Evidence,
    },
    SecurityAlertAcknowledged {
        reason: String,
    },
}
