//! The keys that buckets of limits are named by: the active one, and earlier ones for as long as something is counted under them.

use std::sync::{Arc, PoisonError};

use aws_lc_rs::hmac;

use super::{KeyError, ServiceKeyRow, Vault, mac, unwrap_if_needed};
use crate::clock::Timestamp;
use crate::store::{Db, StoreError};

/// What a limit counts: its kind, which keeps different limits apart, and whom or what it is about.
#[derive(Clone)]
pub struct Bucket {
    pub kind: &'static str,
    /// With the kind, each part ended by a zero byte.
    about: Vec<u8>,
}

impl Bucket {
    pub fn new(kind: &'static str, parts: &[&[u8]]) -> Self {
        let mut about = Vec::new();
        for part in std::iter::once(&kind.as_bytes()).chain(parts) {
            about.extend_from_slice(part);
            about.push(0);
        }
        Self { kind, about }
    }
}

/// The keys as they were in force at one moment.
pub struct Identifiers {
    /// What a write must find again.
    pub(in crate::store) version: i64,
    /// Ids and keys: the active one, then earlier ones, the newest first.
    keys: Vec<(String, hmac::Key)>,
}

impl Identifiers {
    /// The name of a bucket: an HMAC, so that the database alone tells no address.
    pub fn name(&self, bucket: &Bucket) -> [u8; 32] {
        mac(&self.keys[0].1, &[&bucket.about])
    }

    /// The names under all keys, the active one's first.
    pub(crate) fn names(&self, bucket: &Bucket) -> Vec<Vec<u8>> {
        self.keys.iter().map(|(_, key)| mac(key, &[&bucket.about]).to_vec()).collect()
    }

    /// The name under the key with this id, or under the active one.
    pub(in crate::store) fn name_under(&self, id: &str, bucket: &Bucket) -> [u8; 32] {
        let key = self.keys.iter().find(|(known, _)| known == id).unwrap_or(&self.keys[0]);
        mac(&key.1, &[&bucket.about])
    }

    pub(in crate::store) fn active_id(&self) -> &str {
        &self.keys[0].0
    }

    /// The key of rows that name none.
    pub(in crate::store) fn first_id(&self) -> &str {
        self.keys.last().map_or("", |(id, _)| id)
    }

    pub(in crate::store) const fn have_changed(&self) -> bool {
        self.keys.len() > 1
    }
}

impl Vault {
    /// The keys as this process last read them. Whoever writes by them finds out whether they still are.
    pub fn identifiers(&self) -> Arc<Identifiers> {
        Arc::clone(&self.identifiers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them anew.
    pub async fn reread_identifiers(&self, db: &Db) -> Result<Arc<Identifiers>, KeyError> {
        let fresh = Arc::new(read(db, &self.roots, &self.identifiers().keys).await?);
        *self.identifiers.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }
}

/// The keys in force; those in `known` are not unwrapped again.
pub(super) async fn read(
    db: &Db,
    roots: &crate::token::keys::RootRing,
    known: &[(String, hmac::Key)],
) -> Result<Identifiers, KeyError> {
    let rows = sqlx::query!(
        r#"select g.version, k.key_id, k.wrapped, k.wrapped_by, k.active, k.next, k.created_at as "created_at: Timestamp"
           from key_guards g join keys.service_keys k on k.purpose = g.purpose
           where g.purpose = 'identifier' order by k.active desc, k.created_at desc"#
    )
    .fetch_all(db)
    .await?;
    let (mut version, mut keys) = (0, Vec::with_capacity(rows.len()));
    if !rows.first().is_some_and(|row| row.active) {
        return Err(StoreError::Inconsistent("no active service key for identifier".to_owned()).into());
    }
    for row in rows {
        version = row.version;
        if let Some(key) = known.iter().find(|(id, _)| *id == row.key_id) {
            keys.push(key.clone());
            continue;
        }
        let row = ServiceKeyRow {
            purpose: "identifier".to_owned(),
            key_id: row.key_id,
            wrapped_by: row.wrapped_by,
            active: row.active,
            next: row.next,
            created_at: row.created_at,
            wrapped: row.wrapped,
        };
        if let Some(bytes) = unwrap_if_needed(db, &row, roots).await? {
            keys.push((row.key_id, hmac::Key::new(hmac::HMAC_SHA256, &bytes)));
        }
    }
    Ok(Identifiers { version, keys })
}
