//! A delivery from the worker's side: is it still needed, who gets it, what does it say, and what became of it.

use super::alert_mail::ReadyAlert;
use super::append::{Batch, MailContext};
use super::{Context, Doorbook, Refusal};
use crate::account::{Profile, Status};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::notification::{MailState, NotificationEvent};
use crate::store::StoreError;
use crate::store::jobs::{Claimed, Outcome};
use crate::store::keys::DataKey;
use crate::store::project::outbox::Tried;
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::deliveries::DeliveryRow;
use crate::store::query::{accounts, deliveries};
use crate::token::opaque::{self, OpaqueToken};
use crate::value::{DeliveryId, Locale, StreamId};

/// Everything a mail is made of.
#[derive(Debug)]
pub struct ReadyMail {
    pub delivery: DeliveryId,
    pub template: String,
    pub to: String,
    pub locale: Locale,
    pub first_name: String,
    /// The address the account has now, for notices that name it masked.
    pub account_email: String,
    /// Derived for this mail; a retry derives the same one.
    pub token: Option<(TokenKind, OpaqueToken)>,
    pub token_expires_at: Option<Timestamp>,
    pub context: MailContext,
    pub created_at: Timestamp,
}

pub enum Prepared {
    Send(Box<ReadyMail>),
    Alert(Box<ReadyAlert>),
    /// Nobody needs it; the reason goes into the trail.
    Unneeded {
        reason: &'static str,
    },
    /// It has an outcome already.
    Settled,
}

/// Whether anybody needs a mail.
pub(super) enum Need {
    /// Nobody, for this reason.
    Unneeded(&'static str),
    Needed(Box<Needed>),
    /// Operators, or whoever is told of alerts in their place.
    Alert(Box<ReadyAlert>),
}

/// What a mail that is needed is about.
pub(super) struct Needed {
    pub owner: Loaded,
    pub profile: Profile,
    token: Option<(TokenKind, OpaqueToken)>,
    token_expires_at: Option<Timestamp>,
    to: String,
    pub context: MailContext,
}

/// What the server said, or why nothing was sent.
pub enum Handover {
    Sent {
        answer: String,
    },
    Deferred {
        answer: String,
        at: Timestamp,
    },
    Failed {
        answer: String,
    },
    /// Nobody heard whether the server has it. `at` is when it may be tried again, if it ever may.
    Unheard {
        answer: String,
        at: Option<Timestamp>,
    },
    /// `unheard`: a worker died over it before, perhaps behind the server's answer.
    Suppressed {
        reason: &'static str,
        unheard: bool,
    },
}

impl Doorbook {
    /// A delivery as it stands now.
    pub async fn delivery(&self, delivery: DeliveryId) -> Result<Option<DeliveryRow>, Refusal> {
        let row = deliveries::by_id(&self.db, delivery).await?;
        if let Some(row) = &row {
            self.clock.observe(row.now);
        }
        Ok(row)
    }

    /// Asks whether a delivery is still needed and gathers what it needs. No connection is held afterwards.
    pub async fn prepare_mail(&self, row: &DeliveryRow) -> Result<Prepared, Refusal> {
        // A failed one has no job but the one that an operator has redriven.
        if matches!(row.state.as_str(), "sent" | "suppressed") {
            return Ok(Prepared::Settled);
        }
        let needed = match self.need_of(row).await? {
            Need::Unneeded(reason) => return Ok(Prepared::Unneeded { reason }),
            Need::Alert(alert) => return Ok(Prepared::Alert(alert)),
            Need::Needed(needed) => *needed,
        };
        let Needed { owner, profile, token, token_expires_at, to, context } = needed;
        Ok(Prepared::Send(Box::new(ReadyMail {
            delivery: row.delivery_id,
            template: row.template.clone(),
            to,
            locale: owner.account.locale.unwrap_or(self.policy.default_locale),
            first_name: profile.first_name,
            account_email: profile.email,
            token,
            token_expires_at,
            context,
            created_at: row.created_at,
        })))
    }

    /// Asks whether anybody still needs a mail, whatever has become of it, and gathers what it needs.
    pub(super) async fn need_of(&self, row: &DeliveryRow) -> Result<Need, Refusal> {
        let Some(account) = row.account_id else { return self.need_of_alert(row).await };
        let Some(owner) = accounts::by_id(&self.db, &self.vault, account).await? else {
            return Ok(Need::Unneeded("no_account"));
        };
        let (Some(profile), Some(key)) = (&owner.account.profile, &owner.data_key) else {
            return Ok(Need::Unneeded("erased"));
        };
        if owner.account.status == Status::Disabled {
            return Ok(Need::Unneeded("account_disabled"));
        }
        let (token, detail, token_expires_at) = match self.token_of(row, key)? {
            TokenOf::None => (None, None, None),
            TokenOf::Over => return Ok(Need::Unneeded("token_over")),
            TokenOf::Usable(kind, token, detail, expires) => (Some((kind, token)), detail, Some(expires)),
            // What has happened is worth telling when nobody can answer any more.
            TokenOf::Spent(detail) => (None, detail, None),
        };
        let to = match (row.recipient.as_str(), detail) {
            ("token", Some(address)) => address,
            ("token", None) => return Ok(Need::Unneeded("no_address")),
            _ => profile.email.clone(),
        };
        let context = match &row.context {
            Some(sealed) => key.key.open_json(row.delivery_id.0, sealed)?,
            None => MailContext { at: row.created_at, address: String::new(), user_agent: String::new(), about: None },
        };
        let profile = profile.clone();
        Ok(Need::Needed(Box::new(Needed { owner, profile, token, token_expires_at, to, context })))
    }

    fn token_of(&self, row: &DeliveryRow, key: &DataKey) -> Result<TokenOf, Refusal> {
        if row.token_id.is_none() {
            return Ok(TokenOf::None);
        }
        let Some(token) = &row.token else { return Ok(TokenOf::Over) };
        let Some(kind) = TokenKind::parse(&token.kind) else { return Ok(TokenOf::Over) };
        let detail = token.detail.as_ref().map(|sealed| key.key.open_json(token.token_id.0, sealed)).transpose()?;
        // `None`: its key has been dropped, so the link could not be verified either.
        let value = opaque::derive(&self.roots, kind.purpose(), &token.key_id, token.token_id.0, 0, &token.salt);
        Ok(match value.filter(|_| token.usable()) {
            Some(value) => TokenOf::Usable(kind, value, detail, token.expires_at),
            None if kind == TokenKind::NotMe => TokenOf::Spent(detail),
            None => TokenOf::Over,
        })
    }

    /// Outcome of the job, of the delivery and of the trail, in one statement. `read` is the delivery as it was when the job began,
    /// if that is known. False when the lease was lost meanwhile, or the delivery is not as it was.
    pub async fn settle_mail(
        &self,
        job: &Claimed,
        read: Option<DeliveryRow>,
        handover: &Handover,
    ) -> Result<bool, Refusal> {
        let delivery = DeliveryId(job.reference);
        let read = if read.is_some() { read } else { self.delivery(delivery).await? };
        let Some(row) = read else {
            return Ok(crate::store::jobs::settle(&self.db, job, &Outcome::Done).await?);
        };
        let (template, attempts) = (row.template.clone(), u32::try_from(row.attempts).unwrap_or(0) + 1);
        let (state, answer, outcome, event) = match handover {
            Handover::Sent { answer } => {
                (MailState::Sent, answer.as_str(), Outcome::Done, NotificationEvent::MailSent { template, attempts })
            }
            Handover::Deferred { answer, at } => {
                let outcome = Outcome::Retry { at: *at, error: answer.clone() };
                let event = NotificationEvent::MailDeferred { template, attempts, unheard: false };
                (MailState::Deferred, answer.as_str(), outcome, event)
            }
            Handover::Failed { answer } => {
                let outcome = Outcome::Dead { error: answer.clone() };
                let event = NotificationEvent::MailFailed { template, attempts, unheard: false };
                (MailState::Failed, answer.as_str(), outcome, event)
            }
            Handover::Unheard { answer, at } => {
                let (state, event) = if at.is_some() {
                    (MailState::Deferred, NotificationEvent::MailDeferred { template, attempts, unheard: true })
                } else {
                    (MailState::Failed, NotificationEvent::MailFailed { template, attempts, unheard: true })
                };
                let error = answer.clone();
                let dead = || Outcome::Dead { error: answer.clone() };
                (state, answer.as_str(), at.map_or_else(dead, |at| Outcome::Retry { at, error }), event)
            }
            Handover::Suppressed { reason, unheard } => {
                let (reason_of, unheard) = ((*reason).to_owned(), *unheard || row.unheard > 0);
                let event = NotificationEvent::MailSuppressed { template, reason: reason_of, unheard, words: None };
                (MailState::Suppressed, *reason, Outcome::Done, event)
            }
        };
        let context = Context::system(job.trace_id.unwrap_or_default());
        let mut batch = Batch::new(&context, self.now());
        batch.write.settle_job(job, &outcome);
        batch.write.extend_stream(StreamId(delivery.0), row.stream_version, 1);
        batch.event(
            StreamId(delivery.0),
            row.stream_version + 1,
            row.account_id,
            None,
            Event::Notification(event),
            None,
        )?;
        let tried = match handover {
            Handover::Suppressed { unheard: false, .. } => Tried::Not,
            Handover::Unheard { .. } | Handover::Suppressed { unheard: true, .. } => Tried::Unheard,
            Handover::Sent { .. } | Handover::Deferred { .. } | Handover::Failed { .. } => Tried::Answered,
        };
        batch.write.update_delivery(delivery, state, Some(answer), tried);
        match batch.commit(self).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

enum TokenOf {
    None,
    Over,
    /// The link of a notice that can be answered no more.
    Spent(Option<String>),
    Usable(TokenKind, OpaqueToken, Option<String>, Timestamp),
}

/// What every copy of a mail is named by, whichever try made it. `host` is that of the pages that its links lead to.
pub fn message_id(delivery: DeliveryId, template: &str, host: &str) -> String {
    format!("<{delivery}.{template}@{host}>")
}
