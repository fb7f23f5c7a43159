//! Data keys and the service keys that wrap them: the active one wraps what is new, the one that a row names unwraps it, whatever
//! has become of that one since.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use sqlx::{Executor, Postgres};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{KeyError, ServiceKeyRow, Vault, unwrap};
use crate::clock::Timestamp;
use crate::seal::{SealError, SealKey};
use crate::store::{Db, StoreError};
use crate::token::random;
use crate::value::{AccountId, EventId};

/// A data key, unwrapped.
pub struct DataKey {
    pub id: Uuid,
    pub key: SealKey,
}

/// A data key as it stands in the database.
pub struct WrappedKey {
    pub id: Uuid,
    pub wrapped: Vec<u8>,
    pub wrapped_by: String,
}

/// A data key that has just been made, as it goes into the database.
pub struct NewDataKey {
    pub key: DataKey,
    pub wrapped: Vec<u8>,
    pub wrapped_by: String,
}

/// What this process knows of the keys that wrap.
pub(super) struct Wrapping {
    active: String,
    known: HashMap<String, Arc<SealKey>>,
}

impl Wrapping {
    pub fn new(id: String, key: SealKey) -> Self {
        Self { active: id.clone(), known: HashMap::from([(id, Arc::new(key))]) }
    }

    /// Id and key that wrap what is new.
    fn active(&self) -> (&str, &Arc<SealKey>) {
        (&self.active, &self.known[&self.active])
    }
}

impl Vault {
    /// A fresh data key. Whoever writes it finds its wrapping key active, or is undone.
    pub fn new_data_key(&self, now: Timestamp) -> NewDataKey {
        let (id, bytes) = (EventId::new(now).0, Zeroizing::new(random::<32>()));
        let (wrapped, wrapped_by) = self.wrap(id, &*bytes);
        NewDataKey { key: DataKey { id, key: SealKey::new(&bytes) }, wrapped, wrapped_by }
    }

    /// Wraps by the active key, as this process knows it.
    pub(super) fn wrap(&self, id: Uuid, bytes: &[u8]) -> (Vec<u8>, String) {
        let wrapping = self.wrapping.read().unwrap_or_else(PoisonError::into_inner);
        let (by, key) = wrapping.active();
        (key.seal(id.as_bytes(), bytes), by.to_owned())
    }

    pub async fn open_data_key<'e, E>(&self, db: E, sealed: &WrappedKey) -> Result<DataKey, StoreError>
    where
        E: Executor<'e, Database = Postgres>,
    {
        let bytes = self.unwrap_data_key(db, sealed).await?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SealError::Shape)?;
        Ok(DataKey { id: sealed.id, key: SealKey::new(&bytes) })
    }

    /// The data keys with these ids that have not been deleted.
    pub async fn keys_of(
        &self,
        db: &Db,
        ids: impl Iterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, DataKey>, StoreError> {
        let mut ids: Vec<Uuid> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = sqlx::query_as!(
            WrappedKey,
            "select key_id as id, wrapped, wrapped_by from keys.data_keys where key_id = any($1)",
            &ids
        )
        .fetch_all(db)
        .await?;
        let mut keys = HashMap::with_capacity(rows.len());
        for row in rows {
            keys.insert(row.id, self.open_data_key(db, &row).await?);
        }
        Ok(keys)
    }

    /// The bytes of a data key. A wrapping key that this process has not met yet is read from the database.
    pub(super) async fn unwrap_data_key<'e, E>(
        &self,
        db: E,
        sealed: &WrappedKey,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError>
    where
        E: Executor<'e, Database = Postgres>,
    {
        let by = &sealed.wrapped_by;
        let key = if let Some(key) = self.known(by) {
            key
        } else {
            let row = sqlx::query_as!(
                ServiceKeyRow,
                r#"select purpose, key_id, wrapped_by, active, next, created_at as "created_at: Timestamp", wrapped
                   from keys.service_keys where purpose = 'personal_data' and key_id = $1"#,
                by
            )
            .fetch_optional(db)
            .await?;
            let missing =
                || StoreError::Inconsistent(format!("data key {} is wrapped by {by}, which is not there", sealed.id));
            self.learn(&row.ok_or_else(missing)?)?
        };
        Ok(key.open(sealed.id.as_bytes(), &sealed.wrapped)?)
    }

    fn known(&self, id: &str) -> Option<Arc<SealKey>> {
        self.wrapping.read().unwrap_or_else(PoisonError::into_inner).known.get(id).cloned()
    }

    /// Keeps a key of the database in memory, as the active one if it is.
    pub(super) fn learn(&self, row: &ServiceKeyRow) -> Result<Arc<SealKey>, KeyError> {
        let key = if let Some(key) = self.known(&row.key_id) {
            key
        } else {
            let bytes = unwrap(row, &self.roots)?;
            let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| StoreError::Sealed(SealError::Shape))?;
            Arc::new(SealKey::new(&bytes))
        };
        let mut wrapping = self.wrapping.write().unwrap_or_else(PoisonError::into_inner);
        wrapping.known.insert(row.key_id.clone(), Arc::clone(&key));
        if row.active {
            wrapping.active.clone_from(&row.key_id);
        }
        Ok(key)
    }

    /// Reads anew which key wraps what is new.
    pub(super) async fn reread_wrapping(&self, db: &Db) -> Result<(), KeyError> {
        let row = sqlx::query_as!(
            ServiceKeyRow,
            r#"select purpose, key_id, wrapped_by, active, next, created_at as "created_at: Timestamp", wrapped
               from keys.service_keys where purpose = 'personal_data' and active"#
        )
        .fetch_one(db)
        .await?;
        self.learn(&row).map(drop)
    }

    /// Today's key for people without an account; made by the first process that needs it, kept in memory for the day.
    pub async fn stranger_key(&self, db: &Db, now: Timestamp) -> Result<Arc<DataKey>, KeyError> {
        let day = now.seconds().div_euclid(86_400);
        if let Some((of, key)) = &*self.stranger.lock().unwrap_or_else(PoisonError::into_inner)
            && *of == day
        {
            return Ok(key.clone());
        }
        let days = f64::from(i32::try_from(day).unwrap_or(i32::MAX));
        // Nothing goes in when another key wraps by now: then once more, under that.
        for _ in 0..2 {
            let fresh = self.new_data_key(now);
            sqlx::query!(
                "insert into keys.data_keys (key_id, stranger_day, wrapped, wrapped_by)
                 select $1, (timestamptz 'epoch' + $2 * interval '1 day')::date, $3, $4
                 from keys.service_keys where purpose = 'personal_data' and key_id = $4 and active
                 on conflict (stranger_day) do nothing",
                fresh.key.id,
                days,
                fresh.wrapped,
                fresh.wrapped_by
            )
            .execute(db)
            .await?;
            let row = sqlx::query_as!(
                WrappedKey,
                "select key_id as id, wrapped, wrapped_by from keys.data_keys
                 where stranger_day = (timestamptz 'epoch' + $1 * interval '1 day')::date",
                days
            )
            .fetch_optional(db)
            .await?;
            if let Some(row) = row {
                let key = Arc::new(self.open_data_key(db, &row).await?);
                *self.stranger.lock().unwrap_or_else(PoisonError::into_inner) = Some((day, key.clone()));
                return Ok(key);
            }
            self.reread_wrapping(db).await?;
        }
        Err(StoreError::Conflict.into())
    }

    /// The data key of one account; `None` once it has been deleted.
    pub async fn account_key(&self, db: &Db, account: AccountId) -> Result<Option<DataKey>, StoreError> {
        let row = sqlx::query_as!(
            WrappedKey,
            "select key_id as id, wrapped, wrapped_by from keys.data_keys where account_id = $1",
            account.0
        )
        .fetch_optional(db)
        .await?;
        match row {
            Some(row) => Ok(Some(self.open_data_key(db, &row).await?)),
            None => Ok(None),
        }
    }
}
