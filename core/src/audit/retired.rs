//! Months of the log whose events retention has dropped. Their leaf hashes stay, so everything else is proven as before; an event that
//! is kept says which positions they had. Whoever deletes an event finds no room here: it would have to have been counted.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use time::Date;
use uuid::Uuid;

use super::tree::Hash;
use crate::clock::Timestamp;
use crate::value::EventId;

/// A month, UTC. The time of an event's id decides to which it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    pub fn start(self) -> Timestamp {
        let month = time::Month::try_from(self.month).unwrap_or(time::Month::January);
        let first = Date::from_calendar_date(self.year.into(), month, 1).unwrap_or(Date::MAX);
        Timestamp::from_seconds(first.midnight().assume_utc().unix_timestamp())
    }

    #[must_use]
    pub const fn next(self) -> Self {
        if self.month == 12 {
            Self { year: self.year + 1, month: 1 }
        } else {
            Self { year: self.year, month: self.month + 1 }
        }
    }

    /// Whether an event with this id, a UUID of version 7, is of this month.
    pub fn holds(self, event: Uuid) -> bool {
        (self.start()..self.next().start()).contains(&EventId(event).at())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

impl TryFrom<String> for Month {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Month {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a month such as 2026-01 was expected";
        let (year, month) = text.split_once('-').ok_or(wrong)?;
        let is_number = |part: &str, digits| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        if !(is_number(year, 4) && is_number(month, 2)) {
            return Err(wrong);
        }
        let (year, month) = (year.parse().map_err(|_| wrong)?, month.parse().map_err(|_| wrong)?);
        if (1..=12).contains(&month) { Ok(Self { year, month }) } else { Err(wrong) }
    }
}

/// Which events went: how many, and the hash over position and leaf hash of each, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    pub month: Month,
    pub events: u64,
    pub digest: Hash,
}

/// The same in the making.
#[derive(Clone)]
pub struct Tally {
    events: u64,
    digest: Context,
}

impl Default for Tally {
    fn default() -> Self {
        Self { events: 0, digest: Context::new(&SHA256) }
    }
}

impl Tally {
    pub fn add(&mut self, position: u64, leaf: &Hash) {
        self.events += 1;
        self.digest.update(&position.to_be_bytes());
        self.digest.update(leaf);
    }

    pub fn of(self, month: Month) -> Retired {
        let mut digest = Hash::default();
        digest.copy_from_slice(self.digest.finish().as_ref());
        Retired { month, events: self.events, digest }
    }

    pub const fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    fn event(at: &str) -> Uuid {
        let millis = Timestamp::parse_rfc3339(at).unwrap().millis();
        Uuid::from_u128((u128::from(millis) << 80) | (0x7fff << 64) | u128::from(u64::MAX))
    }

    #[test]
    fn a_month_holds_the_events_between_its_ends() {
        let december = month("2025-12");
        assert_eq!(december.next(), month("2026-01"));
        for (at, is_held) in [
            ("2025-11-30T23:59:59.999Z", false),
            ("2025-12-01T00:00:00Z", true),
            ("2025-12-31T23:59:59.999Z", true),
            ("2026-01-01T00:00:00Z", false),
        ] {
            assert_eq!(december.holds(event(at)), is_held, "{at}");
        }
    }

    #[test]
    fn only_months_are_read_as_such() {
        assert_eq!(month("2026-01").to_string(), "2026-01");
        for text in ["2026-13", "2026-00", "2026-1", "202601", "26-01", "2026-01-01", "+026-01", ""] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tally_tells_every_other_set_of_events_apart() {
        let of = |leaves: &[(u64, u8)]| {
            let mut tally = Tally::default();
            for (position, leaf) in leaves {
                tally.add(*position, &[*leaf; 32]);
            }
            tally.of(month("2026-01"))
        };
        let whole = of(&[(3, 1), (5, 2)]);
        assert_eq!(whole.events, 2);
        for other in [&[(3, 1)][..], &[(3, 1), (6, 2)], &[(3, 1), (5, 3)], &[(5, 2), (3, 1)], &[(3, 1), (5, 2), (6, 1)]]
        {
            assert_ne!(of(other), whole, "{other:?}");
        }
    }
}
