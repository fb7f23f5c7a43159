//! 9: nobody is turned away who did nothing wrong: what a refusal may say, and to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Evidence, Verdict};
use crate::ledger::{Action, Entry, Outcome};

pub fn judge(evidence: &Evidence) -> Verdict {
    let (mut findings, mut kinds) = (Vec::new(), BTreeMap::new());
    for entry in evidence.entries.iter().filter(|entry| entry.intent.action != Action::Guess) {
        let Some(status) = refusal(entry) else { continue };
        *kinds.entry(format!("{:?} {status}", entry.intent.action)).or_insert(0) += 1;
        let is_fresh_link = entry.intent.action == Action::Confirm && resets(&evidence.entries, entry) < 2;
        if is_fresh_link || !may_be(entry.intent.action, status) {
            findings.push(format!("turned away: {}", Evidence::describe(entry)));
        }
    }
    Verdict { name: "refusals", figure: format!("{kinds:?}"), findings }
}

/// How an operation was refused, if it was in the end.
fn refusal(entry: &Entry) -> Option<u16> {
    let last = entry.attempts.last()?.status?;
    (entry.outcome != Outcome::Done && (400..500).contains(&last)).then_some(last)
}

/// Whether these people, who keep to all limits, may be told so: that a password or a token is not the one that holds, which other
/// judges look into, or that a link is spent.
const fn may_be(action: Action, status: u16) -> bool {
    match action {
        Action::Login | Action::Refresh | Action::Profile | Action::Change => status == 401,
        Action::Confirm => status == 422,
        Action::Register | Action::Reset | Action::Logout | Action::Guess => false,
    }
}

/// How many links somebody may have been sent before this was answered: who has had one only has followed a fresh one.
fn resets(entries: &[Entry], confirm: &Entry) -> usize {
    let is_theirs = |other: &&Entry| {
        other.intent.person == confirm.intent.person
            && other.intent.action == Action::Reset
            && other.outcome != Outcome::Refused
            && other.begun < confirm.ended.unwrap_or(Duration::MAX)
    };
    entries.iter().filter(is_theirs).count()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ledger::Intent;

    #[test]
    fn whoever_keeps_to_the_limits_is_not_told_of_one() {
        assert!(may_be(Action::Login, 401) && may_be(Action::Confirm, 422));
        assert!(![400, 401, 403, 404, 409, 415, 429].iter().any(|status| may_be(Action::Confirm, *status)));
        assert!(!may_be(Action::Logout, 401), "a logout is done whatever its token is worth");
        for action in [Action::Register, Action::Login, Action::Refresh, Action::Profile, Action::Reset, Action::Change]
        {
            assert!(![400, 403, 404, 409, 415, 422, 429].iter().any(|status| may_be(action, *status)), "{action:?}");
        }
    }

    fn asked(person: usize, action: Action, second: u64) -> Entry {
        let intent = Intent { person, action, password: None, former: None, session: None };
        let begun = Duration::from_secs(second);
        Entry {
            trace: Uuid::nil(),
            intent,
            begun,
            ended: Some(begun),
            outcome: Outcome::Done,
            attempts: vec![],
            tokens_of: None,
        }
    }

    #[test]
    fn only_who_was_sent_another_link_may_have_followed_a_spent_one() {
        let confirm = asked(1, Action::Confirm, 10);
        let mut entries = vec![asked(1, Action::Reset, 9), asked(2, Action::Reset, 5), asked(1, Action::Reset, 11)];
        assert_eq!(resets(&entries, &confirm), 1, "neither somebody else's nor a later one");
        entries.push(asked(1, Action::Reset, 4));
        assert_eq!(resets(&entries, &confirm), 2);
    }
}
