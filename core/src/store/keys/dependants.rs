//! What hangs on each key: whether an earlier one can be dropped.

use std::collections::BTreeMap;

use super::ServiceKeyRow;
use crate::store::{Db, StoreError};

/// What would be lost, or could not be read any more, without one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dependants {
    /// Live sessions, whose refresh token it made.
    pub sessions: i64,
    /// Mailed tokens that are still open.
    pub tokens: i64,
    pub devices: i64,
    /// Service keys that it wraps.
    pub service_keys: i64,
    /// Data keys that it wraps.
    pub data_keys: i64,
    /// Addresses that are looked up by it.
    pub addresses: i64,
    /// Counters of limits that it names, or whose targets it has named.
    pub counters: i64,
}

/// Whether anything would be lost with a service key. May look through a whole table.
pub(super) async fn any(db: &Db, key: &ServiceKeyRow) -> Result<bool, StoreError> {
    Ok(match key.purpose.as_str() {
        "personal_data" => {
            sqlx::query_scalar!(
                r#"select exists (select 1 from keys.data_keys where wrapped_by = $1) as "any!""#,
                key.key_id
            )
            .fetch_one(db)
            .await?
        }
        "identifier" => {
            sqlx::query_scalar!(
                r#"select exists (
                       select 1 from counters c,
                           (select key_id from keys.service_keys where purpose = 'identifier' order by created_at limit 1) f
                       where c.expires_at > clock_timestamp()
                           and $1 in (coalesce(c.key_id, f.key_id), coalesce(c.target_key_id, f.key_id))) as "any!""#,
                key.key_id
            )
            .fetch_one(db)
            .await?
        }
        _ => false,
    })
}

/// By the id of the key that the rows name, whether the settings know it or not. Counts whole tables: for an operator's own
/// connection, which may take longer from here on.
pub async fn all(db: &Db) -> Result<BTreeMap<String, Dependants>, StoreError> {
    let mut counting = db.begin().await?;
    sqlx::raw_sql("set local statement_timeout = '120s'").execute(&mut counting).await?;
    let rows = sqlx::query!(
        r#"select key_id as "key_id!", sum(sessions)::bigint as "sessions!", sum(tokens)::bigint as "tokens!",
                  sum(devices)::bigint as "devices!", sum(service_keys)::bigint as "service_keys!",
                  sum(data_keys)::bigint as "data_keys!", sum(addresses)::bigint as "addresses!",
                  sum(counters)::bigint as "counters!"
           from (
               select key_id, count(*) as sessions, 0 as tokens, 0 as devices, 0 as service_keys, 0 as data_keys, 0 as addresses,
                      0 as counters
               from sessions where revoked_at is null and absolute_end > clock_timestamp()
                   and (idle_end is null or idle_end > clock_timestamp()) group by key_id
               union all
               select key_id, 0, count(*), 0, 0, 0, 0, 0 from tokens
               where state = 'open' and expires_at > clock_timestamp() group by key_id
               union all
               select key_id, 0, 0, count(*), 0, 0, 0, 0 from devices group by key_id
               union all
               select wrapped_by, 0, 0, 0, count(*), 0, 0, 0 from keys.service_keys group by wrapped_by
               union all
               select wrapped_by, 0, 0, 0, 0, count(*), 0, 0 from keys.data_keys group by wrapped_by
               union all
               select key_id, 0, 0, 0, 0, 0, count(*), 0 from account_emails group by key_id
               union all
               select by.key_id, 0, 0, 0, 0, 0, 0, count(*)
               from (select coalesce(c.key_id, f.key_id) as name, coalesce(c.target_key_id, f.key_id) as target
                     from counters c,
                         (select key_id from keys.service_keys where purpose = 'identifier' order by created_at limit 1) f
                     where c.expires_at > clock_timestamp()) c
               cross join lateral (select c.name as key_id union select c.target) by
               group by by.key_id
           ) d group by key_id"#
    )
    .fetch_all(&mut counting)
    .await?;
    counting.commit().await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let dependants = Dependants {
                sessions: row.sessions,
                tokens: row.tokens,
                devices: row.devices,
                service_keys: row.service_keys,
                data_keys: row.data_keys,
                addresses: row.addresses,
                counters: row.counters,
            };
            (row.key_id, dependants)
        })
        .collect())
}
