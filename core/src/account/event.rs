use serde::{Deserialize, Serialize};

use super::state::{Profile, Role};
use crate::clock::Timestamp;
use crate::event::Personal;
use crate::value::{CredentialId, DataKeyId, Locale, SessionId, TokenId};

/// Why an account was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureCause {
    /// Its owner asked for it, and let the time to take it back run out.
    Requested,
    /// An admin or an operator did it.
    Ordered,
    /// Nobody ever confirmed its address or logged in.
    Unverified,
}

/// Facts about an account. `profile` and `new_email` are personal data: they are sealed beside the payload, and `None` once the
/// account's data key is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", deny_unknown_fields)]
pub enum AccountEvent {
    Registered {
        locale: Locale,
        credential: CredentialId,
        #[serde(skip)]
        profile: Option<Profile>,
    },
    /// Brought over from another service, whose id it had is `source_id`. One event says all that it was there.
    AccountImported {
        source: String,
        source_id: String,
        locale: Locale,
        /// `None`: it had no password that could be used.
        credential: Option<CredentialId>,
        disabled: bool,
        email_verified: bool,
        roles: Vec<Role>,
        /// When its owner joined the other service; `None` where that is not known.
        joined_at: Option<Timestamp>,
        last_login_at: Option<Timestamp>,
        #[serde(skip)]
        profile: Option<Profile>,
    },
    EmailVerificationRequested {
        token: TokenId,
    },
    EmailVerificationExpired {
        token: TokenId,
    },
    /// `token` proved that its holder reads the mailbox: a verification link, a reset link or an operator's word (`None`).
    EmailVerified {
        token: Option<TokenId>,
    },
    ProfileUpdated {
        locale: Locale,
        #[serde(skip)]
        profile: Option<Profile>,
    },
    /// Ends every session but the one it was made in.
    PasswordChanged {
        credential: CredentialId,
        version: u32,
        kept_session: SessionId,
    },
    /// Same password, stored with other parameters. Ends nothing.
    PasswordRehashed {
        credential: CredentialId,
        version: u32,
    },
    PasswordResetRequested {
        token: TokenId,
    },
    PasswordResetExpired {
        token: TokenId,
    },
    /// The password opens nothing any more; the owner is mailed a link to set another.
    PasswordResetForced {
        token: TokenId,
        reason: String,
    },
    PasswordReset {
        token: TokenId,
        credential: CredentialId,
        version: u32,
    },
    EmailChangeRequested {
        token: TokenId,
        #[serde(skip)]
        new_email: Option<String>,
    },
    EmailChangeExpired {
        token: TokenId,
    },
    EmailChanged {
        token: TokenId,
        #[serde(skip)]
        profile: Option<Profile>,
    },
    EmailChangeUndone {
        token: TokenId,
        #[serde(skip)]
        profile: Option<Profile>,
    },
    AccountLocked {
        failures: u32,
    },
    /// `reason` is there when somebody else than the owner did it.
    AccountUnlocked {
        by_reset: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    AccountDisabled {
        reason: String,
    },
    AccountEnabled {
        reason: String,
    },
    /// The owner did not know what a notice told: nobody gets in before a new password is set with the link `reset`, or somebody who runs the
    /// service has opened it.
    AccountFrozenByOwner {
        token: TokenId,
        reset: TokenId,
    },
    RoleGranted {
        role: Role,
        reason: String,
    },
    RoleRevoked {
        role: Role,
        reason: String,
    },
    AllSessionsRevoked {
        reason: String,
    },
    /// Its owner wants it gone: all sessions end, nobody logs in, and at that time it is erased.
    DeletionRequested {
        token: TokenId,
        erase_at: Timestamp,
    },
    /// By the mailed link, or for somebody else's reason; neither: with a change of address that was undone.
    DeletionCancelled {
        token: Option<TokenId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Whatever was about its person is gone, but for what the next event says.
    AccountErased {
        cause: ErasureCause,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// What this key has sealed opens for nobody any more.
    DataKeyShredded {
        data_key: DataKeyId,
    },
}

impl AccountEvent {
    pub fn personal(&self) -> Personal {
        match self {
            Self::Registered { profile: Some(profile), .. }
            | Self::AccountImported { profile: Some(profile), .. }
            | Self::ProfileUpdated { profile: Some(profile), .. }
            | Self::EmailChanged { profile: Some(profile), .. }
            | Self::EmailChangeUndone { profile: Some(profile), .. } => Personal {
                email: Some(profile.email.clone()),
                first_name: Some(profile.first_name.clone()),
                last_name: Some(profile.last_name.clone()),
                ..Personal::default()
            },
            Self::EmailChangeRequested { new_email, .. } => {
                Personal { email: new_email.clone(), ..Personal::default() }
            }
            _ => Personal::default(),
        }
    }

    #[must_use]
    pub fn with_personal(mut self, personal: Option<&Personal>) -> Self {
        let Some(personal) = personal else { return self };
        match &mut self {
            Self::Registered { profile, .. }
            | Self::AccountImported { profile, .. }
            | Self::ProfileUpdated { profile, .. }
            | Self::EmailChanged { profile, .. }
            | Self::EmailChangeUndone { profile, .. } => *profile = Profile::of(personal),
            Self::EmailChangeRequested { new_email, .. } => new_email.clone_from(&personal.email),
            _ => {}
        }
        self
    }

    /// Whether sessions begun before it are over; `Some(Some(id))` spares that one.
    pub const fn ends_sessions(&self) -> Option<Option<SessionId>> {
        match self {
            Self::PasswordChanged { kept_session, .. } => Some(Some(*kept_session)),
            Self::PasswordReset { .. }
            | Self::PasswordResetForced { .. }
            | Self::EmailChangeUndone { .. }
            | Self::AccountDisabled { .. }
            | Self::AccountFrozenByOwner { .. }
            | Self::DeletionRequested { .. }
            | Self::AccountErased { .. }
            | Self::AllSessionsRevoked { .. } => Some(None),
            _ => None,
        }
    }
}
