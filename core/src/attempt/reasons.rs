//! Why logins were refused, told from the events alone: by which rule, what had counted towards it, and what ended it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{AttemptEvent, LoginFailure};
use crate::account::{Account, AccountEvent, Status, evolve};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::limit::{CONSECUTIVE_FAILURES_MAX, Rule};
use crate::session::SessionEvent;
use crate::value::EventId;

/// An event about the account, or beside one in its stream.
#[derive(Clone, Debug)]
pub struct Fact {
    pub id: EventId,
    pub at: Timestamp,
    pub stream: Uuid,
    pub event: Event,
}

/// The rule that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    UnknownAccount,
    WrongPassword,
    /// Too many failures in a short time: nobody is let in for a while, whatever the password.
    Blocked,
    /// Too many failures in a row, however long they took.
    Locked,
    Disabled,
    /// Its owner did not know what a notice told.
    Frozen,
    /// Its owner has asked for its deletion.
    Leaving,
    Erased,
    EmailNotVerified,
    ResetRequired,
    /// A spent refresh token came back: its session is over.
    TokenReused,
}

impl Ground {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownAccount => "unknown_account",
            Self::WrongPassword => "wrong_password",
            Self::Blocked => "blocked",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
            Self::Frozen => "frozen",
            Self::Leaving => "leaving",
            Self::Erased => "erased",
            Self::EmailNotVerified => "email_not_verified",
            Self::ResetRequired => "reset_required",
            Self::TokenReused => "token_reused",
        }
    }
}

/// What ended a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Event(EventId),
    /// It has run out.
    Time(Timestamp),
}

/// One refused attempt, or a time in which all were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub event: EventId,
    pub ground: Ground,
    /// When a refusal ends by itself.
    pub until: Option<Timestamp>,
    /// What led to it, the oldest first: failures that were counted, or the event that made the account be refused.
    pub because: Vec<EventId>,
    /// `None`: in force, or nobody has got in since.
    pub end: Option<End>,
}

/// A failure that may still count.
struct Failure {
    id: EventId,
    at: Timestamp,
    stream: Uuid,
}

/// Explains every refusal among these facts, which come in the order in which they happened. How many failures count is asked of
/// `rule`, the one of today: the log does not tell what it was.
pub fn explain(facts: &[Fact], rule: Rule, now: Timestamp) -> Vec<Explanation> {
    let mut told = Teller::default();
    for (place, fact) in facts.iter().enumerate() {
        // A lock stands before the failure that led to it, in the same statement.
        let next = facts.get(place + 1).filter(|next| is_failure(&next.event));
        told.take(fact, next, rule);
    }
    for explanation in &mut told.explanations {
        if explanation.end.is_none() {
            explanation.end = explanation.until.filter(|until| *until <= now).map(End::Time);
        }
    }
    told.explanations
}

const fn is_failure(event: &Event) -> bool {
    matches!(event, Event::Attempt(AttemptEvent::LoginFailed { .. }))
}

#[derive(Default)]
struct Teller {
    account: Account,
    /// The newest event that made the account refuse by a rule.
    causes: Vec<(Ground, EventId)>,
    /// Failures since a login, a block or an unlock.
    window: Vec<Failure>,
    /// Failures in a row.
    run: Vec<EventId>,
    /// Logins by their session.
    logins: BTreeMap<Uuid, EventId>,
    explanations: Vec<Explanation>,
}

impl Teller {
    fn take(&mut self, fact: &Fact, next: Option<&Fact>, rule: Rule) {
        match &fact.event {
            Event::Account(event) => self.account(fact, event, next),
            Event::Session(SessionEvent::LoggedIn { device_known, .. }) => {
                self.logins.insert(fact.stream, fact.id);
                self.end(fact.id, |ground| matches!(ground, Ground::WrongPassword | Ground::TokenReused));
                // Whoever comes with a known device is counted apart: the failures of others stay.
                if !device_known {
                    self.forget();
                }
            }
            Event::Session(SessionEvent::RefreshTokenReused { .. }) => {
                let because = self.logins.get(&fact.stream).copied().into_iter().collect();
                self.tell(fact.id, Ground::TokenReused, because);
            }
            Event::Attempt(AttemptEvent::LoginFailed { reason }) => self.failure(fact, *reason, rule),
            Event::Attempt(AttemptEvent::LoginBlocked { until }) => self.block(fact, *until, rule),
            Event::Session(
                SessionEvent::LoggedOut | SessionEvent::SessionRevoked { .. } | SessionEvent::SessionExpired,
            )
            | Event::Attempt(
                AttemptEvent::RegistrationAttemptedForTakenEmail { .. }
                | AttemptEvent::PasswordResetRequestedForUnknown
                | AttemptEvent::LimitExceeded { .. }
                // Of people without an account.
                | AttemptEvent::LoginAttemptsSuppressed { .. },
            )
            | Event::Notification(_)
            | Event::Operator(_)
            | Event::Security(_) => {}
        }
    }

    fn account(&mut self, fact: &Fact, event: &AccountEvent, next: Option<&Fact>) {
        let before = std::mem::take(&mut self.account);
        let (was_closed_by, was_required) = (closed_by(&before), before.reset_required_at.is_some());
        self.account = evolve(before, event, fact.id.at());
        match event {
            AccountEvent::Registered { .. } | AccountEvent::AccountImported { .. } => {
                self.causes.push((Ground::EmailNotVerified, fact.id));
            }
            AccountEvent::AccountLocked { .. } => {
                let mut because = std::mem::take(&mut self.run);
                because.extend(next.map(|next| next.id));
                let surplus = because.len().saturating_sub(usize::try_from(CONSECUTIVE_FAILURES_MAX).unwrap_or(0));
                because.drain(..surplus);
                self.tell(fact.id, Ground::Locked, because);
            }
            AccountEvent::AccountUnlocked { .. } | AccountEvent::PasswordReset { .. } => {
                self.lift_blocks(fact);
                self.forget();
            }
            _ => {}
        }
        let closed_by = closed_by(&self.account);
        if closed_by != was_closed_by {
            self.causes.extend(closed_by.map(|ground| (ground, fact.id)));
        }
        if !was_required && self.account.reset_required_at.is_some() {
            self.causes.push((Ground::ResetRequired, fact.id));
        }
        if self.account.locked_at == Some(fact.id.at()) {
            self.causes.push((Ground::Locked, fact.id));
        }
        let account = &self.account;
        let (locked, required) = (account.locked_at.is_some(), account.reset_required_at.is_some());
        let verified = account.email_verified_at.is_some();
        self.end(fact.id, |ground| match ground {
            Ground::Disabled | Ground::Frozen | Ground::Leaving => closed_by != Some(ground),
            Ground::Locked => !locked,
            Ground::ResetRequired => !required,
            Ground::EmailNotVerified => verified,
            Ground::UnknownAccount | Ground::WrongPassword | Ground::Blocked | Ground::Erased | Ground::TokenReused => {
                false
            }
        });
    }

    fn failure(&mut self, fact: &Fact, reason: LoginFailure, rule: Rule) {
        let ground = match reason {
            LoginFailure::UnknownAccount => Ground::UnknownAccount,
            LoginFailure::WrongPassword => Ground::WrongPassword,
            LoginFailure::AccountDisabled => match closed_by(&self.account) {
                Some(ground) => ground,
                None if self.account.locked_at.is_some() => Ground::Locked,
                // Its key is gone.
                None => Ground::Erased,
            },
            LoginFailure::EmailNotVerified => Ground::EmailNotVerified,
            LoginFailure::ResetRequired => Ground::ResetRequired,
        };
        self.window.retain(|failure| failure.at.plus(rule.window) > fact.at);
        let because = match ground {
            Ground::WrongPassword => self.window.iter().map(|failure| failure.id).collect(),
            other => {
                self.causes.iter().rev().find(|(cause, _)| *cause == other).map(|(_, id)| *id).into_iter().collect()
            }
        };
        self.tell(fact.id, ground, because);
        self.window.push(Failure { id: fact.id, at: fact.at, stream: fact.stream });
        self.run.push(fact.id);
    }

    /// What has counted: the failures of its own stream, then those of the window before. Others may have been counted apart.
    fn block(&mut self, fact: &Fact, until: Timestamp, rule: Rule) {
        self.window.retain(|failure| failure.at.plus(rule.window) > fact.at);
        let max = usize::try_from(rule.max).unwrap_or(usize::MAX);
        let newest_first = self.window.iter().rev();
        let (own, others): (Vec<_>, Vec<_>) = newest_first.partition(|failure| failure.stream == fact.stream);
        let mut because: Vec<_> = own.into_iter().chain(others).take(max).map(|it| (it.at, it.id)).collect();
        because.sort_unstable();
        let because: Vec<_> = because.into_iter().map(|(_, id)| id).collect();
        self.window.retain(|failure| !because.contains(&failure.id));
        self.tell(fact.id, Ground::Blocked, because);
        if let Some(told) = self.explanations.last_mut() {
            told.until = Some(until);
        }
    }

    /// Blocks that hold still are over.
    fn lift_blocks(&mut self, fact: &Fact) {
        let held = |told: &&mut Explanation| told.end.is_none() && told.until.is_some_and(|until| until > fact.at);
        self.explanations.iter_mut().filter(held).for_each(|told| told.end = Some(End::Event(fact.id)));
    }

    fn forget(&mut self) {
        self.window.clear();
        self.run.clear();
    }

    fn tell(&mut self, event: EventId, ground: Ground, because: Vec<EventId>) {
        self.explanations.push(Explanation { event, ground, until: None, because, end: None });
    }

    fn end(&mut self, by: EventId, ends: impl Fn(Ground) -> bool) {
        let open = self.explanations.iter_mut().filter(|told| told.end.is_none() && ends(told.ground));
        open.for_each(|told| told.end = Some(End::Event(by)));
    }
}

/// Why an account lets nobody in, by its status.
const fn closed_by(account: &Account) -> Option<Ground> {
    match account.status {
        Status::Disabled => Some(Ground::Disabled),
        Status::Frozen => Some(Ground::Frozen),
        Status::Leaving => Some(Ground::Leaving),
        Status::Erased => Some(Ground::Erased),
        Status::Absent | Status::Active => None,
    }
}
