//! The service key that signs checkpoints, as the private keys it stands for.

use zeroize::Zeroizing;

use super::{KeyError, ServiceKeyRow, StoreError, list, unwrap};
use crate::clock::Timestamp;
use crate::store::Db;
use crate::token::keys::RootRing;

const PURPOSE: &str = "checkpoint";

/// A private key, and since when it is in force no more.
pub struct Seed {
    pub bytes: Zeroizing<[u8; 32]>,
    pub retired_at: Option<Timestamp>,
}

/// All keys of this purpose that the settings open, the active one first. An earlier one that stays closed is missed by nobody.
pub async fn seeds(db: &Db, roots: &RootRing) -> Result<Vec<Seed>, KeyError> {
    let retired = sqlx::query!(
        r#"select key_id, changed_at as "at: Timestamp" from keys.service_keys where purpose = $1 and not active"#,
        PURPOSE
    )
    .fetch_all(db)
    .await?;
    let mut rows = list(db).await?;
    rows.retain(|row| row.purpose == PURPOSE);
    rows.sort_by_key(|row| !row.active);
    let seed = |row: &ServiceKeyRow| {
        let bytes = match unwrap(row, roots) {
            Err(_) if !row.active => return Ok(None),
            opened => opened?,
        };
        let seed = <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| StoreError::Inconsistent("the key for checkpoints is not 32 bytes long".to_owned()))?;
        let retired_at = retired.iter().find(|it| it.key_id == row.key_id).map(|it| it.at);
        Ok(Some(Seed { bytes: Zeroizing::new(seed), retired_at }))
    };
    rows.iter().filter_map(|row| seed(row).transpose()).collect()
}
