//! Which keys addresses are looked up by right now (`docs/adr/0013`).

use std::sync::Arc;
use std::time::Duration;

use super::append::Batch;
use super::{Context, Doorbook, Refusal};
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::store::keys::KeyError;
use crate::store::keys::lookup::Lookup;
use crate::store::log::StreamKind;
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
        Ok(self.vault.reread_lookup(&self.db, &self.roots).await?)
    }

    /// Notes in the log that a service key was changed.
    pub async fn note_key_rotated(&self, purpose: &str, key_id: &str, context: &Context) -> Result<(), Refusal> {
        let mut batch = Batch::new(context, self.now());
        let stream = StreamId(crate::value::EventId::new(batch.now).0);
        batch.write.open_stream(stream, StreamKind::Operator, None, 1);
        let event = OperatorEvent::KeyRotated { purpose: purpose.to_owned(), key_id: key_id.to_owned() };
        batch.event(stream, 1, None, None, Event::Operator(event), None)?;
        Ok(batch.commit(self).await?)
    }
}
