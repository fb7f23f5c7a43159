use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::Report;
use super::compare::{
    AccountRow, CredentialRow, DeviceRow, EmailRow, Live, Opened, SessionRow, StreamRow, TokenRow, compare,
};
use super::fold::{Past, Replay, TokenState};
use crate::account::{AccountEvent, ErasureCause, Profile, Role, Status};
use crate::clock::Timestamp;
use crate::event::{Event, Personal};
use crate::session::{LoginMethod, SessionEvent};
use crate::store::columns::TABLES;
use crate::value::{AccountId, CredentialId, DeviceId, EventId, Locale, SessionId, TokenId};

const ANA: AccountId = AccountId(Uuid::from_u128(1));
const LAPTOP: SessionId = SessionId(Uuid::from_u128(0xa));
const PHONE: SessionId = SessionId(Uuid::from_u128(0xb));
const DEVICE: DeviceId = DeviceId(Uuid::from_u128(0xd));
const FIRST: CredentialId = CredentialId(Uuid::from_u128(0xc));
const LINK: TokenId = TokenId(Uuid::from_u128(0xe));

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + minute * 60)
}

/// A history that numbers its versions.
#[derive(Default)]
struct History(Replay);

impl History {
    fn of_ana() -> Self {
        let mut history = Self::default();
        history
            .account(0, AccountEvent::Registered { locale: Locale::En, credential: FIRST, profile: Some(profile()) });
        history
    }

    fn add(&mut self, stream: Uuid, at: Timestamp, event: Event, personal: Option<Personal>) {
        let version = self.0.versions.get(&stream).copied().unwrap_or(0) + 1;
        self.0.apply(ANA, Past { id: EventId::new(at), stream, version, event, personal }).unwrap();
    }

    fn account(&mut self, at: i64, event: AccountEvent) {
        self.add(ANA.0, minute(at), Event::Account(event), None);
    }

    fn session(&mut self, session: SessionId, at: i64, event: SessionEvent) {
        let personal = Personal { address: Some("::1".into()), user_agent: Some("x".into()), ..Personal::default() };
        self.add(session.0, minute(at), Event::Session(event), Some(personal));
    }

    fn login(&mut self, session: SessionId, at: i64, session_epoch: i64) {
        let method = LoginMethod::Password;
        let event = SessionEvent::LoggedIn { method, device: Some(DEVICE), device_known: false, session_epoch };
        self.session(session, at, event);
    }

    /// The epoch of a session and the marks it may bear.
    fn fate(&self, session: SessionId) -> (i64, Vec<Option<(Timestamp, &str)>>) {
        let fate = self.0.fate(session, &self.0.sessions[&session]);
        (fate.epoch, fate.ends.into_iter().map(|end| end.map(|end| (end.at, end.reason.as_str()))).collect())
    }

    fn state(&self, token: TokenId) -> TokenState {
        self.0.tokens[&token].state
    }
}

fn profile() -> Profile {
    Profile { email: "ana@example.com".into(), first_name: String::new(), last_name: String::new() }
}

fn revoke_all() -> AccountEvent {
    AccountEvent::AllSessionsRevoked { reason: "test".into() }
}

#[test]
fn a_password_change_ends_every_session_but_the_one_it_was_made_in() {
    let mut history = History::of_ana();
    history.login(LAPTOP, 1, 0);
    history.login(PHONE, 2, 0);
    history.account(60, AccountEvent::PasswordChanged { credential: FIRST, version: 2, kept_session: LAPTOP });
    assert_eq!(history.fate(LAPTOP), (1, vec![None]));
    assert_eq!(history.fate(PHONE), (0, vec![Some((minute(60), "PasswordChanged"))]));
    history.account(120, revoke_all());
    assert_eq!(history.fate(LAPTOP), (1, vec![Some((minute(120), "AllSessionsRevoked"))]));
    assert_eq!(history.fate(PHONE), (0, vec![Some((minute(60), "PasswordChanged"))]));
    assert_eq!((history.0.account.session_epoch, history.0.logins), (2, 2));
}

#[test]
fn a_session_that_has_ended_by_itself_is_not_ended_again() {
    let mut history = History::of_ana();
    history.login(LAPTOP, 1, 0);
    history.session(LAPTOP, 2, SessionEvent::LoggedOut);
    history.account(60, revoke_all());
    assert_eq!(history.fate(LAPTOP), (0, vec![Some((minute(2), "logged_out"))]));
}

#[test]
fn only_a_login_that_crossed_the_end_of_all_sessions_may_lack_its_mark() {
    let mut history = History::of_ana();
    history.login(LAPTOP, 1, 0);
    history.login(PHONE, 60, 0);
    history.account(60, revoke_all());
    history.account(90, revoke_all());
    let (first, second) = (Some((minute(60), "AllSessionsRevoked")), Some((minute(90), "AllSessionsRevoked")));
    assert_eq!(history.fate(LAPTOP), (0, vec![first]));
    assert_eq!(history.fate(PHONE), (0, vec![first, second, None]));
}

#[test]
fn a_newer_link_of_a_kind_voids_the_one_before() {
    let mut history = History::of_ana();
    let newer = TokenId(Uuid::from_u128(0xf));
    history.account(1, AccountEvent::PasswordResetRequested { token: LINK });
    history.account(2, AccountEvent::PasswordResetRequested { token: newer });
    assert_eq!((history.state(LINK), history.state(newer)), (TokenState::Void, TokenState::Open));
    history.account(3, AccountEvent::PasswordReset { token: newer, credential: FIRST, version: 2 });
    history.account(3, AccountEvent::EmailVerified { token: Some(newer) });
    assert_eq!(history.state(newer), TokenState::Used);
}

#[test]
fn a_forced_reset_voids_an_open_change_of_address_and_its_link_is_spent_like_any_other() {
    let mut history = History::of_ana();
    let forced = TokenId(Uuid::from_u128(0xf));
    history.account(1, AccountEvent::EmailChangeRequested { token: LINK, new_email: None });
    history.account(2, AccountEvent::PasswordResetForced { token: forced, reason: "test".into() });
    assert_eq!((history.state(LINK), history.state(forced)), (TokenState::Void, TokenState::Open));
    history.account(3, AccountEvent::PasswordReset { token: forced, credential: FIRST, version: 2 });
    assert_eq!(history.state(forced), TokenState::Used);
}

#[test]
fn the_link_that_takes_a_deletion_back_is_spent_by_it_and_void_without_it() {
    let mut history = History::of_ana();
    let (request, erase_at) = (TokenId(Uuid::from_u128(0xf)), minute(9));
    history.account(1, AccountEvent::PasswordResetRequested { token: LINK });
    history.account(2, AccountEvent::DeletionRequested { token: request, erase_at });
    assert_eq!((history.state(LINK), history.state(request)), (TokenState::Void, TokenState::Open));
    history.account(3, AccountEvent::DeletionCancelled { token: Some(request), reason: None });
    assert_eq!(history.state(request), TokenState::Used);
    let another = TokenId(Uuid::from_u128(0x10));
    history.account(4, AccountEvent::DeletionRequested { token: another, erase_at });
    history.account(5, AccountEvent::DeletionCancelled { token: None, reason: Some("asked by phone".into()) });
    assert_eq!(history.state(another), TokenState::Void);
}

#[test]
fn the_link_of_a_notice_is_spent_and_no_device_of_before_is_known() {
    let mut history = History::of_ana();
    let (link, reset) = (TokenId(Uuid::from_u128(0xf)), TokenId(Uuid::from_u128(0x10)));
    history.account(1, AccountEvent::EmailChangeRequested { token: LINK, new_email: None });
    history.account(2, AccountEvent::AccountFrozenByOwner { token: link, reset });
    assert_eq!((history.state(LINK), history.state(link)), (TokenState::Void, TokenState::Used));
    assert_eq!(history.state(reset), TokenState::Open);
    history.login(LAPTOP, 1, 0);
    let mut replay = history.0;
    replay.end();
    assert!(replay.devices.is_empty(), "told after the account's own events: streams come in any order");
}

#[test]
fn an_erased_account_has_no_rows_left_but_its_own() {
    let mut history = History::of_ana();
    history.login(LAPTOP, 1, 0);
    history.account(2, AccountEvent::EmailVerificationRequested { token: LINK });
    history.account(3, AccountEvent::AccountErased { cause: ErasureCause::Ordered, reason: Some("test".into()) });
    // Told after the account's own events: streams come in any order.
    history.login(PHONE, 2, 0);
    let mut replay = history.0;
    replay.end();
    assert!(replay.sessions.is_empty() && replay.tokens.is_empty() && replay.devices.is_empty());
    assert_eq!((replay.account.profile, replay.account.credential), (None, None));
    assert_eq!((replay.account.status, replay.logins), (Status::Erased, 2));
}

#[test]
fn a_missing_version_is_a_fault() {
    let mut history = History::of_ana();
    let past = Past {
        id: EventId::new(minute(1)),
        stream: ANA.0,
        version: 3,
        event: Event::Account(revoke_all()),
        personal: None,
    };
    assert!(history.0.apply(ANA, past).unwrap_err().contains("version 3 follows 1"));
}

/// Live rows as the service writes them for `history()`.
fn live() -> Live {
    Live {
        account: Some(AccountRow {
            account_id: ANA,
            profile: Some(vec![1]),
            locale: "en".into(),
            status: "active".into(),
            roles: vec!["auditor".into()],
            email_verified_at: None,
            locked_at: Some(minute(3)),
            created_at: minute(0),
            password_changed_at: Some(minute(0)),
            last_login_at: Some(minute(1)),
            reset_required_at: None,
            erase_at: None,
        }),
        credential: Some(CredentialRow {
            account_id: ANA,
            kind: "password".into(),
            credential_id: FIRST,
            version: 1,
            updated_at: minute(0),
        }),
        emails: vec![EmailRow { account_id: ANA, email_key: vec![7; 32], key_id: "lookup".into() }],
        sessions: vec![SessionRow {
            session_id: LAPTOP,
            account_id: ANA,
            session_epoch: 0,
            device_id: Some(DEVICE),
            origin: Some(vec![1]),
            created_at: minute(1),
            revoked_at: Some(minute(60)),
            revoked_reason: Some("AllSessionsRevoked".into()),
        }],
        tokens: vec![TokenRow {
            token_id: LINK,
            account_id: ANA,
            kind: "verify".into(),
            state: "open".into(),
            created_at: minute(0),
        }],
        devices: vec![DeviceRow { device_id: DEVICE, account_id: ANA, created_at: minute(1) }],
        import: None,
        streams: vec![stream(ANA.0, "account", 5, 1, 1), stream(LAPTOP.0, "session", 1, 0, 0)],
    }
}

fn stream(stream_id: Uuid, kind: &str, version: i64, session_epoch: i64, logins: i64) -> StreamRow {
    StreamRow { stream_id, kind: kind.into(), subject_id: Some(ANA.0), version, session_epoch, logins }
}

fn history() -> Replay {
    let mut history = History::of_ana();
    history.account(0, AccountEvent::EmailVerificationRequested { token: LINK });
    history.login(LAPTOP, 1, 0);
    history.account(2, AccountEvent::RoleGranted { role: Role::Auditor, reason: "test".into() });
    history.account(3, AccountEvent::AccountLocked { failures: 100 });
    history.account(60, revoke_all());
    history.0
}

fn opened() -> Opened {
    Opened {
        profile: Some(profile()),
        origins: vec![Some(("::1".into(), "x".into()))],
        lookup_key_id: "lookup".into(),
        email_key: Some([7; 32]),
    }
}

fn differences(live: &Live, opened: &Opened) -> Vec<String> {
    let mut report = Report::default();
    compare(ANA, live, opened, &history(), &mut report);
    report.differences
}

#[test]
fn rows_that_follow_from_the_events_show_no_difference() {
    assert_eq!(differences(&live(), &opened()), Vec::<String>::new());
}

#[test]
fn a_row_without_events_and_events_without_a_row_are_differences() {
    let found = differences(&Live::default(), &opened()).join("\n");
    for table in ["accounts", "credentials", "account_emails", "sessions", "tokens", "devices", "streams"] {
        assert!(found.contains(&format!("{table} ")), "{table} in {found}");
    }
    let mut report = Report::default();
    compare(ANA, &live(), &opened(), &Replay::default(), &mut report);
    let found = report.differences.join("\n");
    for table in ["accounts", "credentials", "sessions", "tokens", "devices", "streams"] {
        assert!(found.contains(&format!("{table} ")), "{table} in {found}");
    }
}

#[test]
fn no_difference_shows_personal_data() {
    let other = Profile { email: "canary@example.com".into(), ..profile() };
    let origin = Some(("canary".into(), "canary".into()));
    let found = differences(&live(), &Opened { profile: Some(other), origins: vec![origin], ..opened() }).join("\n");
    assert!(found.contains("profile") && found.contains("origin"), "{found}");
    assert!(!found.contains("canary") && !found.contains("ana@"), "{found}");
}

/// Every derived column but those that a row is found by, changed.
fn distorted() -> (Live, Opened) {
    let (mut live, off) = (live(), minute(-1));
    let account = live.account.as_mut().unwrap();
    (account.locale, account.status, account.roles) = ("es".into(), "disabled".into(), vec![]);
    (account.email_verified_at, account.locked_at, account.created_at) = (Some(off), None, off);
    (account.password_changed_at, account.last_login_at) = (Some(off), None);
    (account.reset_required_at, account.erase_at) = (Some(off), Some(off));
    let credential = live.credential.as_mut().unwrap();
    (credential.kind, credential.credential_id) = ("passkey".into(), CredentialId(Uuid::nil()));
    (credential.version, credential.updated_at) = (9, off);
    live.emails[0].email_key = vec![8; 32];
    let session = &mut live.sessions[0];
    (session.session_epoch, session.device_id, session.created_at) = (5, None, off);
    (session.revoked_at, session.revoked_reason) = (Some(off), Some("other".into()));
    let token = &mut live.tokens[0];
    (token.kind, token.state, token.created_at) = ("reset".into(), "used".into(), off);
    live.devices[0].created_at = off;
    live.import = Some(("other".into(), "8".into()));
    let guard = &mut live.streams[0];
    (guard.kind, guard.subject_id) = ("session".into(), None);
    (guard.version, guard.session_epoch, guard.logins) = (9, 9, 9);
    (live, Opened { profile: None, origins: vec![None], email_key: Some([7; 32]), lookup_key_id: "lookup".into() })
}

#[test]
fn every_derived_column_is_compared() {
    // What a row is found by differs as a row that is missing or that nothing explains; so does the state of an address.
    const FOUND_BY: [&str; 10] = [
        "imported_accounts.account_id",
        "streams.stream_id",
        "accounts.account_id",
        "account_emails.account_id",
        "account_emails.state",
        "credentials.account_id",
        "sessions.session_id",
        "sessions.account_id",
        "devices.device_id",
        "devices.account_id",
    ];
    let (live, opened) = distorted();
    let found = differences(&live, &opened);
    let mut missed = BTreeSet::new();
    for table in TABLES {
        for column in table.derived {
            let named =
                |line: &String| line.starts_with(&format!("{} ", table.name)) && line.contains(&format!("{column} is"));
            if !found.iter().any(named) {
                missed.insert(format!("{}.{column}", table.name));
            }
        }
    }
    let found_by: BTreeSet<_> =
        FOUND_BY.into_iter().chain(["tokens.token_id", "tokens.account_id"]).map(str::to_owned).collect();
    assert_eq!(missed, found_by, "{}", found.join("\n"));
}

#[test]
fn an_imported_account_keeps_its_age_its_last_login_and_where_it_came_from() {
    let mut history = History::default();
    history.account(
        60,
        AccountEvent::AccountImported {
            source: "django".into(),
            source_id: "7".into(),
            locale: Locale::En,
            credential: Some(FIRST),
            disabled: false,
            email_verified: true,
            roles: vec![],
            joined_at: Some(minute(1)),
            last_login_at: Some(minute(2)),
            profile: Some(profile()),
        },
    );
    let replay = history.0;
    assert_eq!((replay.account.created_at, replay.last_login_at), (Some(minute(1)), Some(minute(2))));
    assert_eq!((replay.account.email_verified_at, replay.credential_at), (Some(minute(60)), Some(minute(60))));
    assert_eq!(replay.imported, Some(("django".into(), "7".into())));
}

#[test]
fn the_list_of_differences_is_bounded_and_the_rest_is_counted() {
    let mut report = Report::default();
    for number in 0..1_500 {
        report.note(number.to_string());
    }
    assert_eq!((report.differences.len(), report.unlisted), (1_000, 500));
}

#[test]
fn a_difference_of_a_millisecond_in_a_mark_is_one() {
    let mut live = live();
    live.sessions[0].revoked_at = Some(minute(60).plus(Duration::from_millis(1)));
    assert_eq!(differences(&live, &opened()).len(), 1);
}
