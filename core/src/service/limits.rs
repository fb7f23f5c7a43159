//! Limits as use cases meet them: buckets, attempts streams, plain counts.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::append::Batch;
use super::{Context, Doorbook, Refusal, retrying};
use crate::attempt::AttemptEvent;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::limit::{Counter, Rule};
use crate::store::keys::Vault;
use crate::store::keys::identifiers::Bucket;
use crate::store::log::StreamKind;
use crate::store::query::counters;
use crate::store::write::Write;
use crate::store::{Db, StoreError};
use crate::value::{AccountId, ClientOrigin, Email, EventId, StreamId};

/// Tokens that were never ours, per network. Source: bar C045.
pub(crate) const BAD_TOKENS: Rule = Rule { max: 20, window: Duration::from_mins(5), block: Duration::ZERO };
/// Requests for resets and verification mails per network: this often the identifier's limit. Source: docs/SETTINGS.md.
pub(crate) const ADDRESS_FACTOR: u32 = 10;

/// Changes of one kind that an account asks for itself: each is an event that stays in its stream, and an account of too many cannot be
/// told of.
pub(super) const OWN_CHANGES: Rule = Rule { max: 60, window: Duration::from_hours(1), block: Duration::ZERO };

/// Pauses before a reservation is given back, all of them together within what it lasts.
const GIVEN_BACK_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(12),
];

pub(crate) fn identifier_bucket(kind: &'static str, email: &Email) -> Bucket {
    Bucket::new(kind, &[email.limit_form().as_bytes()])
}

pub(crate) fn network_bucket(kind: &'static str, origin: &ClientOrigin) -> Bucket {
    Bucket::new(kind, &[origin.network().to_string().as_bytes()])
}

impl Doorbook {
    /// Counts one request of a plain limit, or refuses it. Committed by itself, before any work is done for the request.
    pub(crate) async fn count(&self, bucket: &Bucket, rule: Rule, origin: &ClientOrigin) -> Result<(), Refusal> {
        let counted = retrying(async || {
            let (row, now) = counters::read(&self.db, &self.vault, bucket).await?;
            match row.counter.clone().count(rule, now) {
                Err(until) => Err(Refusal::Limited { retry_after: wait(until, now) }),
                Ok(counter) => {
                    let mut write = Write::new();
                    write.put_counter(&row, &counter, counter.forgotten_at(rule, now));
                    write.run(&self.db).await?;
                    Ok(())
                }
            }
        })
        .await;
        if matches!(counted, Err(Refusal::Limited { .. })) {
            self.note_exceeded(bucket, rule, origin).await;
        }
        counted
    }

    /// Gives a reserved guess back: it does not count.
    pub(super) async fn give_back(&self, bucket: &Bucket, reservation: Uuid) -> Result<(), Refusal> {
        give_back(&self.db, &self.vault, self.policy.login, bucket, reservation).await
    }

    /// The same while the database may be away, without anybody waiting for it. One that is away for as long as a reservation lasts has
    /// it counted as a failure after all.
    pub(super) fn give_back_later(&self, bucket: &Bucket, reservation: Uuid) {
        let (db, vault, rule, bucket) = (self.db.clone(), Arc::clone(&self.vault), self.policy.login, bucket.clone());
        tokio::spawn(async move {
            for pause in GIVEN_BACK_AFTER {
                tokio::time::sleep(pause).await;
                if give_back(&db, &vault, rule, &bucket, reservation).await.is_ok() {
                    return;
                }
            }
            tracing::warn!("a guess that was not wrong counts as a failure: the database was away");
        });
    }

    /// Notes that a limit was hit: one event a bucket and window, so that a flood of refusals adds nothing to the log. The refusal
    /// stands whether or not the note could be written.
    pub(super) async fn note_exceeded(&self, bucket: &Bucket, rule: Rule, origin: &ClientOrigin) {
        let context = Context::stranger(origin.clone());
        let note = async {
            let mut batch = Batch::new(&context, self.now());
            let stream = self.attempts_stream(bucket, rule.window, batch.now);
            if counters::stream_exists(&self.db, stream).await? {
                return Ok(());
            }
            let stranger = self.vault.stranger_key(&self.db, batch.now).await?;
            batch.write.open_stream(stream, StreamKind::Attempts, None, 1);
            let event = AttemptEvent::LimitExceeded { kind: bucket.kind.to_owned() };
            batch.event(stream, 1, None, None, Event::Attempt(event), Some(&stranger))?;
            Ok(batch.commit(self).await?)
        };
        match note.await {
            // Somebody else has noted it.
            Ok(()) | Err(Refusal::Unavailable(StoreError::Conflict)) => {}
            Err(error) => tracing::warn!(%error, kind = bucket.kind, "a limit was hit, and the log could not be told"),
        }
    }

    /// Refuses before a token is looked at when this network has presented too many that were not ours.
    pub(crate) async fn token_guesses_left(&self, origin: &ClientOrigin) -> Result<(), Refusal> {
        let bucket = network_bucket("bad_token", origin);
        let (row, now) = counters::read(&self.db, &self.vault, &bucket).await?;
        let left = Self::guesses_left(&row.counter, now);
        if left.is_err() {
            self.note_exceeded(&bucket, BAD_TOKENS, origin).await;
        }
        left
    }

    /// The same for a counter that has been read.
    pub(crate) fn guesses_left(bad_tokens: &Counter, now: Timestamp) -> Result<(), Refusal> {
        match bad_tokens.clone().count(BAD_TOKENS, now) {
            Ok(_) => Ok(()),
            Err(until) => Err(Refusal::Limited { retry_after: wait(until, now) }),
        }
    }

    /// Counts a token that was not ours, and answers with `refusal`.
    pub(crate) async fn bad_token(&self, origin: &ClientOrigin, refusal: Refusal) -> Refusal {
        match self.count(&network_bucket("bad_token", origin), BAD_TOKENS, origin).await {
            Ok(()) => refusal,
            Err(limited) => limited,
        }
    }

    /// The stream that takes what strangers cause about one bucket in one window.
    pub(crate) fn attempts_stream(&self, bucket: &Bucket, window: Duration, now: Timestamp) -> StreamId {
        /// Namespace of attempts streams; any constant does.
        const NAMESPACE: uuid::Uuid = uuid::uuid!("6f0e9a52-6d1f-5c1e-9d0c-6a1b0d7a6a01");
        let tick = now.seconds().div_euclid(i64::try_from(window.as_secs().max(1)).unwrap_or(i64::MAX));
        StreamId(uuid::Uuid::new_v5(
            &NAMESPACE,
            &[self.vault.identifiers().name(bucket).as_slice(), &tick.to_be_bytes()].concat(),
        ))
    }

    /// Adds events to the attempts stream of a bucket. Their personal data is sealed with the account's key when there is one,
    /// else with the strangers' key of the day. Nobody decides on such a stream, so writers queue for it and never conflict.
    pub(crate) async fn attempts(
        &self,
        batch: &mut Batch<'_>,
        bucket: &Bucket,
        window: Duration,
        account: Option<(AccountId, Option<&crate::store::keys::DataKey>)>,
        events: Vec<AttemptEvent>,
    ) -> Result<Vec<EventId>, Refusal> {
        let stream = self.attempts_stream(bucket, window, batch.now);
        let stranger = self.vault.stranger_key(&self.db, batch.now).await?;
        let subject = account.map(|(id, _)| id);
        let key = account.map_or(Some(&*stranger), |(_, key)| key);
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        batch.write.append_stream(stream, StreamKind::Attempts, count);
        let mut ids = Vec::with_capacity(events.len());
        for (event, version) in events.into_iter().zip(1..) {
            ids.push(batch.event(stream, version, subject, None, Event::Attempt(event), key)?);
        }
        Ok(ids)
    }
}

async fn give_back(db: &Db, vault: &Vault, rule: Rule, bucket: &Bucket, reservation: Uuid) -> Result<(), Refusal> {
    retrying(async || {
        let (row, now) = counters::read(db, vault, bucket).await?;
        let counter = row.counter.clone().release(rule, now, reservation);
        let mut write = Write::new();
        write.put_counter(&row, &counter, counter.forgotten_at(rule, now));
        write.run(db).await?;
        Ok(())
    })
    .await
}

/// Seconds to wait, never less than one.
pub(crate) fn wait(until: Timestamp, now: Timestamp) -> Duration {
    until.since(now).max(Duration::from_secs(1))
}

/// A plain limit on one kind of request from one network.
pub(crate) fn per_network(rule: Rule) -> Rule {
    Rule { max: rule.max.saturating_mul(ADDRESS_FACTOR), ..rule }
}
