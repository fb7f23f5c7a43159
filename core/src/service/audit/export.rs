//! Reading the whole of a search: page by page behind one another, without a transaction that would hold anything up.

use std::sync::Arc;
use std::time::Duration;

use super::search::{Filter, TrailEntry};
use super::{Caller, Context, Doorbook, Refusal};
use crate::event::Event;
use crate::limit::Rule;
use crate::operator::OperatorEvent;
use crate::service::append::Batch;
use crate::store::keys::identifiers::Bucket;
use crate::store::log::StreamKind;
use crate::value::{EventId, StreamId};

/// Most events of one export. Who needs more asks for spans of time: what is not all of a search must not look like it.
const EVENTS_MAX: usize = 100_000;
/// Events read at once.
const PAGE: i64 = 500;
/// Exports an account may begin.
const EXPORTS: Rule = Rule { max: 20, window: Duration::from_hours(1), block: Duration::ZERO };

/// An export under way.
pub struct Export {
    doorbook: Arc<Doorbook>,
    filter: Filter,
    caller: Caller,
    /// Where to go on; `None` at the beginning.
    before: Option<i64>,
    /// Events that may still be handed out; none when all were.
    left: Option<usize>,
}

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum CutOff {
    #[error("more than {EVENTS_MAX} events were to be handed out")]
    TooMany,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Doorbook {
    /// Begins an export, which is recorded, as it may be cut off at any time, before the first event is handed out.
    pub async fn export_trail(
        self: &Arc<Self>,
        caller: Caller,
        filter: Filter,
        format: &str,
        context: &Context,
    ) -> Result<Export, Refusal> {
        filter.check()?;
        self.require_step_up(caller).await?;
        let bucket = Bucket::new("export", &[caller.account.0.as_bytes()]);
        self.count(&bucket, EXPORTS, &context.origin).await?;
        let exported = OperatorEvent::AuditExported { fields: filter.fields(), format: format.to_owned() };
        self.note(caller, filter.account, exported, context).await?;
        Ok(Export { doorbook: Arc::clone(self), filter, caller, before: None, left: Some(EVENTS_MAX) })
    }
}

impl Doorbook {
    /// Tells the log that an operator takes a part of it away, before he does.
    pub async fn note_bundle(&self, context: &Context) -> Result<(), Refusal> {
        let mut batch = Batch::new(context, self.now());
        let stream = StreamId(EventId::new(batch.now).0);
        batch.write.append_stream(stream, StreamKind::Operator, 1);
        let exported =
            OperatorEvent::AuditExported { fields: vec!["position".to_owned()], format: "bundle".to_owned() };
        batch.event(stream, 1, None, None, Event::Operator(exported), None)?;
        Ok(batch.commit(self).await?)
    }
}

impl Export {
    /// The next events, newest first; `None` after the last. Whoever takes them slowly outlasts session and role, and gets no more then.
    pub async fn next(&mut self) -> Result<Option<Vec<TrailEntry>>, CutOff> {
        let Some(left) = self.left else { return Ok(None) };
        let sight = self.doorbook.sight_still(self.caller).await?.ok_or(Refusal::Forbidden)?;
        let (entries, next) = self.doorbook.walk(&self.filter, self.before, PAGE, sight).await?;
        self.left = left_behind(left, entries.len(), next.is_none())?;
        self.before = next;
        Ok(Some(entries))
    }
}

/// What may still be handed out behind a page of so many events, of `left`; nothing is to be, behind the last.
fn left_behind(left: usize, page: usize, is_last: bool) -> Result<Option<usize>, CutOff> {
    let left = left.checked_sub(page).ok_or(CutOff::TooMany)?;
    Ok((!is_last).then_some(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when `core/src/service/audit/export.rs`: `left.checked_sub(page).ok_or(CutOff::TooMany)?` → `left.saturating_sub(page)`.
    #[test]
    fn an_export_that_has_not_all_that_was_found_is_cut_off() {
        assert!(matches!(left_behind(EVENTS_MAX, 500, false), Ok(Some(left)) if left == EVENTS_MAX - 500));
        assert!(matches!(left_behind(300, 300, true), Ok(None)), "just as many as it may have");
        assert!(matches!(left_behind(300, 300, false), Ok(Some(0))), "there may be more");
        assert!(matches!(left_behind(0, 0, true), Ok(None)), "there was none");
        for is_last in [true, false] {
            assert!(matches!(left_behind(300, 301, is_last), Err(CutOff::TooMany)));
        }
    }
}
