//! Letting go of what has been kept for long enough: months of attempts, mails and looks. Their leaf hashes stay, and so does an
//! event that says what went.

use std::time::Duration;

use super::append::Batch;
use super::{Context, Doorbook, Refusal};
use crate::audit::note::hex;
use crate::audit::retired::{Month, Retired};
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::store::log::StreamKind;
use crate::store::{Db, retention};
use crate::value::{EventId, StreamId};

/// A month that has been kept for long enough.
#[derive(Debug)]
pub struct Ended {
    pub month: Month,
    pub events: i64,
    /// Positions that its events lie between; `None` when it has none.
    pub span: Option<(i64, i64)>,
    /// Why it must stay for now.
    pub held_by: Option<&'static str>,
}

impl Doorbook {
    /// Months that ended at least so long ago and are still there, the oldest first.
    pub async fn months_ended(&self, age: Duration) -> Result<Vec<Ended>, Refusal> {
        let retention::Progress { written, followed } = retention::progress(&self.db).await?;
        let mut ended = Vec::new();
        for month in retention::months_ended(&self.db, age).await? {
            let content = retention::content(&self.db, month).await?;
            let last = content.last.unwrap_or(0);
            let held_by = if content.sealed < content.events {
                Some("events are not sealed yet")
            } else if content.seals > content.events {
                Some("events of it are gone already: run `doorbook audit verify`")
            } else if last > written {
                Some("no checkpoint over it has been written to CHECKPOINT_SINK")
            } else if last > followed {
                Some("not every follower of the log has come that far")
            } else {
                None
            };
            let span = content.first.zip(content.last);
            ended.push(Ended { month, events: content.events, span, held_by });
        }
        Ok(ended)
    }

    /// Drops a month: says in the log what goes, forgets what it is searched by, then lets it go. Broken off anywhere, it may be
    /// repeated. `owner` is a pool of the database's owner.
    pub async fn retire(&self, owner: &Db, ended: &Ended, context: &Context) -> Result<(), Refusal> {
        if let Some(span) = ended.span {
            let retired = retention::tally(&self.db, ended.month, span).await?;
            if !retention::retired(&self.db).await?.months.contains(&retired) {
                self.note_retired(&retired, context).await?;
            }
            crate::failpoint!("retention.noted");
            retention::forget_terms(owner, ended.month, span).await?;
        }
        Ok(retention::drop_partition(owner, ended.month).await?)
    }

    async fn note_retired(&self, retired: &Retired, context: &Context) -> Result<(), Refusal> {
        let mut batch = Batch::new(context, self.now());
        let stream = StreamId(EventId::new(batch.now).0);
        batch.write.append_stream(stream, StreamKind::Operator, 1);
        let event = OperatorEvent::EventsRetired {
            month: retired.month.to_string(),
            events: retired.events,
            digest: hex(&retired.digest),
        };
        batch.event(stream, 1, None, None, Event::Operator(event), None)?;
        Ok(batch.commit(self).await?)
    }
}
