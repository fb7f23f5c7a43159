//! A delivery from the worker's side: is it still needed, who gets it, what does it say, and what became of it.

use super::alerts::Raised;
use super::append::{Batch, MailContext, address_digest};
use super::{Context, Doorbook, Refusal};
use crate::account::{Profile, Status};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::notification::NotificationEvent;
use crate::store::StoreError;
use crate::store::jobs::{Claimed, Outcome};
use crate::store::project::tokens::TokenKind;
use crate::store::query::deliveries::DeliveryRow;
use crate::store::query::{accounts, deliveries, tokens};
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

/// A mail to an operator.
#[derive(Debug)]
pub struct ReadyAlert {
    pub delivery: DeliveryId,
    pub template: String,
    pub to: String,
    pub alert: Raised,
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

/// What the server said, or why nothing was sent.
pub enum Handover {
    Sent { answer: String },
    Deferred { answer: String, at: Timestamp },
    Failed { answer: String },
    Suppressed { reason: &'static str },
}

impl Doorbook {
    /// Asks whether a delivery is still needed and gathers what it needs. No connection is held afterwards.
    pub async fn prepare_mail(&self, delivery: DeliveryId) -> Result<Prepared, Refusal> {
        let Some(row) = deliveries::by_id(&self.db, delivery).await? else {
            return Ok(Prepared::Unneeded { reason: "no_delivery" });
        };
        self.clock.observe(row.now);
        // A failed one has no job but the one that an operator has redriven.
        if matches!(row.state.as_str(), "sent" | "suppressed") {
            return Ok(Prepared::Settled);
        }
        let Some(account) = row.account_id else { return self.prepare_alert(&row).await };
        let Some(owner) = accounts::by_id(&self.db, &self.vault, account).await? else {
            return Ok(Prepared::Unneeded { reason: "no_account" });
        };
        let (Some(profile), Some(key)) = (&owner.account.profile, &owner.data_key) else {
            return Ok(Prepared::Unneeded { reason: "erased" });
        };
        if owner.account.status == Status::Disabled {
            return Ok(Prepared::Unneeded { reason: "account_disabled" });
        }
        let (token, detail, token_expires_at) = match self.token_of(&row, key).await? {
            TokenOf::None => (None, None, None),
            TokenOf::Over => return Ok(Prepared::Unneeded { reason: "token_over" }),
            TokenOf::Usable(kind, token, detail, expires) => (Some((kind, token)), detail, Some(expires)),
        };
        let to = match (row.recipient.as_str(), detail) {
            ("token", Some(address)) => address,
            ("token", None) => return Ok(Prepared::Unneeded { reason: "no_address" }),
            _ => profile.email.clone(),
        };
        let context = match &row.context {
            Some(sealed) => key.key.open_json(row.delivery_id.0, sealed)?,
            None => MailContext { at: row.created_at, address: String::new(), user_agent: String::new() },
        };
        Ok(Prepared::Send(Box::new(ReadyMail {
            delivery,
            template: row.template,
            to,
            locale: owner.account.locale.unwrap_or(self.policy.default_locale),
            first_name: first_name(profile),
            account_email: profile.email.clone(),
            token,
            token_expires_at,
            context,
            created_at: row.created_at,
        })))
    }

    async fn prepare_alert(&self, row: &DeliveryRow) -> Result<Prepared, Refusal> {
        let is_his =
            |address: &&String| row.address_digest.as_deref() == Some(&address_digest(row.delivery_id, address)[..]);
        let Some(to) = self.policy.alerts.emails.iter().find(is_his) else {
            return Ok(Prepared::Unneeded { reason: "address_removed" });
        };
        let Some(alert) = self.raised(row.event_id).await? else {
            return Ok(Prepared::Unneeded { reason: "no_alert" });
        };
        Ok(Prepared::Alert(Box::new(ReadyAlert {
            delivery: row.delivery_id,
            template: row.template.clone(),
            to: to.clone(),
            alert,
            created_at: row.created_at,
        })))
    }

    async fn token_of(&self, row: &DeliveryRow, key: &crate::store::keys::DataKey) -> Result<TokenOf, Refusal> {
        let Some(token) = row.token_id else { return Ok(TokenOf::None) };
        let Some(token) = tokens::by_id(&self.db, token).await? else { return Ok(TokenOf::Over) };
        let Some(kind) = TokenKind::parse(&token.kind).filter(|_| token.usable()) else { return Ok(TokenOf::Over) };
        let Some(value) = opaque::derive(&self.roots, kind.purpose(), &token.key_id, token.token_id.0, 0, &token.salt)
        else {
            // Its key has been dropped: the link could not be verified either.
            return Ok(TokenOf::Over);
        };
        let detail = token.detail.as_ref().map(|sealed| key.key.open_json(token.token_id.0, sealed)).transpose()?;
        Ok(TokenOf::Usable(kind, value, detail, token.expires_at))
    }

    /// Outcome of the job, of the delivery and of the trail, in one statement. False when the lease was lost meanwhile.
    pub async fn settle_mail(&self, job: &Claimed, delivery: DeliveryId, handover: &Handover) -> Result<bool, Refusal> {
        let Some(row) = deliveries::by_id(&self.db, delivery).await? else {
            return Ok(crate::store::jobs::settle(&self.db, job, &Outcome::Done).await?);
        };
        let (template, attempts) = (row.template.clone(), u32::try_from(row.attempts).unwrap_or(0) + 1);
        let (state, answer, outcome, event) = match handover {
            Handover::Sent { answer } => {
                ("sent", answer.as_str(), Outcome::Done, NotificationEvent::MailSent { template, attempts })
            }
            Handover::Deferred { answer, at } => {
                let outcome = Outcome::Retry { at: *at, error: answer.clone() };
                ("deferred", answer.as_str(), outcome, NotificationEvent::MailDeferred { template, attempts })
            }
            Handover::Failed { answer } => {
                let outcome = Outcome::Dead { error: answer.clone() };
                ("failed", answer.as_str(), outcome, NotificationEvent::MailFailed { template, attempts })
            }
            Handover::Suppressed { reason } => {
                let event = NotificationEvent::MailSuppressed { template, reason: (*reason).to_owned() };
                ("suppressed", *reason, Outcome::Done, event)
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
        let attempted = !matches!(handover, Handover::Suppressed { .. });
        batch.write.update_delivery(delivery, state, Some(answer), attempted);
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
    Usable(TokenKind, OpaqueToken, Option<String>, Timestamp),
}

fn first_name(profile: &Profile) -> String {
    profile.first_name.clone()
}
