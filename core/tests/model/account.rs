//! The life of an account: from nothing to its erasure.

use doorbook_core::account::{
    Account, AccountEvent, Command, ErasureCause, Imported, Profile, Rejection, Role, Status, decide, evolve,
};
use doorbook_core::clock::Timestamp;
use doorbook_core::event::Event;
use doorbook_core::value::{CredentialId, DataKeyId, Locale, SessionId, TokenId};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use uuid::Uuid;

use crate::hold;

const BEGINNING: i64 = 1_800_000_000;

fn at(second: usize) -> Timestamp {
    Timestamp::from_seconds(BEGINNING + i64::try_from(second).unwrap())
}

fn profile(email: u8) -> Profile {
    Profile { email: format!("ana{email}@example.com"), first_name: "Ana".into(), last_name: "Lima".into() }
}

fn credential() -> impl Strategy<Value = CredentialId> {
    (1_u128..9).prop_map(|id| CredentialId(Uuid::from_u128(id)))
}

fn token() -> impl Strategy<Value = TokenId> {
    (1_u128..9).prop_map(|id| TokenId(Uuid::from_u128(id)))
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Auditor), Just(Role::Admin)]
}

fn email() -> impl Strategy<Value = String> {
    (0_u8..4).prop_map(|number| profile(number).email)
}

fn beginning() -> impl Strategy<Value = Command> {
    let register = (credential(), token(), 0_u8..4).prop_map(|(credential, verification, email)| Command::Register {
        locale: Locale::En,
        credential,
        profile: profile(email),
        verification,
    });
    let import = (proptest::option::of(credential()), any::<[bool; 2]>(), proptest::collection::vec(role(), 0..3));
    let import = import.prop_map(|(credential, [disabled, email_verified], roles)| {
        Command::Import(Box::new(Imported {
            source: "django".into(),
            source_id: "7".into(),
            locale: Locale::Es,
            credential,
            disabled,
            email_verified,
            roles,
            joined_at: None,
            last_login_at: None,
            profile: profile(0),
        }))
    });
    prop_oneof![register, import]
}

fn of_its_owner() -> impl Strategy<Value = Command> {
    prop_oneof![
        token().prop_map(|token| Command::RequestVerification { token }),
        token().prop_map(|token| Command::VerifyEmail { token }),
        proptest::option::of("[AB]").prop_map(|first_name| Command::UpdateProfile {
            locale: None,
            first_name,
            last_name: None
        }),
        credential()
            .prop_map(|credential| Command::ChangePassword { credential, kept_session: SessionId(Uuid::nil()) }),
        Just(Command::RehashPassword),
        token().prop_map(|token| Command::RequestReset { token }),
        (token(), credential()).prop_map(|(token, credential)| Command::ResetPassword { token, credential }),
        (token(), 1_i64..900).prop_map(|(token, days)| Command::RequestDeletion {
            token,
            erase_at: Timestamp::from_seconds(BEGINNING + days * 86_400)
        }),
        token().prop_map(|token| Command::CancelDeletion { token }),
    ]
}

fn of_an_address() -> impl Strategy<Value = Command> {
    let taken_back = proptest::option::of((token(), email()));
    prop_oneof![
        (token(), email()).prop_map(|(token, new_email)| Command::RequestEmailChange { token, new_email }),
        (token(), email()).prop_map(|(token, new_email)| Command::ConfirmEmailChange { token, new_email }),
        (token(), email()).prop_map(|(token, old_email)| Command::UndoEmailChange { token, old_email }),
        (token(), token(), taken_back).prop_map(|(token, reset, taken_back)| Command::Freeze {
            token,
            reset,
            taken_back
        }),
    ]
}

fn of_others() -> impl Strategy<Value = Command> {
    let reason = || "asked".to_owned();
    prop_oneof![
        token().prop_map(|token| Command::ExpireVerification { token }),
        token().prop_map(|token| Command::ExpireReset { token }),
        token().prop_map(|token| Command::ExpireEmailChange { token }),
        Just(Command::Lock { failures: 100 }),
        any::<bool>().prop_map(move |blocked| Command::Unlock { blocked, reason: reason() }),
        token().prop_map(move |token| Command::ForceReset { token, reason: reason() }),
        Just(Command::Disable { reason: reason() }),
        Just(Command::Enable { reason: reason() }),
        role().prop_map(move |role| Command::GrantRole { role, reason: reason() }),
        role().prop_map(move |role| Command::RevokeRole { role, reason: reason() }),
        Just(Command::RevokeAllSessions { reason: reason() }),
        Just(Command::VouchForEmail),
    ]
}

fn erasure() -> impl Strategy<Value = Command> {
    any::<bool>().prop_map(|has_key| Command::Erase {
        cause: ErasureCause::Ordered,
        reason: None,
        data_key: has_key.then(|| DataKeyId(Uuid::from_u128(5))),
    })
}

/// Most begin an account first; few end it.
fn lives() -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![
        1 => beginning(),
        16 => of_its_owner(),
        10 => of_an_address(),
        16 => of_others(),
        1 => erasure(),
    ];
    (beginning(), 0..9, proptest::collection::vec(command, 1..60)).prop_map(|(first, skip, mut rest)| {
        if skip > 0 {
            rest.insert(0, first);
        }
        rest
    })
}

/// What each step must leave true, whatever it was.
fn is_sound(account: &Account) -> TestCaseResult {
    let Account { status, .. } = account;
    let is_somebody = !matches!(status, Status::Absent | Status::Erased);
    prop_assert_eq!(account.profile.is_some(), is_somebody, "who is there has a profile, and nobody else");
    if !is_somebody {
        prop_assert!(account.credential.is_none() && account.roles.is_empty(), "nobody has no password and no role");
        prop_assert_eq!((account.locked_at, account.reset_required_at, account.erase_at), (None, None, None));
    }
    if *status == Status::Absent {
        prop_assert_eq!(account, &Account::default(), "what was never begun is nothing");
    }
    prop_assert!(*status != Status::Leaving || account.erase_at.is_some(), "who leaves has a day for it");
    prop_assert!(
        account.erase_at.is_none() || matches!(status, Status::Leaving | Status::Disabled),
        "an account that can be used is never about to be erased"
    );
    prop_assert!(
        *status != Status::Frozen || account.reset_required_at.is_some(),
        "a frozen account opens with a new password"
    );
    Ok(())
}

fn may_follow(before: Status, after: Status) -> bool {
    use Status::{Absent, Active, Disabled, Erased, Frozen, Leaving};
    before == after
        || match before {
            Absent => matches!(after, Active | Disabled),
            Active => matches!(after, Disabled | Frozen | Leaving | Erased),
            Disabled => matches!(after, Active | Leaving | Erased),
            Frozen => matches!(after, Active | Disabled | Erased),
            Leaving => matches!(after, Active | Disabled | Frozen | Erased),
            Erased => false,
        }
}

/// Whether this may change which mailbox the account belongs to.
fn moves_address(command: &Command) -> bool {
    matches!(
        command,
        Command::Register { .. }
            | Command::Import(_)
            | Command::ConfirmEmailChange { .. }
            | Command::UndoEmailChange { .. }
            | Command::Freeze { taken_back: Some(_), .. }
            | Command::Erase { .. }
    )
}

/// Whether asking for it twice is asking for it once.
fn is_a_wish_for_a_state(command: &Command) -> bool {
    matches!(
        command,
        Command::UpdateProfile { .. }
            | Command::VouchForEmail
            | Command::Lock { .. }
            | Command::Unlock { blocked: false, .. }
            | Command::Disable { .. }
            | Command::GrantRole { .. }
            | Command::RevokeRole { .. }
            | Command::CancelDeletion { .. }
            | Command::Erase { .. }
    )
}

fn is_a_sound_step(before: &Account, command: &Command, events: &[AccountEvent], after: &Account) -> TestCaseResult {
    prop_assert!(may_follow(before.status, after.status), "{:?} became {:?}", before.status, after.status);
    let ending = events.iter().filter(|event| event.ends_sessions().is_some()).count();
    prop_assert_eq!(after.session_epoch, before.session_epoch + i64::try_from(ending).unwrap());
    let address = |account: &Account| account.profile.as_ref().map(|profile| profile.email.clone());
    prop_assert!(moves_address(command) || address(before) == address(after), "{command:?} moved the address");
    prop_assert!(
        before.email_verified_at.is_none() || after.email_verified_at.is_some(),
        "a mailbox that was proven stays proven"
    );
    if let (Some(old), Some(new)) = (before.credential, after.credential) {
        let set = events.iter().filter(|event| sets_password(event)).count();
        prop_assert_eq!(new.version, old.version + u32::try_from(set).unwrap(), "versions of a password have no gap");
    } else {
        prop_assert!(
            before.credential.is_none() || after.status == Status::Erased,
            "a password is lost by erasure only"
        );
    }
    if before.status == Status::Disabled && after.status != Status::Disabled {
        prop_assert!(matches!(command, Command::Enable { .. } | Command::Erase { .. }), "{command:?} lifted a ban");
    }
    if before.reset_required_at.is_some() && after.reset_required_at.is_none() {
        let by =
            matches!(command, Command::ResetPassword { .. } | Command::Erase { .. } | Command::ChangePassword { .. });
        prop_assert!(by, "{command:?} made a password good again");
    }
    if is_a_wish_for_a_state(command) {
        prop_assert_eq!(decide(after, command.clone()), Ok(vec![]), "once more changes nothing");
    }
    Ok(())
}

fn sets_password(event: &AccountEvent) -> bool {
    matches!(
        event,
        AccountEvent::PasswordChanged { .. }
            | AccountEvent::PasswordReset { .. }
            | AccountEvent::PasswordRehashed { .. }
    )
}

fn lead(commands: Vec<Command>) -> TestCaseResult {
    let (mut account, mut log) = (Account::default(), Vec::new());
    for (second, command) in commands.into_iter().enumerate() {
        let before = account.clone();
        match decide(&account, command.clone()) {
            Ok(events) => {
                account = events.iter().fold(account, |account, event| evolve(account, event, at(second)));
                is_a_sound_step(&before, &command, &events, &account)?;
                log.extend(events.into_iter().map(|event| (second, event)));
            }
            Err(Rejection::Absent) => prop_assert_eq!(before.status, Status::Absent),
            Err(Rejection::Erased) => prop_assert_eq!(before.status, Status::Erased),
            Err(Rejection::Exists) => prop_assert_ne!(before.status, Status::Absent),
            Err(Rejection::Disabled) => prop_assert_ne!(before.status, Status::Active),
            Err(Rejection::AlreadyVerified) => prop_assert!(before.email_verified_at.is_some()),
        }
        is_sound(&account)?;
    }
    let replayed = log.into_iter().fold(Account::default(), |account, (second, event)| {
        let event = Event::Account(event);
        let (name, payload) = event.stored();
        match Event::read("account", &name, &payload, Some(&event.personal())).unwrap() {
            Event::Account(event) => evolve(account, &event, at(second)),
            other => panic!("{other:?} is of no account"),
        }
    });
    prop_assert_eq!(replayed, account, "what is stored comes to the same");
    Ok(())
}

/// C076. Breaks when `core/src/account/decide.rs`: `        None => kept(account).into_iter().collect(),` → `        None => kept(account).into_iter().skip(1).collect(),`.
#[test]
fn whatever_is_asked_of_an_account_it_stays_sound_and_its_events_tell_all_of_it() {
    hold(&lives(), lead);
}
