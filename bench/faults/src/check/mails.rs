//! 5: each mail that was promised went out, or is told not to have; under one Message-ID and with one link, however often.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result};
use doorbook_dev::Mail;
use mail_parser::MessageParser;
use uuid::Uuid;

use super::{Evidence, Verdict};
use crate::nemesis::{Dependency, Fault, Strike};
use crate::rig::Process;

/// How long an outcome may be on its way to the books: twice what an answer of Postgres is waited for.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// A mail of the books.
#[derive(sqlx::FromRow)]
struct Delivery {
    id: Uuid,
    event: Uuid,
    template: String,
    state: String,
    unheard: bool,
}

pub async fn judge(evidence: &Evidence) -> Result<Verdict> {
    let rows = "select delivery_id as id, event_id as event, template, state, unheard > 0 as unheard from deliveries";
    let books: Vec<Delivery> =
        sqlx::query_as(rows).fetch_all(&evidence.owner).await.context("cannot read deliveries")?;
    let mut copies: HashMap<String, Vec<&Mail>> = HashMap::new();
    for mail in &evidence.mails {
        copies.entry(message_id(mail)?).or_default().push(mail);
    }
    let (mut findings, mut states, mut again, mut seen) = (Vec::new(), BTreeMap::new(), 0, HashMap::new());
    for delivery in &books {
        *states.entry(delivery.state.as_str()).or_insert(0) += 1;
        if let Some(other) = seen.insert((delivery.event, &delivery.template), delivery.id) {
            findings.push(format!("two deliveries of one mail: {other} and {}", delivery.id));
        }
        let sent = copies.remove(&format!("{}.{}@localhost", delivery.id, delivery.template)).unwrap_or_default();
        again += sent.len().saturating_sub(1);
        let without = sent.iter().rev().skip(1).filter(|mail| !is_excused(&evidence.strikes, evidence.arrived(mail)));
        findings.extend(without.map(|_| format!("delivery {} went out again without need", delivery.id)));
        if sent.iter().any(|mail| mail.text != sent[0].text) {
            findings.push(format!("copies of delivery {} that differ", delivery.id));
        }
        match (delivery.state.as_str(), sent.is_empty()) {
            ("sent", false) | ("failed" | "suppressed", true) => {}
            // It says that a try of which nobody heard may have arrived.
            ("failed" | "suppressed", false) if delivery.unheard => {}
            (state, none) => {
                let arrived = if none { "did not arrive" } else { "arrived" };
                findings.push(format!("delivery {} ({}) is {state} and {arrived}", delivery.id, delivery.template));
            }
        }
    }
    findings.extend(copies.keys().map(|id| format!("a mail that nobody has caused: {id}")));
    findings.extend(unpromised(evidence).await?);
    let figure = format!("{states:?}, {again} went out again under the same Message-ID");
    Ok(Verdict { name: "mails", figure, findings })
}

/// Whether a fault may have taken away what became of the mail that arrived then. Only that lets it go out again.
fn is_excused(strikes: &[Strike], arrived: Duration) -> bool {
    let overlaps = |strike: &Strike| {
        (strike.began.saturating_sub(SETTLES_WITHIN)..=strike.healed + SETTLES_WITHIN).contains(&arrived)
    };
    strikes.iter().any(|strike| takes_outcomes(strike.fault) && overlaps(strike))
}

/// Whether it comes between the mail server, a worker and Postgres. A worker that is told to end settles what it has sent.
const fn takes_outcomes(fault: Fault) -> bool {
    match fault {
        Fault::Kill(process) | Fault::Freeze(process) => matches!(process, Process::Worker(_)),
        Fault::Network(dependency, _) | Fault::Cut(dependency) => {
            matches!(dependency, Dependency::Postgres | Dependency::Smtp)
        }
        Fault::BackendKill | Fault::PostgresCrash | Fault::PostgresFreeze | Fault::DiskFull | Fault::NoConnections => {
            true
        }
        Fault::Nothing
        | Fault::Terminate(_)
        | Fault::Clock(..)
        | Fault::RedisKill
        | Fault::RedisFlush
        | Fault::RedisFreeze => false,
    }
}

/// Events that promise a mail and led to none.
async fn unpromised(evidence: &Evidence) -> Result<Vec<String>> {
    let missing = "select e.type || ' ' || e.event_id from events e
        where e.type in ('Registered', 'PasswordResetRequested', 'PasswordReset', 'PasswordChanged') and not exists (
            select 1 from deliveries d join events cause on cause.event_id = d.event_id where cause.trace_id = e.trace_id)";
    let missing: Vec<String> =
        sqlx::query_scalar(missing).fetch_all(&evidence.owner).await.context("cannot ask for mails")?;
    Ok(missing.into_iter().map(|event| format!("no mail for {event}")).collect())
}

fn message_id(mail: &Mail) -> Result<String> {
    let message = MessageParser::default().parse(&*mail.raw).context("a mail that cannot be read")?;
    Ok(message.message_id().context("a mail without Message-ID")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_goes_out_again_only_after_a_fault_at_its_time_that_took_its_outcome() {
        let strike = |fault| {
            let (began, healed) = (Duration::from_secs(60), Duration::from_secs(62));
            [Strike { fault, began, healed, took: None }]
        };
        let at = |second| Duration::from_secs(second);
        let killed = strike(Fault::Kill(Process::Worker(1)));
        assert!(is_excused(&killed, at(58)) && is_excused(&killed, at(61)));
        assert!(!is_excused(&killed, at(40)) && !is_excused(&killed, at(80)), "at another time");
        for fault in [Fault::RedisFlush, Fault::Kill(Process::Api(0)), Fault::Terminate(Process::Worker(0))] {
            assert!(!is_excused(&strike(fault), at(61)), "{fault}");
        }
    }
}
