//! 5: each mail that was promised went out, or is told not to have; under one Message-ID and with one link, however often.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use doorbook_dev::Mail;
use mail_parser::MessageParser;
use uuid::Uuid;

use super::{Evidence, Verdict};

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
