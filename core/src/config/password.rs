//! What a password must be and how it is hashed.

use std::path::PathBuf;

use super::cores;
use super::reader::{Reader, Refused};
use super::registry;

/// Least memory and passes outside development. Source: OWASP Password Storage Cheat Sheet, Argon2id, one lane.
const PRODUCTION_MEMORY_KIB_MIN: u32 = 19_456;
const PRODUCTION_TIME_COST_MIN: u32 = 2;

/// Least memory for each lane, in KiB. Source: RFC 9106, 3.1.
const MEMORY_KIB_PER_LANE: u32 = 8;

#[derive(Debug)]
pub struct Password {
    /// In Unicode code points.
    pub min_length: u32,
    /// In the order given, none twice.
    pub validators: Vec<PasswordValidator>,
    /// Present if and only if `validators` has `Breached`.
    pub breached_file: Option<PathBuf>,
    pub argon2: Argon2,
    /// Hashes computed at once.
    pub hashing_concurrency: u32,
    pub engine: Argon2Engine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordValidator {
    Similarity,
    Length,
    Common,
    Numeric,
    Breached,
    Context,
}

/// What computes the hashes; all give the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argon2Engine {
    /// The crate of that name.
    Argon2,
    /// The one that uses the processor's vector instructions.
    Simd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2 {
    pub memory_kib: u32,
    pub time_cost: u32,
    pub parallelism: u32,
}

const VALIDATORS: [(&str, PasswordValidator); 6] = [
    ("similarity", PasswordValidator::Similarity),
    ("length", PasswordValidator::Length),
    ("common", PasswordValidator::Common),
    ("numeric", PasswordValidator::Numeric),
    ("breached", PasswordValidator::Breached),
    ("context", PasswordValidator::Context),
];

impl Password {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let min_length = reader.whole(&registry::PASSWORD_MIN_LENGTH);
        let validators = validators(reader);
        let listed = validators.as_deref().unwrap_or_default();
        let breached_file = breached_file(reader, listed.contains(&PasswordValidator::Breached));
        let argon2 = Argon2::read(reader);
        let hashing_concurrency = reader.given_whole(&registry::ARGON2_CONCURRENCY);
        let engines = [("argon2", Argon2Engine::Argon2), ("simd", Argon2Engine::Simd)];
        let engine = reader.choice(&registry::ARGON2_ENGINE, &engines);
        Ok(Self {
            min_length: min_length?,
            validators: validators?,
            breached_file: breached_file?,
            argon2: argon2?,
            hashing_concurrency: hashing_concurrency?.unwrap_or_else(cores),
            engine: engine?,
        })
    }
}

fn validators(reader: &mut Reader<'_>) -> Result<Vec<PasswordValidator>, Refused> {
    let parse = |text: &str| VALIDATORS.iter().find(|(name, _)| *name == text).map(|(_, validator)| *validator);
    let mut validators = Vec::new();
    for validator in reader.parsed_list(&registry::PASSWORD_VALIDATORS, parse)? {
        if !validators.contains(&validator) {
            validators.push(validator);
        }
    }
    if validators.is_empty() { Err(reader.refuse(&registry::PASSWORD_VALIDATORS)) } else { Ok(validators) }
}

fn breached_file(reader: &mut Reader<'_>, is_needed: bool) -> Result<Option<PathBuf>, Refused> {
    let variable = &registry::PASSWORD_BREACHED_FILE;
    match reader.text(variable)?.map(PathBuf::from) {
        Some(path) if is_needed && path.is_file() => Ok(Some(path)),
        // Given and not used, it would seem to protect and would not.
        Some(_) => Err(reader.refuse(variable)),
        None if is_needed => Err(reader.missing(variable)),
        None => Ok(None),
    }
}

impl Argon2 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let memory_kib = reader.whole(&registry::ARGON2_MEMORY_KIB);
        let time_cost = reader.whole(&registry::ARGON2_TIME_COST);
        let parallelism = reader.whole(&registry::ARGON2_PARALLELISM);
        let memory_kib = match memory_kib {
            Ok(memory_kib) if memory_kib < PRODUCTION_MEMORY_KIB_MIN && !reader.debug => {
                Err(reader.refuse_because(&registry::ARGON2_MEMORY_KIB, "must be at least 19456 unless DEBUG is True"))
            }
            other => other,
        };
        let time_cost = match time_cost {
            Ok(time_cost) if time_cost < PRODUCTION_TIME_COST_MIN && !reader.debug => {
                Err(reader.refuse_because(&registry::ARGON2_TIME_COST, "must be at least 2 unless DEBUG is True"))
            }
            other => other,
        };
        let argon2 = Self { memory_kib: memory_kib?, time_cost: time_cost?, parallelism: parallelism? };
        if argon2.memory_kib < MEMORY_KIB_PER_LANE * argon2.parallelism {
            let rule = "must be at most an eighth of ARGON2_MEMORY_KIB";
            return Err(reader.refuse_because(&registry::ARGON2_PARALLELISM, rule));
        }
        Ok(argon2)
    }
}
