//! What every command shares: events with their ids, personal data and causes, and the projections they imply.

use super::{Context, Doorbook, Refusal};
use crate::account::{Account, AccountEvent, Role, evolve};
use crate::clock::Timestamp;
use crate::event::{Actor, Event, Personal};
use crate::notification::NotificationEvent;
use crate::store::StoreError;
use crate::store::keys::DataKey;
use crate::store::log::{NewEvent, StreamKind};
use crate::store::project::outbox::{NewDelivery, NewJob, Priority, Recipient};
use crate::store::query::accounts::Loaded;
use crate::store::write::Write;
use crate::value::{AccountId, DeliveryId, EventId, JobId, SessionId, StreamId, TokenId};

use serde::{Deserialize, Serialize};

/// A statement in the making, with the events it will append.
pub(crate) struct Batch<'a> {
    pub write: Write,
    pub now: Timestamp,
    context: &'a Context,
    hand: Option<&'a Hand>,
    /// When that happened which mails tell of.
    happened: Timestamp,
    events: Vec<NewEvent>,
}

/// Somebody with a role, at work on an account that need not be his own.
pub(crate) struct Hand {
    pub session: SessionId,
    /// Seals from where he works: the account that it is about neither learns it nor, erased, takes it along.
    pub key: Option<DataKey>,
}

/// When and from where, for the text of a mail; sealed in the delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailContext {
    pub at: Timestamp,
    pub address: String,
    pub user_agent: String,
    /// What it is about, where the template does not say: the name of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// A mail that an event promises.
pub(crate) struct MailOrder {
    pub template: &'static str,
    pub account: AccountId,
    pub token: Option<TokenId>,
    pub recipient: Recipient,
    pub priority: Priority,
    pub about: Option<&'static str>,
}

impl MailOrder {
    /// To the account's own mailbox, with a link that somebody waits for.
    pub const fn urgent(template: &'static str, account: AccountId, token: Option<TokenId>) -> Self {
        Self { template, account, token, recipient: Recipient::Account, priority: Priority::Urgent, about: None }
    }

    /// To the mailbox that the token's row names: an address that is not, or no longer, the account's.
    pub const fn to_other_mailbox(template: &'static str, account: AccountId, token: TokenId) -> Self {
        Self {
            template,
            account,
            token: Some(token),
            recipient: Recipient::Token,
            priority: Priority::Urgent,
            about: None,
        }
    }

    /// Tells the account's owner what has happened, at the address that the token's row names, with a link for the case that it was
    /// somebody else.
    pub const fn notice(template: &'static str, account: AccountId, token: TokenId) -> Self {
        Self {
            template,
            account,
            token: Some(token),
            recipient: Recipient::Token,
            priority: Priority::Notice,
            about: None,
        }
    }

    /// Tells the account's owner what has happened, without a link of its own.
    pub const fn plain(template: &'static str, account: AccountId) -> Self {
        Self { template, account, token: None, recipient: Recipient::Account, priority: Priority::Notice, about: None }
    }
}

impl<'a> Batch<'a> {
    pub fn new(context: &'a Context, now: Timestamp) -> Self {
        Self { write: Write::new(), now, context, hand: None, happened: now, events: Vec::new() }
    }

    /// Mails tell of something that happened then.
    pub const fn told_at(mut self, happened: Timestamp) -> Self {
        self.happened = happened;
        self
    }

    /// What is added from now on is by this hand: in its session, from where it is. Nothing of it stands when session or role have ended
    /// by then: whoever has been thrown out leaves nothing behind.
    pub fn by(mut self, hand: Option<&'a Hand>) -> Self {
        self.hand = hand;
        if let Some(hand) = hand {
            self.write.require_session(hand.session, Some(Role::Admin));
        }
        self
    }

    /// Adds one event. Its stream must be guarded for this version in the same batch.
    pub fn event(
        &mut self,
        stream: StreamId,
        version: i64,
        subject: Option<AccountId>,
        session: Option<SessionId>,
        event: Event,
        key: Option<&DataKey>,
    ) -> Result<EventId, Refusal> {
        self.event_with(self.next_id(), stream, version, subject, session, event, key)
    }

    /// The id of the event that is added next.
    pub fn next_id(&self) -> EventId {
        EventId::nth(self.now, u16::try_from(self.events.len()).unwrap_or(u16::MAX))
    }

    /// The same under an id that is known already: something else is named like it.
    #[expect(clippy::too_many_arguments, reason = "all that an event has")]
    pub fn event_with(
        &mut self,
        id: EventId,
        stream: StreamId,
        version: i64,
        subject: Option<AccountId>,
        session: Option<SessionId>,
        event: Event,
        key: Option<&DataKey>,
    ) -> Result<EventId, Refusal> {
        let own = event.personal();
        let (key, personal) = match (self.context.actor, self.hand) {
            // What the system does by itself comes from nowhere.
            (Actor::System | Actor::Operator, _) => (key, own),
            // An event has one seal: what it tells of its subject goes before who caused it.
            (_, Some(_)) if own != Personal::default() => (key, own),
            (_, Some(hand)) => (hand.key.as_ref(), self.with_origin(own)),
            (Actor::Account(_) | Actor::Stranger, None) => (key, self.with_origin(own)),
        };
        let sealed = match key {
            Some(key) if personal != Personal::default() => Some((key.key.seal_json(id.0, &personal)?, key.id)),
            _ => None,
        };
        let session = self.hand.map_or(session, |hand| Some(hand.session));
        self.events.push(NewEvent {
            id,
            stream,
            version,
            subject,
            event,
            sealed,
            actor: self.context.actor,
            session,
            trace: self.context.origin.trace_id,
            causation: None,
        });
        Ok(id)
    }

    /// Seals what the event that was added last, under this id, says of somebody who had no part in the request.
    pub fn seal_last(&mut self, id: EventId, personal: &Personal, key: &DataKey) -> Result<(), Refusal> {
        let sealed = key.key.seal_json(id.0, personal)?;
        if let Some(event) = self.events.last_mut() {
            event.sealed = Some((sealed, key.id));
        }
        Ok(())
    }

    /// The event that was added last was caused by this one.
    pub fn caused_by(&mut self, cause: Option<EventId>) {
        if let Some(event) = self.events.last_mut() {
            event.causation = cause;
        }
    }

    fn with_origin(&self, own: Personal) -> Personal {
        Personal {
            address: Some(self.context.origin.address.to_string()),
            user_agent: Some(self.context.origin.user_agent.clone()),
            ..own
        }
    }

    /// Appends to an account: guard, events, its row, and the end of its sessions where an event means that. Returns the account
    /// as it will be and the ids of the events.
    pub fn account(
        &mut self,
        loaded: &Loaded,
        events: Vec<AccountEvent>,
        session: Option<SessionId>,
    ) -> Result<(Account, Vec<EventId>), Refusal> {
        let before = &loaded.account;
        let after = events.iter().fold(before.clone(), |account, event| evolve(account, event, self.now));
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        if after.session_epoch == before.session_epoch {
            self.write.extend_account(loaded.id, loaded.version, count);
        } else {
            self.write.end_epoch(loaded.id, loaded.version, count, after.session_epoch, loaded.logins);
        }
        self.write.update_account(loaded.id, (before, &after), loaded.data_key.as_ref())?;
        // Of several the first: a row is written once in a statement.
        if let Some((event, spared)) = events.iter().find_map(|event| Some((event, event.ends_sessions()?))) {
            let (name, _) = Event::Account(event.clone()).stored();
            self.write.end_sessions(loaded.id, spared, &name, self.now, after.session_epoch);
        }
        let mut ids = Vec::with_capacity(events.len());
        for (event, version) in events.into_iter().zip(loaded.version + 1..) {
            ids.push(self.event(
                StreamId(loaded.id.0),
                version,
                Some(loaded.id),
                session,
                Event::Account(event),
                loaded.data_key.as_ref(),
            )?);
        }
        Ok((after, ids))
    }

    /// Queues a mail for what `cause` says.
    pub fn mail(&mut self, order: &MailOrder, cause: EventId, key: Option<&DataKey>) -> Result<(), Refusal> {
        let id = DeliveryId::new(self.now);
        // An owner is told from where strangers and he himself have come, never where those sit who run the service.
        let told = self.hand.is_none() && self.context.actor != Actor::Operator;
        let origin = Some(&self.context.origin).filter(|_| told);
        let context = MailContext {
            at: self.happened,
            address: origin.map_or_else(String::new, |origin| origin.address.to_string()),
            user_agent: origin.map_or_else(String::new, |origin| origin.user_agent.clone()),
            about: order.about.map(str::to_owned),
        };
        let delivery = NewDelivery {
            id,
            event: cause,
            template: order.template.to_owned(),
            account: Some(order.account),
            token: order.token,
            recipient: order.recipient,
            context: key.map(|key| key.key.seal_json(id.0, &context)).transpose()?,
            created_at: self.now,
            repeats: None,
        };
        self.queue(delivery, order.priority, None)?;
        if let Some(event) = self.events.last_mut() {
            // Its cause tells from where.
            event.sealed = None;
        }
        Ok(())
    }

    /// Delivery, job and `MailQueued`, in this very statement. `words` are the reason of whoever has a mail repeated.
    pub fn queue(&mut self, delivery: NewDelivery, priority: Priority, words: Option<String>) -> Result<(), Refusal> {
        let (stream, subject, cause) = (StreamId(delivery.id.0), delivery.account, delivery.event);
        self.write.open_stream(stream, StreamKind::Notification, subject, 1);
        let queued =
            NotificationEvent::MailQueued { template: delivery.template.clone(), repeats: delivery.repeats, words };
        self.event(stream, 1, subject, None, Event::Notification(queued), None)?;
        if let Some(event) = self.events.last_mut() {
            event.causation = Some(cause);
        }
        self.write.insert_job(&NewJob {
            id: JobId::new(self.now),
            kind: crate::job::MAIL,
            reference: delivery.id.0,
            priority,
            run_at: self.now,
            trace: self.context.origin.trace_id,
            span: self.context.origin.span_id,
        });
        self.write.insert_delivery(delivery);
        Ok(())
    }

    /// Whether it would write nothing.
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The statement itself, for a transaction that has more to do.
    pub fn into_write(mut self) -> Write {
        if !self.events.is_empty() {
            self.write.events(self.events);
        }
        self.write
    }

    /// Runs the statement.
    pub async fn commit(self, doorbook: &Doorbook) -> Result<(), StoreError> {
        let now = self.into_write().run(&doorbook.db).await?;
        doorbook.clock.observe(now);
        Ok(())
    }
}
