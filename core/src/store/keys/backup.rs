//! Rows of schema `keys` on their way into a backup and back. All stay wrapped: a backup without SECRET_KEY or PII_KEYRING opens
//! nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::audit::patient;
use crate::store::{Db, StoreError, Tx};

/// Rows of one read and of one insert.
const BATCH: i64 = 1_000;

/// A row as the backup holds it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "table", rename_all = "snake_case", deny_unknown_fields)]
pub enum Row {
    ServiceKey {
        purpose: String,
        key_id: String,
        wrapped: String,
        wrapped_by: String,
        active: bool,
        created_at: Timestamp,
    },
    DataKey(DataKeyRow),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataKeyRow {
    key_id: Uuid,
    account_id: Option<Uuid>,
    /// Days since 1970-01-01.
    stranger_day: Option<i32>,
    wrapped: String,
    wrapped_by: String,
    created_at: Timestamp,
}

/// Hands over all rows as they stood at one moment, some at a time: a key that is changed meanwhile would leave rows that nothing in the
/// backup opens. How many service keys and data keys.
pub async fn read<E: From<StoreError>>(
    db: &Db,
    mut take: impl FnMut(Vec<Row>) -> Result<(), E>,
) -> Result<(usize, usize), E> {
    let mut snapshot = db.snapshot().await.map_err(StoreError::from)?;
    let service_keys = service_keys(&mut snapshot).await?;
    let (service, mut data, mut after) = (service_keys.len(), 0, Uuid::nil());
    take(service_keys)?;
    crate::failpoint!("keys.read");
    loop {
        let rows = data_keys(&mut snapshot, after).await?;
        let Some(last) = rows.last() else { break };
        after = last.key_id;
        data += rows.len();
        take(rows.into_iter().map(Row::DataKey).collect())?;
    }
    snapshot.rollback().await.map_err(StoreError::from)?;
    Ok((service, data))
}

/// Data keys that no service key here has wrapped: nothing opens them.
pub async fn orphans(db: &Db) -> Result<i64, StoreError> {
    let mut patient = patient(db).await?;
    let orphans = sqlx::query_scalar!(
        r#"select count(*) as "count!" from keys.data_keys d
           where not exists (select 1 from keys.service_keys k where k.purpose = 'personal_data' and k.key_id = d.wrapped_by)"#
    )
    .fetch_one(&mut patient)
    .await?;
    patient.rollback().await?;
    Ok(orphans)
}

/// All service keys: a handful.
async fn service_keys(snapshot: &mut Tx) -> Result<Vec<Row>, StoreError> {
    let rows = super::list(&mut *snapshot).await?;
    Ok(rows
        .into_iter()
        .map(|row| Row::ServiceKey {
            purpose: row.purpose,
            key_id: row.key_id,
            wrapped: STANDARD.encode(row.wrapped),
            wrapped_by: row.wrapped_by,
            active: row.active,
            created_at: row.created_at,
        })
        .collect())
}

/// The next data keys behind `after`, by id; none when there are no more.
async fn data_keys(snapshot: &mut Tx, after: Uuid) -> Result<Vec<DataKeyRow>, StoreError> {
    let rows = sqlx::query!(
        r#"select key_id, account_id, (stranger_day - date '1970-01-01') as stranger_day, wrapped, wrapped_by,
                  created_at as "created_at: Timestamp"
           from keys.data_keys where key_id > $1 order by key_id limit $2"#,
        after,
        BATCH
    )
    .fetch_all(&mut *snapshot)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DataKeyRow {
            key_id: row.key_id,
            account_id: row.account_id,
            stranger_day: row.stranger_day,
            wrapped: STANDARD.encode(row.wrapped),
            wrapped_by: row.wrapped_by,
            created_at: row.created_at,
        })
        .collect())
}

/// What a restore has put back, and what it has left away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub service_keys: u64,
    pub data_keys: u64,
    /// They are there already, or the log says that they were erased, or nobody in this database is their owner.
    pub left_away: u64,
}

fn bytes(text: &str) -> Result<Vec<u8>, StoreError> {
    STANDARD.decode(text).map_err(|_| StoreError::Inconsistent("the backup holds a key that is none".to_owned()))
}

/// Puts rows back that are missing. A key that is there is never replaced. What was erased stays erased: the key of an account
/// that the log calls erased, that has no events here, and of strangers whose days are over, is left away. A service key comes
/// back as active only where its purpose has none.
pub async fn restore(db: &Db, rows: Vec<Row>, stranger_days: i32, restored: &mut Restored) -> Result<(), StoreError> {
    let total = rows.len() as u64;
    let before = restored.service_keys + restored.data_keys;
    let (mut ids, mut accounts, mut days) = (Vec::new(), Vec::new(), Vec::new());
    let (mut wrapped, mut wrapped_by, mut created) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::ServiceKey { purpose, key_id, wrapped, wrapped_by, active, created_at } => {
                restored.service_keys += sqlx::query!(
                    "insert into keys.service_keys (purpose, key_id, wrapped, wrapped_by, active, created_at)
                     select $1, $2, $3, $4, $5 and not exists (select 1 from keys.service_keys where purpose = $1 and active), $6
                     on conflict (purpose, key_id) do nothing",
                    purpose,
                    key_id,
                    bytes(&wrapped)?,
                    wrapped_by,
                    active,
                    created_at as Timestamp
                )
                .execute(db)
                .await?
                .rows_affected();
            }
            Row::DataKey(row) => {
                ids.push(row.key_id);
                accounts.push(row.account_id);
                days.push(row.stranger_day);
                wrapped.push(bytes(&row.wrapped)?);
                wrapped_by.push(row.wrapped_by);
                created.push(row.created_at);
            }
        }
    }
    if !ids.is_empty() {
        restored.data_keys += sqlx::query!(
            r#"insert into keys.data_keys (key_id, account_id, stranger_day, wrapped, wrapped_by, created_at)
               select k.key_id, k.account_id, date '1970-01-01' + k.stranger_day, k.wrapped, k.wrapped_by, k.created_at
               from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bytea[], $5::text[], $6::timestamptz[])
                   as k (key_id, account_id, stranger_day, wrapped, wrapped_by, created_at)
               where case when k.account_id is null
                   then date '1970-01-01' + k.stranger_day >= (clock_timestamp() at time zone 'UTC')::date - $7::integer
                   else exists (select 1 from streams s where s.stream_id = k.account_id)
                       and not exists (select 1 from events e where e.subject_id = k.account_id and e.type = 'AccountErased')
                       and not exists (select 1 from accounts a where a.account_id = k.account_id and a.status = 'erased')
                   end
               on conflict do nothing"#,
            &ids,
            &accounts as &[Option<Uuid>],
            &days as &[Option<i32>],
            &wrapped,
            &wrapped_by,
            &created as &[Timestamp],
            stranger_days
        )
        .execute(db)
        .await?
        .rows_affected();
    }
    restored.left_away += total - (restored.service_keys + restored.data_keys - before);
    Ok(())
}
