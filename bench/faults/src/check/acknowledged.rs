//! 1: what was acknowledged is in the log.

use std::collections::{HashMap, HashSet};

use super::{Event, Evidence, Verdict};
use crate::ledger::{Action, Entry, Outcome};

/// Reset links of one account in an hour; beyond it 202 is answered without one. Source: settings contract.
const RESETS_MAX: usize = 3;
const HOUR: i64 = 3_600_000;

pub fn judge(evidence: &Evidence) -> Verdict {
    let there: HashSet<_> = evidence.events.iter().map(|event| (event.trace_id, event.r#type.as_str())).collect();
    let accounts = evidence.accounts();
    let mut resets: HashMap<_, Vec<&Event>> = HashMap::new();
    for event in evidence.events.iter().filter(|event| event.r#type == "PasswordResetRequested") {
        resets.entry(event.subject_id).or_default().push(event);
    }
    let (mut count, mut over, mut findings) = (0, 0, Vec::new());
    for entry in evidence.done() {
        let Some(event) = entry.intent.action.event() else { continue };
        count += 1;
        if there.contains(&(Some(entry.trace), event)) {
            continue;
        }
        // Beyond the limit the answer is the same, and nothing follows.
        let account = accounts.get(&entry.intent.person).copied();
        let is_limited = resets.get(&account).is_some_and(|events| is_over(events));
        // Who registers again, not knowing that it was done, is told the same.
        let is_again = account.is_some() && evidence.entries.iter().any(|other| is_earlier_try(other, entry));
        if entry.intent.action == Action::Reset && is_limited {
            over += 1;
        } else if !is_again {
            findings.push(format!("no {event} of {}", Evidence::describe(entry)));
        }
    }
    let figure = format!("{count} writes acknowledged, {over} of them resets beyond the limit");
    Verdict { name: "acknowledged and lost", figure, findings }
}

/// Whether `other` is a registration of unknown outcome before `entry`, which is one too.
fn is_earlier_try(other: &Entry, entry: &Entry) -> bool {
    let both = [other, entry].iter().all(|entry| entry.intent.action == Action::Register);
    both && other.intent.person == entry.intent.person && other.outcome == Outcome::Unknown && other.begun < entry.begun
}

/// Whether there is an hour with as many as there may be.
fn is_over(events: &[&Event]) -> bool {
    events.windows(RESETS_MAX).any(|window| window[RESETS_MAX - 1].at - window[0].at <= HOUR)
}
