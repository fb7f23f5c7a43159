use super::command::{Command, Imported};
use super::event::AccountEvent;
use super::state::{Account, Credential, Profile, Status};
use crate::value::{CredentialId, SessionId, TokenId};

/// Why a command changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the account exists already")]
    Exists,
    #[error("there is no such account")]
    Absent,
    #[error("the account is disabled")]
    Disabled,
    #[error("the address is verified already")]
    AlreadyVerified,
    #[error("personal data of this account has been erased")]
    Erased,
}

/// Which events a command causes. An empty list: all is as asked already.
pub fn decide(account: &Account, command: Command) -> Result<Vec<AccountEvent>, Rejection> {
    admit(account.status, &command)?;
    match command {
        Command::Register { locale, credential, profile, verification } => Ok(vec![
            AccountEvent::Registered { locale, credential, profile: Some(profile) },
            AccountEvent::EmailVerificationRequested { token: verification },
        ]),
        Command::Import(imported) => Ok(vec![import(*imported)]),
        Command::RequestVerification { .. } | Command::VerifyEmail { .. } if account.email_verified_at.is_some() => {
            Err(Rejection::AlreadyVerified)
        }
        Command::RequestVerification { token } => Ok(vec![AccountEvent::EmailVerificationRequested { token }]),
        Command::VerifyEmail { token } => Ok(vec![AccountEvent::EmailVerified { token: Some(token) }]),
        Command::VouchForEmail => Ok(match account.email_verified_at {
            Some(_) => vec![],
            None => vec![AccountEvent::EmailVerified { token: None }],
        }),
        Command::UpdateProfile { locale, first_name, last_name } => {
            update_profile(account, locale.or(account.locale), first_name, last_name)
        }
        Command::ChangePassword { credential, kept_session } => Ok(vec![changed(account, credential, kept_session)]),
        Command::RehashPassword => Ok(account.credential.iter().map(rehashed).collect()),
        Command::RequestReset { token } => Ok(vec![AccountEvent::PasswordResetRequested { token }]),
        Command::ResetPassword { token, credential } => Ok(reset(account, token, credential)),
        Command::RequestEmailChange { token, new_email } => {
            Ok(vec![AccountEvent::EmailChangeRequested { token, new_email: Some(new_email) }])
        }
        Command::ConfirmEmailChange { token, new_email } => {
            Ok(vec![AccountEvent::EmailChanged { token, profile: Some(with_email(account, new_email)?) }])
        }
        Command::UndoEmailChange { token, old_email } => Ok(undone(account, token, with_email(account, old_email)?)),
        Command::ExpireVerification { token } => Ok(vec![AccountEvent::EmailVerificationExpired { token }]),
        Command::ExpireReset { token } => Ok(vec![AccountEvent::PasswordResetExpired { token }]),
        Command::ExpireEmailChange { token } => Ok(vec![AccountEvent::EmailChangeExpired { token }]),
        Command::Lock { failures } => Ok(unless(account.locked_at.is_some(), AccountEvent::AccountLocked { failures })),
        Command::Unlock { blocked, reason } => {
            let free = account.locked_at.is_none() && !blocked;
            Ok(unless(free, AccountEvent::AccountUnlocked { by_reset: false, reason: Some(reason) }))
        }
        Command::ForceReset { token, reason } => Ok(vec![AccountEvent::PasswordResetForced { token, reason }]),
        Command::Disable { reason } => {
            Ok(unless(account.status == Status::Disabled, AccountEvent::AccountDisabled { reason }))
        }
        Command::Enable { reason } => Ok(enabled(account, reason)),
        Command::GrantRole { role, reason } => {
            Ok(unless(account.roles.contains(&role), AccountEvent::RoleGranted { role, reason }))
        }
        Command::RevokeRole { role, reason } => {
            Ok(unless(!account.roles.contains(&role), AccountEvent::RoleRevoked { role, reason }))
        }
        Command::RevokeAllSessions { reason } => Ok(vec![AccountEvent::AllSessionsRevoked { reason }]),
        Command::RequestDeletion { token, erase_at } => Ok(vec![AccountEvent::DeletionRequested { token, erase_at }]),
        Command::CancelDeletion { token } => {
            let cancelled = AccountEvent::DeletionCancelled { token: Some(token), reason: None };
            Ok(unless(account.erase_at.is_none(), cancelled))
        }
        Command::Freeze { token, reset, taken_back } => frozen(account, token, reset, taken_back),
        Command::Erase { .. } if account.status == Status::Erased => Ok(vec![]),
        Command::Erase { cause, reason, data_key } => {
            let shredded = data_key.map(|data_key| AccountEvent::DataKeyShredded { data_key });
            Ok(std::iter::once(AccountEvent::AccountErased { cause, reason }).chain(shredded).collect())
        }
    }
}

/// Which commands an account in this state takes at all.
fn admit(status: Status, command: &Command) -> Result<(), Rejection> {
    match (status, command) {
        (Status::Absent, Command::Register { .. } | Command::Import(_))
        | (Status::Erased, Command::Erase { .. })
        // Whoever had the address before may take back what a thief has asked for, and so may whoever is told of it.
        | (Status::Leaving | Status::Frozen, Command::UndoEmailChange { .. } | Command::Freeze { .. })
        | (
            Status::Frozen,
            Command::RequestReset { .. } | Command::ResetPassword { .. } | Command::ForceReset { .. },
        ) => Ok(()),
        (Status::Absent, _) => Err(Rejection::Absent),
        (_, Command::Register { .. } | Command::Import(_)) => Err(Rejection::Exists),
        (Status::Erased, _) => Err(Rejection::Erased),
        // What an operator does, and what time does, is done to closed accounts too.
        (
            Status::Disabled | Status::Frozen | Status::Leaving,
            Command::Enable { .. }
            | Command::Disable { .. }
            | Command::GrantRole { .. }
            | Command::RevokeRole { .. }
            | Command::RevokeAllSessions { .. }
            | Command::Unlock { .. }
            | Command::ExpireVerification { .. }
            | Command::ExpireReset { .. }
            | Command::ExpireEmailChange { .. }
            | Command::CancelDeletion { .. }
            | Command::Erase { .. },
        )
        | (Status::Active, _) => Ok(()),
        (Status::Disabled | Status::Frozen | Status::Leaving, _) => Err(Rejection::Disabled),
    }
}

/// One event: what happened elsewhere is not told again as if it had happened here.
fn import(account: Imported) -> AccountEvent {
    let Imported { mut roles, .. } = account;
    roles.sort_unstable();
    roles.dedup();
    AccountEvent::AccountImported {
        source: account.source,
        source_id: account.source_id,
        locale: account.locale,
        credential: account.credential,
        disabled: account.disabled,
        email_verified: account.email_verified,
        roles,
        joined_at: account.joined_at,
        last_login_at: account.last_login_at,
        profile: Some(account.profile),
    }
}

fn unless(already: bool, event: AccountEvent) -> Vec<AccountEvent> {
    if already { vec![] } else { vec![event] }
}

/// Ends what keeps the owner out: first a ban, then his own wish to leave.
fn enabled(account: &Account, reason: String) -> Vec<AccountEvent> {
    match account.status {
        Status::Leaving => vec![AccountEvent::DeletionCancelled { token: None, reason: Some(reason) }],
        status => unless(status == Status::Active, AccountEvent::AccountEnabled { reason }),
    }
}

/// Whoever takes the account back does not want it gone.
fn undone(account: &Account, token: TokenId, profile: Profile) -> Vec<AccountEvent> {
    let undone = AccountEvent::EmailChangeUndone { token, profile: Some(profile) };
    std::iter::once(undone).chain(kept(account)).collect()
}

fn kept(account: &Account) -> Option<AccountEvent> {
    account.erase_at.map(|_| AccountEvent::DeletionCancelled { token: None, reason: None })
}

fn frozen(
    account: &Account,
    token: TokenId,
    reset: TokenId,
    taken_back: Option<(TokenId, String)>,
) -> Result<Vec<AccountEvent>, Rejection> {
    let mut events = match taken_back {
        Some((undo, old_email)) => undone(account, undo, with_email(account, old_email)?),
        None => kept(account).into_iter().collect(),
    };
    events.push(AccountEvent::AccountFrozenByOwner { token, reset });
    Ok(events)
}

fn next_version(account: &Account) -> u32 {
    account.credential.map_or(1, |credential| credential.version + 1)
}

fn changed(account: &Account, credential: CredentialId, kept_session: SessionId) -> AccountEvent {
    AccountEvent::PasswordChanged { credential, version: next_version(account), kept_session }
}

fn rehashed(credential: &Credential) -> AccountEvent {
    AccountEvent::PasswordRehashed { credential: credential.id, version: credential.version + 1 }
}

/// A reset link proves the mailbox, so it also verifies the address and lifts a lock.
fn reset(account: &Account, token: TokenId, credential: CredentialId) -> Vec<AccountEvent> {
    let mut events = vec![AccountEvent::PasswordReset { token, credential, version: next_version(account) }];
    if account.email_verified_at.is_none() {
        events.push(AccountEvent::EmailVerified { token: Some(token) });
    }
    if account.locked_at.is_some() {
        events.push(AccountEvent::AccountUnlocked { by_reset: true, reason: None });
    }
    events
}

fn update_profile(
    account: &Account,
    locale: Option<crate::value::Locale>,
    first_name: Option<String>,
    last_name: Option<String>,
) -> Result<Vec<AccountEvent>, Rejection> {
    let (Some(old), Some(locale)) = (&account.profile, locale) else { return Err(Rejection::Erased) };
    let profile = Profile {
        email: old.email.clone(),
        first_name: first_name.unwrap_or_else(|| old.first_name.clone()),
        last_name: last_name.unwrap_or_else(|| old.last_name.clone()),
    };
    Ok(unless(
        profile == *old && Some(locale) == account.locale,
        AccountEvent::ProfileUpdated { locale, profile: Some(profile) },
    ))
}

fn with_email(account: &Account, email: String) -> Result<Profile, Rejection> {
    let profile = account.profile.clone().ok_or(Rejection::Erased)?;
    Ok(Profile { email, ..profile })
}
