//! Stored hashes of every format that is read: the service's own and those imported from Django.
//!
//! What a stored hash may cost is capped: the string comes from an import, and must not stop the service.

use std::num::NonZeroU32;

use aws_lc_rs::digest;
use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use subtle::ConstantTimeEq;

use super::argon::{ArgonHash, HashCost};
use super::engine::{ArgonError, Memory};

/// Most PBKDF2 iterations. Django 5.2 writes 1,000,000.
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Highest bcrypt cost, a power of two. Django writes 12; 16 takes some seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// Lowest bcrypt cost. Source: the crate, and the original bcrypt.
const BCRYPT_COST_MIN: u32 = 4;

/// Most scrypt memory, in KiB: 256 MiB. Django writes 16 MiB.
const SCRYPT_MEMORY_KIB_MAX: u64 = 256 * 1024;

/// Most scrypt lanes. Django writes 5; they run one after the other.
const SCRYPT_PARALLELISM_MAX: u32 = 16;

/// Output of Django's scrypt, in bytes.
const SCRYPT_OUTPUT_LEN: usize = 64;

/// Why a stored string cannot be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Django's mark of an account without a password. Not a fault.
    #[error("the account has no password")]
    Unusable,
    #[error("unknown format")]
    UnknownFormat,
    #[error("malformed")]
    Malformed,
    #[error("costs more than the cap")]
    TooCostly,
}

pub(super) enum StoredHash {
    /// A PHC string, the form of new hashes.
    Phc(ArgonHash),
    DjangoArgon2(ArgonHash),
    Pbkdf2 {
        algorithm: pbkdf2::Algorithm,
        iterations: NonZeroU32,
        salt: String,
        output: Vec<u8>,
    },
    Bcrypt {
        encoded: String,
    },
    /// bcrypt of the hex SHA-256 of the password.
    BcryptSha256 {
        encoded: String,
    },
    Scrypt {
        params: scrypt::Params,
        memory_kib: usize,
        salt: String,
        output: Vec<u8>,
    },
}

impl StoredHash {
    pub(super) fn parse(stored: &str) -> Result<Self, Unreadable> {
        if stored.starts_with('!') {
            return Err(Unreadable::Unusable);
        }
        if stored.starts_with('$') {
            return ArgonHash::parse(stored).map(Self::Phc);
        }
        let (format, rest) = stored.split_once('$').ok_or(Unreadable::UnknownFormat)?;
        match format {
            "argon2" => ArgonHash::parse(&format!("${rest}")).map(Self::DjangoArgon2),
            "pbkdf2_sha256" => parse_pbkdf2(rest, pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            "pbkdf2_sha1" => parse_pbkdf2(rest, pbkdf2::PBKDF2_HMAC_SHA1, digest::SHA1_OUTPUT_LEN),
            "bcrypt" => parse_bcrypt(rest).map(|encoded| Self::Bcrypt { encoded }),
            "bcrypt_sha256" => parse_bcrypt(rest).map(|encoded| Self::BcryptSha256 { encoded }),
            "scrypt" => parse_scrypt(rest),
            _ => Err(Unreadable::UnknownFormat),
        }
    }

    /// What the format is called.
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Phc(_) | Self::DjangoArgon2(_) => "argon2",
            Self::Pbkdf2 { output, .. } if output.len() == digest::SHA1_OUTPUT_LEN => "pbkdf2_sha1",
            Self::Pbkdf2 { .. } => "pbkdf2_sha256",
            Self::Bcrypt { .. } => "bcrypt",
            Self::BcryptSha256 { .. } => "bcrypt_sha256",
            Self::Scrypt { .. } => "scrypt",
        }
    }

    pub(super) fn verify(&self, password: &str, memory: &mut Memory) -> Result<bool, ArgonError> {
        let password = password.as_bytes();
        match self {
            Self::Phc(hash) | Self::DjangoArgon2(hash) => hash.verify(password, memory),
            Self::Pbkdf2 { algorithm, iterations, salt, output } => {
                Ok(pbkdf2::verify(*algorithm, *iterations, salt.as_bytes(), password, output).is_ok())
            }
            // The bytes from the 73rd on are not in such a hash and cannot be compared; the next login has them all.
            Self::Bcrypt { encoded } => Ok(verify_bcrypt(password, encoded)),
            Self::BcryptSha256 { encoded } => {
                let digest = digest::digest(&digest::SHA256, password);
                let hex = zeroize::Zeroizing::new(hex(digest.as_ref()));
                Ok(verify_bcrypt(hex.as_bytes(), encoded))
            }
            Self::Scrypt { params, memory_kib, salt, output } => {
                let _guard = memory.guard_oversized(*memory_kib);
                let mut derived = [0; SCRYPT_OUTPUT_LEN];
                let derived = &mut derived[..output.len()];
                // Refused are only outputs of length 0, which the parser keeps out.
                let computed = scrypt::scrypt(password, salt.as_bytes(), params, derived).is_ok();
                Ok(computed && derived.ct_eq(output).into())
            }
        }
    }

    /// Whether a new hash would be no better, so that no rehash is due: Django writes its Argon2 before the same PHC string, and on the
    /// day that a service is taken over everybody logs in.
    pub(super) fn is_made_with(&self, cost: HashCost) -> bool {
        matches!(self, Self::Phc(hash) | Self::DjangoArgon2(hash) if hash.is_made_with(cost))
    }

    /// Whether verifying takes what a live hash takes.
    pub(super) fn has_cost(&self, cost: HashCost) -> bool {
        matches!(self, Self::Phc(hash) | Self::DjangoArgon2(hash) if hash.has_cost(cost))
    }
}

/// `iterations$salt$base64`
fn parse_pbkdf2(rest: &str, algorithm: pbkdf2::Algorithm, output_len: usize) -> Result<StoredHash, Unreadable> {
    let [iterations, salt, output] = fields(rest)?;
    let iterations: NonZeroU32 = number(iterations)?;
    if iterations.get() > PBKDF2_ITERATIONS_MAX {
        return Err(Unreadable::TooCostly);
    }
    let output = decode(output, output_len)?;
    Ok(StoredHash::Pbkdf2 { algorithm, iterations, salt: salt.to_owned(), output })
}

/// `$2b$cost$salt-and-hash`
fn parse_bcrypt(encoded: &str) -> Result<String, Unreadable> {
    // 2x marks hashes of a faulty implementation, whose results are not reproduced here.
    if !["$2a$", "$2b$", "$2y$"].iter().any(|version| encoded.starts_with(version)) {
        return Err(Unreadable::Malformed);
    }
    let cost = encoded.parse::<HashParts>().map_err(|_| Unreadable::Malformed)?.get_cost();
    match cost {
        BCRYPT_COST_MIN..=BCRYPT_COST_MAX => Ok(encoded.to_owned()),
        0..BCRYPT_COST_MIN => Err(Unreadable::Malformed),
        _ => Err(Unreadable::TooCostly),
    }
}

/// bcrypt repeats its key, so "a", NUL, "a" would match a hash of "a": a password with NUL matches nothing.
fn verify_bcrypt(password: &[u8], encoded: &str) -> bool {
    // An error would be a malformed hash, which the parser keeps out.
    !password.contains(&0) && bcrypt::verify(password, encoded).unwrap_or(false)
}

/// `N$salt$r$p$base64`
fn parse_scrypt(rest: &str) -> Result<StoredHash, Unreadable> {
    let [work_factor, salt, block_size, parallelism, output] = fields(rest)?;
    let (work_factor, block_size, parallelism) =
        (number::<u64>(work_factor)?, number::<u32>(block_size)?, number::<u32>(parallelism)?);
    if work_factor < 2 || !work_factor.is_power_of_two() {
        return Err(Unreadable::Malformed);
    }
    // scrypt works on N + p blocks of 128 * r bytes.
    let blocks = work_factor.saturating_add(u64::from(parallelism));
    let memory_kib = blocks.saturating_mul(u64::from(block_size)).div_ceil(8);
    if memory_kib > SCRYPT_MEMORY_KIB_MAX || parallelism > SCRYPT_PARALLELISM_MAX {
        return Err(Unreadable::TooCostly);
    }
    let log_n = u8::try_from(work_factor.trailing_zeros()).map_err(|_| Unreadable::Malformed)?;
    let params = scrypt::Params::new(log_n, block_size, parallelism).map_err(|_| Unreadable::Malformed)?;
    let memory_kib = usize::try_from(memory_kib).map_err(|_| Unreadable::TooCostly)?;
    let output = decode(output, SCRYPT_OUTPUT_LEN)?;
    Ok(StoredHash::Scrypt { params, memory_kib, salt: salt.to_owned(), output })
}

fn fields<const N: usize>(rest: &str) -> Result<[&str; N], Unreadable> {
    let fields: Vec<&str> = rest.splitn(N + 1, '$').collect();
    fields.try_into().map_err(|_| Unreadable::Malformed)
}

fn number<T: std::str::FromStr>(field: &str) -> Result<T, Unreadable> {
    field.parse().map_err(|_| Unreadable::Malformed)
}

fn decode(field: &str, len: usize) -> Result<Vec<u8>, Unreadable> {
    let output = STANDARD.decode(field).map_err(|_| Unreadable::Malformed)?;
    if output.len() == len { Ok(output) } else { Err(Unreadable::Malformed) }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
