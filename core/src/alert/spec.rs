//! Alerts as sentences.

use std::time::Duration;

use uuid::Uuid;

use super::{Alert, Fact, Memory, Rule, Subject, Thresholds, judge, keys_of};
use crate::account::{AccountEvent, Role};
use crate::alert::SecurityEvent;
use crate::attempt::{AttemptEvent, LoginFailure};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::notification::NotificationEvent;
use crate::operator::OperatorEvent;
use crate::session::{LoginMethod, SessionEvent};
use crate::value::{EventId, TokenId};

const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// What has happened, at seconds after noon.
struct Story {
    thresholds: Thresholds,
    memory: Memory,
    seconds: u64,
    told: Vec<(Rule, Subject)>,
    alerts: Vec<Alert>,
    count: u16,
}

fn story() -> Story {
    told_by(Thresholds::default())
}

fn told_by(thresholds: Thresholds) -> Story {
    Story { thresholds, memory: Memory::default(), seconds: 0, told: Vec::new(), alerts: Vec::new(), count: 0 }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn account(number: u128) -> Subject {
    Subject::Account(id(number))
}

fn actor(number: u128) -> Subject {
    Subject::Actor(id(number))
}

impl Story {
    const fn at(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    fn fact(&mut self, event: Event, of: Option<u128>, by: Option<u128>, network: u128) {
        self.count = (self.count + 1) % 4_000;
        let at = NOON.plus(Duration::from_secs(self.seconds));
        let fact = Fact {
            id: EventId::nth(at, self.count),
            at,
            stream: id(1_000_000 + network),
            event,
            account: of.map(id),
            actor: by.map(id),
            network: Some(format!("198.51.{network}.0")),
        };
        for alert in judge(&fact, &mut self.memory, &self.thresholds) {
            self.told.push((alert.rule, alert.subject.clone()));
            self.alerts.push(alert);
        }
    }

    fn failed(mut self, of: u128, network: u128) -> Self {
        let reason = LoginFailure::WrongPassword;
        self.fact(Event::Attempt(AttemptEvent::LoginFailed { reason }), Some(of), None, network);
        self
    }

    /// At accounts that nobody else fails at, each from another network.
    fn failed_everywhere(mut self, times: u128) -> Self {
        for _ in 0..times {
            let number = 10_000 + u128::try_from(self.alerts.len()).unwrap() + u128::from(self.count);
            self = self.failed(number, number);
        }
        self
    }

    fn times(self, times: usize, step: impl Fn(Self) -> Self) -> Self {
        (0..times).fold(self, |story, _| step(story))
    }

    fn logged_in(mut self, of: u128, device_known: bool) -> Self {
        let event =
            SessionEvent::LoggedIn { method: LoginMethod::Password, device: None, device_known, session_epoch: 0 };
        self.fact(Event::Session(event), Some(of), Some(of), 9);
        self
    }

    fn ordered(mut self, by: u128, of: u128) -> Self {
        self.fact(Event::Account(AccountEvent::AccountDisabled { reason: "x".into() }), Some(of), Some(by), 9);
        self
    }

    fn made_admin(mut self, of: u128, by: Option<u128>) -> Self {
        let event = AccountEvent::RoleGranted { role: Role::Admin, reason: "x".into() };
        self.fact(Event::Account(event), Some(of), by, 9);
        self
    }

    fn then(self, told: &[(Rule, Subject)]) -> Self {
        assert_eq!(self.told, told);
        Self { told: Vec::new(), ..self }
    }
}

#[test]
fn the_twentieth_wrong_password_of_a_day_is_told_once_an_hour() {
    story()
        .times(19, |story| story.failed(1, 1))
        .failed(2, 1)
        .then(&[])
        .at(20 * HOUR)
        .failed(1, 1)
        .then(&[(Rule::AccountGuessing, account(1))])
        .at(20 * HOUR + 59 * MINUTE)
        .failed(1, 1)
        .then(&[])
        .at(21 * HOUR)
        .failed(1, 1)
        .then(&[(Rule::AccountGuessing, account(1))]);
}

#[test]
fn wrong_passwords_of_the_day_before_count_no_more() {
    story().times(19, |story| story.failed(1, 1)).at(DAY + 2 * HOUR).times(19, |story| story.failed(1, 1)).then(&[]);
}

#[test]
fn a_lock_is_told_however_slowly_it_came() {
    let mut story = story();
    story.fact(Event::Account(AccountEvent::AccountLocked { failures: 100 }), Some(1), None, 1);
    story.then(&[(Rule::AccountGuessing, account(1))]);
}

#[test]
fn who_gets_in_at_an_unknown_device_after_many_failures_may_have_guessed() {
    let told = story().times(20, |story| story.failed(1, 1)).then(&[(Rule::AccountGuessing, account(1))]);
    let told = told.logged_in(1, true).then(&[]).logged_in(1, false).then(&[(Rule::AccountGuessed, account(1))]);
    told.logged_in(1, false).then(&[]);
    story().times(19, |story| story.failed(1, 1)).logged_in(1, false).failed(1, 1).then(&[]);
}

#[test]
fn a_network_that_fails_at_twenty_accounts_is_spraying_and_one_that_fails_at_few_is_not() {
    let network = Subject::Network("198.51.7.0".into());
    let mut told = story();
    for number in 0..19 {
        told = told.failed(number, 7).failed(number, 7);
    }
    told.then(&[]).at(MINUTE).failed(19, 7).then(&[(Rule::NetworkSpraying, network)]);
    let mut slow = story();
    for number in 0..40 {
        slow = slow.at(u64::try_from(number).unwrap() * MINUTE).failed(number, 7);
    }
    slow.then(&[]);
}

#[test]
fn who_has_no_account_is_told_apart_by_the_stream() {
    let mut story = story();
    let unknown = || Event::Attempt(AttemptEvent::LoginFailed { reason: LoginFailure::UnknownAccount });
    for _ in 0..40 {
        story.fact(unknown(), None, None, 7);
    }
    story.then(&[]);
}

#[test]
fn a_hundred_failures_from_everywhere_are_a_surge_where_there_were_few() {
    story().failed_everywhere(99).then(&[]).failed_everywhere(1).then(&[(Rule::LoginSurge, Subject::All)]);
}

#[test]
fn what_happens_every_quarter_of_an_hour_is_no_surge_and_ten_times_as_much_is() {
    let mut story = told_by(Thresholds { surge_min: 10, network_accounts: None, ..Thresholds::default() });
    // The first windows are all that is known: they speak by the least number.
    for window in 0..96 {
        story = story.at(window * 15 * MINUTE).failed_everywhere(20);
    }
    story.told.clear();
    story
        .at(96 * 15 * MINUTE)
        .failed_everywhere(199)
        .then(&[])
        .failed_everywhere(1)
        .then(&[(Rule::LoginSurge, Subject::All)]);
}

#[test]
fn all_failures_and_blocks_are_counted_where_that_is_asked_for() {
    let limits = Thresholds { login_failures: Some(5), login_blocks: Some(2), ..Thresholds::default() };
    let mut story = told_by(limits).failed_everywhere(5);
    for _ in 0..2 {
        story.fact(Event::Attempt(AttemptEvent::LoginBlocked { until: NOON }), None, None, 1);
    }
    story.then(&[(Rule::LoginFailures, Subject::All), (Rule::LoginBlocks, Subject::All)]);
}

/// So many failed logins at so many addresses of nobody, and half as many blocks.
fn rolled_up(attempts: u64, identifiers: u64) -> Event {
    let (from, seconds, networks, blocks) = (NOON, MINUTE, 1, attempts / 2);
    Event::Attempt(AttemptEvent::LoginAttemptsSuppressed { from, seconds, attempts, identifiers, networks, blocks })
}

#[test]
fn failures_that_were_rolled_up_count_as_many_as_they_were() {
    let limits = Thresholds { login_failures: Some(50), login_blocks: Some(25), ..Thresholds::default() };
    let mut story = told_by(limits.clone());
    story.fact(rolled_up(49, 1), None, None, 1);
    let mut story = story.then(&[]);
    story.fact(rolled_up(2, 1), None, None, 2);
    let mut story = story.then(&[(Rule::LoginFailures, Subject::All), (Rule::LoginBlocks, Subject::All)]);
    assert_eq!((story.alerts[0].evidence.count, story.alerts[0].evidence.events.len()), (51, 2));
    story.fact(rolled_up(49, 1), None, None, 3);
    story.then(&[(Rule::LoginSurge, Subject::All)]);
}

#[test]
fn a_network_that_was_rolled_up_is_spraying_by_the_number_of_addresses() {
    let spraying = |network: &str| (Rule::NetworkSpraying, Subject::Network(network.to_owned()));
    let mut story = story();
    story.fact(rolled_up(19, 19), None, None, 7);
    let mut story = story.failed(1, 8).then(&[]);
    story.fact(rolled_up(1, 1), None, None, 7);
    let mut story = story.then(&[spraying("198.51.7.0")]);
    story.fact(rolled_up(50_000, 50_000), None, None, 8);
    let story = story.then(&[spraying("198.51.8.0"), (Rule::LoginSurge, Subject::All)]);
    assert_eq!(story.alerts[1].evidence.events.len(), 2, "an event is named once");
}

#[test]
fn resets_and_registrations_of_known_and_unknown_people_count_together() {
    let mut story = story();
    for number in 0..50 {
        let event = match number % 2 {
            0 => Event::Account(AccountEvent::PasswordResetRequested { token: TokenId(id(3)) }),
            _ => Event::Attempt(AttemptEvent::PasswordResetRequestedForUnknown),
        };
        story.fact(event, None, None, number);
    }
    let mut story = story.then(&[(Rule::ResetFlood, Subject::All)]);
    for number in 0..100 {
        let taken = AttemptEvent::RegistrationAttemptedForTakenEmail { verified: true };
        story.fact(Event::Attempt(taken), Some(number), None, number);
    }
    story.then(&[(Rule::RegistrationFlood, Subject::All)]);
}

#[test]
fn a_spent_token_and_a_right_password_of_a_closed_account_are_told_at_once() {
    let mut story = story();
    story.fact(Event::Session(SessionEvent::RefreshTokenReused { generation: 2 }), Some(1), None, 1);
    let closed = AttemptEvent::LoginFailed { reason: LoginFailure::AccountDisabled };
    story.fact(Event::Attempt(closed), Some(2), None, 1);
    story.then(&[(Rule::TokenReuse, account(1)), (Rule::ClosedAccount, account(2))]);
}

#[test]
fn a_new_admin_is_told_and_so_are_his_orders_of_the_first_hour() {
    let told = story().made_admin(1, None).then(&[(Rule::AdminGranted, account(1))]);
    let told = told.at(59 * MINUTE).ordered(1, 2).then(&[(Rule::FreshAdmin, actor(1))]).ordered(1, 3).then(&[]);
    told.at(3 * HOUR).ordered(1, 4).ordered(5, 6).then(&[]);
    story().made_admin(1, None).at(HOUR + 1).ordered(1, 2).then(&[(Rule::AdminGranted, account(1))]);
}

#[test]
fn ten_accounts_of_one_admin_in_a_day_are_many_and_one_account_ten_times_is_not() {
    let told = story().times(20, |story| story.ordered(1, 2));
    let mut told = told.then(&[]);
    for number in 3..12 {
        told = told.ordered(1, number);
    }
    told.then(&[(Rule::MassOrders, actor(1))]);
    story().ordered(1, 1).times(20, |story| story.ordered(1, 1)).then(&[]);
}

#[test]
fn who_reveals_much_of_what_is_masked_is_told() {
    let mut story = story();
    for number in 0..20 {
        let event = EventId(id(number));
        let looked = OperatorEvent::PersonalDataRevealed { event, reason: "x".into() };
        story.fact(Event::Operator(looked), None, Some(1), 1);
    }
    story.then(&[(Rule::MassReveals, actor(1))]);
}

#[test]
fn mail_fails_when_half_of_twenty_tries_do_and_mails_about_alerts_do_not_count() {
    let mail = |template: &str, sent: bool| {
        let (template, attempts) = (template.to_owned(), 1);
        Event::Notification(if sent {
            NotificationEvent::MailSent { template, attempts }
        } else {
            NotificationEvent::MailDeferred { template, attempts, unheard: false }
        })
    };
    let mut story = story();
    for number in 0..19 {
        story.fact(mail("reset", number % 2 == 0), None, None, 1);
        story.fact(mail("security_alert", false), None, None, 1);
    }
    let mut story = story.then(&[]);
    story.fact(mail("reset", false), None, None, 1);
    let story = story.then(&[(Rule::MailFailures, Subject::All)]);
    let evidence = &story.alerts[0].evidence;
    assert_eq!((evidence.count, evidence.threshold, evidence.events.len()), (10, 10, 10));
}

#[test]
fn an_alert_names_numbers_and_the_latest_ten_events_and_no_network() {
    let mut story = story();
    for number in 0..20 {
        story = story.failed(number, 7);
    }
    let alert = story.alerts.last().unwrap();
    assert_eq!((alert.evidence.count, alert.evidence.threshold, alert.evidence.seconds), (20, 20, 900));
    assert_eq!(alert.evidence.events.len(), 10);
    let (_, payload) = Event::Security(alert.event()).stored();
    assert!(!payload.to_string().contains("198.51"), "{payload}");
}

#[test]
fn alerts_raise_no_alerts_and_what_has_no_threshold_is_not_watched() {
    let acknowledged = SecurityEvent::SecurityAlertAcknowledged { reason: "x".into() };
    let off = Thresholds {
        account_failures: None,
        network_accounts: None,
        surge_factor: None,
        resets: None,
        registrations: None,
        fresh_role: None,
        orders: None,
        reveals: None,
        mail_failure_percent: None,
        ..Thresholds::default()
    };
    let mut story = told_by(off).times(200, |story| story.failed(1, 1).ordered(1, 2)).logged_in(1, false);
    story.fact(Event::Security(acknowledged), None, None, 1);
    assert!(story.then(&[]).memory.is_empty());
}

#[test]
fn what_is_remembered_is_written_and_read_back_the_same_and_stays_small() {
    let mut story = story();
    for number in 0..3_000 {
        story = story.at(number / 10).failed(u128::from(number), 7).made_admin(1, None).ordered(1, u128::from(number));
    }
    for rule in [Rule::NetworkSpraying, Rule::LoginSurge, Rule::MassOrders, Rule::FreshAdmin] {
        let subject = match rule {
            Rule::NetworkSpraying => Subject::Network("198.51.7.0".into()),
            Rule::LoginSurge => Subject::All,
            _ => actor(1),
        };
        let state = story.memory.get(&(rule, subject)).unwrap();
        let text = serde_json::to_string(state).unwrap();
        assert!(text.len() < 2_000, "{rule:?}: {} bytes", text.len());
        assert_eq!(serde_json::from_str::<super::State>(&text).unwrap(), *state);
    }
}

#[test]
fn what_is_over_is_forgotten() {
    let mut story = story().failed(1, 1).made_admin(1, None);
    assert!(story.memory.len() >= 4);
    story.memory.forget(NOON.plus(Duration::from_hours(49)));
    assert_eq!(story.memory.len(), 1, "what is usual is known for a week: {:?}", story.memory);
    story.memory.forget(NOON.plus(Duration::from_hours(8 * 24)));
    assert!(story.memory.is_empty());
}

#[test]
fn all_that_a_fact_touches_is_asked_for_before_it_is_judged() {
    let at = NOON;
    let event = Event::Attempt(AttemptEvent::LoginFailed { reason: LoginFailure::WrongPassword });
    let (id, stream) = (EventId::nth(at, 0), id(1));
    let fact = Fact { id, at, stream, event, account: Some(id.0), actor: None, network: Some("198.51.7.0".into()) };
    let mut memory = Memory::default();
    judge(&fact, &mut memory, &Thresholds::default());
    let keys = keys_of([&fact, &fact], &Thresholds::default());
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| memory.get(key).is_some()) && memory.len() == keys.len());
}
