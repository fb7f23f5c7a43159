//! Stored names and shapes are for ever: one example of every event, in both directions. A new variant does not compile until it
//! stands here, and whatever changes an old one fails against the file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

use doorbook_core::account::{AccountEvent, ErasureCause, Profile, Role};
use doorbook_core::alert::{Evidence, SecurityEvent};
use doorbook_core::attempt::{AttemptEvent, LoginFailure};
use doorbook_core::clock::Timestamp;
use doorbook_core::event::{Event, Personal};
use doorbook_core::notification::NotificationEvent;
use doorbook_core::operator::OperatorEvent;
use doorbook_core::session::{LoginMethod, RevokeReason, SessionEvent};
use doorbook_core::terms::Severity;
use doorbook_core::value::{
    AccountId, CredentialId, DataKeyId, DeliveryId, DeviceId, EventId, Locale, SessionId, TokenId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

const GOLDEN: &str = include_str!("golden/events.json");

/// One stored event as the file holds it. `personal` is what would be sealed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kind: String,
    retention_class: String,
    name: String,
    payload: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    personal: Option<Personal>,
}

/// Lists examples of one enum, each under its variant. The `match` is exhaustive: a new variant must be listed to compile.
macro_rules! examples {
    ($enum:ident { $($pattern:pat => [$($example:expr),+ $(,)?]),+ $(,)? }) => {{
        let listed: Vec<$enum> = vec![$($({
            let example = $example;
            assert!(matches!(example, $pattern), "{example:?} stands under another variant");
            example
        }),+),+];
        for example in &listed {
            match example { $($pattern => {})+ }
        }
        listed
    }};
}

fn id(last: u128) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + last)
}

fn token() -> TokenId {
    TokenId(id(1))
}

fn credential() -> CredentialId {
    CredentialId(id(2))
}

fn profile() -> Profile {
    Profile { email: "ana@example.com".into(), first_name: "Ana".into(), last_name: "José".into() }
}

fn reason() -> String {
    "asked by phone".into()
}

/// With everything, or with nothing that can be missing.
fn imported(credential: Option<CredentialId>) -> AccountEvent {
    let all = credential.is_some();
    AccountEvent::AccountImported {
        source: "django".into(),
        source_id: "4711".into(),
        locale: Locale::En,
        credential,
        disabled: !all,
        email_verified: all,
        roles: if all { vec![Role::Auditor, Role::Admin] } else { vec![] },
        joined_at: all.then_some(Timestamp::from_micros(1_400_000_000_123_456)),
        last_login_at: all.then_some(Timestamp::from_micros(1_700_000_000_000_000)),
        profile: Some(profile()),
    }
}

fn account() -> Vec<AccountEvent> {
    use AccountEvent as E;
    examples!(AccountEvent {
        E::Registered { locale: Locale::En, .. } => [
            E::Registered { locale: Locale::En, credential: credential(), profile: Some(profile()) }
        ],
        E::Registered { locale: Locale::Es, .. } => [
            E::Registered { locale: Locale::Es, credential: credential(), profile: Some(profile()) }
        ],
        E::AccountImported { credential: Some(_), .. } => [imported(Some(credential()))],
        E::AccountImported { credential: None, .. } => [imported(None)],
        E::EmailVerificationRequested { .. } => [E::EmailVerificationRequested { token: token() }],
        E::EmailVerificationExpired { .. } => [E::EmailVerificationExpired { token: token() }],
        E::EmailVerified { .. } => [E::EmailVerified { token: Some(token()) }, E::EmailVerified { token: None }],
        E::ProfileUpdated { .. } => [E::ProfileUpdated { locale: Locale::Es, profile: Some(profile()) }],
        E::PasswordChanged { .. } => [
            E::PasswordChanged { credential: credential(), version: 2, kept_session: SessionId(id(3)) }
        ],
        E::PasswordRehashed { .. } => [E::PasswordRehashed { credential: credential(), version: 3 }],
        E::PasswordResetRequested { .. } => [E::PasswordResetRequested { token: token() }],
        E::PasswordResetExpired { .. } => [E::PasswordResetExpired { token: token() }],
        E::PasswordResetForced { .. } => [E::PasswordResetForced { token: token(), reason: reason() }],
        E::PasswordReset { .. } => [E::PasswordReset { token: token(), credential: credential(), version: 4 }],
        E::EmailChangeRequested { .. } => [
            E::EmailChangeRequested { token: token(), new_email: Some("ana@example.org".into()) }
        ],
        E::EmailChangeExpired { .. } => [E::EmailChangeExpired { token: token() }],
        E::EmailChanged { .. } => [E::EmailChanged { token: token(), profile: Some(profile()) }],
        E::EmailChangeUndone { .. } => [E::EmailChangeUndone { token: token(), profile: Some(profile()) }],
        E::AccountLocked { .. } => [E::AccountLocked { failures: 100 }],
        E::AccountUnlocked { reason: None, .. } => [E::AccountUnlocked { by_reset: true, reason: None }],
        E::AccountUnlocked { reason: Some(_), .. } => [E::AccountUnlocked { by_reset: false, reason: Some(reason()) }],
        E::AccountDisabled { .. } => [E::AccountDisabled { reason: reason() }],
        E::AccountEnabled { .. } => [E::AccountEnabled { reason: reason() }],
        E::AccountFrozenByOwner { .. } => [E::AccountFrozenByOwner { token: token(), reset: TokenId(id(6)) }],
        E::RoleGranted { role: Role::Admin, .. } => [E::RoleGranted { role: Role::Admin, reason: reason() }],
        E::RoleGranted { role: Role::Auditor, .. } => [E::RoleGranted { role: Role::Auditor, reason: reason() }],
        E::RoleRevoked { .. } => [E::RoleRevoked { role: Role::Admin, reason: reason() }],
        E::AllSessionsRevoked { .. } => [E::AllSessionsRevoked { reason: reason() }],
        E::DeletionRequested { .. } => [
            E::DeletionRequested { token: token(), erase_at: Timestamp::from_micros(1_800_000_000_123_000) }
        ],
        E::DeletionCancelled { token: Some(_), .. } => [E::DeletionCancelled { token: Some(token()), reason: None }],
        E::DeletionCancelled { token: None, .. } => [
            E::DeletionCancelled { token: None, reason: Some(reason()) },
            E::DeletionCancelled { token: None, reason: None },
        ],
        E::AccountErased { cause: ErasureCause::Requested, .. } => [
            E::AccountErased { cause: ErasureCause::Requested, reason: None }
        ],
        E::AccountErased { cause: ErasureCause::Ordered, .. } => [
            E::AccountErased { cause: ErasureCause::Ordered, reason: Some(reason()) }
        ],
        E::AccountErased { cause: ErasureCause::Unverified, .. } => [
            E::AccountErased { cause: ErasureCause::Unverified, reason: None }
        ],
        E::DataKeyShredded { .. } => [E::DataKeyShredded { data_key: DataKeyId(id(5)) }],
    })
}

fn session() -> Vec<SessionEvent> {
    use SessionEvent as E;
    let revoked = |reason, words| E::SessionRevoked { reason, words };
    let login = |device: Option<DeviceId>| E::LoggedIn {
        method: LoginMethod::Password,
        device,
        device_known: device.is_none(),
        session_epoch: 7,
    };
    examples!(SessionEvent {
        E::LoggedIn { method: LoginMethod::Password, .. } => [login(Some(DeviceId(id(4)))), login(None)],
        E::LoggedOut => [E::LoggedOut],
        E::SessionRevoked { reason: RevokeReason::Owner, .. } => [revoked(RevokeReason::Owner, None)],
        E::SessionRevoked { reason: RevokeReason::Surplus, .. } => [revoked(RevokeReason::Surplus, None)],
        E::SessionRevoked { reason: RevokeReason::TokenReuse, .. } => [revoked(RevokeReason::TokenReuse, None)],
        E::SessionRevoked { reason: RevokeReason::Admin, .. } => [revoked(RevokeReason::Admin, Some(reason()))],
        E::SessionExpired => [E::SessionExpired],
        E::RefreshTokenReused { .. } => [E::RefreshTokenReused { generation: 5 }],
    })
}

fn attempt() -> Vec<AttemptEvent> {
    use AttemptEvent as E;
    examples!(AttemptEvent {
        E::LoginFailed { reason: LoginFailure::UnknownAccount } => [
            E::LoginFailed { reason: LoginFailure::UnknownAccount }
        ],
        E::LoginFailed { reason: LoginFailure::WrongPassword } => [
            E::LoginFailed { reason: LoginFailure::WrongPassword }
        ],
        E::LoginFailed { reason: LoginFailure::AccountDisabled } => [
            E::LoginFailed { reason: LoginFailure::AccountDisabled }
        ],
        E::LoginFailed { reason: LoginFailure::EmailNotVerified } => [
            E::LoginFailed { reason: LoginFailure::EmailNotVerified }
        ],
        E::LoginFailed { reason: LoginFailure::ResetRequired } => [
            E::LoginFailed { reason: LoginFailure::ResetRequired }
        ],
        E::LoginBlocked { .. } => [E::LoginBlocked { until: Timestamp::from_micros(1_800_000_000_123_456) }],
        E::RegistrationAttemptedForTakenEmail { .. } => [E::RegistrationAttemptedForTakenEmail { verified: true }],
        E::PasswordResetRequestedForUnknown => [E::PasswordResetRequestedForUnknown],
        E::LimitExceeded { .. } => [E::LimitExceeded { kind: "register".into() }],
        E::LoginAttemptsSuppressed { .. } => [E::LoginAttemptsSuppressed {
            from: Timestamp::from_micros(1_800_000_000_000_000),
            seconds: 60,
            attempts: 70,
            identifiers: 20,
            networks: 1,
            blocks: 10,
        }],
    })
}

fn notification() -> Vec<NotificationEvent> {
    use NotificationEvent as E;
    let template = || "reset".to_owned();
    examples!(NotificationEvent {
        E::MailQueued { .. } => [
            E::MailQueued { template: template(), repeats: None, words: None },
            E::MailQueued { template: template(), repeats: Some(DeliveryId(id(9))), words: Some("lost".into()) }
        ],
        E::MailSent { .. } => [E::MailSent { template: template(), attempts: 1 }],
        E::MailDeferred { .. } => [
            E::MailDeferred { template: template(), attempts: 1, unheard: false },
            E::MailDeferred { template: template(), attempts: 2, unheard: true },
        ],
        E::MailFailed { .. } => [
            E::MailFailed { template: template(), attempts: 9, unheard: false },
            E::MailFailed { template: template(), attempts: 1, unheard: true },
        ],
        E::MailSuppressed { .. } => [
            E::MailSuppressed { template: template(), reason: "token_over".into(), unheard: false, words: None },
            E::MailSuppressed { template: template(), reason: "token_over".into(), unheard: true, words: None },
            E::MailSuppressed {
                template: template(),
                reason: "cancelled".into(),
                unheard: false,
                words: Some("not him".into())
            },
        ],
    })
}

fn operator() -> Vec<OperatorEvent> {
    use OperatorEvent as E;
    examples!(OperatorEvent {
        E::AccountViewed => [E::AccountViewed],
        E::AuditSearched { .. } => [E::AuditSearched { fields: vec!["address".into(), "from".into()] }],
        E::AuditExported { .. } => [E::AuditExported { fields: vec!["account".into()], format: "csv".into() }],
        E::AuditStreamOpened { .. } => [E::AuditStreamOpened { fields: vec!["severity".into()] }],
        E::PersonalDataRevealed { .. } => [E::PersonalDataRevealed { event: EventId(id(4)), reason: "case 17".into() }],
        E::KeyRotated { .. } => [E::KeyRotated { purpose: "checkpoint".into(), key_id: "0123456789abcdef".into() }],
        E::EventsRetired { .. } => [
            E::EventsRetired { month: "2026-01".into(), events: 7, digest: "6e".repeat(32) }
        ],
        E::ProjectionRebuilt { .. } => [E::ProjectionRebuilt { projection: "accounts".into(), events: 12 }],
        E::SettingsLoaded { .. } => [E::SettingsLoaded { process: "api".into(), hash: "0123456789abcdef".repeat(4) }],
        E::AuthorizationDenied { .. } => [E::AuthorizationDenied { action: "session_revoke".into() }],
        E::CheckpointSigned { .. } => [
            E::CheckpointSigned { size: 1_000, root: "6e".repeat(32), key_id: "c74f20a3".into() }
        ],
    })
}

fn security() -> Vec<SecurityEvent> {
    use SecurityEvent as E;
    let somebody = AccountId(id(7));
    let evidence = || Evidence { count: 20, threshold: 20, seconds: 86_400, events: vec![EventId(id(6))] };
    let raised = |rule: &str, account, actor| E::SecurityAlertRaised {
        rule: rule.into(),
        severity: Severity::Warning,
        account,
        actor,
        follower: None,
        evidence: evidence(),
    };
    examples!(SecurityEvent {
        E::SecurityAlertRaised { account: Some(_), .. } => [raised("account_guessing", Some(somebody), None)],
        E::SecurityAlertRaised { account: None, actor: Some(_), .. } => [raised("mass_orders", None, Some(somebody))],
        E::SecurityAlertRaised { account: None, actor: None, .. } => [
            E::SecurityAlertRaised {
                rule: "follower_stopped".into(),
                severity: Severity::Critical,
                account: None,
                actor: None,
                follower: Some("search".into()),
                evidence: Evidence { count: 1, threshold: 1, ..Evidence::default() },
            }
        ],
        E::SecurityAlertAcknowledged { .. } => [E::SecurityAlertAcknowledged { reason: reason() }],
    })
}

/// Every example of every enum. Their kinds of streams stand in `kind`, whose `match` names each enum.
fn all() -> Vec<Event> {
    let mut all = Vec::new();
    all.extend(account().into_iter().map(Event::Account));
    all.extend(session().into_iter().map(Event::Session));
    all.extend(attempt().into_iter().map(Event::Attempt));
    all.extend(notification().into_iter().map(Event::Notification));
    all.extend(operator().into_iter().map(Event::Operator));
    all.extend(security().into_iter().map(Event::Security));
    all
}

const fn kind(event: &Event) -> &'static str {
    match event {
        Event::Account(_) => "account",
        Event::Session(_) => "session",
        Event::Attempt(_) => "attempts",
        Event::Notification(_) => "notification",
        Event::Operator(_) => "operator",
        Event::Security(_) => "security",
    }
}

fn stored(event: &Event) -> Stored {
    let (name, payload) = event.stored();
    Stored {
        kind: kind(event).to_owned(),
        retention_class: event.retention_class().as_str().to_owned(),
        name,
        payload,
        personal: Some(event.personal()).filter(|personal| *personal != Personal::default()),
    }
}

fn golden() -> Vec<Stored> {
    serde_json::from_str(GOLDEN).unwrap()
}

#[test]
fn every_event_is_stored_under_its_frozen_name_and_shape() {
    let written: Vec<Stored> = all().iter().map(stored).collect();
    for (written, golden) in written.iter().zip(&golden()) {
        assert_eq!(written, golden);
    }
    let added = written.get(golden().len()..).unwrap_or_default();
    assert!(added.is_empty(), "add to golden/events.json:\n{}", serde_json::to_string_pretty(added).unwrap());
    assert_eq!(written.len(), golden().len(), "golden/events.json holds events that no example stands for");
}

#[test]
fn every_stored_event_is_read_as_what_it_was() {
    for (golden, event) in golden().iter().zip(all()) {
        let read = Event::read(&golden.kind, &golden.name, &golden.payload, golden.personal.as_ref()).unwrap();
        assert_eq!(read, event);
    }
}

#[test]
fn an_event_whose_personal_data_is_gone_is_still_read() {
    for golden in golden() {
        let read = Event::read(&golden.kind, &golden.name, &golden.payload, None).unwrap();
        assert_eq!(read.personal(), Personal::default());
        assert_eq!(read.stored(), (golden.name, golden.payload));
    }
}

#[test]
fn what_is_not_in_the_catalogue_is_refused() {
    for golden in golden() {
        let mut payload = golden.payload.clone();
        payload.as_object_mut().unwrap().insert("surprise".into(), Value::from(1));
        assert!(Event::read(&golden.kind, &golden.name, &payload, None).is_err(), "{} with a surprise", golden.name);
        assert!(Event::read(&golden.kind, "NoSuchEvent", &golden.payload, None).is_err());
        assert!(Event::read("no such kind", &golden.name, &golden.payload, None).is_err());
    }
}

#[test]
fn payloads_hold_no_personal_data_and_no_floats() {
    fn no_floats(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_i64() || number.is_u64(),
            Value::Array(values) => values.iter().all(no_floats),
            Value::Object(fields) => fields.values().all(no_floats),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }
    for golden in golden() {
        let text = golden.payload.to_string();
        assert!(!text.contains("example.") && !text.contains("Ana") && !text.contains("José"), "{text}");
        assert!(no_floats(&golden.payload), "{text}");
    }
}

#[test]
fn names_tell_the_stream_apart_by_themselves() {
    let mut kinds = std::collections::BTreeMap::new();
    for golden in golden() {
        let kind = kinds.entry(golden.name.clone()).or_insert_with(|| golden.kind.clone());
        assert_eq!(*kind, golden.kind, "{} stands in streams of two kinds", golden.name);
    }
}
