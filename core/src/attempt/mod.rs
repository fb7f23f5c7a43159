//! What strangers cause. One stream an identifier key and window, so that nobody can lengthen an account's own history.

mod reasons;
pub mod rollup;
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
    /// Failed logins at addresses without an account that have no event of their own: so many from one network, or from several
    /// together, in `seconds` from `from`. See [`rollup`].
    LoginAttemptsSuppressed {
        from: Timestamp,
        seconds: u64,
        attempts: u64,
        identifiers: u64,
        networks: u64,
        /// Blocks that they began.
        blocks: u64,
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
