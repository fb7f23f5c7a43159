//! 8: never more guesses, mails and sessions than are allowed.

use std::time::Duration;

use anyhow::Result;

use super::{Evidence, Verdict};
use crate::ledger::Action;

/// Guesses that are judged before an identifier is blocked, and the window. Source: settings contract.
const GUESSES_MAX: usize = 5;
const WINDOW: Duration = Duration::from_mins(5);
/// How long a block lasts. Source: settings contract.
const BLOCK: Duration = Duration::from_mins(15);

/// What must not be, and how many there are of each. Source of the numbers: settings contract.
pub(super) const BEYOND: [(&str, &str); 2] = [
    (
        "accounts with more than 20 live sessions",
        "select count(*) from (select account_id from sessions where revoked_at is null group by account_id having count(*) > 20) t",
    ),
    (
        "accounts with more than 3 reset links in an hour",
        "select count(*) from (select e.subject_id from events e join events o on o.subject_id = e.subject_id
             and o.type = e.type and o.recorded_at >= e.recorded_at and o.recorded_at < e.recorded_at + interval '1 hour'
         where e.type = 'PasswordResetRequested' group by e.subject_id, e.event_id having count(*) > 3) t",
    ),
];

pub async fn judge(evidence: &Evidence) -> Result<Verdict> {
    let guesses: Vec<_> = evidence.entries.iter().filter(|entry| entry.intent.action == Action::Guess).collect();
    let status = |wanted: u16| {
        guesses.iter().filter(move |entry| entry.attempts.last().is_some_and(|attempt| attempt.status == Some(wanted)))
    };
    let mut judged: Vec<(Duration, Duration)> =
        status(401).filter_map(|entry| Some((entry.begun, entry.ended?))).collect();
    judged.sort_unstable();
    let most =
        judged.iter().map(|(from, _)| judged.iter().filter(|(at, _)| at >= from && *at < *from + WINDOW).count()).max();
    let most = most.unwrap_or_default();
    let mut findings = Vec::new();
    if most > GUESSES_MAX {
        findings.push(format!("{most} guesses at one password were judged within {WINDOW:?}"));
    }
    if let Some(at) = unblocked(&judged) {
        findings.push(format!("a guess at {:.0} s was judged while its account was blocked", at.as_secs_f64()));
    }
    for (what, sql) in BEYOND {
        let number = evidence.number(sql).await?;
        if number != 0 {
            findings.push(format!("{number} {what}"));
        }
    }
    let refused = status(429).count();
    let figure = format!(
        "{} guesses, {refused} refused unjudged, at most {most} of {GUESSES_MAX} judged in a window",
        guesses.len()
    );
    Ok(Verdict { name: "limits", figure, findings })
}

/// The first guess that was judged, from its beginning to its end, within a block that five others had begun. In order of time.
fn unblocked(judged: &[(Duration, Duration)]) -> Option<Duration> {
    let begins = |five: &&[(Duration, Duration)]| five[GUESSES_MAX - 1].0 < five[0].0 + WINDOW;
    let mut blocks = judged.windows(GUESSES_MAX).filter(begins).map(|five| five[GUESSES_MAX - 1].0);
    blocks.find_map(|from| judged.iter().find(|(begun, ended)| *begun > from && *ended < from + BLOCK).map(|it| it.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_that_is_judged_within_a_block_is_found() {
        let at = |seconds: &[u64]| {
            let seconds = seconds.iter().copied().map(Duration::from_secs);
            seconds.map(|at| (at, at + Duration::from_millis(50))).collect::<Vec<_>>()
        };
        let right = [0, 1, 2, 3, 4, 905, 906, 907, 908, 909];
        assert_eq!(unblocked(&at(&right)), None);
        assert_eq!(unblocked(&at(&[0, 1, 2, 3, 4, 310])), Some(Duration::from_secs(310)), "the block ended early");
        assert_eq!(unblocked(&at(&[0, 1, 2, 3, 301, 302])), None, "five within more than the window begin none");
        let mut slow = at(&[0, 1, 2, 3, 4]);
        slow.push((Duration::from_secs(895), Duration::from_secs(906)));
        assert_eq!(unblocked(&slow), None, "it may have been judged when the block was over");
    }
}
