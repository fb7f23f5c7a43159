//! The key that the terms of the search view are made with.

use std::sync::{Arc, PoisonError};

use aws_lc_rs::hmac;

use super::{KeyError, StoreError, Vault, list, mac, unwrap};
use crate::store::Db;
use crate::terms::Field;
use crate::token::keys::RootRing;

pub(crate) struct SearchKey {
    id: String,
    key: hmac::Key,
}

impl SearchKey {
    /// What a value of a field is found by. 64 bits: what is found is shown, so a chance hit would be seen.
    pub(crate) fn term(&self, field: Field, value: &str) -> i64 {
        let tag = mac(&self.key, &[&field.number().to_be_bytes(), value.as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&tag[..8]);
        i64::from_be_bytes(first)
    }
}

impl SearchKey {
    /// What is kept about a subject of this kind that is not to stand in the clear.
    pub(crate) fn name(&self, kind: &str, subject: &[u8]) -> [u8; 32] {
        // No field has this number.
        mac(&self.key, &[&0_i16.to_be_bytes(), kind.as_bytes(), &[0], subject])
    }
}

impl Vault {
    /// The key in force, asked for anew each time: a search by an earlier one would find nothing, and terms made with it would never
    /// be found.
    pub(crate) async fn search_key(&self, db: &Db) -> Result<Arc<SearchKey>, KeyError> {
        let id = sqlx::query_scalar!("select key_id from keys.service_keys where purpose = 'search' and active")
            .fetch_one(db)
            .await?;
        let known = Arc::clone(&self.search.read().unwrap_or_else(PoisonError::into_inner));
        if known.id == id {
            return Ok(known);
        }
        let fresh = Arc::new(read(db, &self.roots).await?);
        *self.search.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }
}

pub(super) async fn read(db: &Db, roots: &RootRing) -> Result<SearchKey, KeyError> {
    let row = list(db).await?.into_iter().find(|row| row.purpose == "search" && row.active);
    let row = row.ok_or_else(|| StoreError::Inconsistent("no active service key for search".to_owned()))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &unwrap(&row, roots)?);
    Ok(SearchKey { id: row.key_id, key })
}
