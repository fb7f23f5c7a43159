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
/// Runs of failures remembered in one bucket; when there are more targets, the shortest run is the newest target's.
const RUNS_MAX: usize = 8;
/// Consecutive failures of one identifier after which only a reset or an admin helps. Source: NIST SP 800-63B-4, 3.2.2.
pub const CONSECUTIVE_FAILURES_MAX: u32 = 100;

/// `max` events in `window`; reaching it blocks for `block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub max: u32,
    pub window: Duration,
    pub block: Duration,
}

/// Which of the identifiers of a bucket a guess is at. Addresses that differ in a plus-tag are different accounts that share a
/// bucket: whoever registers one and logs in there must not make the guesses at its neighbours be forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(pub u32);

/// The state of one bucket: at most `max` entries in all, and `RUNS_MAX` runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Times of what has counted, oldest first, within the window.
    hits: Vec<(Timestamp, Target)>,
    /// Reservations in flight and when each becomes a hit.
    held: Vec<(Uuid, Timestamp, Target)>,
    blocked_until: Option<Timestamp>,
    /// Whose failures began the block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocked_by: Vec<Target>,
    /// Failures of a target since its last success, whatever the window.
    runs: Vec<(Target, u32)>,
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
        let lapsed: Vec<_> = self.held.extract_if(.., |(_, until, _)| *until <= now).collect();
        for (_, until, target) in lapsed {
            self.fail(until, target);
        }
        self.hits.sort_unstable();
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.lift_block();
        }
        self.start_block(rule, now);
        self.hits.retain(|(hit, _)| hit.plus(rule.window) > now);
        self
    }

    fn lift_block(&mut self) {
        self.blocked_until = None;
        self.blocked_by.clear();
    }

    fn fail(&mut self, at: Timestamp, target: Target) {
        self.hits.push((at, target));
        if let Some((_, run)) = self.runs.iter_mut().find(|(whose, _)| *whose == target) {
            *run = run.saturating_add(1);
            return;
        }
        let mut before = 0;
        if self.runs.len() >= RUNS_MAX {
            self.runs.sort_unstable_by_key(|(_, run)| std::cmp::Reverse(*run));
            // Whoever comes takes over what the shortest had: a run that decoys have driven out is never told too short. Source:
            // Metwally, Agrawal and El Abbadi's space-saving counters.
            before = self.runs.drain(RUNS_MAX - 1..).map(|(_, run)| run).max().unwrap_or(0);
        }
        self.runs.push((target, before.saturating_add(1)));
    }

    /// Whether its state speaks of no target.
    pub const fn names_nobody(&self) -> bool {
        self.hits.is_empty() && self.held.is_empty() && self.runs.is_empty() && self.blocked_by.is_empty()
    }

    /// When something last counted.
    pub fn last(&self) -> Option<Timestamp> {
        self.hits.iter().map(|(hit, _)| *hit).max()
    }

    /// Failures of a target since its last success.
    pub fn run(&self, target: Target) -> u32 {
        self.runs.iter().find(|(whose, _)| *whose == target).map_or(0, |(_, run)| *run)
    }

    /// Takes a reservation out; `None` when it has run out, and been counted, meanwhile.
    fn take(&mut self, id: Uuid) -> Option<Target> {
        let place = self.held.iter().position(|(reservation, ..)| *reservation == id)?;
        Some(self.held.swap_remove(place).2)
    }

    /// Begins a block when the window is full; the hits have done their work and go. `Some` when one began that still holds.
    fn start_block(&mut self, rule: Rule, now: Timestamp) -> Option<Timestamp> {
        let max = usize::try_from(rule.max).unwrap_or(usize::MAX);
        let (newest, _) = *self.hits.last()?;
        let in_window = self.hits.iter().filter(|(hit, _)| hit.plus(rule.window) > newest).count();
        if in_window < max {
            return None;
        }
        let mut blocked_by: Vec<_> = self.hits.drain(..).map(|(_, target)| target).collect();
        let until = newest.plus(rule.block);
        if until <= now {
            return None;
        }
        blocked_by.sort_unstable();
        blocked_by.dedup();
        (self.blocked_until, self.blocked_by) = (Some(until), blocked_by);
        Some(until)
    }

    /// The same for a target whose account stands unlocked, whatever was counted while it was nobody's or could not be locked: the next
    /// failure locks it, and its owner is told. Blocked without a lock it would be for ever, and nobody would know.
    #[must_use]
    pub fn unlocked(self, rule: Rule, now: Timestamp, target: Target) -> Self {
        let mut counter = self.at(rule, now);
        for (_, run) in counter.runs.iter_mut().filter(|(whose, _)| *whose == target) {
            *run = (*run).min(CONSECUTIVE_FAILURES_MAX - 1);
        }
        counter
    }

    /// Asks for one guess at `target`. `id` names the reservation until it is settled.
    #[must_use]
    pub fn reserve(self, rule: Rule, now: Timestamp, id: Uuid, target: Target) -> Admission {
        let mut counter = self.at(rule, now);
        if let Some(until) = counter.blocked_until {
            return Admission::Blocked { until };
        }
        if counter.run(target) >= CONSECUTIVE_FAILURES_MAX {
            return Admission::Blocked { until: now.plus(rule.block) };
        }
        if counter.hits.len() + counter.held.len() >= usize::try_from(rule.max).unwrap_or(usize::MAX) {
            return Admission::Busy;
        }
        counter.held.push((id, now.plus(RESERVATION), target));
        Admission::Granted(counter)
    }

    /// The guess was wrong.
    #[must_use]
    pub fn settle_failure(self, rule: Rule, now: Timestamp, id: Uuid) -> Failure {
        let mut counter = self.at(rule, now);
        let mut locked = false;
        if let Some(target) = counter.take(id) {
            counter.fail(now, target);
            locked = counter.run(target) >= CONSECUTIVE_FAILURES_MAX;
        }
        let blocked_until = counter.start_block(rule, now);
        Failure { counter, blocked_until, locked }
    }

    /// The guess was right: earlier failures of its target are forgotten, guesses still in flight and other targets' are not.
    #[must_use]
    pub fn settle_success(self, rule: Rule, now: Timestamp, id: Uuid) -> Self {
        let mut counter = self.at(rule, now);
        if let Some(target) = counter.take(id) {
            counter.hits.retain(|(_, whose)| *whose != target);
            counter.runs.retain(|(whose, _)| *whose != target);
        }
        counter
    }

    /// The owner of a target has proven otherwise who he is: what was counted against it is forgotten, and a block is lifted to which no
    /// guess at another target has added. He may have made those himself.
    #[must_use]
    pub fn forget(mut self, target: Target) -> Self {
        self.hits.retain(|(_, whose)| *whose != target);
        self.held.retain(|(.., whose)| *whose != target);
        self.runs.retain(|(whose, _)| *whose != target);
        if self.blocked_by.iter().all(|whose| *whose == target) {
            self.lift_block();
        }
        self
    }

    /// The guess was never verified (overload): it does not count.
    #[must_use]
    pub fn release(self, rule: Rule, now: Timestamp, id: Uuid) -> Self {
        let mut counter = self.at(rule, now);
        counter.take(id);
        counter
    }

    /// Counts one event of a plain limit. `Err` names when the next one is allowed: the window is full and nothing changes.
    pub fn count(mut self, rule: Rule, now: Timestamp) -> Result<Self, Timestamp> {
        self.hits.retain(|(hit, _)| hit.plus(rule.window) > now);
        if self.hits.len() >= usize::try_from(rule.max).unwrap_or(usize::MAX) {
            return Err(self.hits.first().map_or(now, |(oldest, _)| oldest.plus(rule.window)));
        }
        self.hits.push((now, Target::default()));
        Ok(self)
    }

    /// When nothing of this state matters any more and the row may be deleted.
    pub fn forgotten_at(&self, rule: Rule, now: Timestamp) -> Timestamp {
        /// A run of failures is remembered this long after the last one.
        const CONSECUTIVE_MEMORY: Duration = Duration::from_hours(365 * 24);
        let window = now.plus(rule.window + rule.block + RESERVATION);
        if self.runs.is_empty() { window } else { window.plus(CONSECUTIVE_MEMORY) }
    }
}

#[cfg(test)]
mod spec;
