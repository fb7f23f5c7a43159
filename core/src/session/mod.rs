//! A session is a refresh family: it begins with a login and ends once, by its owner, by somebody else or by time. Pure rules.

mod refresh;

pub use refresh::{Family, Presentation, judge};

use serde::{Deserialize, Serialize};

use crate::value::DeviceId;

/// Facts about a session. A refresh is none: it would be most of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum SessionEvent {
    /// `session_epoch` is the account's at that moment: the session lives as long as the account's does not rise.
    LoggedIn {
        method: LoginMethod,
        device: Option<DeviceId>,
        device_known: bool,
        session_epoch: i64,
    },
    LoggedOut,
    /// `words` is what an admin gave as the reason.
    SessionRevoked {
        reason: RevokeReason,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        words: Option<String>,
    },
    SessionExpired,
    /// A genuine refresh token of an earlier generation came back after the grace: two parties hold this family.
    RefreshTokenReused {
        generation: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginMethod {
    Password,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeReason {
    /// Its owner ended it from another session.
    Owner,
    /// SESSIONS_MAX was reached and this was the oldest.
    Surplus,
    /// A spent refresh token was presented.
    TokenReuse,
    /// An admin ended it.
    Admin,
}

impl RevokeReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Surplus => "surplus",
            Self::TokenReuse => "token_reuse",
            Self::Admin => "admin",
        }
    }
}
