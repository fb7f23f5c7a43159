//! What clients felt: answers and their times in a stretch of time, and how soon a write worked again.

use std::fmt;
use std::time::Duration;

use crate::ledger::{Attempt, Entry, Outcome};
use crate::nemesis::Strike;

/// Time in which a proxy in front finds out that an api is gone.
const IN_FLIGHT: Duration = Duration::from_millis(300);

/// A refusal while Postgres is away, and what a busy machine adds. Source: bar 6.
pub const REFUSED_WITHIN: Duration = Duration::from_millis(3_500);

/// Answers in a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub done: usize,
    pub refused: usize,
    /// 503 as a problem that says when to come back.
    pub told: usize,
    /// 500: a fault of the service's own.
    pub internal: usize,
    /// Other answers that leave the outcome open, mostly a proxy's.
    pub other: usize,
    pub silent: usize,
    times: Vec<Duration>,
    refusals: Vec<Duration>,
}

impl Answers {
    /// Of all requests of which this holds.
    pub fn of(entries: &[Entry], is_meant: impl Fn(&Attempt) -> bool) -> Self {
        let mut answers = Self::default();
        for attempt in entries.iter().flat_map(|entry| &entry.attempts).filter(|attempt| is_meant(attempt)) {
            answers.note(attempt);
        }
        answers.times.sort_unstable();
        answers.refusals.sort_unstable();
        answers
    }

    /// Of all requests that were under way between the two.
    pub fn between(entries: &[Entry], from: Duration, to: Duration) -> Self {
        Self::of(entries, |attempt| attempt.was_under_way(from, to))
    }

    pub fn all(&self) -> usize {
        self.done + self.refused + self.failed()
    }

    /// Those that leave the outcome open.
    pub fn failed(&self) -> usize {
        self.told + self.internal + self.other + self.silent
    }

    /// Within which this part of those that were done or refused was answered, in percent.
    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.times, percent)
    }

    /// Within which this part of those that failed was told that something is unavailable, or given up, in percent.
    pub fn refusal_percentile(&self, percent: usize) -> Duration {
        percentile(&self.refusals, percent)
    }

    /// The longest wait for an answer that something is unavailable, or for none.
    pub fn slowest_refusal(&self) -> Duration {
        self.refusal_percentile(100)
    }

    fn note(&mut self, attempt: &Attempt) {
        let count = match attempt.status {
            Some(200..=299) => &mut self.done,
            Some(400..=499) => &mut self.refused,
            Some(503) if attempt.is_problem && attempt.retry_after.is_some() => &mut self.told,
            Some(500) => &mut self.internal,
            Some(_) => &mut self.other,
            None => &mut self.silent,
        };
        *count += 1;
        let is_well = attempt.status.is_some_and(|status| status < 500);
        if is_well { &mut self.times } else { &mut self.refusals }.push(attempt.took);
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [50, 99].map(|percent| self.percentile(percent).as_millis());
        write!(
            f,
            "{} requests: {} done, {} refused, {} told to come back, ",
            self.all(),
            self.done,
            self.refused,
            self.told
        )?;
        write!(f, "{} failed with 500, {} otherwise, {} unanswered; ", self.internal, self.other, self.silent)?;
        write!(f, "p50 {p50} ms, p99 {p99} ms")?;
        // Of what failed alone: the times above know nothing of it.
        let [p50, p99, slowest] = [50, 99, 100].map(|percent| self.refusal_percentile(percent).as_millis());
        write!(f, "; of those that failed p50 {p50} ms, p99 {p99} ms, the slowest {slowest} ms")
    }
}

/// How long after the end of a fault the first write was acknowledged that had been sent after it.
pub fn recovery(entries: &[Entry], strike: &Strike) -> Option<Duration> {
    let written = entries.iter().filter(|entry| entry.outcome == Outcome::Done && entry.intent.action.is_write());
    let after = written.filter_map(|entry| entry.attempts.last()).filter(|attempt| attempt.begun >= strike.healed);
    after.map(Attempt::ended).min().map(|first| first.saturating_sub(strike.healed))
}

/// Requests without a good answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    /// Under way when a fault began.
    pub in_flight: usize,
    /// Sent while a proxy in front had not found out.
    pub unnoticed: usize,
    /// All others.
    pub beyond: usize,
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_flight, unnoticed, beyond } = self;
        let within = IN_FLIGHT.as_millis();
        write!(
            f,
            "{in_flight} requests failed that were under way at a fault, {unnoticed} that were sent within {within} ms after it, {beyond} others"
        )
    }
}

/// By how they lie to the beginnings of these faults.
pub fn failures(entries: &[Entry], strikes: &[Strike]) -> Failures {
    let mut failures = Failures::default();
    let attempts = entries.iter().flat_map(|entry| &entry.attempts);
    for attempt in attempts.filter(|attempt| attempt.status.is_none_or(|status| status >= 500)) {
        let met = |within| {
            strikes.iter().any(|strike| attempt.begun <= strike.began + within && attempt.ended() >= strike.began)
        };
        let count = match (met(Duration::ZERO), met(IN_FLIGHT)) {
            (true, _) => &mut failures.in_flight,
            (false, true) => &mut failures.unnoticed,
            (false, false) => &mut failures.beyond,
        };
        *count += 1;
    }
    failures
}
