//! Changing the keys that can be changed in one moment, while the service runs (`docs/adr/0013`): those that name buckets of limits,
//! that wrap data keys, that sign checkpoints and that the search view is made with.
//!
//! The moment is a lock on the table of what hangs on the key. Who writes there has the lock of a writer before the statement looks
//! at anything, and looks whether its key is still in force: so each write either is over before the change, and seen by whoever
//! knows of the change, or finds it and is decided anew. Nothing is waited for but statements that run already.

use std::time::Duration;

use uuid::Uuid;

use super::{Fresh, KeyError, Vault, WrappedKey};
use crate::seal::SealError;
use crate::store::{Db, StoreError, Tx, search};
use crate::token::keys::RootRing;

/// Data keys that are wrapped anew in one statement.
const BATCH: i64 = 500;
/// The lock is asked for this often, and waited for half a second each time: less than writers wait that queue behind it.
pub const TRIES_MAX: u32 = 60;
pub const PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Identifier,
    PersonalData,
    Checkpoint,
    Search,
}

impl Purpose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identifier => "identifier",
            Self::PersonalData => "personal_data",
            Self::Checkpoint => "checkpoint",
            Self::Search => "search",
        }
    }
}

/// A key that is to become the active one.
pub struct Change {
    purpose: Purpose,
    fresh: Fresh,
}

impl Change {
    pub fn new(purpose: Purpose, roots: &RootRing) -> Result<Self, StoreError> {
        Ok(Self { purpose, fresh: Fresh::new(purpose.as_str(), roots)? })
    }

    pub fn key_id(&self) -> &str {
        &self.fresh.id
    }

    /// Everything but the commit. `Conflict` when somebody else holds the table: to be tried again.
    pub async fn begin(&self, db: &Db) -> Result<Tx, StoreError> {
        let mut transaction = db.begin().await?;
        // Against writers and against another change, not against readers.
        sqlx::raw_sql(match self.purpose {
            Purpose::Identifier => "set local lock_timeout = '500ms'; lock table counters in share row exclusive mode",
            Purpose::PersonalData => {
                "set local lock_timeout = '500ms'; lock table keys.data_keys in share row exclusive mode"
            }
            // What was signed stays signed; what was searched by is made anew below.
            Purpose::Checkpoint | Purpose::Search => {
                "set local lock_timeout = '500ms'; lock table keys.service_keys in share row exclusive mode"
            }
        })
        .execute(&mut transaction)
        .await?;
        if self.purpose == Purpose::Search {
            search::begin_anew(&mut transaction).await?;
        }
        let purpose = self.purpose.as_str();
        sqlx::query!(
            "update keys.service_keys set active = false, changed_at = clock_timestamp() where purpose = $1 and active",
            purpose
        )
        .execute(&mut transaction)
        .await?;
        sqlx::query!(
            "insert into keys.service_keys (purpose, key_id, wrapped, wrapped_by, active) values ($1, $2, $3, $4, true)",
            purpose,
            self.fresh.id,
            self.fresh.wrapped,
            self.fresh.wrapped_by
        )
        .execute(&mut transaction)
        .await?;
        sqlx::query!("update key_guards set version = version + 1 where purpose = $1", purpose)
            .execute(&mut transaction)
            .await?;
        Ok(transaction)
    }
}

/// What one batch has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    pub changed: u64,
    /// Data keys that do not open: they stay as they are.
    pub closed: u64,
    /// Behind which data key to go on; `None` behind the last.
    pub last: Option<Uuid>,
}

/// Wraps by the active key what earlier ones wrap, one batch of those behind `after`. An erasure beside it stays one: only rows that
/// are there are changed, and only if they are still as they were read.
pub async fn rewrap_data_keys(db: &Db, vault: &Vault, after: Uuid) -> Result<Rewrapped, KeyError> {
    vault.reread_wrapping(db).await?;
    let rows = sqlx::query_as!(
        WrappedKey,
        "select key_id as id, wrapped, wrapped_by from keys.data_keys d
         where key_id > $1 and not exists (select 1 from keys.service_keys k
             where k.purpose = 'personal_data' and k.active and k.key_id = d.wrapped_by)
         order by key_id limit $2",
        after,
        BATCH
    )
    .fetch_all(db)
    .await?;
    let mut done = Rewrapped { last: rows.last().map(|row| row.id), ..Rewrapped::default() };
    let (mut ids, mut before, mut wrapped, mut by) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let bytes = match vault.unwrap_data_key(db, &row).await {
            Ok(bytes) => bytes,
            Err(StoreError::Sealed(SealError::Closed) | StoreError::Inconsistent(_)) => {
                done.closed += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let (anew, wrapped_by) = vault.wrap(row.id, &bytes);
        ids.push(row.id);
        before.push(row.wrapped_by);
        wrapped.push(anew);
        by.push(wrapped_by);
    }
    done.changed = sqlx::query!(
        "update keys.data_keys d set wrapped = n.wrapped, wrapped_by = n.wrapped_by
         from unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[]) as n (key_id, before, wrapped, wrapped_by)
         where d.key_id = n.key_id and d.wrapped_by = n.before",
        &ids,
        &before,
        &wrapped,
        &by
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(done)
}

/// Deletes keys that named buckets once and that nothing hangs on any more. Nothing comes to hang on them again: they only lose, to
/// the active one. A day after the change, so that what was seen from a network has left every window.
pub async fn forget_identifiers(db: &Db) -> Result<u64, StoreError> {
    Ok(sqlx::query!(
        "delete from keys.service_keys k
         where k.purpose = 'identifier' and not k.active and k.changed_at < clock_timestamp() - interval '1 day'
             and not exists (
                 select 1 from counters c,
                     (select key_id from keys.service_keys where purpose = 'identifier' order by created_at limit 1) f
                 where k.key_id in (coalesce(c.key_id, f.key_id), coalesce(c.target_key_id, f.key_id)))"
    )
    .execute(db)
    .await?
    .rows_affected())
}
