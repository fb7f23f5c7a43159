//! 4: each session has one live refresh token: what was acknowledged works, what was ended stays so.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use uuid::Uuid;

use super::{Evidence, Verdict};
use crate::ledger::{Action, Attempt, Entry, Outcome};

/// A token whose answer was lost may be shown again for so long: `REFRESH_GRACE_SECONDS`, and the clients' own way.
const GRACE: Duration = Duration::from_secs(9);

/// An end of sessions that is answered may overtake what was under way.
const AT_ONCE: Duration = Duration::from_secs(1);

pub async fn judge(evidence: &Evidence) -> Result<Verdict> {
    let rows = "select session_id, generation from sessions";
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as(rows).fetch_all(&evidence.owner).await.context("cannot read sessions")?;
    let generations: HashMap<Uuid, i64> = rows.into_iter().collect();
    let (mut findings, mut refreshes, mut refused) = (Vec::new(), 0, 0);
    let mut people: HashMap<usize, Vec<&Entry>> = HashMap::new();
    for entry in &evidence.entries {
        people.entry(entry.intent.person).or_default().push(entry);
    }
    let of_session = |entries: &[&Entry], session: Uuid, outcome: Outcome| {
        let is_such = |entry: &&&Entry| entry.intent.action == Action::Refresh && entry.intent.session == Some(session);
        entries.iter().filter(is_such).filter(|entry| entry.outcome == outcome).count()
    };
    findings.extend(evidence.done().filter_map(unheld));
    for entry in evidence.done() {
        let (Some(session), Some(entries)) = (begins(entry), people.get(&entry.intent.person)) else { continue };
        let [done, open] = [Outcome::Done, Outcome::Unknown].map(|outcome| of_session(entries, session, outcome));
        refreshes += done;
        let least = i64::try_from(1 + done)?;
        let generation = generations.get(&session).copied().unwrap_or_default();
        if !(least..=least + i64::try_from(open)?).contains(&generation) {
            findings.push(format!(
                "session {session} is at {generation} after {done} refreshes and {open} of unknown outcome"
            ));
        }
    }
    for entries in people.values() {
        for entry in entries.iter().filter(|entry| shows_token(entry.intent.action)) {
            let reason = entries.iter().find(|other| ends(entries, other, entry));
            match (is_turned_away(entry), reason) {
                (true, None) => findings.push(format!("a session is lost: {}", Evidence::describe(entry))),
                (true, Some(_)) => refused += 1,
                (false, _) => findings.extend(revived(entries, entry)),
            }
        }
    }
    let figure = format!(
        "{} sessions, {refreshes} refreshes acknowledged, {refused} tokens turned away for a reason",
        generations.len()
    );
    Ok(Verdict { name: "families of tokens", figure, findings })
}

/// The session that this login has begun, as far as its answer could be read.
fn begins(entry: &Entry) -> Option<Uuid> {
    entry.tokens_of.filter(|_| entry.intent.action == Action::Login)
}

/// Whether the login of this session was sent before.
fn had_begun(entries: &[&Entry], session: Option<Uuid>, before: Duration) -> bool {
    session.is_some() && entries.iter().any(|login| begins(login) == session && login.begun < before)
}

/// What is wrong with an answer that must hold the tokens of a session: that it holds none, or another's. Nobody would show them later, and
/// no other judge would miss them.
fn unheld(entry: &Entry) -> Option<String> {
    let wrong = match (entry.intent.action, entry.tokens_of) {
        (Action::Login | Action::Refresh, None) => "no session in the answer to",
        (Action::Refresh, told) if told != entry.intent.session => "another session in the answer to",
        _ => return None,
    };
    Some(format!("{wrong} {}", Evidence::describe(entry)))
}

/// Whether it works for as long as its session does. A logout of a session that is over has done what it was asked for.
const fn shows_token(action: Action) -> bool {
    matches!(action, Action::Refresh | Action::Profile | Action::Change)
}

/// Refused in the end, whatever went before.
fn is_turned_away(entry: &Entry) -> bool {
    entry.attempts.last().is_some_and(|attempt| attempt.status == Some(401))
}

/// Whether `other` explains that the session of `entry` is over: it may have ended it, which had begun by then, or have spent the token for
/// longer than the grace.
fn ends(entries: &[&Entry], other: &Entry, entry: &Entry) -> bool {
    let (session, came_first) = (entry.intent.session, other.begun < entry.ended.unwrap_or(Duration::MAX));
    let may_have = came_first && (other.outcome != Outcome::Refused);
    let is_own = other.intent.session == session;
    // What nobody heard the end of may have happened at any time since.
    let latest = other.ended.filter(|_| other.outcome == Outcome::Done).unwrap_or(Duration::MAX);
    let had_begun = had_begun(entries, session, latest);
    match other.intent.action {
        Action::Logout => may_have && is_own,
        Action::Confirm => may_have && had_begun,
        Action::Change => may_have && had_begun && !is_own,
        Action::Refresh if is_own => may_have_spent(entries, other, entry),
        _ => false,
    }
}

/// Whether a request of `other` may have spent the token, unknown to its owner, for longer than the grace. Who has been given the next one since is
/// beyond that, unless the request is still on its way: a process that stood still may take it up later.
fn may_have_spent(entries: &[&Entry], other: &Entry, entry: &Entry) -> bool {
    let Some(last) = entry.attempts.last() else { return false };
    let was_followed = |open: &Attempt| {
        entries.iter().any(|next| {
            let is_next = next.intent.action == Action::Refresh && next.intent.session == entry.intent.session;
            let given = next.attempts.last().filter(|_| is_next && next.outcome == Outcome::Done);
            given.is_some_and(|given| given.begun >= open.begun && given.ended() <= last.begun)
        })
    };
    let is_open = |attempt: &Attempt| attempt.status.is_none_or(|status| status >= 500 && !was_followed(attempt));
    other.attempts.iter().any(|attempt| last.begun >= attempt.begun + GRACE && is_open(attempt))
}

/// A token that worked though its session had been ended before.
fn revived(entries: &[&Entry], entry: &Entry) -> Option<String> {
    let is_end = |other: &&&Entry| {
        let is_own = other.intent.session == entry.intent.session;
        let ended = other.ended.is_some_and(|ended| ended + AT_ONCE < entry.begun);
        let after_login = had_begun(entries, entry.intent.session, other.begun);
        let hits = match other.intent.action {
            Action::Logout => is_own,
            Action::Confirm => after_login,
            Action::Change => after_login && !is_own,
            _ => false,
        };
        hits && ended && other.outcome == Outcome::Done
    };
    let end = entries.iter().find(is_end).filter(|_| entry.outcome == Outcome::Done)?;
    Some(format!("{} worked after {}", Evidence::describe(entry), Evidence::describe(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Intent;

    /// A refresh whose requests began at these seconds and were answered so.
    fn refresh(answers: &[(u64, Option<u16>)]) -> Entry {
        let attempt = |(second, status): &(u64, Option<u16>)| Attempt {
            begun: Duration::from_secs(*second),
            took: Duration::from_millis(10),
            status: *status,
            retry_after: None,
            is_problem: true,
        };
        let attempts: Vec<_> = answers.iter().map(attempt).collect();
        let outcome = match answers.last() {
            Some((_, Some(200))) => Outcome::Done,
            _ => Outcome::Unknown,
        };
        let intent = Intent {
            person: 1,
            action: Action::Refresh,
            password: None,
            former: None,
            session: Some(Uuid::from_u128(1)),
        };
        let (begun, ended) = (attempts[0].begun, attempts.last().map(Attempt::ended));
        Entry { trace: Uuid::nil(), intent, begun, ended, outcome, attempts, tokens_of: None }
    }

    #[test]
    fn an_answer_that_holds_no_tokens_of_its_session_is_found() {
        let done = refresh(&[(10, Some(200))]);
        let own = Entry { tokens_of: done.intent.session, ..done.clone() };
        assert_eq!(unheld(&own), None);
        let other = Entry { tokens_of: Some(Uuid::from_u128(2)), ..done.clone() };
        assert!(unheld(&other).is_some_and(|finding| finding.starts_with("another session")));
        assert!(unheld(&done).is_some_and(|finding| finding.starts_with("no session")));
        let asking = |action| Intent { action, session: None, ..done.intent.clone() };
        let login = Entry { intent: asking(Action::Login), ..done.clone() };
        assert!(unheld(&login).is_some_and(|finding| finding.starts_with("no session")));
        let login = Entry { tokens_of: Some(Uuid::from_u128(1)), ..login };
        assert_eq!((unheld(&login), begins(&login)), (None, login.tokens_of));
        assert_eq!(begins(&own), None, "a refresh begins none");
        let profile = Entry { intent: asking(Action::Profile), ..done };
        assert_eq!(unheld(&profile), None, "nobody expects tokens of it");
    }

    #[test]
    fn a_lost_answer_explains_a_lost_session_until_the_next_token_was_given() {
        let turned_away = refresh(&[(30, Some(401))]);
        let explains = |others: &[Entry]| {
            let entries: Vec<_> = others.iter().chain([&turned_away]).collect();
            others.iter().any(|other| ends(&entries, other, &turned_away))
        };
        assert!(explains(&[refresh(&[(10, Some(503))])]), "it may have been done");
        assert!(!explains(&[refresh(&[(25, Some(503))])]), "within the grace");
        assert!(!explains(&[refresh(&[(10, Some(503)), (11, Some(200))])]), "the next one was given");
        assert!(!explains(&[refresh(&[(10, Some(503))]), refresh(&[(12, Some(200))])]), "later");
        assert!(explains(&[refresh(&[(10, None), (11, Some(200))])]), "it may still be on its way");
    }
}
