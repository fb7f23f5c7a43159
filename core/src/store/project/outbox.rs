use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::notification::MailState;
use crate::store::jobs::short;
use crate::store::write::{Expect, Write};
use crate::value::{AccountId, DeliveryId, EventId, JobId, TokenId};

/// Which address a mail goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The account's present address.
    Account,
    /// The address in the token's detail: the new one of a change, the old one of an undo.
    Token,
    /// The one of ALERT_EMAILS that has this digest.
    Operator([u8; 32]),
    /// None: ALERT_WEBHOOK_URL is told.
    Webhook,
}

impl Recipient {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Token => "token",
            Self::Operator(_) => "operator",
            Self::Webhook => "webhook",
        }
    }

    /// One that an account has.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Account, Self::Token].into_iter().find(|recipient| recipient.as_str() == text)
    }
}

/// Codes and resets go before notices, notices before chores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Urgent,
    Notice,
    Chore,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Notice, Self::Chore];

    pub const fn as_i16(self) -> i16 {
        match self {
            Self::Urgent => 0,
            Self::Notice => 1,
            Self::Chore => 2,
        }
    }
}

pub struct NewDelivery {
    pub id: DeliveryId,
    pub event: EventId,
    pub template: String,
    /// `None`: whoever is told of alerts.
    pub account: Option<AccountId>,
    pub token: Option<TokenId>,
    pub recipient: Recipient,
    /// Sealed: when and from where, for the mail's text.
    pub context: Option<Vec<u8>>,
    pub created_at: Timestamp,
    /// The mail that this one is sent instead of.
    pub repeats: Option<DeliveryId>,
}

pub struct NewJob {
    pub id: JobId,
    pub kind: &'static str,
    pub reference: Uuid,
    pub priority: Priority,
    pub run_at: Timestamp,
    pub trace: Uuid,
    pub span: Option<u64>,
}

/// Channel that wakes the relay. Notified only of what is due, when nothing of the priority was due before, and by one process only so
/// often: NOTIFY in every commit serialises commits. Whoever gives no word is found by the next look of the relay.
pub const WAKE_CHANNEL: &str = "doorbook_jobs";

/// Shortest time between two words of one process.
const WORD_APART: Duration = Duration::from_millis(5);

/// A job that is due this much later is not for the relay's next look, in milliseconds.
const DUE_LATER: u32 = 100;

/// Whether it is time to give word again.
fn is_word_due() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let (mut last, now) = (LAST.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
    let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= WORD_APART);
    if is_due {
        *last = Some(now);
    }
    is_due
}

/// Whether a mail was handed to a server, and whether the server said what became of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    Not,
    Answered,
    Unheard,
}

impl Write {
    pub fn insert_delivery(&mut self, delivery: NewDelivery) {
        let digest = match delivery.recipient {
            Recipient::Account | Recipient::Token | Recipient::Webhook => None,
            Recipient::Operator(digest) => Some(digest.to_vec()),
        };
        let binds = [
            self.bind(delivery.id.0),
            self.bind(delivery.event.0),
            self.bind(delivery.template),
            self.bind(delivery.account.map(|account| account.0)),
            self.bind(delivery.token.map(|token| token.0)),
            self.bind(delivery.recipient.as_str()),
            self.bind(delivery.context),
            self.bind(digest),
            self.bind(delivery.created_at),
            self.bind(delivery.repeats.map(|earlier| earlier.0)),
        ];
        self.step(
            "insert_delivery",
            Expect::Rows(1),
            format!(
                "insert into deliveries (delivery_id, event_id, template, account_id, token_id, recipient, context,
                    address_digest, created_at, repeats, state)
                 values ({}, 'queued') returning 1",
                binds.join(", ")
            ),
        );
    }

    /// Guard: a mail is repeated by another one, if its last repetition is as it was read.
    pub fn repeat_delivery(&mut self, delivery: DeliveryId, last: Option<DeliveryId>, by: DeliveryId) {
        let (id, last) = (self.bind(delivery.0), self.bind(last.map(|last| last.0)));
        let by = self.bind(by.0);
        self.guard(
            "repeat_delivery",
            &format!(
                "update deliveries set repeated_by = {by}
                 where delivery_id = {id} and repeated_by is not distinct from {last} and {{after}} returning 1"
            ),
        );
    }

    /// Guard: a mail that failed waits for a try again, unless it has been ordered anew since: it would go out twice. That a try of which nobody heard
    /// came before is forgotten, or a notice would not be tried.
    pub fn revive_delivery(&mut self, delivery: DeliveryId) {
        let id = self.bind(delivery.0);
        self.guard(
            "revive_delivery",
            &format!(
                "update deliveries set state = 'deferred', settled_at = null, unheard = 0
                 where delivery_id = {id} and state || '' = 'failed' and repeated_by is null and {{after}} returning 1"
            ),
        );
    }

    /// Records what became of a delivery; its state is what the mail's events say. Without an `answer` the last one stays.
    pub fn update_delivery(&mut self, delivery: DeliveryId, state: MailState, answer: Option<&str>, tried: Tried) {
        let (id, state) = (self.bind(delivery.0), self.bind(state.as_str()));
        let (answer, attempted) = (self.bind(answer.map(short)), self.bind(i32::from(tried != Tried::Not)));
        let unheard = self.bind(i32::from(tried == Tried::Unheard));
        self.step(
            "update_delivery",
            Expect::Rows(1),
            format!(
                "update deliveries set state = {state}, server_answer = coalesce({answer}, server_answer), attempts = attempts + {attempted},
                    unheard = unheard + {unheard},
                    settled_at = case when {state} in ('sent', 'failed', 'suppressed') then clock_timestamp() end
                 where delivery_id = {id} returning 1"
            ),
        );
    }

    pub fn insert_job(&mut self, job: &NewJob) {
        let binds = [
            self.bind(job.id.0),
            self.bind(job.kind),
            self.bind(job.reference),
            self.bind(job.priority.as_i16()),
            self.bind(job.run_at),
            self.bind(job.trace),
            self.bind(job.span.map(u64::cast_signed)),
        ];
        self.step(
            "insert_job",
            Expect::Rows(1),
            format!(
                "insert into jobs (job_id, kind, ref, priority, run_at, trace_id, span_id) values ({}) returning 1",
                binds.join(", ")
            ),
        );
        // A parameter, so that there is one statement to plan.
        let word = self.bind(is_word_due());
        self.step(
            "wake",
            Expect::Any,
            // now(), not clock_timestamp(): only what is stable within the statement can bound the index scan.
            format!(
                "select pg_notify('{WAKE_CHANNEL}', '') where {word} and {run_at} <= now() + interval '{DUE_LATER} ms' and not exists
                     (select 1 from jobs where state = 'due' and priority = {priority} and run_at <= now())",
                run_at = binds[4],
                priority = job.priority.as_i16()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when `core/src/store/project/outbox.rs`: `    if is_due {\n        *last = Some(now);\n    }` → `    if is_due {\n        *last = None;\n    }`.
    #[test]
    fn a_process_gives_word_no_more_often_than_it_may() {
        let (begun, mut words) = (Instant::now(), 0);
        while begun.elapsed() < 10 * WORD_APART {
            words += u128::from(is_word_due());
        }
        let most = 1 + begun.elapsed().as_nanos() / WORD_APART.as_nanos();
        assert!((1..=most).contains(&words), "{words} words, at most {most}");
    }
}
