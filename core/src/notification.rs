//! What became of a mail. One stream a delivery.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum NotificationEvent {
    MailQueued {
        template: String,
    },
    MailSent {
        template: String,
        attempts: u32,
    },
    MailDeferred {
        template: String,
        attempts: u32,
    },
    MailFailed {
        template: String,
        attempts: u32,
    },
    /// Nobody needs it any more, or nobody is there to get it.
    MailSuppressed {
        template: String,
        reason: String,
    },
}
