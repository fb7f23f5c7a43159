//! Whom an alert is told: operators by mail, a receiver by webhook. Both are deliveries, without an account.

use super::alerts::Raised;
use super::append::Batch;
use super::mail::Need;
use super::{Alerting, Doorbook, Refusal};
use crate::alert::ALERT_TEMPLATE;
use crate::clock::Timestamp;
use crate::store::project::outbox::{NewDelivery, Priority, Recipient};
use crate::store::query::deliveries::DeliveryRow;
use crate::value::{DeliveryId, EventId};

/// Who is told of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertTo {
    /// An address of ALERT_EMAILS.
    Operator(String),
    /// ALERT_WEBHOOK_URL.
    Webhook,
}

impl AlertTo {
    /// As a delivery knows it.
    pub(super) fn recipient(&self, delivery: DeliveryId) -> Recipient {
        match self {
            Self::Operator(address) => Recipient::Operator(address_digest(delivery, address)),
            Self::Webhook => Recipient::Webhook,
        }
    }
}

/// An alert on its way to somebody.
#[derive(Debug)]
pub struct ReadyAlert {
    pub delivery: DeliveryId,
    pub template: String,
    pub to: AlertTo,
    pub alert: Raised,
    pub created_at: Timestamp,
}

/// What a delivery knows an operator's address by. Of each delivery another one: rows tell nobody that two went to the same.
fn address_digest(delivery: DeliveryId, address: &str) -> [u8; 32] {
    let whole = [delivery.0.as_bytes(), address.as_bytes()].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &whole);
    digest.as_ref().try_into().unwrap_or_default()
}

impl Alerting {
    fn outlets(&self) -> impl Iterator<Item = AlertTo> {
        let operators = self.emails.iter().cloned().map(AlertTo::Operator);
        operators.chain(self.webhook.then_some(AlertTo::Webhook))
    }

    /// The address of ALERT_EMAILS that a delivery goes to; `None` once the setting names it no more.
    pub(super) fn operator_of(&self, delivery: DeliveryId, digest: &[u8]) -> Option<&str> {
        self.emails.iter().find(|address| address_digest(delivery, address) == digest).map(String::as_str)
    }
}

impl Batch<'_> {
    /// Promises to tell everybody of an alert that is appended here.
    pub(super) fn tell_of_alert(&mut self, alert: EventId, alerting: &Alerting) -> Result<(), Refusal> {
        for to in alerting.outlets() {
            let id = DeliveryId::new(self.now);
            let delivery = NewDelivery {
                id,
                event: alert,
                template: ALERT_TEMPLATE.to_owned(),
                account: None,
                token: None,
                recipient: to.recipient(id),
                context: None,
                created_at: self.now,
                repeats: None,
            };
            self.queue(delivery, Priority::Notice, None)?;
        }
        Ok(())
    }
}

impl Doorbook {
    /// Whether anybody is there still to be told of an alert, and what he is told.
    pub(super) async fn need_of_alert(&self, row: &DeliveryRow) -> Result<Need, Refusal> {
        let to = match row.address_digest.as_deref() {
            Some(digest) => {
                self.policy.alerts.operator_of(row.delivery_id, digest).map(str::to_owned).map(AlertTo::Operator)
            }
            None => self.policy.alerts.webhook.then_some(AlertTo::Webhook),
        };
        let Some(to) = to else { return Ok(Need::Unneeded("address_removed")) };
        let Some(alert) = self.raised(row.event_id).await? else { return Ok(Need::Unneeded("no_alert")) };
        Ok(Need::Alert(Box::new(ReadyAlert {
            delivery: row.delivery_id,
            template: row.template.clone(),
            to,
            alert,
            created_at: row.created_at,
        })))
    }
}
