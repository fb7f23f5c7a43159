//! The service key that signs checkpoints, as the private keys it stands for.

use zeroize::Zeroizing;

use super::{KeyError, StoreError, list, unwrap};
use crate::store::Db;
use crate::token::keys::RootRing;

const PURPOSE: &str = "checkpoint";

/// The seeds of all keys of this purpose, the active one first.
pub async fn seeds(db: &Db, roots: &RootRing) -> Result<Vec<Zeroizing<[u8; 32]>>, KeyError> {
    let mut rows = list(db).await?;
    rows.retain(|row| row.purpose == PURPOSE);
    rows.sort_by_key(|row| !row.active);
    let seed = |row| {
        let bytes = unwrap(row, roots)?;
        let seed = <[u8; 32]>::try_from(bytes.as_slice());
        seed.map(Zeroizing::new)
            .map_err(|_| StoreError::Inconsistent("the key for checkpoints is not 32 bytes long".to_owned()).into())
    };
    rows.iter().map(seed).collect()
}
