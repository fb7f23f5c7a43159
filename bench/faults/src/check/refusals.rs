//! 9: nobody is turned away who did nothing wrong: what a refusal may say, and to whom.

use std::collections::BTreeMap;

use super::{Evidence, Verdict};
use crate::ledger::{Action, Entry, Outcome};

pub fn judge(evidence: &Evidence) -> Verdict {
    let (mut findings, mut kinds) = (Vec::new(), BTreeMap::new());
    for entry in evidence.entries.iter().filter(|entry| entry.intent.action != Action::Guess) {
        let Some(status) = refusal(entry) else { continue };
        *kinds.entry(format!("{:?} {status}", entry.intent.action)).or_insert(0) += 1;
        if !may_be(entry.intent.action, status) {
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
/// judges look into.
const fn may_be(action: Action, status: u16) -> bool {
    match action {
        Action::Login | Action::Refresh | Action::Profile | Action::Change | Action::Logout => status == 401,
        Action::Confirm => status == 422,
        Action::Register | Action::Reset | Action::Guess => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_to_the_limits_is_not_told_of_one() {
        assert!(may_be(Action::Login, 401) && may_be(Action::Confirm, 422));
        assert!(![400, 401, 403, 404, 409, 415, 429].iter().any(|status| may_be(Action::Confirm, *status)));
        for action in [Action::Register, Action::Login, Action::Refresh, Action::Profile, Action::Reset, Action::Change]
        {
            assert!(![400, 403, 404, 409, 415, 422, 429].iter().any(|status| may_be(action, *status)), "{action:?}");
        }
    }
}
