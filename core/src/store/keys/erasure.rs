//! Keys that are deleted because their time is over, and what the log knows of those that were.

use uuid::Uuid;

use crate::store::{Db, StoreError};
use crate::value::{AccountId, DataKeyId, EventId};

/// A key of strangers' personal data, with the events that it can have sealed: those with ids between these.
pub struct StrangerKey {
    pub id: Uuid,
    /// Its day.
    pub day: String,
    pub from: Uuid,
    pub to: Uuid,
}

/// Keys of strangers' days that are over for more than `days`, the oldest first: one a day since the last look.
pub async fn strangers_due(db: &Db, days: i32) -> Result<Vec<StrangerKey>, StoreError> {
    // Whoever has taken a day's key at its end may be at work for a while.
    Ok(sqlx::query_as!(
        StrangerKey,
        r#"select key_id as id, stranger_day::text as "day!", uuid7_floor(stranger_day::timestamp at time zone 'UTC') as "from!",
                  uuid7_floor((stranger_day + 1)::timestamp at time zone 'UTC' + interval '1 hour') as "to!"
           from keys.data_keys where stranger_day < (clock_timestamp() at time zone 'UTC')::date - $1::integer
           order by stranger_day"#,
        days
    )
    .fetch_all(db)
    .await?)
}

/// Deletes the keys of strangers' days until `last`; how many. Not those that are due by now: a day that has become due meanwhile has not been forgotten.
pub async fn shred_strangers(db: &Db, last: &str) -> Result<i32, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select shred_stranger_keys(least((clock_timestamp() at time zone 'UTC')::date - $1::text::date - 1, 3650)) as "shredded!""#,
        last
    )
    .fetch_one(db)
    .await?)
}

/// Deletes keys that a restore of another table brought back although the log calls their accounts erased; how many. Needs the owner's
/// connection.
pub async fn reapply(owner: &Db) -> Result<u64, StoreError> {
    Ok(sqlx::query!(
        "delete from keys.data_keys k using accounts a where a.account_id = k.account_id and a.status = 'erased'"
    )
    .execute(owner)
    .await?
    .rows_affected())
}

/// What stands in the log of an erasure.
pub struct Erasure {
    pub event: EventId,
    pub data_key: Option<DataKeyId>,
}

/// The erasure of an account; `None` while it has not been erased.
pub async fn of(db: &Db, account: AccountId) -> Result<Option<Erasure>, StoreError> {
    Ok(sqlx::query_as!(
        Erasure,
        r#"select e.event_id as "event: EventId",
                  (select (k.payload->>'data_key')::uuid from events k
                   where k.retention_class = 'keep' and k.stream_id = e.stream_id and k.version = e.version + 1
                     and k.type = 'DataKeyShredded') as "data_key: DataKeyId"
           from events e where e.retention_class = 'keep' and e.stream_id = $1 and e.type = 'AccountErased'
           order by e.version limit 1"#,
        account.0
    )
    .fetch_optional(db)
    .await?)
}

/// Which of these events' keys are gone: what has been sealed by them and can be found must be found no more.
pub(in crate::store) fn shredded(name: &str, payload: &serde_json::Value) -> Option<Uuid> {
    (name == "DataKeyShredded").then(|| payload["data_key"].as_str()?.parse().ok()).flatten()
}
