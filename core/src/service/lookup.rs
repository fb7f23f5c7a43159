//! Which service keys are in force right now, and changing them (`docs/adr/0013`).

use std::sync::Arc;
use std::time::Duration;

use super::append::Batch;
use super::{Context, Doorbook, Refusal};
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::store::keys::KeyError;
use crate::store::keys::change::{self, Change, Purpose};
use crate::store::keys::lookup::Lookup;
use crate::store::log::StreamKind;
use crate::store::{Db, StoreError};
use crate::value::StreamId;

/// What reads may go by for so long: well below the time for which a rotation waits (`store::keys::rotate::SETTLING`).
const FRESH: Duration = Duration::from_secs(30);

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl Doorbook {
    /// For reads.
    pub(crate) async fn lookup(&self) -> Result<Arc<Lookup>, Refusal> {
        let known = self.vault.lookup();
        if self.clock.now().since(known.read_at) < FRESH { Ok(known) } else { self.lookup_now().await }
    }

    /// For writes of addresses: read anew for each try, before anything that the write is decided on.
    pub(crate) async fn lookup_now(&self) -> Result<Arc<Lookup>, Refusal> {
        Ok(self.vault.reread_lookup(&self.db).await?)
    }

    /// Puts a fresh key into force, and into the log that this was done, in one moment. Returns its id. `owner` is the database's
    /// owner.
    pub async fn change_key(&self, owner: &Db, purpose: Purpose, context: &Context) -> Result<String, Refusal> {
        let change = Change::new(purpose, &self.roots)?;
        for _ in 1..change::TRIES_MAX {
            match self.try_change(owner, &change, purpose, context).await {
                Err(Refusal::Unavailable(StoreError::Conflict)) => tokio::time::sleep(change::PAUSE).await,
                other => return other.map(|()| change.key_id().to_owned()),
            }
        }
        self.try_change(owner, &change, purpose, context).await.map(|()| change.key_id().to_owned())
    }

    async fn try_change(
        &self,
        owner: &Db,
        change: &Change,
        purpose: Purpose,
        context: &Context,
    ) -> Result<(), Refusal> {
        let mut transaction = change.begin(owner).await?;
        self.key_rotated(purpose.as_str(), change.key_id(), context)?.into_write().run(&mut transaction).await?;
        Ok(transaction.commit().await.map_err(StoreError::from)?)
    }

    /// Notes in the log that a service key was changed.
    pub async fn note_key_rotated(&self, purpose: &str, key_id: &str, context: &Context) -> Result<(), Refusal> {
        Ok(self.key_rotated(purpose, key_id, context)?.commit(self).await?)
    }

    fn key_rotated<'a>(&self, purpose: &str, key_id: &str, context: &'a Context) -> Result<Batch<'a>, Refusal> {
        let mut batch = Batch::new(context, self.now());
        let stream = StreamId(crate::value::EventId::new(batch.now).0);
        batch.write.open_stream(stream, StreamKind::Operator, None, 1);
        let event = OperatorEvent::KeyRotated { purpose: purpose.to_owned(), key_id: key_id.to_owned() };
        batch.event(stream, 1, None, None, Event::Operator(event), None)?;
        Ok(batch)
    }
}
