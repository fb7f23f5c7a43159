//! The trail as auditors and admins read it. Reading is recorded: one event a search, an event read, a look at an account's past, an export
//! or a stream.

mod difference;
mod export;
mod live;
mod overview;
mod past;
mod proofs;
mod refusals;
mod search;

pub use difference::{Change, Difference};
pub use export::{CutOff, Export};
pub(super) use live::Hub;
pub use live::{Live, Stream};
pub use overview::{COUNTED, Overview, ROLLED_UP, Series, Span, Suspect};
pub use past::{Awaited, EventRef, PastSession, Pending, StateView};
pub use proofs::{CHECKPOINTS_PAGE_MAX, Consistency, Inclusion, SigningKey};
pub use refusals::{Ended, REFUSALS_PAGE_MAX, RefusalView, RefusalsPage};
pub use search::{Filter, Page, TrailEntry};

use std::collections::HashMap;

use uuid::Uuid;

use super::access::{Caller, Right, Sight};
use super::{Context, Doorbook, FieldFault, Refusal};
use crate::event::{Event, Personal};
use crate::operator::OperatorEvent;
use crate::store::keys::DataKey;
use crate::store::log::{self, SealedEvent};
use crate::store::query::deliveries;
use crate::store::{StoreError, search as view};
use crate::terms::Severity;
use crate::value::{AccountId, Email, EventId};

/// Most events shown as caused by one.
const CAUSED_MAX: i64 = 100;
/// Longest chain of causes shown.
const CAUSES_MAX: usize = 8;

/// What became of a mail that an event promised.
#[derive(Debug)]
pub struct DeliveryView {
    pub id: uuid::Uuid,
    pub template: String,
    pub state: String,
    pub attempts: i32,
    pub server_answer: Option<String>,
}

/// One event among others.
#[derive(Debug)]
pub struct Connected {
    pub event: TrailEntry,
    /// What led to it, the nearest first.
    pub causes: Vec<TrailEntry>,
    /// What it led to, in order.
    pub caused: Vec<TrailEntry>,
    pub deliveries: Vec<DeliveryView>,
}

impl Doorbook {
    /// Takes in what was sealed since; how many events. For the worker.
    pub async fn follow_search(&self) -> Result<usize, StoreError> {
        view::follow(&self.db, &self.vault).await
    }

    /// One sealed event with its context.
    pub async fn trail_event(&self, caller: Caller, event: EventId, context: &Context) -> Result<Connected, Refusal> {
        let found = self.sealed(&[event]).await?.pop().ok_or(Refusal::NotFound)?;
        let fields = vec!["event".to_owned()];
        let subject = found.subject_id.map(AccountId);
        self.note(caller, subject, OperatorEvent::AuditSearched { fields }, context).await?;
        let sight = self.sight(caller).await?;
        let mut chain = Vec::new();
        let mut cause = found.causation_id;
        while let Some(id) = cause.filter(|_| chain.len() < CAUSES_MAX) {
            let Some(earlier) = self.sealed(&[EventId(id)]).await?.pop() else { break };
            cause = earlier.causation_id;
            chain.push(earlier);
        }
        let effects = match found.subject_id {
            Some(subject) => self.sealed(&log::caused_by(&self.db, event, subject, CAUSED_MAX).await?).await?,
            None => Vec::new(),
        };
        let deliveries = deliveries::of_event(&self.db, event).await?;
        let deliveries = deliveries.into_iter().map(|row| DeliveryView {
            id: row.delivery_id.0,
            template: row.template,
            state: row.state,
            attempts: row.attempts,
            server_answer: row.server_answer,
        });
        Ok(Connected {
            event: self.entries(vec![found], sight).await?.pop().ok_or(Refusal::NotFound)?,
            causes: self.entries(chain, sight).await?,
            caused: self.entries(effects, sight).await?,
            deliveries: deliveries.collect(),
        })
    }

    /// One event with nothing masked, for a reason that goes into the trail.
    pub async fn reveal(
        &self,
        caller: Caller,
        event: EventId,
        reason: String,
        context: &Context,
    ) -> Result<TrailEntry, Refusal> {
        self.admit_still(caller, Right::Audit, context).await?;
        let found = self.sealed(&[event]).await?.pop().ok_or(Refusal::NotFound)?;
        let subject = found.subject_id.map(AccountId);
        self.note(caller, subject, OperatorEvent::PersonalDataRevealed { event, reason }, context).await?;
        self.entries(vec![found], Sight::Plain).await?.pop().ok_or(Refusal::NotFound)
    }

    /// Sealed events by id, oldest first.
    async fn sealed(&self, events: &[EventId]) -> Result<Vec<SealedEvent>, Refusal> {
        let positions = log::positions_of(&self.db, events).await?;
        let mut found = log::sealed_at(&self.db, &positions).await?;
        found.reverse();
        Ok(found)
    }

    /// What a caller may see of these events. An event that cannot be read is shown by its stored payload: the trail hides nothing.
    async fn entries(&self, events: Vec<SealedEvent>, sight: Sight) -> Result<Vec<TrailEntry>, Refusal> {
        let keys = self.vault.keys_of(&self.db, events.iter().filter_map(|event| event.pii_key_id)).await?;
        let mut entries = Vec::with_capacity(events.len());
        for event in events {
            let (personal, erased) = opened(&event, &keys);
            let read = Event::read(&event.kind, &event.name, &event.payload, personal.as_ref());
            let severity = read.ok().map(|read| Severity::of(&read));
            let personal = personal.map(|personal| seen(personal, sight));
            entries.push(TrailEntry::new(event, severity, personal, erased));
        }
        Ok(entries)
    }
}

/// The personal data of an event, and whether its key is gone. Data that does not open hides no other event, and not this one.
fn opened(event: &SealedEvent, keys: &HashMap<Uuid, DataKey>) -> (Option<Personal>, bool) {
    match event.open(keys) {
        Ok(personal) => {
            let erased = event.pii.is_some() && personal.is_none();
            (personal, erased)
        }
        Err(error) => {
            tracing::error!(event = %event.event_id, %error, "the personal data of an event does not open");
            (None, false)
        }
    }
}

fn seen(personal: Personal, sight: Sight) -> Personal {
    match sight {
        Sight::Plain => personal,
        Sight::Masked => Personal {
            email: personal.email.map(|email| Email::parse(&email).map_or_else(|_| "•••".to_owned(), |it| it.masked())),
            first_name: personal.first_name.filter(|name| !name.is_empty()).map(|_| "•••".to_owned()),
            last_name: personal.last_name.filter(|name| !name.is_empty()).map(|_| "•••".to_owned()),
            ..personal
        },
    }
}

fn fault(field: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::Invalid(vec![FieldFault::new(field, "invalid", message)])
}
