//! What is limited, by what and how much: a sliding window with reservations. Pure: the row is read, judged here and written
//! back only if nobody else has moved it.
//!
//! A guess is **reserved before it is verified** and settled after, so that parallel guesses count before their outcome is known.
//! A reservation that is never settled (the process died) becomes a failure when it runs out: dying buys no free guess.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;

/// How long a reservation may stay unsettled: longer than any hash takes, admission wait included.
pub const RESERVATION: Duration = Duration::from_secs(30);
/// Consecutive failures of one identifier after which only a reset or an admin helps. Source: NIST SP 800-63B-4, 3.2.2.
pub const CONSECUTIVE_FAILURES_MAX: u32 = 100;

/// `max` events in `window`; reaching it blocks for `block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub max: u32,
    pub window: Duration,
    pub block: Duration,
}

/// The state of one bucket: at most `max` entries in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Times of what has counted, oldest first, within the window.
    hits: Vec<Timestamp>,
    /// Reservations in flight and when each becomes a hit.
    held: Vec<(Uuid, Timestamp)>,
    blocked_until: Option<Timestamp>,
    /// Failures since the last success, whatever the window.
    consecutive: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Write this state back, then verify.
    Granted(Counter),
    /// Nothing is verified before this time.
    Blocked { until: Timestamp },
    /// As many guesses as are left are being verified right now.
    Busy,
}

/// What a settled failure led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub counter: Counter,
    /// Set when this failure began a block.
    pub blocked_until: Option<Timestamp>,
    /// Set when this failure was the hundredth in a row.
    pub locked: bool,
}

impl Counter {
    /// The state as of `now`: what the window has left behind is gone, what was never settled has become a failure.
    #[must_use]
    fn at(mut self, rule: Rule, now: Timestamp) -> Self {
        let (lapsed, held): (Vec<_>, Vec<_>) = self.held.into_iter().partition(|(_, until)| *until <= now);
        self.held = held;
        for (_, until) in lapsed {
            self.consecutive = self.consecutive.saturating_add(1);
            self.hits.push(until);
        }
        self.hits.sort_unstable();
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.blocked_until = None;
        }
        self.start_block(rule, now);
        self.hits.retain(|hit| hit.plus(rule.window) > now);
        self
    }

    /// Begins a block when the window is full; the hits have done their work and go. `Some` when one began that still holds.
    fn start_block(&mut self, rule: Rule, now: Timestamp) -> Option<Timestamp> {
        let max = usize::try_from(rule.max).unwrap_or(usize::MAX);
        let newest = *self.hits.last()?;
        let in_window = self.hits.iter().filter(|hit| hit.plus(rule.window) > newest).count();
        if in_window < max {
            return None;
        }
        self.hits.clear();
        let until = newest.plus(rule.block);
        if until <= now {
            return None;
        }
        self.blocked_until = Some(until);
        Some(until)
    }

    /// Asks for one guess. `id` names the reservation until it is settled.
    #[must_use]
    pub fn reserve(self, rule: Rule, now: Timestamp, id: Uuid) -> Admission {
        let mut counter = self.at(rule, now);
        if let Some(until) = counter.blocked_until {
            return Admission::Blocked { until };
        }
        if counter.consecutive >= CONSECUTIVE_FAILURES_MAX {
            return Admission::Blocked { until: now.plus(rule.block) };
        }
        if counter.hits.len() + counter.held.len() >= usize::try_from(rule.max).unwrap_or(usize::MAX) {
            return Admission::Busy;
        }
        counter.held.push((id, now.plus(RESERVATION)));
        Admission::Granted(counter)
    }

    /// The guess was wrong.
    #[must_use]
    pub fn settle_failure(self, rule: Rule, now: Timestamp, id: Uuid) -> Failure {
        let mut counter = self.at(rule, now);
        let held = counter.held.len();
        counter.held.retain(|(reservation, _)| *reservation != id);
        // A reservation that ran out meanwhile has been counted by then.
        if counter.held.len() < held {
            counter.consecutive = counter.consecutive.saturating_add(1);
            counter.hits.push(now);
        }
        let locked = counter.consecutive == CONSECUTIVE_FAILURES_MAX;
        let blocked_until = counter.start_block(rule, now);
        Failure { counter, blocked_until, locked }
    }

    /// The guess was right: the bucket is as new, but for guesses still in flight.
    #[must_use]
    pub fn settle_success(self, rule: Rule, now: Timestamp, id: Uuid) -> Self {
        let mut held = self.at(rule, now).held;
        held.retain(|(reservation, _)| *reservation != id);
        Self { held, ..Self::default() }
    }

    /// The guess was never verified (overload): it does not count.
    #[must_use]
    pub fn release(self, rule: Rule, now: Timestamp, id: Uuid) -> Self {
        let mut counter = self.at(rule, now);
        counter.held.retain(|(reservation, _)| *reservation != id);
        counter
    }

    /// Counts one event of a plain limit. `Err` names when the next one is allowed: the window is full and nothing changes.
    pub fn count(mut self, rule: Rule, now: Timestamp) -> Result<Self, Timestamp> {
        self.hits.retain(|hit| hit.plus(rule.window) > now);
        if self.hits.len() >= usize::try_from(rule.max).unwrap_or(usize::MAX) {
            return Err(self.hits.first().map_or(now, |oldest| oldest.plus(rule.window)));
        }
        self.hits.push(now);
        Ok(self)
    }

    /// When nothing of this state matters any more and the row may be deleted.
    pub fn forgotten_at(&self, rule: Rule, now: Timestamp) -> Timestamp {
        /// A run of failures is remembered this long after the last one.
        const CONSECUTIVE_MEMORY: Duration = Duration::from_secs(365 * 86_400);
        let window = now.plus(rule.window + rule.block + RESERVATION);
        if self.consecutive > 0 { window.plus(CONSECUTIVE_MEMORY) } else { window }
    }
}

#[cfg(test)]
mod spec;
