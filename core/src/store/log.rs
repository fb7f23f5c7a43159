//! Appending to the log, and reading it: by position (sealed), by subject or by stream.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::keys::DataKey;
use super::write::{Expect, Write};
use super::{Db, StoreError};
use crate::clock::Timestamp;
use crate::event::{Actor, Event, Personal};
use crate::value::{AccountId, EventId, SessionId, StreamId};

/// An event on its way into the log.
pub struct NewEvent {
    pub id: EventId,
    pub stream: StreamId,
    pub version: i64,
    pub subject: Option<AccountId>,
    pub event: Event,
    /// Sealed personal data and the id of the key that sealed it.
    pub sealed: Option<(Vec<u8>, Uuid)>,
    pub actor: Actor,
    pub session: Option<SessionId>,
    pub trace: Uuid,
    pub causation: Option<EventId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    Account,
    Session,
    Attempts,
    Notification,
    Operator,
    Security,
}

impl StreamKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Session => "session",
            Self::Attempts => "attempts",
            Self::Notification => "notification",
            Self::Operator => "operator",
            Self::Security => "security",
        }
    }
}

impl Write {
    /// Guard: begins a stream of `events` events; conflict when it exists.
    pub fn open_stream(&mut self, stream: StreamId, kind: StreamKind, subject: Option<AccountId>, events: i64) {
        let (id, kind) = (self.bind(stream.0), self.bind(kind.as_str()));
        let (subject, events) = (self.bind(subject.map(|subject| subject.0)), self.bind(events));
        self.guard(
            "open_stream",
            &format!(
                "insert into streams (stream_id, kind, subject_id, version)
                 select {id}, {kind}, {subject}, {events} where {{after}} on conflict (stream_id) do nothing returning 1"
            ),
        );
    }

    /// Guard: `events` more events on a stream that stands at `expected`; conflict when somebody was faster.
    pub fn extend_stream(&mut self, stream: StreamId, expected: i64, events: i64) {
        let (id, expected, events) = (self.bind(stream.0), self.bind(expected), self.bind(events));
        self.guard(
            "extend_stream",
            &format!(
                "update streams set version = version + {events} where stream_id = {id} and version = {expected} and {{after}} returning 1"
            ),
        );
    }

    /// Guard: `events` more events at the end of a stream, wherever that is; it is opened if need be. For streams that nothing is
    /// decided on: their events are numbered from 1 and moved behind what is there.
    pub fn append_stream(&mut self, stream: StreamId, kind: StreamKind, events: i64) {
        let (id, kind, events) = (self.bind(stream.0), self.bind(kind.as_str()), self.bind(events));
        self.guard(
            "append_stream",
            &format!(
                "insert into streams as s (stream_id, kind, version) select {id}, {kind}, {events} where {{after}}
                 on conflict (stream_id) do update set version = s.version + {events} returning stream_id, version - {events} as base"
            ),
        );
        self.appended.extend(self.last_guard.clone());
    }

    /// Guard: the account's stream moves on.
    pub fn extend_account(&mut self, account: AccountId, expected: i64, events: i64) {
        self.extend_stream(StreamId(account.0), expected, events);
    }

    /// Guard: the account's stream moves on and its session epoch becomes `epoch`, if no session has begun since `logins` were
    /// counted. A statement that waited here for a login would end the sessions of its own snapshot only, which lacks that one.
    pub fn end_epoch(&mut self, account: AccountId, expected: i64, events: i64, epoch: i64, logins: i64) {
        let (id, expected) = (self.bind(account.0), self.bind(expected));
        let (events, epoch, logins) = (self.bind(events), self.bind(epoch), self.bind(logins));
        self.guard(
            "end_epoch",
            &format!(
                "update streams set version = version + {events}, session_epoch = {epoch}
                 where stream_id = {id} and version = {expected} and logins = {logins} and {{after}} returning 1"
            ),
        );
    }

    /// Guard: one more session of the account, if its stream and the number of sessions ever begun are as they were read.
    pub fn begin_session(&mut self, account: AccountId, expected: i64, logins: i64) {
        let (id, expected, logins) = (self.bind(account.0), self.bind(expected), self.bind(logins));
        self.guard(
            "begin_session",
            &format!(
                "update streams set logins = logins + 1
                 where stream_id = {id} and logins = {logins} and version = {expected} and {{after}} returning 1"
            ),
        );
    }

    /// Inserts the events. Their streams must have been guarded for exactly these versions.
    pub fn events(&mut self, events: Vec<NewEvent>) {
        let count = events.len();
        let mut columns = Columns::default();
        for event in events {
            columns.push(event);
        }
        let Columns {
            id,
            class,
            stream,
            version,
            name,
            subject,
            payload,
            pii,
            pii_key,
            actor_kind,
            actor,
            session,
            trace,
            causation,
        } = columns;
        let binds = [
            self.bind(id) + "::uuid[]",
            self.bind(class) + "::text[]",
            self.bind(stream) + "::uuid[]",
            self.bind(version) + "::bigint[]",
            self.bind(name) + "::text[]",
            self.bind(subject) + "::uuid[]",
            self.bind(payload) + "::jsonb[]",
            self.bind(pii) + "::bytea[]",
            self.bind(pii_key) + "::uuid[]",
            self.bind(actor_kind) + "::text[]",
            self.bind(actor) + "::uuid[]",
            self.bind(session) + "::uuid[]",
            self.bind(trace) + "::uuid[]",
            self.bind(causation) + "::uuid[]",
        ];
        let behind: Vec<String> = self
            .appended
            .iter()
            .map(|guard| format!(" + coalesce((select base from {guard} a where a.stream_id = e.stream), 0)"))
            .collect();
        let behind = behind.concat();
        let sql = format!(
            "insert into events (event_id, retention_class, stream_id, version, type, subject_id, payload, pii, pii_key_id, actor_kind,
                actor_id, session_id, trace_id, causation_id, correlation_id)
             select id, class, stream, version{behind}, name, subject, payload, pii, pii_key, actor_kind, actor, session, trace, causation, trace
             from unnest({}) as e(id, class, stream, version, name, subject, payload, pii, pii_key, actor_kind, actor, session, trace,
                causation) returning 1",
            binds.join(", ")
        );
        self.step("events", Expect::Rows(count), sql);
    }
}

#[derive(Default)]
struct Columns {
    id: Vec<Uuid>,
    class: Vec<String>,
    stream: Vec<Uuid>,
    version: Vec<i64>,
    name: Vec<String>,
    subject: Vec<Option<Uuid>>,
    payload: Vec<Value>,
    pii: Vec<Option<Vec<u8>>>,
    pii_key: Vec<Option<Uuid>>,
    actor_kind: Vec<String>,
    actor: Vec<Option<Uuid>>,
    session: Vec<Option<Uuid>>,
    trace: Vec<Uuid>,
    causation: Vec<Option<Uuid>>,
}

impl Columns {
    fn push(&mut self, event: NewEvent) {
        let (name, payload) = event.event.stored();
        let (pii, pii_key) = event.sealed.unzip();
        self.id.push(event.id.0);
        self.class.push(event.event.retention_class().as_str().to_owned());
        self.stream.push(event.stream.0);
        self.version.push(event.version);
        self.name.push(name);
        self.subject.push(event.subject.map(|subject| subject.0));
        self.payload.push(payload);
        self.pii.push(pii);
        self.pii_key.push(pii_key);
        self.actor_kind.push(event.actor.kind().to_owned());
        self.actor.push(event.actor.id());
        self.session.push(event.session.map(|session| session.0));
        self.trace.push(event.trace);
        self.causation.push(event.causation.map(|event| event.0));
    }
}

/// An event as stored, with the kind of its stream.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub event_id: EventId,
    pub kind: String,
    pub stream_id: Uuid,
    pub version: i64,
    pub name: String,
    pub subject_id: Option<Uuid>,
    pub payload: Value,
    pub pii: Option<Vec<u8>>,
    pub pii_key_id: Option<Uuid>,
    pub actor_kind: String,
    pub actor_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub recorded_at: Timestamp,
}

/// Events about one account, newest first, older than `before` when given, at most `limit`. Strong: no seal is waited for.
pub async fn of_subject(
    db: &Db,
    subject: AccountId,
    before: Option<EventId>,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    Ok(sqlx::query_as!(
        StoredEvent,
        r#"select e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.subject_id, e.payload, e.pii,
                  e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.recorded_at as "recorded_at: Timestamp"
           from events e join streams s on s.stream_id = e.stream_id
           where e.subject_id = $1 and ($2::uuid is null or e.event_id < $2)
           order by e.event_id desc limit $3"#,
        subject.0,
        before.map(|event| event.0),
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Events of one stream, the first first, at most `limit`. Strong: no seal is waited for.
pub async fn of_stream(db: &Db, stream: StreamId, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
    Ok(sqlx::query_as!(
        StoredEvent,
        r#"select e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.subject_id, e.payload, e.pii,
                  e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.recorded_at as "recorded_at: Timestamp"
           from events e join streams s on s.stream_id = e.stream_id where e.stream_id = $1 order by e.version limit $2"#,
        stream.0,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// A sealed event: what everyone who follows the log reads.
#[derive(Clone, Debug)]
pub struct SealedEvent {
    pub position: i64,
    pub event_id: EventId,
    pub kind: String,
    pub stream_id: Uuid,
    pub version: i64,
    pub name: String,
    pub schema_version: i16,
    pub subject_id: Option<Uuid>,
    pub payload: Value,
    pub pii: Option<Vec<u8>>,
    pub pii_key_id: Option<Uuid>,
    pub actor_kind: String,
    pub actor_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub trace_id: Option<Uuid>,
    pub causation_id: Option<Uuid>,
    pub recorded_at: Timestamp,
}

impl SealedEvent {
    /// Its personal data; `None` when it has none, or its key is not among these.
    pub fn open(&self, keys: &HashMap<Uuid, DataKey>) -> Result<Option<Personal>, StoreError> {
        let key = self.pii_key_id.and_then(|id| keys.get(&id));
        let (Some(sealed), Some(key)) = (&self.pii, key) else { return Ok(None) };
        Ok(Some(key.key.open_json(self.event_id.0, sealed)?))
    }

    /// What it says, and its personal data.
    pub fn read(&self, keys: &HashMap<Uuid, DataKey>) -> Result<(Event, Option<Personal>), StoreError> {
        let personal = self.open(keys)?;
        Ok((Event::read(&self.kind, &self.name, &self.payload, personal.as_ref())?, personal))
    }
}

/// Sealed events behind `after`, in order, at most `limit` and 1,000. No event ever appears behind a position already read.
///
/// The number stands in the statement: Postgres would plan for a tenth of the log, and start workers for a few rows, many times a second.
pub async fn sealed_after<'c>(db: impl PgExecutor<'c>, after: i64, limit: i64) -> Result<Vec<SealedEvent>, StoreError> {
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from (
               select s.position, s.event_id, s.retention_class from event_seals s
               where s.log_id = 1 and s.position > $1 order by s.position limit 1000
           ) p
           join events e on e.retention_class = p.retention_class and e.event_id = p.event_id
           join streams s on s.stream_id = e.stream_id
           order by p.position limit $2"#,
        after,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// The sealed events at these positions, newest first.
pub async fn sealed_at(db: &Db, positions: &[i64]) -> Result<Vec<SealedEvent>, StoreError> {
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from event_seals p
           join events e on e.retention_class = p.retention_class and e.event_id = p.event_id
           join streams s on s.stream_id = e.stream_id
           where p.log_id = 1 and p.position = any($1) order by p.position desc"#,
        positions
    )
    .fetch_all(db)
    .await?)
}

/// The positions of those of these events that are sealed, in no order.
pub async fn positions_of(db: &Db, events: &[EventId]) -> Result<Vec<i64>, StoreError> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.0).collect();
    Ok(sqlx::query_scalar!("select position from event_seals where log_id = 1 and event_id = any($1)", &ids)
        .fetch_all(db)
        .await?)
}

/// Ids of the sealed events that this one caused, oldest first, at most `limit`. Whatever an event causes is about the same account.
pub async fn caused_by(db: &Db, event: EventId, subject: Uuid, limit: i64) -> Result<Vec<EventId>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select e.event_id as "id: EventId" from events e
           where e.subject_id = $2 and e.event_id > $1 and e.causation_id = $1 order by e.event_id limit $3"#,
        event.0,
        subject,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// The last sealed position; 0 while nothing is sealed.
pub async fn last_position(db: &Db) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(r#"select coalesce(max(position), 0) as "position!" from event_seals where log_id = 1"#)
        .fetch_one(db)
        .await?)
}

/// An event by its id. Both retention classes are named, as the primary key begins with them: without them a month is read for one event.
pub async fn by_id(db: &Db, event: EventId) -> Result<Option<StoredEvent>, StoreError> {
    Ok(sqlx::query_as!(
        StoredEvent,
        r#"select e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.subject_id, e.payload, e.pii,
                  e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.recorded_at as "recorded_at: Timestamp"
           from events e join streams s on s.stream_id = e.stream_id
           where e.retention_class in ('keep', 'expire') and e.event_id = $1"#,
        event.0
    )
    .fetch_optional(db)
    .await?)
}
