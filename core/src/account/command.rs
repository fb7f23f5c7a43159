use super::state::{Profile, Role};
use crate::account::event::ErasureCause;
use crate::clock::Timestamp;
use crate::value::{CredentialId, DataKeyId, Locale, SessionId, TokenId};

/// An account of another service, as it was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Which service; with `source_id` it names the account for good.
    pub source: String,
    pub source_id: String,
    pub locale: Locale,
    pub credential: Option<CredentialId>,
    pub disabled: bool,
    pub email_verified: bool,
    pub roles: Vec<Role>,
    pub joined_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    pub profile: Profile,
}

/// What may be asked of an account. Passwords and tokens have been verified before: a command carries only what they prove.
#[derive(Clone, Debug)]
pub enum Command {
    Register {
        locale: Locale,
        credential: CredentialId,
        profile: Profile,
        verification: TokenId,
    },
    Import(Box<Imported>),
    RequestVerification {
        token: TokenId,
    },
    VerifyEmail {
        token: TokenId,
    },
    UpdateProfile {
        locale: Option<Locale>,
        first_name: Option<String>,
        last_name: Option<String>,
    },
    ChangePassword {
        credential: CredentialId,
        kept_session: SessionId,
    },
    RehashPassword,
    RequestReset {
        token: TokenId,
    },
    ResetPassword {
        token: TokenId,
        credential: CredentialId,
    },
    RequestEmailChange {
        token: TokenId,
        new_email: String,
    },
    ConfirmEmailChange {
        token: TokenId,
        new_email: String,
    },
    UndoEmailChange {
        token: TokenId,
        old_email: String,
    },
    ExpireVerification {
        token: TokenId,
    },
    ExpireReset {
        token: TokenId,
    },
    ExpireEmailChange {
        token: TokenId,
    },
    Lock {
        failures: u32,
    },
    /// `blocked`: guesses are refused for a while, though the account is not locked.
    Unlock {
        blocked: bool,
        reason: String,
    },
    /// A new password must be set before anybody logs in again.
    ForceReset {
        token: TokenId,
        reason: String,
    },
    Disable {
        reason: String,
    },
    Enable {
        reason: String,
    },
    GrantRole {
        role: Role,
        reason: String,
    },
    RevokeRole {
        role: Role,
        reason: String,
    },
    RevokeAllSessions {
        reason: String,
    },
    /// An operator's word that the address is the owner's.
    VouchForEmail,
    /// The owner wants it gone at that time; until then the token takes it back.
    RequestDeletion {
        token: TokenId,
        erase_at: Timestamp,
    },
    CancelDeletion {
        token: TokenId,
    },
    /// The owner says that what a notice told was not he. `reset` is the link that opens the account again; `taken_back` the link that undoes
    /// a change of address made since, with the address to go back to.
    Freeze {
        token: TokenId,
        reset: TokenId,
        taken_back: Option<(TokenId, String)>,
    },
    /// `data_key`: what goes with it, if it still has one.
    Erase {
        cause: ErasureCause,
        reason: Option<String>,
        data_key: Option<DataKeyId>,
    },
}
