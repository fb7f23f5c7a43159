//! Failed logins at addresses without an account are written one by one while the minute has room for them, and counted where it has
//! none (`docs/adr/0022`). What is about an account is always written.

use std::collections::BTreeMap;

use super::AttemptEvent;
use crate::clock::Timestamp;

/// Rows that a minute has for failed logins without an account, and for the blocks that they begin. Source: docs/adr/0022.
pub const ROWS_A_MINUTE: u32 = 600;
/// Networks with a roll-up of their own in a minute: those with most attempts. The others share one.
pub const NETWORKS_NAMED: usize = 100;
/// What a roll-up is about, in seconds.
const MINUTE: u64 = 60;

/// How a failed login is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// By events of its own, which take so many rows of the minute. `None`: it has none left, and is not asked.
    Singly { takes: Option<u32> },
    /// By the roll-up of its minute and network.
    RolledUp,
}

/// How to tell a failure of so many events, in a minute that has `recorded` rows already.
///
/// Whoever has an account takes nothing, and asks the minute all the same: both kinds of failures write the same rows while it has room.
pub const fn telling(recorded: u32, events: u32, has_account: bool) -> Telling {
    let fits = recorded.saturating_add(events) <= ROWS_A_MINUTE;
    match (fits, has_account) {
        (true, true) => Telling::Singly { takes: Some(0) },
        (true, false) => Telling::Singly { takes: Some(events) },
        (false, true) => Telling::Singly { takes: None },
        (false, false) => Telling::RolledUp,
    }
}

/// What was counted of one identifier from one network in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally<N> {
    pub network: N,
    pub attempts: u64,
    pub blocks: u64,
}

/// What one roll-up tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUp<N> {
    /// `None`: of several.
    pub network: Option<N>,
    pub networks: u64,
    pub identifiers: u64,
    pub attempts: u64,
    pub blocks: u64,
}

impl<N> RollUp<N> {
    const fn of(network: Option<N>) -> Self {
        Self { network, networks: 0, identifiers: 0, attempts: 0, blocks: 0 }
    }

    const fn take(&mut self, networks: u64, identifiers: u64, (attempts, blocks): (u64, u64)) {
        self.networks += networks;
        self.identifiers += identifiers;
        self.attempts += attempts;
        self.blocks += blocks;
    }

    pub const fn event(&self, from: Timestamp) -> AttemptEvent {
        AttemptEvent::LoginAttemptsSuppressed {
            from,
            seconds: MINUTE,
            attempts: self.attempts,
            identifiers: self.identifiers,
            networks: self.networks,
            blocks: self.blocks,
        }
    }
}

/// Rolls a minute up: the networks with most attempts first, then one for all others.
pub fn roll_up<N: Ord + Clone>(tallies: &[Tally<N>]) -> Vec<RollUp<N>> {
    let mut networks: BTreeMap<&N, RollUp<N>> = BTreeMap::new();
    for Tally { network, attempts, blocks } in tallies {
        let sum = networks.entry(network).or_insert_with(|| RollUp::of(Some(network.clone())));
        sum.take(0, 1, (*attempts, *blocks));
        sum.networks = 1;
    }
    let mut told: Vec<_> = networks.into_values().collect();
    told.sort_by_key(|sum| std::cmp::Reverse(sum.attempts));
    let mut others = RollUp::of(None);
    for sum in told.drain(NETWORKS_NAMED.min(told.len())..) {
        others.take(1, sum.identifiers, (sum.attempts, sum.blocks));
    }
    told.extend((others.networks > 0).then_some(others));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_hundred_rows_of_a_minute_are_written_and_what_comes_then_is_rolled_up() {
        assert_eq!(telling(599, 1, false), Telling::Singly { takes: Some(1) });
        assert_eq!(telling(600, 1, false), Telling::RolledUp);
        assert_eq!(telling(599, 2, false), Telling::RolledUp, "a block does not go without its last guess");
    }

    #[test]
    fn what_is_about_an_account_is_always_written_and_takes_no_room_from_others() {
        assert_eq!(telling(0, 2, true), Telling::Singly { takes: Some(0) });
        assert_eq!(telling(600, 2, true), Telling::Singly { takes: None });
    }

    #[test]
    fn each_of_the_busiest_networks_is_told_and_the_others_together() {
        let of = |network: u32, attempts: u64| Tally { network, attempts, blocks: 1 };
        let mut tallies: Vec<_> = (0..150).map(|network| of(network, u64::from(network) + 1)).collect();
        tallies.push(of(149, 7));
        let told = roll_up(&tallies);
        assert_eq!(told.len(), NETWORKS_NAMED + 1);
        let first = RollUp { network: Some(149), networks: 1, identifiers: 2, attempts: 157, blocks: 2 };
        assert_eq!(told[0], first);
        let last = RollUp { network: None, networks: 50, identifiers: 50, attempts: (1..=50).sum(), blocks: 50 };
        assert_eq!(told[NETWORKS_NAMED], last);
        let all = |tallies: &[Tally<u32>]| tallies.iter().map(|tally| tally.attempts).sum::<u64>();
        assert_eq!(told.iter().map(|sum| sum.attempts).sum::<u64>(), all(&tallies), "none is lost");
    }

    #[test]
    fn a_minute_of_nothing_is_told_by_nothing() {
        assert_eq!(roll_up::<u32>(&[]), []);
    }
}
