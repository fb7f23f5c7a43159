//! Which facts concern which rules.

use std::time::Duration;

use uuid::Uuid;

use super::{Fact, Key, Rule, Subject, Thresholds};
use crate::account::{AccountEvent, ErasureCause, Role};
use crate::attempt::{AttemptEvent, LoginFailure};
use crate::event::Event;
use crate::notification::NotificationEvent;
use crate::operator::OperatorEvent;
use crate::session::{RevokeReason, SessionEvent};

/// Template of the mails about alerts: their own failures would be told by more of them.
pub(crate) const ALERT_TEMPLATE: &str = "security_alert";

/// How a fact counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is enough by itself.
    Each,
    /// So many at once.
    Count {
        over: u32,
        window: Duration,
        times: u64,
    },
    Distinct {
        over: u32,
        window: Duration,
        member: u64,
    },
    /// One try; `hit`: it went wrong.
    Share {
        percent: u32,
        hit: bool,
        window: Duration,
    },
    Surge {
        factor: u32,
        min: u32,
        window: Duration,
        times: u64,
    },
    /// From now on, for a while.
    Begin {
        lasts: Duration,
    },
    /// Speaks when that has not lasted so long.
    Within {
        lasts: Duration,
    },
    /// Somebody got in where these were counted.
    Passed {
        over: u32,
    },
}

/// One fact as one rule takes it.
pub(super) struct Signal {
    pub key: Key,
    pub mark: Mark,
}

#[derive(Default)]
struct Signals(Vec<Signal>);

impl Signals {
    fn add(&mut self, rule: Rule, subject: Subject, mark: Mark) {
        self.0.push(Signal { key: (rule, subject), mark });
    }

    fn count(&mut self, rule: Rule, over: Option<u32>, window: Duration) {
        self.count_many(rule, over, window, 1);
    }

    fn count_many(&mut self, rule: Rule, over: Option<u32>, window: Duration, times: u64) {
        let over = over.filter(|_| times > 0);
        self.0.extend(over.map(|over| Signal { key: (rule, Subject::All), mark: Mark::Count { over, window, times } }));
    }
}

pub(super) fn of(fact: &Fact, thresholds: &Thresholds) -> Vec<Signal> {
    let mut signals = Signals::default();
    match &fact.event {
        Event::Account(event) => account(fact, event, thresholds, &mut signals),
        Event::Session(event) => session(fact, event, thresholds, &mut signals),
        Event::Attempt(event) => attempt(fact, event, thresholds, &mut signals),
        Event::Notification(event) => mail(event, thresholds, &mut signals),
        Event::Operator(event) => look(fact, event, thresholds, &mut signals),
        // Alerts raise none.
        Event::Security(_) => {}
    }
    signals.0
}

fn account(fact: &Fact, event: &AccountEvent, thresholds: &Thresholds, signals: &mut Signals) {
    let subject = fact.account.map(Subject::Account);
    match event {
        AccountEvent::Registered { .. } => registration(thresholds, signals),
        AccountEvent::PasswordResetRequested { .. } => reset(thresholds, signals),
        // Guesses that were spread over so long that they never came near the threshold.
        AccountEvent::AccountLocked { .. } if thresholds.account_failures.is_some() => {
            signals.0.extend(subject.map(|it| Signal { key: (Rule::AccountGuessing, it), mark: Mark::Each }));
        }
        AccountEvent::RoleGranted { role: Role::Admin, .. } => {
            signals.0.extend(subject.map(|it| Signal { key: (Rule::AdminGranted, it), mark: Mark::Each }));
            if let (Some(lasts), Some(account)) = (thresholds.fresh_role, fact.account) {
                signals.add(Rule::FreshAdmin, Subject::Actor(account), Mark::Begin { lasts });
            }
        }
        // One for all of an import.
        AccountEvent::AccountImported { roles, .. } if roles.contains(&Role::Admin) => {
            signals.add(Rule::AdminGranted, Subject::All, Mark::Each);
        }
        _ => {}
    }
    if is_order(event) {
        order(fact, thresholds, signals);
    }
}

/// What only an admin does to somebody else's account.
const fn is_order(event: &AccountEvent) -> bool {
    use AccountEvent as E;
    matches!(
        event,
        E::AccountDisabled { .. }
            | E::AccountEnabled { .. }
            | E::PasswordResetForced { .. }
            | E::AllSessionsRevoked { .. }
            | E::RoleGranted { .. }
            | E::RoleRevoked { .. }
            | E::AccountUnlocked { reason: Some(_), .. }
            | E::AccountErased { cause: ErasureCause::Ordered, .. }
    )
}

fn order(fact: &Fact, thresholds: &Thresholds, signals: &mut Signals) {
    // Operators at the command line are no account, and are many in one.
    let (Some(actor), Some(account)) = (fact.actor, fact.account) else { return };
    if actor == account {
        return;
    }
    if let Some(over) = thresholds.orders {
        let mark = Mark::Distinct { over, window: thresholds.long_window, member: member(account) };
        signals.add(Rule::MassOrders, Subject::Actor(actor), mark);
    }
    if let Some(lasts) = thresholds.fresh_role {
        signals.add(Rule::FreshAdmin, Subject::Actor(actor), Mark::Within { lasts });
    }
}

fn session(fact: &Fact, event: &SessionEvent, thresholds: &Thresholds, signals: &mut Signals) {
    let Some(account) = fact.account else { return };
    match event {
        SessionEvent::RefreshTokenReused { .. } => {
            signals.add(Rule::TokenReuse, Subject::Account(account), Mark::Each);
        }
        // Whoever comes with a known device has not guessed.
        SessionEvent::LoggedIn { device_known: false, .. } => {
            if let Some(over) = thresholds.account_failures {
                signals.add(Rule::AccountGuessing, Subject::Account(account), Mark::Passed { over });
            }
        }
        SessionEvent::SessionRevoked { reason: RevokeReason::Admin, .. } => order(fact, thresholds, signals),
        SessionEvent::LoggedIn { .. }
        | SessionEvent::LoggedOut
        | SessionEvent::SessionExpired
        | SessionEvent::SessionRevoked { .. } => {}
    }
}

fn attempt(fact: &Fact, event: &AttemptEvent, thresholds: &Thresholds, signals: &mut Signals) {
    match event {
        AttemptEvent::LoginFailed { reason } => failure(fact, *reason, thresholds, signals),
        AttemptEvent::LoginBlocked { .. } => {
            signals.count(Rule::LoginBlocks, thresholds.login_blocks, thresholds.window);
        }
        AttemptEvent::RegistrationAttemptedForTakenEmail { .. } => registration(thresholds, signals),
        AttemptEvent::PasswordResetRequestedForUnknown => reset(thresholds, signals),
        AttemptEvent::LoginAttemptsSuppressed { attempts, identifiers, blocks, .. } => {
            rolled_up(fact, (*attempts, *identifiers, *blocks), thresholds, signals);
        }
        AttemptEvent::LimitExceeded { .. } => {}
    }
}

/// Failures that have no event of their own count like those that have. Which identifiers they were at is not told: those of two minutes
/// count as different ones.
fn rolled_up(
    fact: &Fact,
    (attempts, identifiers, blocks): (u64, u64, u64),
    thresholds: &Thresholds,
    signals: &mut Signals,
) {
    let window = thresholds.window;
    if let (Some(over), Some(network)) = (thresholds.network_accounts, &fact.network) {
        for number in 0..identifiers.min(u64::from(over)) {
            let member = member(fact.id.0).wrapping_add(number);
            let mark = Mark::Distinct { over, window, member };
            signals.add(Rule::NetworkSpraying, Subject::Network(network.clone()), mark);
        }
    }
    signals.count_many(Rule::LoginFailures, thresholds.login_failures, window, attempts);
    signals.count_many(Rule::LoginBlocks, thresholds.login_blocks, window, blocks);
    if let Some(factor) = thresholds.surge_factor {
        let mark = Mark::Surge { factor, min: thresholds.surge_min, window, times: attempts };
        signals.add(Rule::LoginSurge, Subject::All, mark);
    }
}

fn failure(fact: &Fact, reason: LoginFailure, thresholds: &Thresholds, signals: &mut Signals) {
    let window = thresholds.window;
    let account = fact.account.map(Subject::Account);
    match (reason, account) {
        (LoginFailure::WrongPassword, Some(account)) => {
            if let Some(over) = thresholds.account_failures {
                let mark = Mark::Count { over, window: thresholds.long_window, times: 1 };
                signals.add(Rule::AccountGuessing, account, mark);
            }
        }
        // Only who has given the right password is told apart from others.
        (LoginFailure::AccountDisabled, Some(account)) => signals.add(Rule::ClosedAccount, account, Mark::Each),
        // The owner himself, more often than not.
        (LoginFailure::EmailNotVerified | LoginFailure::ResetRequired, _) => return,
        (LoginFailure::UnknownAccount | LoginFailure::WrongPassword | LoginFailure::AccountDisabled, _) => {}
    }
    if let (Some(over), Some(network)) = (thresholds.network_accounts, &fact.network) {
        // Who has no account is told apart by the stream, which is one an address and span of time.
        let member = member(fact.account.unwrap_or(fact.stream));
        signals.add(Rule::NetworkSpraying, Subject::Network(network.clone()), Mark::Distinct { over, window, member });
    }
    signals.count(Rule::LoginFailures, thresholds.login_failures, window);
    if let Some(factor) = thresholds.surge_factor {
        signals.add(
            Rule::LoginSurge,
            Subject::All,
            Mark::Surge { factor, min: thresholds.surge_min, window, times: 1 },
        );
    }
}

fn registration(thresholds: &Thresholds, signals: &mut Signals) {
    signals.count(Rule::RegistrationFlood, thresholds.registrations, thresholds.window);
}

fn reset(thresholds: &Thresholds, signals: &mut Signals) {
    signals.count(Rule::ResetFlood, thresholds.resets, thresholds.window);
}

fn mail(event: &NotificationEvent, thresholds: &Thresholds, signals: &mut Signals) {
    let (template, hit) = match event {
        NotificationEvent::MailSent { template, .. } => (template, false),
        NotificationEvent::MailDeferred { template, .. } | NotificationEvent::MailFailed { template, .. } => {
            (template, true)
        }
        NotificationEvent::MailQueued { .. } | NotificationEvent::MailSuppressed { .. } => return,
    };
    if let Some(percent) = thresholds.mail_failure_percent.filter(|_| template != ALERT_TEMPLATE) {
        let mark = Mark::Share { percent, hit, window: thresholds.window };
        signals.add(Rule::MailFailures, Subject::All, mark);
    }
}

fn look(fact: &Fact, event: &OperatorEvent, thresholds: &Thresholds, signals: &mut Signals) {
    if !matches!(event, OperatorEvent::PersonalDataRevealed { .. } | OperatorEvent::AuditExported { .. }) {
        return;
    }
    if let (Some(over), Some(actor)) = (thresholds.reveals, fact.actor) {
        let mark = Mark::Count { over, window: thresholds.long_window, times: 1 };
        signals.add(Rule::MassReveals, Subject::Actor(actor), mark);
    }
}

/// Tells ids apart; two of a few hundred that are taken for one do no harm.
fn member(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    high ^ low
}
