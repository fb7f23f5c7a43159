//! What processes and refusals leave in the log: bounded, and never in the way of what caused it.

use std::time::Duration;

use uuid::Uuid;

use super::access::Caller;
use super::append::Batch;
use super::{Context, Doorbook, Refusal, retrying};
use crate::config::Settings;
use crate::event::Event;
use crate::limit::Rule;
use crate::operator::OperatorEvent;
use crate::store::StoreError;
use crate::store::keys::identifiers::Bucket;
use crate::store::log::StreamKind;
use crate::store::query::{self, counters};
use crate::token::random;
use crate::value::{AccountId, StreamId};

/// One event an account, action and span of so long, however often it is refused.
const DENIED_WINDOW: Duration = Duration::from_hours(1);
const LOOKS_NOTED: Rule = Rule { max: 1, window: Duration::from_hours(1), block: Duration::ZERO };

impl Doorbook {
    /// Tells the log with which settings a process has started, when they are not those of the last one of its kind: a process that
    /// dies and is started again and again adds nothing. The process starts all the same when the log cannot be told.
    pub async fn note_settings(&self, process: &'static str, settings: &Settings) {
        /// Namespace of the streams of kinds of processes; any constant does.
        const NAMESPACE: Uuid = uuid::uuid!("0d5f7b0e-4c53-5a1f-8a51-0e7d4f2a9b02");
        let context = Context::system(Uuid::from_bytes(random()));
        let hash = &settings.fingerprint;
        let note = async {
            if query::loaded_settings(&self.db, process).await?.as_ref() == Some(hash) {
                return Ok(());
            }
            let mut batch = Batch::new(&context, self.now());
            let stream = StreamId(Uuid::new_v5(&NAMESPACE, process.as_bytes()));
            batch.write.load_settings(process, hash);
            batch.write.append_stream(stream, StreamKind::Operator, 1);
            let event = OperatorEvent::SettingsLoaded { process: process.to_owned(), hash: hash.clone() };
            batch.event(stream, 1, None, None, Event::Operator(event), None)?;
            Ok(batch.commit(self).await?)
        };
        match note.await {
            // One that has started at the same time has noted it.
            Ok(()) | Err(Refusal::Unavailable(StoreError::Conflict)) => {}
            Err(error) => tracing::warn!(%error, "the log could not be told of the settings"),
        }
    }

    /// Tells the log that the caller was refused for lack of right. The refusal stands whether or not it could be told.
    pub(crate) async fn note_denied(&self, caller: Caller, action: &'static str, context: &Context) {
        let context = context.clone().acting(caller.account);
        let note = async {
            let mut batch = Batch::new(&context, self.now());
            let bucket = Bucket::new("denied", &[caller.account.0.as_bytes(), action.as_bytes()]);
            let stream = self.attempts_stream(&bucket, DENIED_WINDOW, batch.now);
            if counters::stream_exists(&self.db, stream).await? {
                return Ok(());
            }
            let key = self.vault.account_key(&self.db, caller.account).await?;
            batch.write.open_stream(stream, StreamKind::Operator, Some(caller.account), 1);
            let event = Event::Operator(OperatorEvent::AuthorizationDenied { action: action.to_owned() });
            batch.event(stream, 1, Some(caller.account), Some(caller.session), event, key.as_ref())?;
            Ok(batch.commit(self).await?)
        };
        match note.await {
            // Another request of the same caller has noted it.
            Ok(()) | Err(Refusal::Unavailable(StoreError::Conflict)) => {}
            Err(error) => tracing::warn!(%error, action, "somebody was refused, and the log could not be told"),
        }
    }

    /// Notes what somebody has looked at; who looks again within the hour adds nothing. `bucket` names who and what.
    pub(super) async fn note_hourly(
        &self,
        caller: Caller,
        bucket: &Bucket,
        subject: Option<AccountId>,
        event: OperatorEvent,
        context: &Context,
    ) -> Result<(), Refusal> {
        let context = context.clone().acting(caller.account);
        let key = self.vault.account_key(&self.db, caller.account).await?;
        retrying(async || {
            let (row, at) = counters::read(&self.db, &self.vault, bucket).await?;
            let Ok(counter) = row.counter.clone().count(LOOKS_NOTED, at) else { return Ok(()) };
            let mut batch = self.noted(caller, subject, Event::Operator(event.clone()), key.as_ref(), &context)?;
            batch.write.put_counter(&row, &counter, counter.forgotten_at(LOOKS_NOTED, at));
            Ok(batch.commit(self).await?)
        })
        .await
    }
}
