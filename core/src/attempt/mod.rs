//! What strangers cause. One stream an identifier key and window, so that nobody can lengthen an account's own history.

mod reasons;
#[cfg(test)]
mod spec;

pub use reasons::{End, Explanation, Fact, Ground, explain};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum AttemptEvent {
    LoginFailed {
        reason: LoginFailure,
    },
    /// `until` in microseconds since the Unix epoch.
    LoginBlocked {
        until: Timestamp,
    },
    RegistrationAttemptedForTakenEmail {
        verified: bool,
    },
    PasswordResetRequestedForUnknown,
    LimitExceeded {
        kind: String,
    },
}

/// The true reason, for the audit trail; the answer to the client is one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginFailure {
    UnknownAccount,
    WrongPassword,
    AccountDisabled,
    EmailNotVerified,
    /// An admin wants a new password first.
    ResetRequired,
}
