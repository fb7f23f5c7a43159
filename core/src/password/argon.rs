//! Argon2id: the live parameters, the PHC form, and what a stored hash asks for.

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

use super::engine::{ArgonError, Memory};
use super::legacy::Unreadable;

/// Salt of a new hash, in bytes. Source: RFC 9106, 3.1 (16 recommended for password hashing).
pub(super) const SALT_LEN: usize = 16;

/// Output of a new hash, in bytes: 256 bits. Source: RFC 9106, 4.
pub(super) const OUTPUT_LEN: usize = 32;

/// Most memory a stored hash may ask for, in KiB: 1 GiB. Ten times the default; a planted hash must not exhaust the machine.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// Most passes a stored hash may ask for. Eight times the default.
const TIME_COST_MAX: u32 = 16;

/// Most lanes a stored hash may ask for. Eight times the default.
const PARALLELISM_MAX: u32 = 64;

/// The settings of Argon2id for new hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    /// In KiB, from `8 * parallelism` to 1 GiB.
    pub memory_kib: u32,
    /// Passes over the memory, from 1 to 16.
    pub time_cost: u32,
    /// Lanes, from 1 to 64. They are part of the hash, not a number of threads.
    pub parallelism: u32,
}

impl Default for HashCost {
    /// Django's defaults, so that imported accounts keep their cost.
    fn default() -> Self {
        Self { memory_kib: 102_400, time_cost: 2, parallelism: 8 }
    }
}

impl HashCost {
    /// None if a bound is broken.
    pub(super) fn recipe(self) -> Option<Recipe> {
        let within_caps =
            self.memory_kib <= MEMORY_KIB_MAX && self.time_cost <= TIME_COST_MAX && self.parallelism <= PARALLELISM_MAX;
        let params = Params::new(self.memory_kib, self.time_cost, self.parallelism, Some(OUTPUT_LEN)).ok()?;
        within_caps.then_some(Recipe { algorithm: Algorithm::Argon2id, version: Version::V0x13, params })
    }

    /// The same with `part` of `whole` of the memory, and so of the time; none if that is less than Argon2 can do.
    pub(super) fn fraction(self, part: u128, whole: u128) -> Option<Self> {
        let memory_kib = (u128::from(self.memory_kib) * part).checked_div(whole)?;
        let memory_kib = u32::try_from(memory_kib).ok()?.min(self.memory_kib);
        (memory_kib >= 8 * self.parallelism).then_some(Self { memory_kib, ..self })
    }

    /// The string that is stored. Source: the PHC string format.
    pub(super) fn phc(self, salt: &[u8], output: &[u8]) -> String {
        let Self { memory_kib, time_cost, parallelism } = self;
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        format!("$argon2id$v=19$m={memory_kib},t={time_cost},p={parallelism}${salt}${output}")
    }
}

/// What is to be computed of a password and a salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) algorithm: Algorithm,
    pub(super) version: Version,
    pub(super) params: Params,
}

/// A stored Argon2 hash, its cost within the caps.
pub(super) struct ArgonHash {
    recipe: Recipe,
    salt: Salt,
    output: Output,
}

impl ArgonHash {
    pub(super) fn parse(phc: &str) -> Result<Self, Unreadable> {
        let hash = PasswordHash::new(phc).map_err(|_| Unreadable::Malformed)?;
        let params = Params::try_from(&hash).map_err(|_| Unreadable::Malformed)?;
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > TIME_COST_MAX || params.p_cost() > PARALLELISM_MAX {
            return Err(Unreadable::TooCostly);
        }
        let algorithm = match hash.algorithm.as_str() {
            "argon2id" => Algorithm::Argon2id,
            // What Django wrote before 3.2.
            "argon2i" => Algorithm::Argon2i,
            _ => return Err(Unreadable::UnknownFormat),
        };
        let version = hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(|_| Unreadable::Malformed)?;
        let (Some(salt), Some(output)) = (hash.salt, hash.hash) else { return Err(Unreadable::Malformed) };
        Ok(Self { recipe: Recipe { algorithm, version, params }, salt, output })
    }

    pub(super) fn verify(&self, password: &[u8], memory: &mut Memory) -> Result<bool, ArgonError> {
        let mut output = [0; Output::MAX_LENGTH];
        let output = &mut output[..self.output.len()];
        memory.hash(&self.recipe, password, &self.salt, output)?;
        Ok(output.ct_eq(self.output.as_bytes()).into())
    }

    /// Whether a new hash would be no better.
    pub(super) fn is_made_with(&self, cost: HashCost) -> bool {
        let Recipe { algorithm, version, params } = &self.recipe;
        *algorithm == Algorithm::Argon2id
            && *version == Version::V0x13
            && self.has_cost(cost)
            && (params.keyid().is_empty() && params.data().is_empty())
            && (self.salt.len() >= SALT_LEN && self.output.len() == OUTPUT_LEN)
    }

    /// Whether computing it takes what a live hash takes.
    pub(super) fn has_cost(&self, cost: HashCost) -> bool {
        let params = &self.recipe.params;
        (params.m_cost(), params.t_cost(), params.p_cost()) == (cost.memory_kib, cost.time_cost, cost.parallelism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_outside_the_bounds_makes_no_hash() {
        let default = HashCost::default();
        assert!(default.recipe().is_some());
        for broken in [
            HashCost { memory_kib: MEMORY_KIB_MAX + 1, ..default },
            HashCost { memory_kib: 8 * default.parallelism - 1, ..default },
            HashCost { time_cost: 0, ..default },
            HashCost { time_cost: TIME_COST_MAX + 1, ..default },
            HashCost { parallelism: 0, ..default },
            HashCost { parallelism: PARALLELISM_MAX + 1, ..default },
        ] {
            assert!(broken.recipe().is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_fraction_scales_the_memory_and_never_exceeds_the_whole() {
        let cost = HashCost { memory_kib: 1_000, time_cost: 2, parallelism: 8 };
        assert_eq!(cost.fraction(1, 2), Some(HashCost { memory_kib: 500, ..cost }));
        assert_eq!(cost.fraction(3, 2), Some(cost));
        assert_eq!(cost.fraction(1, 1_000), None);
        assert_eq!(cost.fraction(1, 0), None);
    }
}
