//! The rules of an account as sentences.

use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::value::{CredentialId, DataKeyId, Locale, SessionId, TokenId};

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
fn change_reset_disable_undo_freeze_deletion_erasure_and_revoke_all_end_sessions_and_nothing_else_does() {
    let ending = [
        AccountEvent::PasswordChanged { credential: credential(9), version: 2, kept_session: session() },
        AccountEvent::PasswordReset { token: token(), credential: credential(9), version: 2 },
        AccountEvent::PasswordResetForced { token: token(), reason: "stolen".into() },
        AccountEvent::AccountDisabled { reason: "left".into() },
        AccountEvent::AllSessionsRevoked { reason: "asked".into() },
        AccountEvent::EmailChangeUndone { token: token(), profile: Some(profile()) },
        frozen(),
        leaving(),
        erased(),
    ];
    for event in ending {
        assert_eq!(evolve(given([registered()]).0, &event, NOON).session_epoch, 1, "{event:?}");
    }
    for event in [
        AccountEvent::PasswordRehashed { credential: credential(2), version: 2 },
        AccountEvent::EmailVerified { token: None },
        AccountEvent::EmailChanged { token: token(), profile: Some(profile()) },
        AccountEvent::RoleGranted { role: Role::Admin, reason: "first".into() },
        AccountEvent::DeletionCancelled { token: Some(token()), reason: None },
        AccountEvent::DataKeyShredded { data_key: data_key() },
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
        freeze(None),
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

fn freeze(taken_back: Option<(TokenId, String)>) -> Command {
    Command::Freeze { token: token(), reset: TokenId(Uuid::from_u128(5)), taken_back }
}

fn frozen() -> AccountEvent {
    AccountEvent::AccountFrozenByOwner { token: token(), reset: TokenId(Uuid::from_u128(5)) }
}

#[test]
fn a_frozen_account_takes_nothing_but_resets_and_what_old_mailboxes_and_operators_do() {
    let given = given([registered(), frozen()]);
    assert_eq!((given.0.status, given.0.reset_required_at), (Status::Frozen, Some(NOON)));
    for command in [
        Command::ChangePassword { credential: credential(9), kept_session: session() },
        Command::UpdateProfile { locale: None, first_name: Some("B".into()), last_name: None },
        Command::RequestEmailChange { token: token(), new_email: "b@example.com".into() },
        Command::VerifyEmail { token: token() },
        Command::RequestDeletion { token: token(), erase_at: LATER },
    ] {
        assert_eq!(given.when(command.clone()), Err(Rejection::Disabled), "{command:?}");
    }
    for command in [
        Command::RequestReset { token: token() },
        Command::UndoEmailChange { token: token(), old_email: "a@example.com".into() },
        Command::ForceReset { token: token(), reason: "stolen".into() },
        Command::Disable { reason: "fraud".into() },
        Command::Enable { reason: "asked by phone".into() },
        erase(),
        freeze(None),
    ] {
        assert!(given.when(command.clone()).is_ok_and(|events| !events.is_empty()), "{command:?}");
    }
}

#[test]
fn a_reset_opens_a_frozen_account_and_an_admin_opens_it_for_a_reset_alone() {
    let reset = AccountEvent::PasswordReset { token: token(), credential: credential(9), version: 2 };
    let open = given([registered(), frozen(), reset]).0;
    assert_eq!((open.status, open.reset_required_at), (Status::Active, None));
    let enabled = AccountEvent::AccountEnabled { reason: "asked by phone".into() };
    let waiting = given([registered(), frozen(), enabled]).0;
    assert_eq!((waiting.status, waiting.reset_required_at), (Status::Active, Some(NOON)));
}

#[test]
fn whoever_freezes_takes_back_what_a_thief_has_asked_for() {
    let cancelled = AccountEvent::DeletionCancelled { token: None, reason: None };
    assert_eq!(given([registered(), leaving()]).when(freeze(None)), Ok(vec![cancelled.clone(), frozen()]));
    let undo = TokenId(Uuid::from_u128(6));
    let old = Profile { email: "old@example.com".into(), ..profile() };
    let undone = AccountEvent::EmailChangeUndone { token: undo, profile: Some(old) };
    assert_eq!(
        given([registered(), leaving()]).when(freeze(Some((undo, "old@example.com".into())))),
        Ok(vec![undone, cancelled, frozen()])
    );
}

const LATER: Timestamp = Timestamp::from_seconds(1_801_209_600);

fn data_key() -> DataKeyId {
    DataKeyId(Uuid::from_u128(4))
}

fn leaving() -> AccountEvent {
    AccountEvent::DeletionRequested { token: token(), erase_at: LATER }
}

fn erased() -> AccountEvent {
    AccountEvent::AccountErased { cause: ErasureCause::Requested, reason: None }
}

fn erase() -> Command {
    Command::Erase { cause: ErasureCause::Requested, reason: None, data_key: Some(data_key()) }
}

#[test]
fn an_account_that_is_leaving_takes_no_command_of_its_owner_but_the_one_that_keeps_it() {
    let given = given([registered(), leaving()]);
    assert_eq!((given.0.status, given.0.erase_at), (Status::Leaving, Some(LATER)));
    for command in [
        Command::RequestReset { token: token() },
        Command::ResetPassword { token: token(), credential: credential(9) },
        Command::UpdateProfile { locale: None, first_name: Some("B".into()), last_name: None },
        Command::RequestDeletion { token: token(), erase_at: LATER },
    ] {
        assert_eq!(given.when(command.clone()), Err(Rejection::Disabled), "{command:?}");
    }
    assert_eq!(
        given.when(Command::CancelDeletion { token: token() }),
        Ok(vec![AccountEvent::DeletionCancelled { token: Some(token()), reason: None }])
    );
}

#[test]
fn a_deletion_that_was_taken_back_is_as_if_nobody_had_asked() {
    let kept = given([registered(), leaving(), AccountEvent::DeletionCancelled { token: Some(token()), reason: None }]);
    assert_eq!((kept.0.status, kept.0.erase_at, kept.0.profile.clone()), (Status::Active, None, Some(profile())));
    assert_eq!(kept.when(Command::CancelDeletion { token: token() }), Ok(vec![]));
}

#[test]
fn whoever_undoes_a_change_of_address_takes_a_thiefs_deletion_back_with_it() {
    let undo = Command::UndoEmailChange { token: token(), old_email: "ana@example.com".into() };
    let undone = AccountEvent::EmailChangeUndone { token: token(), profile: Some(profile()) };
    assert_eq!(
        given([registered(), leaving()]).when(undo.clone()),
        Ok(vec![undone.clone(), AccountEvent::DeletionCancelled { token: None, reason: None }])
    );
    assert_eq!(given([registered()]).when(undo), Ok(vec![undone]));
}

#[test]
fn an_admin_enables_an_account_that_is_leaving_by_taking_its_deletion_back() {
    let enable = || Command::Enable { reason: "asked by phone".into() };
    let taken_back = AccountEvent::DeletionCancelled { token: None, reason: Some("asked by phone".into()) };
    assert_eq!(given([registered(), leaving()]).when(enable()), Ok(vec![taken_back.clone()]));
    // A ban goes first, the wish stays.
    let banned = given([registered(), leaving(), AccountEvent::AccountDisabled { reason: "fraud".into() }]);
    let enabled = AccountEvent::AccountEnabled { reason: "asked by phone".into() };
    assert_eq!(banned.when(enable()), Ok(vec![enabled.clone()]));
    assert_eq!(evolve(banned.0, &enabled, NOON).status, Status::Leaving);
}

#[test]
fn an_erasure_names_the_key_that_goes_and_is_the_end_of_every_account() {
    let gone = vec![erased(), AccountEvent::DataKeyShredded { data_key: data_key() }];
    let disabled = AccountEvent::AccountDisabled { reason: "left".into() };
    for history in [vec![registered()], vec![registered(), leaving()], vec![registered(), disabled]] {
        assert_eq!(given(history).when(erase()), Ok(gone.clone()));
    }
    let admin = AccountEvent::RoleGranted { role: Role::Admin, reason: "first".into() };
    let end = given([registered(), admin, leaving(), erased()]);
    assert_eq!((end.0.status, end.0.erase_at), (Status::Erased, None));
    assert!(end.0.profile.is_none() && end.0.credential.is_none() && end.0.roles.is_empty());
    assert_eq!(end.when(erase()), Ok(vec![]));
    for command in [
        Command::Enable { reason: "back".into() },
        Command::RequestReset { token: token() },
        Command::GrantRole { role: Role::Admin, reason: "back".into() },
        Command::CancelDeletion { token: token() },
    ] {
        assert_eq!(end.when(command.clone()), Err(Rejection::Erased), "{command:?}");
    }
    assert_eq!(end.when(register()), Err(Rejection::Exists));
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
