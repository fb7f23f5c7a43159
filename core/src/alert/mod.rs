//! What an operator should hear about: pure rules over facts of the log, in its order. A rule remembers a little of each subject
//! that it watches; who runs the rules keeps that between facts, and may forget what is over.

mod event;
mod rule;
mod signal;
#[cfg(test)]
mod spec;
mod state;
mod thresholds;

pub use event::{Evidence, SecurityEvent};
pub use rule::Rule;
pub(crate) use signal::ALERT_TEMPLATE;
pub use state::State;
pub use thresholds::Thresholds;

use std::collections::HashMap;

use uuid::Uuid;

use self::signal::{Mark, Signal};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::terms::Severity;
use crate::value::{AccountId, EventId};

/// An event as rules see it.
#[derive(Clone, Debug)]
pub struct Fact {
    pub id: EventId,
    pub at: Timestamp,
    pub stream: Uuid,
    pub event: Event,
    /// The account that it is about.
    pub account: Option<Uuid>,
    /// The account that did it.
    pub actor: Option<Uuid>,
    /// Network of the client; `None` also when it has been erased.
    pub network: Option<String>,
}

/// Whom or what a rule watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    All,
    /// The account that something happens to.
    Account(Uuid),
    /// The account that does something.
    Actor(Uuid),
    Network(String),
    /// By its name.
    Follower(String),
}

/// What a rule has to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub rule: Rule,
    pub subject: Subject,
    pub at: Timestamp,
    pub evidence: Evidence,
}

impl Alert {
    pub const fn severity(&self) -> Severity {
        self.rule.severity()
    }

    /// What the log is told. A network is personal data: the events of the evidence tell it for as long as it is kept.
    pub fn event(&self) -> SecurityEvent {
        let (account, actor, follower) = match &self.subject {
            Subject::All | Subject::Network(_) => (None, None, None),
            Subject::Account(id) => (Some(AccountId(*id)), None, None),
            Subject::Actor(id) => (None, Some(AccountId(*id)), None),
            Subject::Follower(name) => (None, None, Some(name.clone())),
        };
        SecurityEvent::SecurityAlertRaised {
            rule: self.rule.as_str().to_owned(),
            severity: self.severity(),
            account,
            actor,
            follower,
            evidence: self.evidence.clone(),
        }
    }
}

/// A rule and what it watches: what a state is kept under.
pub type Key = (Rule, Subject);

/// What the rules remember, by rule and subject.
#[derive(Default, Debug)]
pub struct Memory(HashMap<Key, State>);

impl Memory {
    pub fn put(&mut self, key: Key, state: State) {
        self.0.insert(key, state);
    }

    pub fn get(&self, key: &Key) -> Option<&State> {
        self.0.get(key)
    }

    /// Forgets what is over at that time.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, state| state.expires_at() > now);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What must be remembered before these facts can be judged.
pub fn keys_of<'a>(facts: impl IntoIterator<Item = &'a Fact>, thresholds: &Thresholds) -> Vec<Key> {
    let mut keys: Vec<Key> =
        facts.into_iter().flat_map(|fact| signal::of(fact, thresholds)).map(|signal| signal.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Takes one fact in; what the rules have to say about it. The same rule speaks of the same subject at most once in its quiet period.
pub fn judge(fact: &Fact, memory: &mut Memory, thresholds: &Thresholds) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for Signal { key, mark } in signal::of(fact, thresholds) {
        let state = memory.0.entry(key.clone()).or_default();
        let (rule, evidence) = match mark {
            Mark::Passed { over } => match state.passed(fact, over) {
                Some(evidence) => (Rule::AccountGuessed, Some(evidence)),
                None => continue,
            },
            mark => (key.0, state.take(fact, &mark)),
        };
        let Some(evidence) = evidence else { continue };
        if rule == Rule::AccountGuessed || state.may_speak(fact.at, thresholds.quiet) {
            alerts.push(Alert { rule, subject: key.1, at: fact.at, evidence });
        }
    }
    alerts
}
