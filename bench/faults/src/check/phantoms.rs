//! 2: what is in the log was asked for, and once.

use std::collections::HashMap;

use super::{Evidence, Verdict, cause};
use crate::ledger::Outcome;

/// Notes about strangers that name no request: one for a whole window.
const UNTRACED: [&str; 2] = ["LimitExceeded", "LoginAttemptsSuppressed"];

/// Every event of an account or a stranger must belong to an operation. The kinds that an operation may cause alone (`cause`: six) are held
/// to one of that kind, which was not refused, and to once; the others, such as notes of refusals, to no more than that.
pub fn judge(evidence: &Evidence) -> Verdict {
    let (mut findings, mut seen, mut count) = (Vec::new(), HashMap::new(), 0);
    for event in &evidence.events {
        let kind = event.r#type.as_str();
        if !matches!(event.actor_kind.as_str(), "account" | "stranger") || UNTRACED.contains(&kind) {
            continue;
        }
        count += 1;
        let Some(entry) = evidence.entry(event) else {
            findings.push(format!("{kind} {} of nobody's request", event.event_id));
            continue;
        };
        let Some(action) = cause(kind) else { continue };
        if entry.outcome == Outcome::Refused || entry.intent.action != action {
            findings.push(format!("{kind} of {}", Evidence::describe(entry)));
        }
        let times = seen.entry((entry.trace, kind)).or_insert(0);
        *times += 1;
        if *times > 1 {
            findings.push(format!("{kind} for the {times}. time of {}", Evidence::describe(entry)));
        }
    }
    let open = evidence.entries.iter().filter(|entry| entry.outcome == Outcome::Unknown).count();
    let figure = format!("{count} events of {} operations, {open} of them of unknown outcome", evidence.entries.len());
    Verdict { name: "phantoms and duplicates", figure, findings }
}
