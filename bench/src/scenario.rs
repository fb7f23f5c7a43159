//! What is measured, and how much of it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use doorbook_dev::load::Outcome;

/// What one measurement has found, by name: `rate` (answers a second), `p50_ms`, `p99_ms` and others.
pub type Figures = BTreeMap<&'static str, f64>;

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Scenario {
    Login,
    Register,
    Profile,
    Refresh,
    Reset,
    Live,
    Ready,
    Flood,
    Steady,
    Memory,
    Append,
    Queue,
    Start,
}

impl Scenario {
    pub const ALL: [Self; 13] = [
        Self::Login,
        Self::Register,
        Self::Profile,
        Self::Refresh,
        Self::Reset,
        Self::Live,
        Self::Ready,
        Self::Flood,
        Self::Steady,
        Self::Memory,
        Self::Append,
        Self::Queue,
        Self::Start,
    ];

    /// Its name in the results.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Register => "register",
            Self::Profile => "profile",
            Self::Refresh => "refresh",
            Self::Reset => "reset",
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Flood => "flood",
            Self::Steady => "steady",
            Self::Memory => "memory",
            Self::Append => "append",
            Self::Queue => "queue",
            Self::Start => "start",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Login => "login, 10 at once",
            Self::Register => "register, 10 at once",
            Self::Profile => "profile, 8 connections",
            Self::Refresh => "refresh with rotation, 8 connections",
            Self::Reset => "reset request, 8 connections",
            Self::Live => "health, live",
            Self::Ready => "health, ready",
            Self::Flood => "profile while 64 clients log in without pause",
            Self::Steady => "2 logins a second",
            Self::Memory => "memory, idle",
            Self::Append => "append (event, projection, outbox row), 8 connections",
            Self::Queue => "queue, a job without work",
            Self::Start => "start to ready",
        }
    }

    /// What the floor of this row is; most rows of HTTP have one.
    pub const fn floor(self) -> Option<&'static str> {
        match self {
            Self::Login | Self::Register => Some("bare hashes on every core"),
            Self::Profile => Some("token check, one read by primary key, answer"),
            Self::Refresh => Some("one update by primary key, new tokens"),
            Self::Live | Self::Ready => Some("constant page"),
            Self::Append => Some("pgbench, the same as one statement"),
            Self::Reset | Self::Flood | Self::Steady | Self::Memory | Self::Queue | Self::Start => None,
        }
    }
}

/// How much is measured at a time.
#[derive(Clone, Copy, Debug)]
pub struct Dose {
    /// Of one load.
    pub lasting: Duration,
    /// Who are logged in for the profile.
    pub users: usize,
    /// Of the queue.
    pub jobs: u32,
}

impl Dose {
    pub const fn new(seconds: u64, is_quick: bool) -> Self {
        let lasting = Duration::from_secs(seconds);
        if is_quick { Self { lasting, users: 8, jobs: 500 } } else { Self { lasting, users: 32, jobs: 5_000 } }
    }
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The figures of a load. Who was turned away is in no other of them.
pub fn figures(outcome: &Outcome) -> Figures {
    let mut figures = Figures::from([
        ("rate", outcome.rate()),
        ("p50_ms", millis(outcome.percentile(50))),
        ("p99_ms", millis(outcome.percentile(99))),
    ]);
    if outcome.turned_away() > 0 {
        figures.insert("turned_away", f64::from(u32::try_from(outcome.turned_away()).unwrap_or(u32::MAX)));
    }
    figures
}

/// Of what each round has found: the middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (_, None) => None,
        (0, Some(upper)) => Some(f64::midpoint(values[middle - 1], *upper)),
        (_, Some(only)) => Some(*only),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
