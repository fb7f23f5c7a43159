//! What admins and operators do about one mail: have it sent anew, or call it off. Each order has a reason, which stands in the log.

use super::mails::state_of;
use crate::alert::ALERT_TEMPLATE;
use crate::event::Event;
use crate::notification::{MailState, NotificationEvent};
use crate::service::access::Caller;
use crate::service::append::{Batch, Hand};
use crate::service::idempotent::IdempotencyHeader;
use crate::service::mail::{Need, Needed};
use crate::service::{Context, Doorbook, Refusal};
use crate::store::StoreError;
use crate::store::project::idempotency::IdempotencyKey;
use crate::store::project::outbox::{NewDelivery, Priority, Recipient, Tried};
use crate::store::query::deliveries::{self, Listed};
use crate::value::{DeliveryId, JobId, StreamId};

/// What stands in the log, in place of a worker's reason, about a mail that was called off.
const CALLED_OFF: &str = "cancelled";

/// Why an order about a mail was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailRefusal {
    #[error("The mail is being sent right now.")]
    BeingSent,
    #[error("The mail is due already: it goes out as soon as a worker has time.")]
    OnItsWay,
    #[error("The mail has its outcome already.")]
    Settled,
    #[error("The mail is being repeated already.")]
    BeingRepeated,
    #[error("The link of the mail cannot be used any more.")]
    TokenOver,
    #[error("There is no mailbox any more that the mail could go to.")]
    NobodyThere,
}

impl MailRefusal {
    /// From the reason for which a worker would not send it.
    fn unneeded(reason: &str) -> Refusal {
        match reason {
            "token_over" => Self::TokenOver.into(),
            "account_disabled" => Refusal::AccountDisabled,
            _ => Self::NobodyThere.into(),
        }
    }
}

/// What an order comes with.
struct Order<'a> {
    words: &'a str,
    hand: Option<&'a Hand>,
    context: &'a Context,
    key: Option<IdempotencyKey>,
}

impl<'a> Order<'a> {
    fn batch(&self, doorbook: &Doorbook) -> Batch<'a> {
        Batch::new(self.context, doorbook.now()).by(self.hand)
    }

    async fn commit(self, mut batch: Batch<'a>, status: u16, doorbook: &Doorbook) -> Result<(), Refusal> {
        batch.write.put_idempotency(self.key, status, self.hand.map(|hand| hand.session));
        Ok(batch.commit(doorbook).await?)
    }
}

/// Appends to the mail's own stream.
fn tell(batch: &mut Batch<'_>, row: &Listed, event: NotificationEvent) -> Result<(), Refusal> {
    let stream = StreamId(row.delivery_id.0);
    batch.write.extend_stream(stream, row.version, 1);
    batch.event(stream, row.version + 1, row.account_id, None, Event::Notification(event), None)?;
    Ok(())
}

/// The job of a mail, if nobody tries it again.
fn dead(row: &Listed) -> Option<(JobId, i64)> {
    row.job_id.zip(row.fence).filter(|_| row.job_state.as_deref() == Some("dead"))
}

/// How a mail's job stands, where that decides.
enum Job {
    /// It waits for its next try.
    Waiting(JobId, i64),
    /// It is due, and no worker has it.
    Due(JobId, i64),
    Running,
    /// It will not run again by itself.
    Over,
}

impl Job {
    fn of(row: &Listed) -> Self {
        match (row.job_id.zip(row.fence), row.job_state.as_deref()) {
            (Some((id, fence)), Some("due")) if row.run_at.is_some_and(|at| at > row.now) => Self::Waiting(id, fence),
            (Some((id, fence)), Some("due" | "dispatched")) => Self::Due(id, fence),
            (_, Some("running")) => Self::Running,
            _ => Self::Over,
        }
    }
}

impl Doorbook {
    /// Has a mail sent anew: one that waits for its next try is due now; of one that has its outcome a repetition is queued, whose story is
    /// its own. Which mail goes out.
    pub async fn resend_mail(
        &self,
        caller: Caller,
        mail: DeliveryId,
        reason: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<DeliveryId, Refusal> {
        self.send_anew(mail, reason, Some(caller), header, context).await
    }

    /// The same by an operator.
    pub async fn order_mail(&self, mail: DeliveryId, reason: &str, context: &Context) -> Result<DeliveryId, Refusal> {
        self.send_anew(mail, reason, None, None, context).await
    }

    /// Calls a mail off that has not been sent and is not being sent. An alert is for the operators, and may be about whoever would rather
    /// that they did not hear of it: no admin calls one off.
    pub async fn cancel_mail(
        &self,
        caller: Caller,
        mail: DeliveryId,
        reason: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.call_off(mail, reason, Some(caller), header, context).await
    }

    /// The same by an operator.
    pub async fn call_mail_off(&self, mail: DeliveryId, reason: &str, context: &Context) -> Result<(), Refusal> {
        self.call_off(mail, reason, None, None, context).await
    }

    /// Gives a mail that failed, and whose job nobody tries again, another life, by an operator: the same mail under the same Message-ID, which a
    /// server that has it already need not show twice. False when it was sent anew since, as another one: then its job is done.
    pub async fn redrive_mail(&self, mail: DeliveryId, reason: &str, context: &Context) -> Result<bool, Refusal> {
        let revived = self.once(None, context, async |key| {
            let row = self.mail_row(mail).await?;
            let Some((job, fence)) = dead(&row) else { return Err(Refusal::NotFound) };
            let order = Order { words: reason, hand: None, context, key };
            let mut batch = order.batch(self);
            if row.repeated_by.is_some() {
                batch.write.lay_to_rest(job, fence);
                return order.commit(batch, 204, self).await.map(|()| false);
            }
            if state_of(&row)? != MailState::Failed {
                return Err(MailRefusal::Settled.into());
            }
            batch.write.revive_job(job, fence);
            batch.write.revive_delivery(mail);
            let words = Some(reason.to_owned());
            let event = NotificationEvent::MailQueued { template: row.template.clone(), repeats: None, words };
            tell(&mut batch, &row, event)?;
            order.commit(batch, 204, self).await.map(|()| true)
        });
        revived.await.map(Option::unwrap_or_default)
    }

    async fn send_anew(
        &self,
        mail: DeliveryId,
        words: &str,
        caller: Option<Caller>,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<DeliveryId, Refusal> {
        let sent = self.once(header, context, async |key| {
            let hand = self.hand_if(caller, context).await?;
            let row = self.mail_row(mail).await?;
            let order = Order { words, hand: hand.as_ref(), context, key };
            match (state_of(&row)?.is_settled(), Job::of(&row)) {
                (_, Job::Running) => Err(MailRefusal::BeingSent.into()),
                (false, Job::Waiting(job, fence)) => self.hasten(order, &row, job, fence).await.map(|()| mail),
                (false, Job::Due(..)) => Err(MailRefusal::OnItsWay.into()),
                (true, _) | (false, Job::Over) => self.repeat(order, &row).await,
            }
        });
        match sent.await? {
            Some(sent) => Ok(sent),
            // Made anew from state, as every answer to a repeated request: nothing of the first one is kept.
            None => Ok(self.mail_row(mail).await?.repeated_by.unwrap_or(mail)),
        }
    }

    async fn hasten(&self, order: Order<'_>, row: &Listed, job: JobId, fence: i64) -> Result<(), Refusal> {
        let mut batch = order.batch(self);
        batch.write.hasten_job(job, fence);
        let words = Some(order.words.to_owned());
        let event = NotificationEvent::MailQueued { template: row.template.clone(), repeats: None, words };
        tell(&mut batch, row, event)?;
        order.commit(batch, 202, self).await
    }

    /// The same mail once more, under an id of its own: same event, same wording, same link, which must be of use still.
    async fn repeat(&self, order: Order<'_>, row: &Listed) -> Result<DeliveryId, Refusal> {
        let last = match row.repeated_by {
            Some(last) => Some(self.mail_row(last).await?),
            None => None,
        };
        if let Some(last) = &last
            && !state_of(last)?.is_settled()
        {
            return Err(MailRefusal::BeingRepeated.into());
        }
        let stored = deliveries::by_id(&self.db, row.delivery_id).await?.ok_or(Refusal::NotFound)?;
        let mut batch = order.batch(self);
        let id = DeliveryId::new(batch.now);
        let odd = || StoreError::Inconsistent(format!("delivery {}: unknown recipient", row.delivery_id));
        let (recipient, context) = match self.need_of(&stored).await? {
            Need::Unneeded(reason) => return Err(MailRefusal::unneeded(reason)),
            Need::Needed(needed) => {
                let Needed { owner, context, .. } = *needed;
                // Nothing of the account moves; it must be as it was read, though: nothing is queued for somebody who has just been
                // erased.
                batch.write.extend_account(owner.id, owner.version, 0);
                let context = owner.data_key.as_ref().map(|key| key.key.seal_json(id.0, &context)).transpose()?;
                (Recipient::parse(&row.recipient).ok_or_else(odd)?, context)
            }
            Need::Alert(alert) => (alert.to.recipient(id), None),
        };
        // Before the mail, as whoever redrives takes the two.
        for (job, fence) in [Some(row), last.as_ref()].into_iter().flatten().filter_map(dead) {
            batch.write.lay_to_rest(job, fence);
        }
        batch.write.repeat_delivery(row.delivery_id, row.repeated_by, id);
        let delivery = NewDelivery {
            id,
            event: row.event_id,
            template: row.template.clone(),
            account: row.account_id,
            token: row.token_id,
            recipient,
            context,
            created_at: batch.now,
            repeats: Some(row.delivery_id),
        };
        let priority = if row.token_id.is_some() { Priority::Urgent } else { Priority::Notice };
        batch.queue(delivery, priority, Some(order.words.to_owned()))?;
        order.commit(batch, 202, self).await?;
        Ok(id)
    }

    async fn call_off(
        &self,
        mail: DeliveryId,
        words: &str,
        caller: Option<Caller>,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let hand = self.hand_if(caller, context).await?;
            let row = self.mail_row(mail).await?;
            if let Some(caller) = caller
                && row.template == ALERT_TEMPLATE
            {
                self.note_denied(caller, "cancel", context).await;
                return Err(Refusal::Forbidden);
            }
            let (job, fence) = match (state_of(&row)?.is_settled(), Job::of(&row)) {
                (false, Job::Waiting(job, fence) | Job::Due(job, fence)) => (job, fence),
                (false, Job::Running) => return Err(MailRefusal::BeingSent.into()),
                (true, _) | (false, Job::Over) => return Err(MailRefusal::Settled.into()),
            };
            let order = Order { words, hand: hand.as_ref(), context, key };
            let mut batch = order.batch(self);
            batch.write.call_off_job(job, fence);
            let (reason, words) = (CALLED_OFF.to_owned(), Some(words.to_owned()));
            let (template, unheard) = (row.template.clone(), row.unheard > 0);
            let event = NotificationEvent::MailSuppressed { template, reason, unheard, words };
            tell(&mut batch, &row, event)?;
            batch.write.update_delivery(mail, MailState::Suppressed, None, Tried::Not);
            order.commit(batch, 204, self).await
        })
        .await
        .map(drop)
    }

    async fn mail_row(&self, mail: DeliveryId) -> Result<Listed, Refusal> {
        deliveries::of_ids(&self.db, &[mail.0]).await?.pop().ok_or(Refusal::NotFound)
    }
}
