//! Passwords: how one is taken in, judged, hashed and verified.

mod admission;
#[cfg(test)]
mod admission_tests;
mod argon;
mod breached;
mod common;
mod engine;
mod hash;
mod legacy;
mod policy;
mod pool;
mod similarity;

use std::fmt;
use std::sync::Arc;
// What `admission` and `pool` run on, in a place that they can be given another of: core/tests/permits compiles both again with the
// primitives of shuttle, which tries the orders of their steps.
use std::time::Instant;
use std::{sync, thread};

use subtle::ConstantTimeEq;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use zeroize::Zeroizing;

pub use argon::HashCost;
pub use breached::BreachedList;
pub use engine::Engine;
pub use hash::{HashError, Hasher, PhcString, StartError, Verified};
pub use legacy::Unreadable;
pub use policy::{ContextWords, PasswordPolicy, PersonAttributes, Validator, Violation};

/// Longest stored hash, in bytes. Source: the check of `credentials.secret`.
const STORED_LENGTH_MAX: usize = 1_024;

/// The format of a stored hash that a login can verify; what an import asks before it takes one.
pub fn scheme(stored: &str) -> Result<&'static str, Unreadable> {
    if stored.len() > STORED_LENGTH_MAX && !stored.starts_with('!') {
        return Err(Unreadable::Malformed);
    }
    legacy::StoredHash::parse(stored).map(|hash| hash.scheme())
}

/// Longest password accepted, in code points as received. NIST SP 800-63B-4, 3.1.1.2 asks for at least 64;
/// the upper end bounds the work that normalising and comparing cost.
pub const LENGTH_MAX: usize = 1_024;

/// A string of more bytes has more than [`LENGTH_MAX`] code points, since UTF-8 spends at most 4 bytes on one (RFC 3629, 3).
const BYTES_MAX: usize = 4 * LENGTH_MAX;

/// NFC may lengthen UTF-8 text, at most threefold. Source: Unicode Standard Annex #15, 8, "Maximum Expansion".
const NFC_EXPANSION_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is empty")]
    Empty,
    #[error("the password has more than {LENGTH_MAX} characters")]
    TooLong,
}

/// A password as its owner typed it. It is neither trimmed nor case-folded, cannot be printed, cloned or serialised,
/// and is overwritten when dropped.
///
/// What is judged and hashed is its NFC form (RFC 8265, 4.2), so that a composed and a decomposed é are the same
/// password. The received form is kept because imported hashes were made from it.
pub struct PasswordPlain(Arc<Forms>);

struct Forms {
    raw: Zeroizing<String>,
    /// Present only if it differs from `raw`.
    nfc: Option<Zeroizing<String>>,
}

impl PasswordPlain {
    pub fn parse(raw: String) -> Result<Self, PasswordError> {
        let raw = Zeroizing::new(raw);
        // Bytes first: a text of many megabytes is refused without being read.
        if raw.len() > BYTES_MAX || raw.chars().count() > LENGTH_MAX {
            return Err(PasswordError::TooLong);
        }
        if raw.is_empty() {
            return Err(PasswordError::Empty);
        }
        let nfc = (!is_nfc(&raw)).then(|| {
            // All the room at once: growing would leave a copy behind that nobody overwrites.
            let mut nfc = Zeroizing::new(String::with_capacity(raw.len() * NFC_EXPANSION_MAX));
            nfc.extend(raw.nfc());
            nfc
        });
        Ok(Self(Arc::new(Forms { raw, nfc })))
    }

    /// Whether `other`, the repetition asked for in a form, is the same password.
    pub fn is_repeated_by(&self, other: &Self) -> bool {
        self.normalized().as_bytes().ct_eq(other.normalized().as_bytes()).into()
    }

    /// The form that is judged and hashed.
    fn normalized(&self) -> &str {
        self.0.nfc.as_ref().unwrap_or(&self.0.raw)
    }

    /// The received form, if it differs from the normalised one.
    fn unnormalized(&self) -> Option<&str> {
        self.0.nfc.as_ref().map(|_| self.0.raw.as_str())
    }

    /// The same allocation for the hashing thread, so that no second copy exists.
    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for PasswordPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordPlain(…)")
    }
}
