//! 3: the logins of each account can be explained by one order of its changes of password (Wing and Gong's search for one register).

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::{Evidence, Verdict};
use crate::ledger::{Action, Entry, Outcome};

/// Operations of one account that are searched; a set of them is a number of so many bits.
const HISTORY_MAX: usize = 128;

/// One operation on the password of an account. Indices stand for passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Set {
        to: usize,
        from: Option<usize>,
    },
    /// Whether a login with it succeeded.
    Read {
        password: usize,
        held: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub kind: Kind,
    pub begun: Duration,
    /// `MAX` for one that may still happen, or never.
    pub ended: Duration,
}

pub fn judge(evidence: &Evidence) -> Verdict {
    let mut people: BTreeMap<usize, Vec<&Entry>> = BTreeMap::new();
    for entry in &evidence.entries {
        people.entry(entry.intent.person).or_default().push(entry);
    }
    let (mut findings, mut count) = (Vec::new(), 0);
    for (person, entries) in &people {
        let history = history(entries);
        count += history.len();
        if history.len() > HISTORY_MAX {
            findings.push(format!("person {person} did more than can be searched: {}", history.len()));
        } else if !is_explained(&history) {
            findings.push(format!("person {person}: no order explains {history:?}"));
        }
    }
    let figure = format!("{count} logins and changes of password of {} accounts", people.len());
    Verdict { name: "passwords in one order", figure, findings }
}

fn history(entries: &[&Entry]) -> Vec<Operation> {
    let index = |password: &str, known: &mut Vec<String>| {
        known.iter().position(|other| other == password).unwrap_or_else(|| {
            known.push(password.to_owned());
            known.len() - 1
        })
    };
    let mut known = Vec::new();
    let mut history = Vec::new();
    for entry in entries {
        let Some(password) = &entry.intent.password else { continue };
        let to = index(password, &mut known);
        let kind = match (entry.intent.action, entry.outcome) {
            (Action::Login, Outcome::Done) => Kind::Read { password: to, held: true },
            (Action::Login, Outcome::Refused) if was_wrong(entry) => Kind::Read { password: to, held: false },
            (Action::Register | Action::Confirm, Outcome::Done | Outcome::Unknown) => Kind::Set { to, from: None },
            (Action::Change, Outcome::Done | Outcome::Unknown) => {
                let from = entry.intent.former.as_deref().map(|former| index(former, &mut known));
                Kind::Set { to, from }
            }
            _ => continue,
        };
        let ended =
            if entry.outcome == Outcome::Unknown { Duration::MAX } else { entry.ended.unwrap_or(Duration::MAX) };
        history.push(Operation { kind, begun: entry.begun, ended });
    }
    history
}

/// A login that is turned away unjudged says nothing of the password.
fn was_wrong(entry: &Entry) -> bool {
    entry.attempts.last().is_some_and(|attempt| attempt.status == Some(401))
}

/// Whether there is an order in which every login found what it found. An operation comes before another when it ended before that
/// one began; one of unknown outcome may come at any time after its beginning, or not at all.
pub fn is_explained(history: &[Operation]) -> bool {
    let needed: u128 = (0..history.len())
        .filter(|number| history[*number].ended != Duration::MAX)
        .fold(0, |all, number| all | 1 << number);
    let (mut seen, mut open) = (HashSet::new(), vec![(0_u128, None::<usize>)]);
    while let Some((taken, current)) = open.pop() {
        if taken & needed == needed {
            return true;
        }
        if !seen.insert((taken, current)) {
            continue;
        }
        let left = || (0..history.len()).filter(move |number| taken & 1 << number == 0);
        let first_end = left().map(|number| history[number].ended).min().unwrap_or(Duration::MAX);
        for number in left().filter(|number| history[*number].begun <= first_end) {
            let next = match history[number].kind {
                Kind::Set { to, from } if from.is_none() || from == current => Some(to),
                Kind::Read { password, held } if (current == Some(password)) == held => current,
                Kind::Set { .. } | Kind::Read { .. } => continue,
            };
            open.push((taken | 1 << number, next));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: u64, ended: u64, kind: Kind) -> Operation {
        let ended = if ended == 0 { Duration::MAX } else { Duration::from_secs(ended) };
        Operation { kind, begun: Duration::from_secs(begun), ended }
    }

    const FIRST: Kind = Kind::Set { to: 0, from: None };
    const SECOND: Kind = Kind::Set { to: 1, from: Some(0) };
    const OLD_HOLDS: Kind = Kind::Read { password: 0, held: true };
    const NEW_HOLDS: Kind = Kind::Read { password: 1, held: true };
    const OLD_FAILS: Kind = Kind::Read { password: 0, held: false };

    #[test]
    fn an_acknowledged_change_holds_from_its_answer_on() {
        assert!(is_explained(&[at(1, 2, FIRST), at(3, 4, SECOND), at(5, 6, NEW_HOLDS), at(7, 8, OLD_FAILS)]));
        assert!(!is_explained(&[at(1, 2, FIRST), at(3, 4, SECOND), at(5, 6, OLD_HOLDS)]), "it was lost");
    }

    #[test]
    fn a_change_of_unknown_outcome_may_come_late_or_never_and_does_not_go_back() {
        assert!(is_explained(&[at(1, 2, FIRST), at(3, 0, SECOND), at(5, 6, OLD_HOLDS), at(7, 8, NEW_HOLDS)]));
        assert!(is_explained(&[at(1, 2, FIRST), at(3, 0, SECOND), at(5, 6, OLD_HOLDS)]));
        assert!(!is_explained(&[at(1, 2, FIRST), at(3, 0, SECOND), at(5, 6, NEW_HOLDS), at(7, 8, OLD_HOLDS)]));
    }

    #[test]
    fn what_overlaps_may_have_come_in_either_order() {
        assert!(is_explained(&[at(1, 2, FIRST), at(3, 6, SECOND), at(4, 5, OLD_HOLDS)]));
        assert!(is_explained(&[at(1, 2, FIRST), at(3, 6, SECOND), at(4, 5, NEW_HOLDS)]));
    }

    #[test]
    fn a_password_that_nobody_has_set_does_not_hold() {
        assert!(!is_explained(&[at(1, 2, FIRST), at(3, 4, NEW_HOLDS)]));
        assert!(!is_explained(&[at(1, 2, OLD_HOLDS), at(3, 4, FIRST)]));
    }
}
