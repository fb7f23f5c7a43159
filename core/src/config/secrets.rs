//! The keys that everything else hangs on.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::jwt;
use super::reader::{Reader, Refused, items};
use super::registry::{self, Variable};
use super::secret::Secret;
use crate::token::access::{SharedKey, SigningKey, TokenKeys};

/// Shortest `SECRET_KEY`, in characters. Source: the guide; Django's check security.W009.
const SECRET_KEY_CHARACTERS_MIN: usize = 50;

/// Fewest distinct characters of `SECRET_KEY`. Source: Django's check security.W009.
const SECRET_KEY_DISTINCT_MIN: usize = 5;

/// How `django-admin startproject` begins the key that it writes into the source. Source: the same check.
const DJANGO_INSECURE_PREFIX: &str = "django-insecure-";

/// Shortest HS256 key, in bytes. Source: RFC 7518, 3.2.
const JWT_KEY_BYTES_MIN: usize = 32;

/// Fewest distinct bytes of a random key. 32 random hexadecimal digits have fewer less than once in ten million keys.
const DISTINCT_BYTES_MIN: usize = 8;

/// Words that fill the place of a key until someone makes one. Each has eight letters or more: a random key in base64 has one of
/// them less than once in a thousand million keys.
const PLACEHOLDER_WORDS: [&str; 6] = ["changeme", "change-me", "change_me", "insecure", "password", "placeholder"];

/// How a place that waits for a key often begins. Anywhere else a random key says it by chance, once in two million.
const PLACEHOLDER_PREFIX: &str = "your-";

/// Keys printed in the guide that operators follow, and so known to anyone.
const PUBLISHED_KEYS: [&str; 2] = [
    "5HnOLJM1AYBhxNd9CsA1FoYsr4dAkCp5oHRWv64d8zyARfRMBPEpAjwHo3X3S3RmrXs=",
    "5OVV9pnTd98ECzlGimgVhuIN92pPTpr-AnPd-7nPJZ8",
];

/// Most keys beside the current one, and most entries of the keyring.
pub(super) const KEYS_MAX: usize = 8;

/// Length of a key of the keyring, in bytes: AES-256 and ChaCha20 alike.
const PII_KEY_BYTES: usize = 32;

/// Longest name of a key of the keyring, in characters.
const PII_KEY_ID_CHARACTERS_MAX: usize = 32;

/// Both alphabets are in use for keys, with padding and without.
const BASE64_CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64_CONFIG);
const BASE64_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64_CONFIG);

#[derive(Debug)]
pub struct Secrets {
    pub secret_key: Secret,
    /// Verify and re-make what they made; make nothing new.
    pub secret_key_fallbacks: Vec<Secret>,
    pub tokens: TokenKeys,
    /// The first wraps, all unwrap. Empty: `secret_key` wraps.
    pub pii_keyring: Vec<PiiKey>,
    /// Of a backup of the keys that may still be restored.
    pub key_backup_age_max: Duration,
}

#[derive(Debug)]
pub struct PiiKey {
    pub id: String,
    pub key: Secret<Vec<u8>>,
}

impl Secrets {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let secret_key = key(reader, &registry::SECRET_KEY, secret_key_fault);
        let secret_key_fallbacks = fallbacks(reader, &registry::SECRET_KEY_FALLBACKS, secret_key_fault);
        let tokens = jwt::read(reader);
        let pii_keyring = pii_keyring(reader);
        let key_backup_age_max = reader.days(&registry::KEY_BACKUP_DAYS);
        let secret_keys: Vec<&Secret> = secret_key.iter().chain(secret_key_fallbacks.iter().flatten()).collect();
        let apart = tokens.as_ref().map_or(Ok(()), |tokens| refuse_shared_keys(reader, &secret_keys, tokens));
        let secrets = Self {
            secret_key: secret_key?,
            secret_key_fallbacks: secret_key_fallbacks?,
            tokens: tokens?,
            pii_keyring: pii_keyring?,
            key_backup_age_max: key_backup_age_max?,
        };
        apart.map(|()| secrets)
    }
}

/// A key with two uses falls with either; an earlier key is as dangerous as the current one.
fn refuse_shared_keys(reader: &mut Reader<'_>, secret_keys: &[&Secret], tokens: &TokenKeys) -> Result<(), Refused> {
    let is_secret_key = |jwt_key: &SharedKey| {
        secret_keys.iter().any(|secret_key| secret_key.expose().as_bytes() == jwt_key.0.as_slice())
    };
    if matches!(&tokens.current, SigningKey::Shared(key) if is_secret_key(key)) {
        let rule = "must differ from SECRET_KEY and SECRET_KEY_FALLBACKS";
        return Err(reader.refuse_because(&registry::JWT_SECRET_KEY, rule));
    }
    if tokens.shared_fallbacks.iter().any(is_secret_key) {
        let rule = "must have no key of SECRET_KEY or SECRET_KEY_FALLBACKS";
        return Err(reader.refuse_because(&registry::JWT_SECRET_KEY_FALLBACKS, rule));
    }
    Ok(())
}

/// The rule that a key breaks, if any.
pub(super) type KeyFault = fn(&str) -> Option<&'static str>;

pub(super) fn key(reader: &mut Reader<'_>, variable: &Variable, fault: KeyFault) -> Result<Secret, Refused> {
    let given = reader.required_secret(variable)?;
    // The entries of a list are trimmed, so a key that moves to the fallbacks must not begin or end with a space.
    let key = given.expose().trim();
    match fault(key) {
        Some(rule) => Err(reader.refuse_because(variable, rule)),
        None => Ok(Secret::new(key.to_owned())),
    }
}

pub(super) fn fallbacks(reader: &mut Reader<'_>, variable: &Variable, fault: KeyFault) -> Result<Vec<Secret>, Refused> {
    let Some(list) = reader.secret(variable)? else { return Ok(Vec::new()) };
    if items(list.expose()).count() > KEYS_MAX {
        return Err(reader.refuse(variable));
    }
    if let Some(rule) = items(list.expose()).find_map(fault) {
        return Err(reader.refuse_because(variable, format!("each key {rule}")));
    }
    Ok(items(list.expose()).map(|key| Secret::new(key.to_owned())).collect())
}

fn secret_key_fault(key: &str) -> Option<&'static str> {
    if is_published(key) {
        Some("must not be a published example")
    } else if key.chars().count() < SECRET_KEY_CHARACTERS_MIN {
        Some("must have at least 50 characters")
    } else if distinct_bytes(key.as_bytes()) < SECRET_KEY_DISTINCT_MIN || key.starts_with(DJANGO_INSECURE_PREFIX) {
        Some("must be random: `doorbook keys new` makes one")
    } else {
        None
    }
}

pub(super) fn jwt_key_fault(key: &str) -> Option<&'static str> {
    if is_published(key) {
        Some("must not be a published example")
    } else if key.len() < JWT_KEY_BYTES_MIN {
        Some("must have at least 32 bytes")
    } else if is_low_entropy(key) {
        Some("must be random: `doorbook keys new` makes one")
    } else {
        None
    }
}

fn is_published(key: &str) -> bool {
    PUBLISHED_KEYS.contains(&key)
}

/// True for text that no random source makes: few distinct bytes, a repeated piece, a run through the alphabet or words
/// that ask to be replaced. Nothing can tell a good key; this refuses those that nobody would call one.
pub(super) fn is_low_entropy(key: &str) -> bool {
    let bytes = key.as_bytes();
    let lower = Zeroizing::new(key.to_ascii_lowercase());
    distinct_bytes(bytes) < DISTINCT_BYTES_MIN
        || is_repetition(bytes)
        || is_mostly_runs(bytes)
        || lower.starts_with(PLACEHOLDER_PREFIX)
        || PLACEHOLDER_WORDS.iter().any(|word| lower.contains(word))
}

fn distinct_bytes(bytes: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in bytes {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}

/// True if a piece of at most half the length, said again and again, makes the whole.
fn is_repetition(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|period| bytes.iter().zip(&bytes[period..]).all(|(one, next)| one == next))
}

/// True if more than two thirds of the steps from byte to byte are -1, 0 or 1; random hexadecimal digits have a sixth.
fn is_mostly_runs(bytes: &[u8]) -> bool {
    let small_steps = bytes.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    small_steps * 3 > bytes.len().saturating_sub(1) * 2
}

fn pii_keyring(reader: &mut Reader<'_>) -> Result<Vec<PiiKey>, Refused> {
    let variable = &registry::PII_KEYRING;
    let Some(list) = reader.secret(variable)? else { return Ok(Vec::new()) };
    if items(list.expose()).count() > KEYS_MAX {
        return Err(reader.refuse(variable));
    }
    let keys: Option<Vec<_>> = items(list.expose()).map(pii_key).collect();
    let Some(keys) = keys else { return Err(reader.refuse(variable)) };
    let is_repeated = |(index, key): (usize, &PiiKey)| keys[..index].iter().any(|earlier| earlier.id == key.id);
    if keys.iter().enumerate().any(is_repeated) {
        return Err(reader.refuse_because(variable, "must name each key differently"));
    }
    Ok(keys)
}

/// One `id:base64key`.
fn pii_key(entry: &str) -> Option<PiiKey> {
    let (id, encoded) = entry.split_once(':')?;
    let (id, encoded) = (id.trim(), encoded.trim());
    let is_name = !id.is_empty()
        && id.len() <= PII_KEY_ID_CHARACTERS_MAX
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let key = Zeroizing::new(BASE64_STANDARD.decode(encoded).or_else(|_| BASE64_URL_SAFE.decode(encoded)).ok()?);
    let is_key = key.len() == PII_KEY_BYTES && distinct_bytes(&key) >= DISTINCT_BYTES_MIN && !is_repetition(&key);
    (is_name && is_key).then(|| PiiKey { id: id.to_owned(), key: Secret::new(key.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_nobody_would_call_random_are_low_in_entropy() {
        for key in [
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababababababab",
            "0123456789012345678901234567890123456789",
            "abcdefghijklmnopqrstuvwxyz012345",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefg",
            "q8Zr1-Change-Me-Kx03vb7Lm29TfWd5",
            "your-jwt-key-of-32-bytes-or-more",
            "s3cr3t!x7s3cr3t!x7s3cr3t!x7s3cr3t",
        ] {
            assert!(is_low_entropy(key), "{key}");
        }
    }

    #[test]
    fn random_keys_in_every_usual_alphabet_are_not() {
        for key in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "kQ0vX2c7ZyLr8Gq5Tn1PwJm4sBdHf6Ua",
            "vJ-3xT_9qLw7Zr5NkB1mYh8PdGf2sCa6Eo4Ui0tXyRQ",
            "83920174650192837465564738291001",
            "cWzpj-foQyOUR-qzHlUJFJvDp09u-Yt-2HExinKvXQ4",
        ] {
            assert!(!is_low_entropy(key), "{key}");
        }
    }

    #[test]
    fn a_keyring_entry_may_use_either_base64_alphabet_with_or_without_padding() {
        let bytes: Vec<u8> = (0..32_u8).map(|index| index.wrapping_mul(37) ^ 0xfb).collect();
        for encoded in [BASE64_STANDARD.encode(&bytes), BASE64_URL_SAFE.encode(&bytes)] {
            for encoded in [encoded.as_str(), encoded.trim_end_matches('=')] {
                let key = pii_key(&format!("2025-a:{encoded}")).unwrap();
                assert_eq!((key.id.as_str(), key.key.expose()), ("2025-a", &bytes));
            }
        }
    }

    #[test]
    fn a_keyring_entry_needs_a_name_and_a_whole_random_key() {
        let good = BASE64_STANDARD.encode((0..32_u8).map(|index| index.wrapping_mul(37)).collect::<Vec<_>>());
        assert!(pii_key(&format!("a:{good}")).is_some());
        for entry in [
            good.clone(),
            format!(":{good}"),
            format!("a b:{good}"),
            "a:not base64".to_owned(),
            format!("a:{}", BASE64_STANDARD.encode([7; 31])),
            format!("a:{}", BASE64_STANDARD.encode([7; 32])),
        ] {
            assert!(pii_key(&entry).is_none(), "{entry}");
        }
    }
}
