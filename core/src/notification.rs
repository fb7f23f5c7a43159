//! What became of a mail. One stream a delivery.

use serde::{Deserialize, Serialize};

use crate::value::DeliveryId;

/// How a mail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailState {
    /// Its turn has not come yet.
    Queued,
    /// No server has taken it yet; tried again.
    Deferred,
    Sent,
    /// Refused, or given up.
    Failed,
    /// Nobody needed it when its turn came.
    Suppressed,
}

impl MailState {
    pub const ALL: [Self; 5] = [Self::Queued, Self::Deferred, Self::Sent, Self::Failed, Self::Suppressed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Deferred => "deferred",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing more comes of it by itself.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Sent | Self::Failed | Self::Suppressed)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum NotificationEvent {
    /// `words` is what an admin gave as the reason for sending it anew; `repeats` the mail that this one is sent instead of, and none
    /// when the same mail shall wait no longer.
    MailQueued {
        template: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repeats: Option<DeliveryId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        words: Option<String>,
    },
    MailSent {
        template: String,
        attempts: u32,
    },
    /// `unheard`: nobody heard whether the server has it; docs/MAILS.md says which mails are sent again then.
    MailDeferred {
        template: String,
        attempts: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unheard: bool,
    },
    MailFailed {
        template: String,
        attempts: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unheard: bool,
    },
    /// Nobody needs it any more, or nobody is there to get it; or an admin has called it off, and `words` is why. `unheard`: an earlier try
    /// may have reached its server all the same.
    MailSuppressed {
        template: String,
        reason: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unheard: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        words: Option<String>,
    },
}
