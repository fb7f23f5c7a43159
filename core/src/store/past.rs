//! One account's past: its sealed events, as an auditor asks for them. All of it is found by the account or by a stream.

use uuid::Uuid;

use super::log::SealedEvent;
use super::{Db, StoreError};
use crate::clock::Timestamp;
use crate::value::{AccountId, EventId};

/// The events of the account's own stream recorded until a time, the first first, at most `limit`.
pub async fn of_account(
    db: &Db,
    account: AccountId,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<SealedEvent>, StoreError> {
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from events e
           join event_seals p on p.log_id = 1 and p.event_id = e.event_id and p.retention_class = e.retention_class
           join streams s on s.stream_id = e.stream_id
           where e.retention_class = 'keep' and e.stream_id = $1 and e.recorded_at <= $2 order by e.version limit $3"#,
        account.0,
        until as Timestamp,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// The logins of sessions that no event of their own had ended at a time, the newest first, at most `limit`. What ends all sessions of
/// an account is no event of each.
pub async fn open_logins(
    db: &Db,
    account: AccountId,
    at: Timestamp,
    limit: i64,
) -> Result<Vec<SealedEvent>, StoreError> {
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from events e
           join event_seals p on p.log_id = 1 and p.event_id = e.event_id and p.retention_class = e.retention_class
           join streams s on s.stream_id = e.stream_id
           where e.retention_class = 'keep' and e.subject_id = $1 and e.type = 'LoggedIn' and e.recorded_at <= $2
             and not exists (
                 select 1 from events x
                 where x.retention_class = 'keep' and x.stream_id = e.stream_id and x.recorded_at <= $2
                   and x.type in ('LoggedOut', 'SessionRevoked', 'SessionExpired')
             )
           order by e.event_id desc limit $3"#,
        account.0,
        at as Timestamp,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Events about the account with one of these names, recorded until a time and older than `before`, the newest first, at most `limit`.
pub async fn named(
    db: &Db,
    account: AccountId,
    names: &[&str],
    until: Timestamp,
    before: Option<EventId>,
    limit: i64,
) -> Result<Vec<SealedEvent>, StoreError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from events e
           join event_seals p on p.log_id = 1 and p.event_id = e.event_id and p.retention_class = e.retention_class
           join streams s on s.stream_id = e.stream_id
           where e.subject_id = $1 and e.type = any($2) and e.recorded_at <= $3 and ($4::uuid is null or e.event_id < $4)
           order by e.event_id desc limit $5"#,
        account.0,
        &names,
        until as Timestamp,
        before.map(|event| event.0),
        limit
    )
    .fetch_all(db)
    .await?)
}

/// The account's first login after each of these events.
pub async fn logins_after(db: &Db, account: AccountId, events: &[EventId]) -> Result<Vec<SealedEvent>, StoreError> {
    let events: Vec<Uuid> = events.iter().map(|event| event.0).collect();
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from (
               select distinct f.event_id from unnest($2::uuid[]) as r(id) cross join lateral (
                   select l.event_id from events l
                   where l.retention_class = 'keep' and l.subject_id = $1 and l.type = 'LoggedIn' and l.event_id > r.id
                   order by l.event_id limit 1
               ) f
           ) n
           join events e on e.retention_class = 'keep' and e.event_id = n.event_id
           join event_seals p on p.log_id = 1 and p.event_id = e.event_id and p.retention_class = e.retention_class
           join streams s on s.stream_id = e.stream_id"#,
        account.0,
        &events
    )
    .fetch_all(db)
    .await?)
}

/// All events of some streams, at most `limit`.
pub async fn of_streams(db: &Db, streams: &[Uuid], limit: i64) -> Result<Vec<SealedEvent>, StoreError> {
    Ok(sqlx::query_as!(
        SealedEvent,
        r#"select p.position, e.event_id as "event_id: EventId", s.kind, e.stream_id, e.version, e.type as name, e.schema_version,
                  e.subject_id, e.payload, e.pii, e.pii_key_id, e.actor_kind, e.actor_id, e.session_id, e.trace_id, e.causation_id,
                  e.recorded_at as "recorded_at: Timestamp"
           from events e
           join event_seals p on p.log_id = 1 and p.event_id = e.event_id and p.retention_class = e.retention_class
           join streams s on s.stream_id = e.stream_id
           where e.stream_id = any($1) order by e.stream_id, e.version limit $2"#,
        streams,
        limit
    )
    .fetch_all(db)
    .await?)
}
