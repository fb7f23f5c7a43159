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
    /// Why it was not sent, if it was not.
    answer: Option<String>,
    /// Whether its link had been closed by what the account did between its promise and its end.
    closed: bool,
}

/// Deliveries and what became of them. A link is closed by the next one, and by what it leads to. Asked of those alone that were not needed, and by
/// all of an event's key: half a million deliveries are read in seconds, and not in hours.
const BOOKS: &str = "select d.delivery_id as id, d.event_id as event, d.template, d.state, d.unheard > 0 as unheard, d.server_answer as answer,
        d.state = 'suppressed' and exists (select 1 from events cause, events over, events said
                where cause.retention_class in ('keep', 'expire') and cause.event_id = d.event_id and said.stream_id = d.delivery_id and said.type = 'MailSuppressed'
                  and over.subject_id = d.account_id and over.recorded_at between cause.recorded_at and said.recorded_at
                  and over.event_id <> cause.event_id
                  and over.type = any(case d.template when 'verify' then array['EmailVerified'] else
                      array['PasswordResetRequested', 'RegistrationAttemptedForTakenEmail', 'PasswordReset', 'PasswordChanged'] end)) as closed
    from deliveries d";

pub async fn judge(evidence: &Evidence) -> Result<Verdict> {
    let books: Vec<Delivery> =
        sqlx::query_as(BOOKS).fetch_all(&evidence.owner).await.context("cannot read deliveries")?;
    let mut copies: HashMap<String, Vec<&Mail>> = HashMap::new();
    for mail in &evidence.mails {
        copies.entry(message_id(mail)?).or_default().push(mail);
    }
    let (mut findings, mut states, mut again, mut seen) = (Vec::new(), BTreeMap::new(), 0, HashMap::new());
    for delivery in &books {
        *states.entry(delivery.outcome()).or_insert(0) += 1;
        if let Some(other) = seen.insert((delivery.event, &delivery.template), delivery.id) {
            findings.push(format!("two deliveries of one mail: {other} and {}", delivery.id));
        }
        let sent = copies.remove(&format!("{}.{}@localhost", delivery.id, delivery.template)).unwrap_or_default();
        again += sent.len().saturating_sub(1);
        let arrivals: Vec<_> = sent.iter().map(|mail| evidence.arrived(mail)).collect();
        if without_need(&evidence.strikes, &arrivals) {
            findings.push(format!("delivery {} went out {} times without need", delivery.id, sent.len()));
        }
        if sent.iter().any(|mail| mail.text != sent[0].text) {
            findings.push(format!("copies of delivery {} that differ", delivery.id));
        }
        if !delivery.is_right(!sent.is_empty()) {
            let arrived = if sent.is_empty() { "did not arrive" } else { "arrived" };
            findings.push(format!("delivery {} is {} and {arrived}", delivery.id, delivery.outcome()));
        }
    }
    findings.extend(copies.keys().map(|id| format!("a mail that nobody has caused: {id}")));
    findings.extend(unpromised(evidence).await?);
    let figure = format!("{states:?}, {again} went out again under the same Message-ID");
    Ok(Verdict { name: "mails", figure, findings })
}

impl Delivery {
    /// What the report counts it as.
    fn outcome(&self) -> String {
        let reason = self.answer.as_deref().filter(|_| self.state != "sent").unwrap_or_default();
        format!("{} {} {reason}", self.template, self.state).trim_end().to_owned()
    }

    /// Whether what the books say is true of a mail that arrived or did not, and may be said of it: the mail server here takes every
    /// mail, and these people need each that they were promised, unless it has a link that is worth nothing any more.
    fn is_right(&self, has_arrived: bool) -> bool {
        let is_needless = self.answer.as_deref() == Some("token_over") && self.closed;
        match (self.state.as_str(), has_arrived) {
            ("sent", true) => true,
            ("suppressed", false) => is_needless,
            // It says that a try of which nobody heard may have arrived.
            ("suppressed", true) => is_needless && self.unheard,
            ("failed", true) => self.unheard,
            _ => false,
        }
    }
}

/// Whether a mail that arrived at these times went out more often than faults explain: each lets one more go out, when it may have taken
/// away what became of one before the last.
fn without_need(strikes: &[Strike], arrivals: &[Duration]) -> bool {
    let earlier = arrivals.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let overlaps = |strike: &Strike, arrived: &Duration| {
        (strike.began.saturating_sub(SETTLES_WITHIN)..=strike.healed + SETTLES_WITHIN).contains(arrived)
    };
    let takers = || strikes.iter().filter(|strike| takes_outcomes(strike.fault));
    let is_explained = |arrived: &Duration| takers().any(|strike| overlaps(strike, arrived));
    let explaining = takers().filter(|strike| earlier.iter().any(|arrived| overlaps(strike, arrived))).count();
    !earlier.iter().all(is_explained) || earlier.len() > explaining
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

/// Events that promise a mail and led to none. An owner is told of blocks and of tokens that came back once a day.
async fn unpromised(evidence: &Evidence) -> Result<Vec<String>> {
    // In two questions: of either alone Postgres makes one join, of both together a look for each event.
    let missing = "select e.type || ' ' || e.event_id from events e
        where e.type in ('Registered', 'PasswordResetRequested', 'PasswordReset', 'PasswordChanged') and not exists (
            select 1 from deliveries d join events cause on cause.event_id = d.event_id where cause.trace_id = e.trace_id)
        union all select e.type || ' ' || e.event_id from events e
        where e.type in ('LoginBlocked', 'RefreshTokenReused') and e.subject_id is not null and not exists (
            select 1 from deliveries d where d.account_id = e.subject_id
                and d.template = case e.type when 'LoginBlocked' then 'login_blocked' else 'token_reused' end)";
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
        for first in [58, 61] {
            assert!(!without_need(&killed, &[at(first), at(90)]), "{first}");
        }
        for first in [40, 80] {
            assert!(without_need(&killed, &[at(first), at(90)]), "{first} is another time");
        }
        assert!(without_need(&killed, &[at(61), at(62), at(90)]), "one fault explains one copy");
        assert!(!without_need(&killed, &[at(40)]), "it went out once");
        for fault in [Fault::RedisFlush, Fault::Kill(Process::Api(0)), Fault::Terminate(Process::Worker(0))] {
            assert!(without_need(&strike(fault), &[at(61), at(90)]), "{fault}");
        }
    }

    #[test]
    fn a_mail_that_did_not_arrive_needs_a_link_that_was_closed() {
        let delivery = |state: &str, answer: &str, closed, unheard| Delivery {
            id: Uuid::nil(),
            event: Uuid::nil(),
            template: "reset".to_owned(),
            state: state.to_owned(),
            unheard,
            answer: Some(answer.to_owned()),
            closed,
        };
        assert!(delivery("sent", "250 ok", false, false).is_right(true));
        assert!(!delivery("sent", "250 ok", false, false).is_right(false), "it says so and was not");
        assert!(delivery("suppressed", "token_over", true, false).is_right(false));
        assert!(!delivery("suppressed", "token_over", false, false).is_right(false), "its link was good");
        assert!(!delivery("suppressed", "erased", true, false).is_right(false), "of nobody here");
        assert!(!delivery("failed", "550 no", true, false).is_right(false), "the server takes every mail");
        assert!(!delivery("failed", "550 no", false, true).is_right(false), "it was never tried again");
        assert!(delivery("failed", "no answer", false, true).is_right(true));
    }
}
