//! 8: never more guesses, mails and sessions than are allowed.

use std::time::Duration;

use anyhow::Result;

use super::{Evidence, Verdict};
use crate::ledger::Action;

/// Guesses that are judged before an identifier is blocked, and the window. Source: settings contract.
const GUESSES_MAX: usize = 5;
const WINDOW: Duration = Duration::from_mins(5);

/// What must not be, and how many there are of each. Source of the numbers: settings contract.
const BEYOND: [(&str, &str); 2] = [
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
    let judged: Vec<Duration> = status(401).map(|entry| entry.begun).collect();
    let most =
        judged.iter().map(|from| judged.iter().filter(|at| **at >= *from && **at < *from + WINDOW).count()).max();
    let most = most.unwrap_or_default();
    let mut findings = Vec::new();
    if most > GUESSES_MAX {
        findings.push(format!("{most} guesses at one password were judged within {WINDOW:?}"));
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
