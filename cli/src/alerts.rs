//! What the rules of alerts would have said about what has happened already.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use doorbook_core::alert::Subject;
use doorbook_core::service::alert_replay::Replayed;
use serde_json::json;

use crate::{Outcome, settings};

/// Longest time that is looked back over, in days.
const DAYS_MAX: u64 = 3_650;

#[derive(Subcommand)]
pub enum Command {
    /// Run the rules over the log with the thresholds in force, and print what they would have said; writes nothing
    ///
    /// Other thresholds are tried by other settings: `ALERT_ACCOUNT_FAILURES=5 doorbook alerts replay`.
    Replay(Replay),
}

#[derive(Args)]
pub struct Replay {
    /// From so long ago on, such as 36h or 30d
    #[arg(long, default_value = "30d", value_parser = span)]
    since: Duration,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let rule = || format!("must be hours or days, such as 36h or 30d, at most {DAYS_MAX}d");
    let (digits, hours) = match (text.strip_suffix('h'), text.strip_suffix('d')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 24),
        (None, None) => return Err(rule()),
    };
    let number: u64 = digits.parse().map_err(|_| rule())?;
    let whole = number.checked_mul(hours).filter(|whole| (1..=DAYS_MAX * 24).contains(whole));
    whole.map(Duration::from_hours).ok_or_else(rule)
}

pub async fn run(Command::Replay(options): Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let thresholds = settings::load()?.watching.alerts.thresholds;
    let doorbook = settings::doorbook().await?;
    let since = doorbook.clock.now().minus(options.since);
    let told = doorbook.replay_alerts(since, &thresholds).await?;
    for it in &told {
        if options.json { object(it, out)? } else { line(it, out)? }
    }
    if told.is_empty() && !options.json {
        writeln!(out, "no alert would have been raised since {}", since.rfc3339())?;
    }
    Ok(Outcome::Done)
}

/// Kind and name of a subject.
fn subject(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::All => ("all", String::new()),
        Subject::Account(id) => ("account", id.to_string()),
        Subject::Actor(id) => ("actor", id.to_string()),
        Subject::Network(network) => ("network", network.clone()),
        Subject::Follower(name) => ("view", name.clone()),
    }
}

fn line(it: &Replayed, out: &mut impl Write) -> std::io::Result<()> {
    let (kind, name) = subject(&it.subject);
    let (first, last) = (it.first.rfc3339(), it.last.rfc3339());
    let severity = it.rule.severity().as_str();
    writeln!(
        out,
        "{:<18} {severity:<8} {:>5}x  {first} to {last}  up to {}  {kind} {name}",
        it.rule.as_str(),
        it.times,
        it.most
    )
}

fn object(it: &Replayed, out: &mut impl Write) -> std::io::Result<()> {
    let (kind, name) = subject(&it.subject);
    let whole = json!({
        "rule": it.rule.as_str(),
        "severity": it.rule.severity().as_str(),
        "subject": { "kind": kind, "name": name },
        "times": it.times,
        "first": it.first.rfc3339(),
        "last": it.last.rfc3339(),
        "most": it.most,
    });
    writeln!(out, "{whole}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_hours_or_days() {
        assert_eq!(span("36h"), Ok(Duration::from_hours(36)));
        assert_eq!(span("30d"), Ok(Duration::from_hours(720)));
        for text in ["", "30", "0d", "-1d", "1w", "d", "4000d", "99999999999999999999d"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
