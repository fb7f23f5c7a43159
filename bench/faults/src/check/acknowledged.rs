//! 1: what was acknowledged is in the log.

use std::collections::{HashMap, HashSet};

use super::{Event, Evidence, Verdict, millis};
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
    let (begun, mut count, mut early, mut over, mut findings) = (evidence.begun(), 0, 0, 0, Vec::new());
    for entry in evidence.done() {
        let Some(event) = entry.intent.action.event() else { continue };
        count += 1;
        early += usize::from(entry.begun < evidence.load_began);
        if there.contains(&(Some(entry.trace), event)) {
            continue;
        }
        // Beyond the limit the answer is the same, and nothing follows.
        let account = accounts.get(&entry.intent.person).copied();
        let answered = begun + millis(entry.ended.unwrap_or(entry.begun));
        let is_limited = resets.get(&account).is_some_and(|events| is_over(events, answered));
        // Who registers again, not knowing that it was done, is told the same.
        let is_again = account.is_some() && evidence.entries.iter().any(|other| is_earlier_try(other, entry));
        if entry.intent.action == Action::Reset && is_limited {
            over += 1;
        } else if !is_again {
            findings.push(format!("no {event} of {}", Evidence::describe(entry)));
        }
    }
    let figure =
        format!("{count} writes acknowledged, {early} of them before the load, {over} resets beyond the limit");
    Verdict { name: "acknowledged and lost", figure, findings }
}

/// Whether `other` is a registration of unknown outcome before `entry`, which is one too.
fn is_earlier_try(other: &Entry, entry: &Entry) -> bool {
    let both = [other, entry].iter().all(|entry| entry.intent.action == Action::Register);
    both && other.intent.person == entry.intent.person && other.outcome == Outcome::Unknown && other.begun < entry.begun
}

/// Whether the hour before this moment has as many as it may have.
fn is_over(events: &[&Event], at: i64) -> bool {
    events.iter().filter(|event| (at - HOUR..=at).contains(&event.at)).count() >= RESETS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_excused_by_three_in_the_hour_before_it_and_by_no_others() {
        let reset = |at| Event {
            event_id: uuid::Uuid::nil(),
            r#type: "PasswordResetRequested".to_owned(),
            stream_id: uuid::Uuid::nil(),
            subject_id: None,
            actor_kind: "stranger".to_owned(),
            trace_id: None,
            at,
        };
        let events = [reset(0), reset(1_000), reset(2_000)];
        let events: Vec<_> = events.iter().collect();
        assert!(is_over(&events, 2_500));
        assert!(!is_over(&events, 1_500), "two of them came later");
        assert!(!is_over(&events, HOUR + 500), "one of them is too old");
    }
}
