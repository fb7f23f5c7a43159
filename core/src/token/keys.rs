//! Rings of keys. SECRET_KEY and its fallbacks derive, by HKDF and one label a use, what may die with them; each derived key is
//! named by its root's id, so that a row tells which root made it.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

/// What a derived key is for. One label each: a token of one use can never pass as another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Refresh,
    Reset,
    Verify,
    Change,
    Undo,
    Cancel,
    NotMe,
    Device,
    Cursor,
    Idempotency,
    Csrf,
}

impl Use {
    pub const ALL: [Self; 11] = [
        Self::Refresh,
        Self::Reset,
        Self::Verify,
        Self::Change,
        Self::Undo,
        Self::Cancel,
        Self::NotMe,
        Self::Device,
        Self::Cursor,
        Self::Idempotency,
        Self::Csrf,
    ];

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Refresh => b"doorbook/refresh/v1",
            Self::Reset => b"doorbook/reset/v1",
            Self::Verify => b"doorbook/verify/v1",
            Self::Change => b"doorbook/change/v1",
            Self::Undo => b"doorbook/undo/v1",
            Self::Cancel => b"doorbook/cancel/v1",
            Self::NotMe => b"doorbook/not-me/v1",
            Self::Device => b"doorbook/device/v1",
            Self::Cursor => b"doorbook/cursor/v1",
            Self::Idempotency => b"doorbook/idempotency/v1",
            Self::Csrf => b"doorbook/csrf/v1",
        }
    }
}

const WRAP_LABEL: &[u8] = b"doorbook/wrap/v1";
const ID_LABEL: &[u8] = b"doorbook/key-id/v1";

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// One SECRET_KEY and all that is derived from it.
struct Root {
    id: String,
    wrap: Zeroizing<[u8; 32]>,
    uses: [hmac::Key; Use::ALL.len()],
}

impl Root {
    fn new(secret: &[u8]) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"doorbook").extract(secret);
        Self {
            id: key_id(&*expand(&prk, ID_LABEL)),
            wrap: expand(&prk, WRAP_LABEL),
            uses: Use::ALL.map(|purpose| hmac::Key::new(hmac::HMAC_SHA256, &*expand(&prk, purpose.label()))),
        }
    }
}

/// # Panics
/// Never: 32 bytes are far below the 8,160 that HKDF-SHA-256 can give.
fn expand(prk: &Prk, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(&[label], Bytes32).and_then(|okm| okm.fill(&mut *out)).expect("32 bytes are within HKDF's bound");
    out
}

/// Eight bytes of a SHA-256 in hex: names a key without telling anything of it.
pub fn key_id(key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, key);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_ref()[..8]);
    format!("{:016x}", u64::from_be_bytes(first))
}

/// The current SECRET_KEY first, then its fallbacks: rows made with any of them are understood, new rows use the first.
pub struct RootRing {
    roots: Vec<Root>,
    /// PII_KEYRING: when there is one, its first key wraps service keys instead of SECRET_KEY's.
    keyring: Vec<(String, Zeroizing<[u8; 32]>)>,
}

impl RootRing {
    pub fn new(current: &[u8], fallbacks: &[&[u8]]) -> Self {
        Self {
            roots: std::iter::once(current).chain(fallbacks.iter().copied()).map(Root::new).collect(),
            keyring: Vec::new(),
        }
    }

    /// Lets these keys wrap service keys, each under the id its operator has given it.
    #[must_use]
    pub fn with_keyring(mut self, keyring: Vec<(String, Zeroizing<[u8; 32]>)>) -> Self {
        self.keyring = keyring;
        self
    }

    /// Id of the key that new rows are made with.
    pub fn current_id(&self) -> &str {
        &self.roots[0].id
    }

    /// The key of one use under the root that `key_id` names; `None` once that root has been dropped.
    pub(crate) fn key(&self, key_id: &str, purpose: Use) -> Option<&hmac::Key> {
        let root = self.roots.iter().find(|root| root.id == key_id)?;
        Some(&root.uses[purpose as usize])
    }

    pub(crate) fn current_key(&self, purpose: Use) -> &hmac::Key {
        &self.roots[0].uses[purpose as usize]
    }

    /// The key of one use under every root, the current one first.
    pub(crate) fn keys(&self, purpose: Use) -> impl Iterator<Item = &hmac::Key> {
        self.roots.iter().map(move |root| &root.uses[purpose as usize])
    }

    /// Keys that wrap service keys: `(id, key)`, the first for wrapping, all for unwrapping.
    pub fn wrapping_keys(&self) -> impl Iterator<Item = (&str, &[u8; 32])> {
        let keyring = self.keyring.iter().map(|(id, key)| (id.as_str(), &**key));
        keyring.chain(self.roots.iter().map(|root| (root.id.as_str(), &*root.wrap)))
    }

    /// Ids of the roots, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|root| root.id.as_str())
    }
}
