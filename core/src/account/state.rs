use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::event::AccountEvent;
use crate::clock::Timestamp;
use crate::event::Personal;
use crate::value::{CredentialId, Locale};

/// Personal data of an account, sealed wherever it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub email: String,
    pub first_name: String,
    pub last_name: String,
}

impl Profile {
    pub fn of(personal: &Personal) -> Option<Self> {
        Some(Self {
            email: personal.email.clone()?,
            first_name: personal.first_name.clone().unwrap_or_default(),
            last_name: personal.last_name.clone().unwrap_or_default(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// Not registered yet: where every history begins.
    #[default]
    Absent,
    Active,
    Disabled,
    /// Its owner has closed it until a new password is set: somebody else was in it, or tried.
    Frozen,
    /// Its owner has asked for its deletion and may still take that back.
    Leaving,
    /// Nothing about its person is left.
    Erased,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Frozen => "frozen",
            Self::Leaving => "leaving",
            Self::Erased => "erased",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let stored = [Self::Active, Self::Disabled, Self::Frozen, Self::Leaving, Self::Erased];
        stored.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether its owner may set a new password with a mailed link.
    pub const fn takes_resets(self) -> bool {
        matches!(self, Self::Active | Self::Frozen)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Auditor,
    Admin,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auditor, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    pub id: CredentialId,
    pub version: u32,
}

/// What the events of one account come to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Account {
    pub status: Status,
    pub locale: Option<Locale>,
    pub roles: BTreeSet<Role>,
    pub profile: Option<Profile>,
    pub email_verified_at: Option<Timestamp>,
    pub locked_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    pub password_changed_at: Option<Timestamp>,
    pub credential: Option<Credential>,
    /// Since when the password opens nothing and must be reset.
    pub reset_required_at: Option<Timestamp>,
    /// When it will be erased, unless that is taken back.
    pub erase_at: Option<Timestamp>,
    /// Rises with each event that ends sessions; a session lives only in the epoch it was begun in.
    pub session_epoch: i64,
}

/// The account after `event`, which happened at `at`.
#[must_use]
pub fn evolve(mut account: Account, event: &AccountEvent, at: Timestamp) -> Account {
    if event.ends_sessions().is_some() {
        account.session_epoch += 1;
    }
    match event {
        AccountEvent::Registered { locale, credential, profile } => {
            account.status = Status::Active;
            account.locale = Some(*locale);
            account.profile.clone_from(profile);
            account.created_at = Some(at);
            account.password_changed_at = Some(at);
            account.credential = Some(Credential { id: *credential, version: 1 });
        }
        AccountEvent::AccountImported { .. } => import(&mut account, event, at),
        AccountEvent::EmailVerified { .. } => account.email_verified_at = Some(at),
        AccountEvent::ProfileUpdated { locale, profile } => {
            account.locale = Some(*locale);
            account.profile.clone_from(profile);
        }
        AccountEvent::PasswordChanged { credential, version, .. }
        | AccountEvent::PasswordReset { credential, version, .. } => {
            set_password(&mut account, Credential { id: *credential, version: *version }, at);
        }
        AccountEvent::PasswordResetForced { .. } => account.reset_required_at = Some(at),
        AccountEvent::PasswordRehashed { credential, version } => {
            account.credential = Some(Credential { id: *credential, version: *version });
        }
        AccountEvent::EmailChanged { profile, .. } => {
            account.profile.clone_from(profile);
            account.email_verified_at = Some(at);
        }
        AccountEvent::EmailChangeUndone { profile, .. } => account.profile.clone_from(profile),
        AccountEvent::AccountLocked { .. } => account.locked_at = Some(at),
        AccountEvent::AccountUnlocked { .. } => account.locked_at = None,
        AccountEvent::AccountDisabled { .. } => account.status = Status::Disabled,
        // Whoever opens it otherwise than by a reset does not make the password good again.
        AccountEvent::AccountFrozenByOwner { .. } => {
            account.status = Status::Frozen;
            account.reset_required_at = Some(at);
        }
        // Whoever had asked for its deletion before it was disabled has not taken that back.
        AccountEvent::AccountEnabled { .. } if account.erase_at.is_some() => account.status = Status::Leaving,
        AccountEvent::AccountEnabled { .. } => account.status = Status::Active,
        AccountEvent::RoleGranted { role, .. } => {
            account.roles.insert(*role);
        }
        AccountEvent::RoleRevoked { role, .. } => {
            account.roles.remove(role);
        }
        AccountEvent::DeletionRequested { erase_at, .. } => {
            account.status = Status::Leaving;
            account.erase_at = Some(*erase_at);
        }
        AccountEvent::DeletionCancelled { .. } => {
            account.erase_at = None;
            if account.status == Status::Leaving {
                account.status = Status::Active;
            }
        }
        AccountEvent::AccountErased { .. } => erase(&mut account),
        AccountEvent::EmailVerificationRequested { .. }
        | AccountEvent::EmailVerificationExpired { .. }
        | AccountEvent::PasswordResetRequested { .. }
        | AccountEvent::PasswordResetExpired { .. }
        | AccountEvent::EmailChangeRequested { .. }
        | AccountEvent::EmailChangeExpired { .. }
        | AccountEvent::AllSessionsRevoked { .. }
        | AccountEvent::DataKeyShredded { .. } => {}
    }
    account
}

fn set_password(account: &mut Account, credential: Credential, at: Timestamp) {
    account.credential = Some(credential);
    account.password_changed_at = Some(at);
    account.reset_required_at = None;
    if account.status == Status::Frozen {
        account.status = Status::Active;
    }
}

fn import(account: &mut Account, event: &AccountEvent, at: Timestamp) {
    let AccountEvent::AccountImported {
        locale, credential, disabled, email_verified, roles, joined_at, profile, ..
    } = event
    else {
        return;
    };
    account.status = if *disabled { Status::Disabled } else { Status::Active };
    account.locale = Some(*locale);
    account.roles = roles.iter().copied().collect();
    account.profile.clone_from(profile);
    account.email_verified_at = email_verified.then_some(at);
    account.created_at = Some(joined_at.unwrap_or(at));
    // When the password was set is not known; what matters is that it was not set here.
    account.password_changed_at = None;
    account.credential = credential.map(|id| Credential { id, version: 1 });
}

/// What is left tells when it was, and of nobody.
fn erase(account: &mut Account) {
    account.status = Status::Erased;
    account.profile = None;
    account.credential = None;
    account.roles.clear();
    account.locked_at = None;
    account.reset_required_at = None;
    account.erase_at = None;
}
