//! Service keys (random, wrapped by SECRET_KEY or PII_KEYRING) and data keys (one an account, one a UTC day for strangers,
//! wrapped by the service key for personal data).

pub mod backup;
pub mod change;
pub mod dependants;
pub mod erasure;
pub mod identifiers;
pub mod lookup;
pub mod rotate;
pub mod search;
pub mod signing;
mod wrapping;

use std::sync::{Arc, Mutex, RwLock};

use aws_lc_rs::hmac;
use sqlx::PgExecutor;
use uuid::Uuid;
use zeroize::Zeroizing;

use self::identifiers::Identifiers;
use self::lookup::{Lookup, LookupKey};
use self::search::SearchKey;
use self::wrapping::Wrapping;
pub use self::wrapping::{DataKey, NewDataKey, WrappedKey};
use super::{Db, StoreError};
use crate::account::Profile;
use crate::clock::Timestamp;
use crate::seal::SealKey;
use crate::token::keys::{RootRing, key_id};
use crate::token::random;
use crate::value::Email;

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
    #[error(
        "addresses are stored, and the service key that they are found by is gone: `doorbook keys restore` brings keys back"
    )]
    Lost,
    #[error("the self-test of sealing failed: this build cannot wrap or unwrap keys")]
    Untrue,
}

impl From<sqlx::Error> for KeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error,
            other => Self::Inconsistent(other.to_string()),
        }
    }
}

/// The service keys of this installation.
pub struct Vault {
    /// Unwrap keys that come up later.
    roots: Arc<RootRing>,
    lookup: RwLock<Arc<Lookup>>,
    identifiers: RwLock<Arc<Identifiers>>,
    wrapping: RwLock<Wrapping>,
    search: RwLock<Arc<SearchKey>>,
    stranger: Mutex<Option<(i64, Arc<DataKey>)>>,
    nobody: Nobody,
}

/// Personal data of nobody, sealed as an account's is. It is opened where an account was asked for and there is none.
pub(super) struct Nobody {
    pub key: WrappedKey,
    pub profile: Vec<u8>,
}

impl Nobody {
    fn new(personal_data: &SealKey, wrapped_by: String) -> Result<Self, StoreError> {
        let (id, bytes) = (Uuid::from_bytes(random()), Zeroizing::new(random::<32>()));
        // As long as most people's.
        let [email, first_name, last_name] = ["nobody@nowhere.example", "Ana", "Lima"].map(str::to_owned);
        let profile = SealKey::new(&bytes).seal_json(id, &Profile { email, first_name, last_name })?;
        let wrapped = personal_data.seal(id.as_bytes(), &*bytes);
        Ok(Self { key: WrappedKey { id, wrapped, wrapped_by }, profile })
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
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<ServiceKeyRow>, StoreError> {
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

/// The bytes of a key; `None` for a retired one that no key of the settings opens and nothing hangs on.
async fn unwrap_if_needed(
    db: &Db,
    row: &ServiceKeyRow,
    roots: &RootRing,
) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    match unwrap(row, roots) {
        Err(_) if !row.active && !dependants::any(db, row).await? => Ok(None),
        other => other.map(Some),
    }
}

/// Needed service keys that no key of the settings unwraps, each with what to do about it.
pub async fn unreadable(db: &Db, roots: &RootRing) -> Result<Vec<String>, StoreError> {
    let mut unreadable = Vec::new();
    for row in list(db).await? {
        match unwrap_if_needed(db, &row, roots).await {
            Ok(_) => {}
            Err(KeyError::Store(error)) => return Err(error),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    Ok(unreadable)
}

/// A service key in the making, wrapped.
struct Fresh {
    id: String,
    wrapped: Vec<u8>,
    wrapped_by: String,
}

impl Fresh {
    fn new(purpose: &str, roots: &RootRing) -> Result<Self, StoreError> {
        let Some((wrapped_by, wrapping)) = roots.wrapping_keys().next() else {
            return Err(StoreError::Inconsistent("no key wraps".to_owned()));
        };
        let bytes = Zeroizing::new(random::<32>());
        let id = key_id(&*bytes);
        let wrapped = SealKey::new(wrapping).seal(&owner(purpose, &id), &*bytes);
        Ok(Self { id, wrapped, wrapped_by: wrapped_by.to_owned() })
    }
}

/// Makes the service keys that do not exist yet. Several processes may start together: the first row of a purpose wins. Not in the place of a key that
/// is lost: the one of a backup would come second, and nobody would be found.
pub async fn ensure(db: &Db, roots: &RootRing) -> Result<(), KeyError> {
    let missing = sqlx::query_scalar!(
        r#"select purpose as "purpose!" from unnest($1::text[]) purpose
           where not exists (select 1 from keys.service_keys k where k.purpose = purpose.purpose and k.active)"#,
        &PURPOSES.map(str::to_owned)
    )
    .fetch_all(db)
    .await
    .map_err(StoreError::from)?;
    if missing.is_empty() {
        return Ok(());
    }
    for purpose in missing {
        let fresh = Fresh::new(&purpose, roots)?;
        sqlx::query!(
            "insert into keys.service_keys (purpose, key_id, wrapped, wrapped_by, active)
             select $1::text, $2::text, $3::bytea, $4::text, true
             where exists (select from keys.service_keys where purpose = 'email_lookup' and active) or not exists (select from account_emails)
             on conflict do nothing",
            purpose,
            fresh.id,
            fresh.wrapped,
            fresh.wrapped_by
        )
        .execute(db)
        .await
        .map_err(StoreError::from)?;
    }
    let is_there = sqlx::query_scalar!(
        r#"select exists (select from keys.service_keys where purpose = 'email_lookup' and active) as "is_there!""#
    );
    if is_there.fetch_one(db).await.map_err(StoreError::from)? { Ok(()) } else { Err(KeyError::Lost) }
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
    /// Loads the service keys, making those that are missing. Refuses when one that is needed cannot be unwrapped.
    pub async fn open(db: &Db, roots: impl Into<Arc<RootRing>>) -> Result<Self, KeyError> {
        let roots = roots.into();
        for (id, wrapping) in roots.wrapping_keys() {
            let key = SealKey::new(wrapping);
            if !key.open(b"test", &key.seal(b"test", id.as_bytes())).is_ok_and(|plain| *plain == id.as_bytes()) {
                return Err(KeyError::Untrue);
            }
        }
        ensure(db, &roots).await?;
        let mut active = Vec::with_capacity(PURPOSES.len());
        for row in list(db).await? {
            let bytes = unwrap_if_needed(db, &row, &roots).await?;
            if let (true, Some(bytes)) = (row.active, bytes) {
                active.push((row, bytes));
            }
        }
        let find = |purpose: &str| -> Result<(String, [u8; 32]), KeyError> {
            active
                .iter()
                .find(|(row, _)| row.purpose == purpose)
                .and_then(|(row, bytes)| Some((row.key_id.clone(), <[u8; 32]>::try_from(bytes.as_slice()).ok()?)))
                .ok_or_else(|| StoreError::Inconsistent(format!("no active service key for {purpose}")).into())
        };
        let (email_lookup_id, email_lookup) = find("email_lookup")?;
        let (personal_data_id, personal_data) = find("personal_data")?;
        let personal_data = SealKey::new(&personal_data);
        let nobody = Nobody::new(&personal_data, personal_data_id.clone())?;
        let first = LookupKey::new(email_lookup_id, &email_lookup);
        let lookup = Lookup { version: 0, keys: vec![first], read_at: Timestamp::from_seconds(0) };
        let vault = Self {
            lookup: RwLock::new(Arc::new(lookup)),
            identifiers: RwLock::new(Arc::new(identifiers::read(db, &roots, &[]).await?)),
            wrapping: RwLock::new(Wrapping::new(personal_data_id, personal_data)),
            search: RwLock::new(Arc::new(search::read(db, &roots).await?)),
            stranger: Mutex::new(None),
            nobody,
            roots,
        };
        vault.reread_lookup(db).await?;
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
