//! Service keys (random, wrapped by SECRET_KEY or PII_KEYRING) and data keys (one an account, one a UTC day for strangers,
//! wrapped by the service key for personal data).

pub mod backup;
pub mod dependants;
pub mod lookup;
pub mod rotate;

use aws_lc_rs::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use self::lookup::{Lookup, LookupKey};
use super::{Db, StoreError};
use crate::account::Profile;
use crate::clock::Timestamp;
use crate::seal::SealKey;
use crate::token::keys::{RootRing, key_id};
use crate::token::random;
use crate::value::{AccountId, Email};

const PURPOSES: [&str; 5] = ["email_lookup", "identifier", "personal_data", "checkpoint", "search"];

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the service key for {purpose} ({key_id}) is wrapped by key {wrapped_by}, which is neither SECRET_KEY nor among its \
         fallbacks: put that key back into SECRET_KEY_FALLBACKS and run `doorbook keys rewrap`"
    )]
    Dropped { purpose: String, key_id: String, wrapped_by: String },
    #[error("the self-test of sealing failed: this build cannot wrap or unwrap keys")]
    Untrue,
}

impl From<sqlx::Error> for KeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A data key, unwrapped.
pub struct DataKey {
    pub id: Uuid,
    pub key: SealKey,
}

/// A data key that has just been made, as it goes into the database.
pub struct NewDataKey {
    pub key: DataKey,
    pub wrapped: Vec<u8>,
    pub wrapped_by: String,
}

/// The service keys of this installation.
pub struct Vault {
    lookup: std::sync::RwLock<std::sync::Arc<Lookup>>,
    identifier: hmac::Key,
    search: hmac::Key,
    personal_data_id: String,
    personal_data: SealKey,
    stranger: std::sync::Mutex<Option<(i64, std::sync::Arc<DataKey>)>>,
    nobody: Nobody,
}

/// Personal data of nobody, sealed as an account's is. It is opened where an account was asked for and there is none.
pub(super) struct Nobody {
    pub id: Uuid,
    pub wrapped: Vec<u8>,
    pub profile: Vec<u8>,
}

impl Nobody {
    fn new(personal_data: &SealKey) -> Result<Self, StoreError> {
        let (id, bytes) = (Uuid::from_bytes(random()), Zeroizing::new(random::<32>()));
        // As long as most people's.
        let [email, first_name, last_name] = ["nobody@nowhere.example", "Ana", "Lima"].map(str::to_owned);
        let profile = SealKey::new(&bytes).seal_json(id, &Profile { email, first_name, last_name })?;
        Ok(Self { id, wrapped: personal_data.seal(id.as_bytes(), &*bytes), profile })
    }
}

/// One stored service key, for `doorbook keys list`.
pub struct ServiceKeyRow {
    pub purpose: String,
    pub key_id: String,
    pub wrapped_by: String,
    pub active: bool,
    /// On its way in: every write of an address holds it already.
    pub next: bool,
    pub created_at: Timestamp,
    wrapped: Vec<u8>,
}

fn owner(purpose: &str, key_id: &str) -> Vec<u8> {
    format!("{purpose}/{key_id}").into_bytes()
}

/// All service keys, by purpose and age.
pub async fn list(db: &Db) -> Result<Vec<ServiceKeyRow>, StoreError> {
    Ok(sqlx::query_as!(
        ServiceKeyRow,
        r#"select purpose, key_id, wrapped_by, active, next, created_at as "created_at: Timestamp", wrapped
           from keys.service_keys order by purpose, created_at"#
    )
    .fetch_all(db)
    .await?)
}

fn unwrap(row: &ServiceKeyRow, roots: &RootRing) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let dropped = || KeyError::Dropped {
        purpose: row.purpose.clone(),
        key_id: row.key_id.clone(),
        wrapped_by: row.wrapped_by.clone(),
    };
    let (_, wrapping) = roots.wrapping_keys().find(|(id, _)| *id == row.wrapped_by).ok_or_else(dropped)?;
    SealKey::new(wrapping).open(&owner(&row.purpose, &row.key_id), &row.wrapped).map_err(|_| dropped())
}

/// Active service keys that no key of the settings unwraps, each with what to do about it.
pub async fn unreadable(db: &Db, roots: &RootRing) -> Result<Vec<String>, StoreError> {
    let rows = list(db).await?;
    Ok(rows.iter().filter(|row| row.active).filter_map(|row| Some(unwrap(row, roots).err()?.to_string())).collect())
}

/// Makes the service keys that do not exist yet. Several processes may start together: the first row of a purpose wins.
pub async fn ensure(db: &Db, roots: &RootRing) -> Result<(), StoreError> {
    let missing = sqlx::query_scalar!(
        r#"select purpose as "purpose!" from unnest($1::text[]) purpose
           where not exists (select 1 from keys.service_keys k where k.purpose = purpose.purpose and k.active)"#,
        &PURPOSES.map(str::to_owned)
    )
    .fetch_all(db)
    .await?;
    let Some((wrapped_by, wrapping)) = roots.wrapping_keys().next() else { return Ok(()) };
    for purpose in missing {
        let bytes = Zeroizing::new(random::<32>());
        let id = key_id(&*bytes);
        let wrapped = SealKey::new(wrapping).seal(&owner(&purpose, &id), &*bytes);
        sqlx::query!(
            "insert into keys.service_keys (purpose, key_id, wrapped, wrapped_by, active) values ($1, $2, $3, $4, true)
             on conflict do nothing",
            purpose,
            id,
            wrapped,
            wrapped_by
        )
        .execute(db)
        .await?;
    }
    Ok(())
}

/// Wraps every service key by the current SECRET_KEY; afterwards a fallback that wrapped them may go. Returns how many changed.
/// Needs the owner's connection: no process may change a key row.
pub async fn rewrap(db: &Db, roots: &RootRing) -> Result<u64, KeyError> {
    let Some((wrapped_by, wrapping)) = roots.wrapping_keys().next() else { return Ok(0) };
    let mut changed = 0;
    for row in list(db).await?.iter().filter(|row| row.wrapped_by != wrapped_by) {
        let bytes = unwrap(row, roots)?;
        let wrapped = SealKey::new(wrapping).seal(&owner(&row.purpose, &row.key_id), &bytes);
        changed += sqlx::query!(
            "update keys.service_keys set wrapped = $3, wrapped_by = $4 where purpose = $1 and key_id = $2 and wrapped_by = $5",
            row.purpose,
            row.key_id,
            wrapped,
            wrapped_by,
            row.wrapped_by
        )
        .execute(db)
        .await?
        .rows_affected();
    }
    Ok(changed)
}

impl Vault {
    /// Loads the service keys, making those that are missing. Refuses when one cannot be unwrapped.
    pub async fn open(db: &Db, roots: &RootRing) -> Result<Self, KeyError> {
        for (id, wrapping) in roots.wrapping_keys() {
            let key = SealKey::new(wrapping);
            if !key.open(b"test", &key.seal(b"test", id.as_bytes())).is_ok_and(|plain| *plain == id.as_bytes()) {
                return Err(KeyError::Untrue);
            }
        }
        ensure(db, roots).await?;
        let rows = list(db).await?;
        let mut active = Vec::with_capacity(PURPOSES.len());
        for row in rows.iter().filter(|row| row.active) {
            active.push((row, unwrap(row, roots)?));
        }
        let find = |purpose: &str| -> Result<(String, [u8; 32]), KeyError> {
            active
                .iter()
                .find(|(row, _)| row.purpose == purpose)
                .and_then(|(row, bytes)| Some((row.key_id.clone(), <[u8; 32]>::try_from(bytes.as_slice()).ok()?)))
                .ok_or_else(|| StoreError::Inconsistent(format!("no active service key for {purpose}")).into())
        };
        let (email_lookup_id, email_lookup) = find("email_lookup")?;
        let (_, identifier) = find("identifier")?;
        let (_, search) = find("search")?;
        let (personal_data_id, personal_data) = find("personal_data")?;
        let personal_data = SealKey::new(&personal_data);
        let nobody = Nobody::new(&personal_data)?;
        let first = LookupKey::new(email_lookup_id, &email_lookup);
        let lookup = Lookup { version: 0, keys: vec![first], read_at: Timestamp::from_seconds(0) };
        let vault = Self {
            lookup: std::sync::RwLock::new(std::sync::Arc::new(lookup)),
            identifier: hmac::Key::new(hmac::HMAC_SHA256, &identifier),
            search: hmac::Key::new(hmac::HMAC_SHA256, &search),
            personal_data_id,
            personal_data,
            stranger: std::sync::Mutex::new(None),
            nobody,
        };
        vault.reread_lookup(db, roots).await?;
        Ok(vault)
    }

    pub(super) fn nobody(&self) -> &Nobody {
        &self.nobody
    }

    /// What an account is looked up by: an HMAC of the normal form. The database alone tells no address.
    pub fn email_key(&self, email: &Email) -> [u8; 32] {
        self.lookup().keys[0].mac(email)
    }

    pub fn email_key_id(&self) -> String {
        self.lookup().keys[0].id.clone()
    }

    /// The bucket of a limit: an HMAC of what it is about. `kind` keeps buckets of different limits apart.
    pub fn bucket(&self, kind: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut all: Vec<&[u8]> = vec![kind.as_bytes(), b"\0"];
        for part in parts {
            all.push(part);
            all.push(b"\0");
        }
        mac(&self.identifier, &all)
    }

    /// What a value of a field is found by in the search view. 64 bits: what is found is shown, so a chance hit would be seen.
    pub(crate) fn search_term(&self, field: crate::terms::Field, value: &str) -> i64 {
        let tag = mac(&self.search, &[&field.number().to_be_bytes(), value.as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&tag[..8]);
        i64::from_be_bytes(first)
    }

    /// A fresh data key.
    pub fn new_data_key(&self, now: Timestamp) -> NewDataKey {
        let (id, bytes) = (crate::value::EventId::new(now).0, Zeroizing::new(random::<32>()));
        NewDataKey {
            key: DataKey { id, key: SealKey::new(&bytes) },
            wrapped: self.personal_data.seal(id.as_bytes(), &*bytes),
            wrapped_by: self.personal_data_id.clone(),
        }
    }

    pub fn open_data_key(&self, id: Uuid, wrapped: &[u8]) -> Result<DataKey, StoreError> {
        let bytes = self.personal_data.open(id.as_bytes(), wrapped)?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| crate::seal::SealError::Shape)?;
        Ok(DataKey { id, key: SealKey::new(&bytes) })
    }

    /// Today's key for people without an account; made by the first process that needs it, kept in memory for the day.
    pub async fn stranger_key(&self, db: &Db, now: Timestamp) -> Result<std::sync::Arc<DataKey>, StoreError> {
        let day = now.seconds().div_euclid(86_400);
        if let Some((of, key)) = &*self.stranger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
            && *of == day
        {
            return Ok(key.clone());
        }
        let fresh = self.new_data_key(now);
        sqlx::query!(
            "insert into keys.data_keys (key_id, stranger_day, wrapped, wrapped_by)
             values ($1, (timestamptz 'epoch' + $2 * interval '1 day')::date, $3, $4) on conflict (stranger_day) do nothing",
            fresh.key.id,
            f64::from(i32::try_from(day).unwrap_or(i32::MAX)),
            fresh.wrapped,
            fresh.wrapped_by
        )
        .execute(db)
        .await?;
        let row = sqlx::query!(
            "select key_id, wrapped from keys.data_keys
             where stranger_day = (timestamptz 'epoch' + $1 * interval '1 day')::date",
            f64::from(i32::try_from(day).unwrap_or(i32::MAX))
        )
        .fetch_one(db)
        .await?;
        let key = std::sync::Arc::new(self.open_data_key(row.key_id, &row.wrapped)?);
        *self.stranger.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((day, key.clone()));
        Ok(key)
    }

    /// The data key of one account; `None` once it has been deleted.
    pub async fn account_key(&self, db: &Db, account: AccountId) -> Result<Option<DataKey>, StoreError> {
        let row = sqlx::query!("select key_id, wrapped from keys.data_keys where account_id = $1", account.0)
            .fetch_optional(db)
            .await?;
        row.map(|row| self.open_data_key(row.key_id, &row.wrapped)).transpose()
    }
}

impl Vault {
    /// The data keys with these ids that have not been deleted.
    pub async fn keys_of<'c>(
        &self,
        db: impl sqlx::PgExecutor<'c>,
        ids: impl Iterator<Item = Uuid>,
    ) -> Result<std::collections::HashMap<Uuid, DataKey>, StoreError> {
        let mut ids: Vec<Uuid> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = sqlx::query!("select key_id, wrapped from keys.data_keys where key_id = any($1)", &ids)
            .fetch_all(db)
            .await?;
        rows.into_iter().map(|row| Ok((row.key_id, self.open_data_key(row.key_id, &row.wrapped)?))).collect()
    }
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}
