//! Events that are gone because retention has dropped them, and were counted when it did.

use doorbook_core::audit::retired::{Retired, Tally};
use doorbook_core::audit::walk::{Fault, Finding, Walker};
use doorbook_core::store::audit::Place;

/// Months that the log calls dropped, with what of them is gone indeed.
pub struct Gone(Vec<Month>);

struct Month {
    told: Retired,
    found: Tally,
    span: Option<(u64, u64)>,
    /// Events that are still there: a month goes whole.
    left: u64,
}

impl Gone {
    pub fn new(told: Vec<Retired>) -> Self {
        let month = |told| Month { told, found: Tally::default(), span: None, left: 0 };
        Self(told.into_iter().map(month).collect())
    }

    /// Whether the event of this place was dropped with a month. To be asked in the order of the log.
    pub fn count(&mut self, place: &Place) -> bool {
        let is_its = |month: &&mut Month| place.can_expire() && month.told.month.holds(place.event_id);
        let Some(month) = self.0.iter_mut().find(is_its) else { return false };
        if place.leaf.is_some() {
            month.left += 1;
            return false;
        }
        let position = u64::try_from(place.position).unwrap_or(0);
        month.found.add(position, &place.leaf_hash);
        month.span = Some((month.span.map_or(position, |(first, _)| first), position));
        true
    }

    /// Finds months of which other events are gone than those that were counted.
    pub fn end(self, walker: &mut Walker, notes: &mut Vec<String>) {
        for (number, month) in self.0.iter().enumerate() {
            if self.0[..number].iter().any(|other| other.told.month == month.told.month && other.told != month.told) {
                let about =
                    format!("{} is told to have been dropped twice, with other events each time", month.told.month);
                walker.findings.add(Finding::elsewhere(Fault::Inserted, None, &about));
            }
        }
        for Month { told, found, span, left } in self.0 {
            // Not dropped yet, or dropped without an event in it.
            let Some(span) = span else { continue };
            let (month, events) = (told.month, found.events());
            if left == 0 && found.of(month) == told {
                notes.push(format!("retention has dropped the {events} events of {month} that could expire"));
            } else {
                let about = format!(
                    "{events} events of {month} are gone, and they are not the {} that were dropped",
                    told.events
                );
                walker.findings.add(Finding::between(Fault::Deleted, span, (None, None), &about));
            }
        }
    }
}
