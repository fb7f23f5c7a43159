//! Sealing: AES-256-GCM under a random nonce, bound to the id of what it belongs to. Format: nonce (12 bytes) ‖ ciphertext ‖ tag (16).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::token::random;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("sealed data does not open: wrong key, wrong owner or changed bytes")]
    Closed,
    #[error("sealed data has an unexpected shape")]
    Shape,
}

/// A key that seals. It shows itself to nobody.
pub struct SealKey(LessSafeKey);

impl SealKey {
    /// # Panics
    /// Never: 32 bytes are the length of an AES-256 key.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes make an AES-256 key")))
    }

    /// # Panics
    /// Never: AES-GCM seals up to 64 GiB, and callers seal columns.
    pub fn seal(&self, owner: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let mut body = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner), &mut body)
            .expect("a column is far below the bound of AES-GCM");
        [nonce.as_slice(), &body].concat()
    }

    pub fn open(&self, owner: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Closed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(owner), &mut body)
            .map_err(|_| SealError::Closed)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    pub fn seal_json(&self, owner: uuid::Uuid, value: &impl Serialize) -> Result<Vec<u8>, SealError> {
        let plain = Zeroizing::new(serde_json::to_vec(value).map_err(|_| SealError::Shape)?);
        Ok(self.seal(owner.as_bytes(), &plain))
    }

    pub fn open_json<T: DeserializeOwned>(&self, owner: uuid::Uuid, sealed: &[u8]) -> Result<T, SealError> {
        serde_json::from_slice(&self.open(owner.as_bytes(), sealed)?).map_err(|_| SealError::Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_for_its_owner() {
        let (key, owner) = (SealKey::new(&[1; 32]), uuid::Uuid::from_u128(1));
        let sealed = key.seal_json(owner, &"ana@example.com").unwrap();
        assert!(!sealed.windows(3).any(|window| window == b"ana"));
        assert_eq!(key.open_json::<String>(owner, &sealed).unwrap(), "ana@example.com");
        assert!(key.open_json::<String>(uuid::Uuid::from_u128(2), &sealed).is_err());
        assert!(SealKey::new(&[2; 32]).open_json::<String>(owner, &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(key.open_json::<String>(owner, &changed).is_err());
        assert!(key.open_json::<String>(owner, &[]).is_err());
    }
}
