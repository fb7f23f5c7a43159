//! The rules of an account as sentences.

use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::value::{CredentialId, Locale, SessionId, TokenId};

const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn token() -> TokenId {
    TokenId(Uuid::from_u128(1))
}

fn credential(n: u128) -> CredentialId {
    CredentialId(Uuid::from_u128(n))
}

fn session() -> SessionId {
    SessionId(Uuid::from_u128(3))
}

fn profile() -> Profile {
    Profile { email: "ana@example.com".into(), first_name: "Ana".into(), last_name: "Lima".into() }
}

fn registered() -> AccountEvent {
    AccountEvent::Registered { locale: Locale::En, credential: credential(2), profile: Some(profile()) }
}

struct Given(Account);

fn given(events: impl IntoIterator<Item = AccountEvent>) -> Given {
    Given(events.into_iter().fold(Account::default(), |account, event| evolve(account, &event, NOON)))
}

impl Given {
    fn when(&self, command: Command) -> Result<Vec<AccountEvent>, Rejection> {
        decide(&self.0, command)
    }
}

fn register() -> Command {
    Command::Register { locale: Locale::En, credential: credential(2), profile: profile(), verification: token() }
}

#[test]
fn a_registration_asks_for_verification() {
    assert_eq!(
        given([]).when(register()),
        Ok(vec![registered(), AccountEvent::EmailVerificationRequested { token: token() }])
    );
}

#[test]
fn an_account_is_registered_once() {
    assert_eq!(given([registered()]).when(register()), Err(Rejection::Exists));
}

#[test]
fn nothing_but_a_registration_begins_an_account() {
    assert_eq!(given([]).when(Command::RequestReset { token: token() }), Err(Rejection::Absent));
}

#[test]
fn a_verified_address_is_not_verified_again() {
    let verified = given([registered(), AccountEvent::EmailVerified { token: Some(token()) }]);
    assert_eq!(verified.when(Command::VerifyEmail { token: token() }), Err(Rejection::AlreadyVerified));
    assert_eq!(verified.when(Command::RequestVerification { token: token() }), Err(Rejection::AlreadyVerified));
}

#[test]
fn a_reset_verifies_the_mailbox_and_lifts_a_lock() {
    let locked = given([registered(), AccountEvent::AccountLocked { failures: 100 }]);
    assert_eq!(
        locked.when(Command::ResetPassword { token: token(), credential: credential(9) }),
        Ok(vec![
            AccountEvent::PasswordReset { token: token(), credential: credential(9), version: 2 },
            AccountEvent::EmailVerified { token: Some(token()) },
            AccountEvent::AccountUnlocked { by_reset: true, reason: None },
        ])
    );
}

#[test]
fn change_reset_forced_reset_disable_undo_and_revoke_all_end_sessions_and_nothing_else_does() {
    let ending = [
        AccountEvent::PasswordChanged { credential: credential(9), version: 2, kept_session: session() },
        AccountEvent::PasswordReset { token: token(), credential: credential(9), version: 2 },
        AccountEvent::PasswordResetForced { token: token(), reason: "stolen".into() },
        AccountEvent::AccountDisabled { reason: "left".into() },
        AccountEvent::AllSessionsRevoked { reason: "asked".into() },
        AccountEvent::EmailChangeUndone { token: token(), profile: Some(profile()) },
    ];
    for event in ending {
        assert_eq!(evolve(given([registered()]).0, &event, NOON).session_epoch, 1, "{event:?}");
    }
    for event in [
        AccountEvent::PasswordRehashed { credential: credential(2), version: 2 },
        AccountEvent::EmailVerified { token: None },
        AccountEvent::EmailChanged { token: token(), profile: Some(profile()) },
        AccountEvent::RoleGranted { role: Role::Admin, reason: "first".into() },
    ] {
        assert_eq!(evolve(given([registered()]).0, &event, NOON).session_epoch, 0, "{event:?}");
    }
}

#[test]
fn a_disabled_account_takes_no_command_of_its_owner() {
    let disabled = given([registered(), AccountEvent::AccountDisabled { reason: "left".into() }]);
    for command in [
        Command::RequestReset { token: token() },
        Command::ResetPassword { token: token(), credential: credential(9) },
        Command::ChangePassword { credential: credential(9), kept_session: session() },
        Command::UpdateProfile { locale: None, first_name: Some("B".into()), last_name: None },
        Command::VerifyEmail { token: token() },
        Command::ForceReset { token: token(), reason: "stolen".into() },
    ] {
        assert_eq!(disabled.when(command.clone()), Err(Rejection::Disabled), "{command:?}");
    }
    assert_eq!(
        disabled.when(Command::Enable { reason: "back".into() }),
        Ok(vec![AccountEvent::AccountEnabled { reason: "back".into() }])
    );
}

#[test]
fn what_is_so_already_causes_no_event() {
    let admin = given([registered(), AccountEvent::RoleGranted { role: Role::Admin, reason: "first".into() }]);
    assert_eq!(admin.when(Command::GrantRole { role: Role::Admin, reason: "again".into() }), Ok(vec![]));
    assert_eq!(admin.when(Command::RevokeRole { role: Role::Auditor, reason: "none".into() }), Ok(vec![]));
    assert_eq!(
        admin.when(Command::UpdateProfile { locale: None, first_name: Some("Ana".into()), last_name: None }),
        Ok(vec![])
    );
    assert_eq!(admin.when(Command::Unlock { blocked: false, reason: "asked".into() }), Ok(vec![]));
}

#[test]
fn a_block_is_lifted_like_a_lock_and_says_why() {
    let unlocked = vec![AccountEvent::AccountUnlocked { by_reset: false, reason: Some("asked".into()) }];
    for (blocked, locked) in [(true, false), (false, true), (true, true)] {
        let given =
            given([registered()].into_iter().chain(locked.then_some(AccountEvent::AccountLocked { failures: 100 })));
        assert_eq!(given.when(Command::Unlock { blocked, reason: "asked".into() }), Ok(unlocked.clone()));
    }
}

#[test]
fn a_forced_reset_is_over_when_a_new_password_is_set() {
    let forced = AccountEvent::PasswordResetForced { token: token(), reason: "stolen".into() };
    let waiting = given([registered(), forced.clone()]);
    assert_eq!(waiting.0.reset_required_at, Some(NOON));
    assert_eq!((waiting.0.status, waiting.0.credential), (Status::Active, given([registered()]).0.credential));
    let reset = AccountEvent::PasswordReset { token: token(), credential: credential(9), version: 2 };
    assert_eq!(given([registered(), forced, reset]).0.reset_required_at, None);
}

#[test]
fn an_erased_profile_can_still_be_replayed() {
    let erased = given([AccountEvent::Registered { locale: Locale::En, credential: credential(2), profile: None }]);
    assert_eq!(erased.0.profile, None);
    assert_eq!(
        erased.when(Command::ConfirmEmailChange { token: token(), new_email: "b@example.com".into() }),
        Err(Rejection::Erased)
    );
}

fn brought_over() -> Imported {
    Imported {
        source: "django".into(),
        source_id: "17".into(),
        locale: Locale::En,
        credential: Some(credential(2)),
        disabled: false,
        email_verified: true,
        roles: vec![],
        joined_at: Some(Timestamp::from_seconds(1_500_000_000)),
        last_login_at: None,
        profile: profile(),
    }
}

fn import(imported: Imported) -> Command {
    Command::Import(Box::new(imported))
}

fn imported(account: Imported) -> Account {
    let events = given([]).when(import(account)).unwrap();
    assert_eq!(events.len(), 1, "one event, however much it tells");
    given(events).0
}

#[test]
fn an_imported_account_is_what_it_was_with_the_age_it_had() {
    let account = imported(brought_over());
    assert_eq!(account.status, Status::Active);
    assert_eq!(account.created_at, Some(Timestamp::from_seconds(1_500_000_000)));
    assert_eq!(account.email_verified_at, Some(NOON));
    assert_eq!(
        (account.profile, account.credential),
        (Some(profile()), Some(Credential { id: credential(2), version: 1 }))
    );
    assert_eq!((account.password_changed_at, account.session_epoch), (None, 0));
}

#[test]
fn an_import_begins_an_account_and_never_changes_one() {
    assert_eq!(given([registered()]).when(import(brought_over())), Err(Rejection::Exists));
    let imported = Given(imported(brought_over()));
    assert_eq!(imported.when(import(brought_over())), Err(Rejection::Exists));
    assert_eq!(imported.when(register()), Err(Rejection::Exists));
}

#[test]
fn an_inactive_account_is_imported_disabled_and_can_be_enabled() {
    let given = Given(imported(Imported { disabled: true, ..brought_over() }));
    assert_eq!(given.when(Command::RequestReset { token: token() }), Err(Rejection::Disabled));
    assert_eq!(
        given.when(Command::Enable { reason: "back".into() }),
        Ok(vec![AccountEvent::AccountEnabled { reason: "back".into() }])
    );
}

#[test]
fn an_account_imported_without_a_password_gets_its_first_by_a_reset() {
    let given = Given(imported(Imported { credential: None, email_verified: false, ..brought_over() }));
    assert_eq!(given.when(Command::RehashPassword), Ok(vec![]));
    assert_eq!(
        given.when(Command::ResetPassword { token: token(), credential: credential(9) }),
        Ok(vec![
            AccountEvent::PasswordReset { token: token(), credential: credential(9), version: 1 },
            AccountEvent::EmailVerified { token: Some(token()) },
        ])
    );
}

#[test]
fn roles_are_imported_once_each() {
    let roles = vec![Role::Admin, Role::Auditor, Role::Admin];
    let Ok(events) = given([]).when(import(Imported { roles, ..brought_over() })) else { panic!("refused") };
    let AccountEvent::AccountImported { roles, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*roles, [Role::Auditor, Role::Admin]);
    let account = given(events.clone()).0;
    assert_eq!(account.roles.len(), 2);
}
