//! What one rule remembers of one subject: counts by slots of its window, a few ids, and when it last spoke. Bounded whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::signal::Mark;
use super::{Evidence, Fact};
use crate::clock::Timestamp;
use crate::value::EventId;

/// Parts of a window. What is counted is never older than the window, and reaches back over eleven twelfths of it at least.
const SLOTS: i64 = 12;
/// Events that an alert names.
const EVENTS_MAX: usize = 10;
/// The usual is that of about so long.
const USUAL: Duration = Duration::from_hours(7 * 24);
/// Attempts that a share is taken of, at least.
const SHARE_MIN: u64 = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// In seconds; counts of another window are no use.
    window: u64,
    /// By slot: how many, and of how many.
    slots: BTreeMap<i64, (u64, u64)>,
    /// Distinct ones and the slot in which each was last seen; no more than the threshold.
    members: BTreeMap<u64, i64>,
    events: Vec<EventId>,
    usual: Option<Usual>,
    since: Option<Timestamp>,
    quiet_until: Option<Timestamp>,
    /// Until when any of this matters.
    ends_at: Option<Timestamp>,
}

/// A mean over windows that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Usual {
    /// The window that is counted now, and how many it has.
    index: i64,
    count: u64,
    windows: i64,
    mean_millionths: i64,
}

impl State {
    /// From when on it may be forgotten.
    pub fn expires_at(&self) -> Timestamp {
        let spoken = self.quiet_until.unwrap_or(Timestamp::from_micros(0));
        self.ends_at.map_or(spoken, |end| end.max(spoken))
    }

    /// Whether a quiet period is over; another begins.
    pub(super) fn may_speak(&mut self, at: Timestamp, quiet: Duration) -> bool {
        if self.quiet_until.is_some_and(|until| at < until) {
            return false;
        }
        self.quiet_until = Some(at.plus(quiet));
        true
    }

    /// Remembers a fact. What there is to say about it, quiet or not.
    pub(super) fn take(&mut self, fact: &Fact, mark: &Mark) -> Option<Evidence> {
        match *mark {
            Mark::Each => Some(Evidence { count: 1, threshold: 1, seconds: 0, events: vec![fact.id] }),
            Mark::Count { over, window, times } => {
                let slot = self.enter(fact.at, window);
                self.add(slot, times, times);
                self.name(fact.id);
                self.evidence(self.hits(), over, window)
            }
            Mark::Distinct { over, window, member } => {
                let slot = self.enter(fact.at, window);
                self.see(member, slot, over);
                self.name(fact.id);
                self.evidence(self.members.len() as u64, over, window)
            }
            Mark::Share { percent, hit, window } => {
                let slot = self.enter(fact.at, window);
                self.add(slot, u64::from(hit), 1);
                if hit {
                    self.name(fact.id);
                }
                let (hits, all) = self.slots.values().fold((0, 0), |(hits, all), slot| (hits + slot.0, all + slot.1));
                let enough = hit && all >= SHARE_MIN && hits * 100 >= all * u64::from(percent);
                enough.then(|| self.found(hits, (all * u64::from(percent)).div_ceil(100), window))
            }
            Mark::Surge { factor, min, window, times } => self.surge(fact, (factor, min), window, times),
            Mark::Begin { lasts } => {
                self.since = Some(fact.at);
                self.events = vec![fact.id];
                self.ends_at = Some(fact.at.plus(lasts));
                None
            }
            Mark::Within { lasts } => {
                let since = self.since?;
                if fact.at < since || fact.at.since(since) > lasts {
                    return None;
                }
                self.name(fact.id);
                Some(self.found(1, 1, lasts))
            }
            Mark::Passed { .. } => None,
        }
    }

    /// Somebody got in: whether there were too many failures before. They count no longer.
    pub(super) fn passed(&mut self, fact: &Fact, over: u32) -> Option<Evidence> {
        let window = Duration::from_secs(self.window);
        if self.slots.is_empty() {
            return None;
        }
        self.enter(fact.at, window);
        self.name(fact.id);
        let found = self.evidence(self.hits(), over, window);
        self.slots.clear();
        self.events.clear();
        found
    }

    /// The slot of this time. Slots that have left the window are forgotten.
    fn enter(&mut self, at: Timestamp, window: Duration) -> i64 {
        if self.window != window.as_secs() {
            *self = Self { window: window.as_secs(), quiet_until: self.quiet_until, ..Self::default() };
        }
        let length = (micros(window) / SLOTS).max(1);
        let slot = at.micros().div_euclid(length);
        // The log is in the order of commits: a fact may be a little older than the one before it.
        let newest =
            self.slots.keys().chain(self.members.values()).copied().max().map_or(slot, |newest| newest.max(slot));
        let gone = newest - SLOTS;
        self.slots.retain(|slot, _| *slot > gone);
        self.members.retain(|_, slot| *slot > gone);
        self.ends_at = Some(Timestamp::from_micros((newest + 1).saturating_mul(length)).plus(window));
        slot.max(gone + 1)
    }

    fn add(&mut self, slot: i64, hits: u64, all: u64) {
        let counts = self.slots.entry(slot).or_default();
        counts.0 += hits;
        counts.1 += all;
    }

    fn see(&mut self, member: u64, slot: i64, most: u32) {
        let known = self.members.get(&member).copied().unwrap_or(slot);
        self.members.insert(member, known.max(slot));
        if self.members.len() > usize::try_from(most).unwrap_or(usize::MAX) {
            let oldest = self.members.iter().min_by_key(|(_, slot)| **slot).map(|(member, _)| *member);
            self.members.remove(&oldest.unwrap_or(member));
        }
    }

    fn name(&mut self, event: EventId) {
        if self.events.last() == Some(&event) {
            return;
        }
        self.events.push(event);
        if self.events.len() > EVENTS_MAX {
            self.events.remove(0);
        }
    }

    fn hits(&self) -> u64 {
        self.slots.values().map(|slot| slot.0).sum()
    }

    fn evidence(&self, count: u64, over: u32, window: Duration) -> Option<Evidence> {
        (count >= u64::from(over)).then(|| self.found(count, u64::from(over), window))
    }

    fn found(&self, count: u64, threshold: u64, window: Duration) -> Evidence {
        Evidence { count, threshold, seconds: window.as_secs(), events: self.events.clone() }
    }

    fn surge(&mut self, fact: &Fact, (factor, min): (u32, u32), window: Duration, times: u64) -> Option<Evidence> {
        if self.window != window.as_secs() {
            *self = Self { window: window.as_secs(), quiet_until: self.quiet_until, ..Self::default() };
        }
        let index = fact.at.micros().div_euclid(micros(window).max(1));
        let most = (micros(USUAL) / micros(window).max(1)).max(1);
        let mut usual = self.usual.unwrap_or(Usual { index, count: 0, windows: 0, mean_millionths: 0 });
        if index > usual.index {
            usual.end(index, most);
            self.events.clear();
        }
        usual.count += times;
        self.usual = Some(usual);
        self.name(fact.id);
        self.ends_at = Some(fact.at.plus(USUAL));
        let threshold = usual.times(factor).max(u64::from(min));
        (usual.count >= threshold).then(|| self.found(usual.count, threshold, window))
    }
}

impl Usual {
    /// The window is over; so are the empty ones up to `index`. An old mean weighs as many windows as a week has, at most.
    fn end(&mut self, index: i64, most: i64) {
        let mut count = i64::try_from(self.count).unwrap_or(i64::MAX);
        for _ in self.index..index {
            self.windows = (self.windows + 1).min(most);
            self.mean_millionths += (count.saturating_mul(1_000_000) - self.mean_millionths) / self.windows;
            count = 0;
            if self.mean_millionths < self.windows {
                // Nothing to speak of is left, and a clock that leaps costs no time.
                self.mean_millionths = 0;
                break;
            }
        }
        (self.index, self.count) = (index, 0);
    }

    fn times(self, factor: u32) -> u64 {
        (self.mean_millionths.unsigned_abs().saturating_mul(u64::from(factor))).div_ceil(1_000_000)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
