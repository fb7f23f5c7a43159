//! The keys that addresses are looked up by: one, and while it is being changed a second one.

use std::sync::{Arc, PoisonError};

use aws_lc_rs::hmac;

use super::{KeyError, ServiceKeyRow, Vault, mac, unwrap};
use crate::clock::Timestamp;
use crate::store::{Db, StoreError};
use crate::value::Email;

/// As they were in force at one moment; the active one first, then one on its way in.
pub struct Lookup {
    pub(super) version: i64,
    pub(super) keys: Vec<LookupKey>,
    /// By the database's clock.
    pub read_at: Timestamp,
}

#[derive(Clone)]
pub(super) struct LookupKey {
    pub id: String,
    key: hmac::Key,
}

impl LookupKey {
    pub fn new(id: String, bytes: &[u8]) -> Self {
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    pub fn mac(&self, email: &Email) -> [u8; 32] {
        mac(&self.key, &[email.normal_form().as_bytes()])
    }
}

/// What one address is found by under each key, and what a write of it must find unchanged.
pub struct EmailKeys {
    pub(in crate::store) version: i64,
    /// HMAC and key id, the active one first.
    pub(in crate::store) keys: Vec<([u8; 32], String)>,
}

impl EmailKeys {
    pub(crate) fn values(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|(key, _)| key.to_vec()).collect()
    }
}

impl Lookup {
    pub fn keys_of(&self, email: &Email) -> EmailKeys {
        EmailKeys {
            version: self.version,
            keys: self.keys.iter().map(|key| (key.mac(email), key.id.clone())).collect(),
        }
    }
}

impl Vault {
    /// The keys as this process last read them.
    pub fn lookup(&self) -> Arc<Lookup> {
        Arc::clone(&self.lookup.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them anew, and with them which key wraps the data keys of new accounts.
    pub async fn reread_lookup(&self, db: &Db) -> Result<Arc<Lookup>, KeyError> {
        let rows = sqlx::query!(
            r#"select g.version, clock_timestamp() as "now!: Timestamp", k.purpose, k.key_id, k.wrapped, k.wrapped_by, k.active,
                      k.next, k.created_at as "created_at: Timestamp"
               from key_guards g
               join keys.service_keys k on k.purpose = g.purpose or (k.purpose = 'personal_data' and k.active)
               where g.purpose = 'email_lookup' and (k.active or k.next) order by k.active desc"#
        )
        .fetch_all(db)
        .await?;
        let before = self.lookup();
        let (mut version, mut read_at, mut keys) = (0, before.read_at, Vec::with_capacity(rows.len()));
        for row in rows {
            (version, read_at) = (row.version, row.now);
            let known = before.keys.iter().find(|key| key.id == row.key_id).cloned();
            let row = ServiceKeyRow {
                purpose: row.purpose,
                key_id: row.key_id,
                wrapped_by: row.wrapped_by,
                active: row.active,
                next: row.next,
                created_at: row.created_at,
                wrapped: row.wrapped,
            };
            match known {
                _ if row.purpose == "personal_data" => drop(self.learn(&row)?),
                Some(key) => keys.push(key),
                None => keys.push(LookupKey::new(row.key_id.clone(), &unwrap(&row, &self.roots)?)),
            }
        }
        if keys.is_empty() {
            return Err(StoreError::Inconsistent("no active service key for email_lookup".to_owned()).into());
        }
        let fresh = Arc::new(Lookup { version, keys, read_at });
        *self.lookup.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }
}
