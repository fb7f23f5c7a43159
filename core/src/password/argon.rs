//! Argon2id: the live parameters, the PHC form, and the memory that is kept between hashes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

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
    pub(super) fn argon2(self) -> Option<Argon2<'static>> {
        let within_caps =
            self.memory_kib <= MEMORY_KIB_MAX && self.time_cost <= TIME_COST_MAX && self.parallelism <= PARALLELISM_MAX;
        let params = Params::new(self.memory_kib, self.time_cost, self.parallelism, Some(OUTPUT_LEN)).ok()?;
        within_caps.then(|| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
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

#[derive(Debug, thiserror::Error)]
pub(super) enum ArgonError {
    #[error("no memory for a hash of {0} KiB")]
    OutOfMemory(usize),
    #[error("argon2: {0}")]
    Argon2(argon2::Error),
}

/// The blocks of one hashing thread. Reused, because fresh pages cost as much time as the hash itself; Argon2 writes
/// every block before it reads it, so what an earlier hash left behind has no effect.
pub(super) struct Memory {
    blocks: Vec<Block>,
    /// Blocks that are kept: those of the live cost. What a dearer stored hash needs is given back.
    kept: usize,
}

/// Held while a stored hash uses more memory than a thread keeps: only one at a time in the process, so the peak is
/// the threads' own memory and once the cap.
static OVERSIZED: Mutex<()> = Mutex::new(());

impl Memory {
    /// Memory that keeps the blocks of `live`.
    pub(super) fn for_cost(live: &Argon2<'_>) -> Self {
        Self { blocks: Vec::new(), kept: live.params().block_count() }
    }

    /// Allocates and touches what is kept.
    pub(super) fn warm(&mut self) -> Result<&mut [Block], ArgonError> {
        if self.blocks.is_empty() {
            self.blocks = allocate(self.kept)?;
        }
        Ok(&mut self.blocks)
    }

    #[cfg(test)]
    pub(super) fn is_warm(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// A guard if `kib` is more than this thread keeps.
    pub(super) fn guard_oversized(&self, kib: usize) -> Option<MutexGuard<'static, ()>> {
        (kib > self.kept).then(|| OVERSIZED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn hash(
        &mut self,
        argon2: &Argon2<'_>,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), ArgonError> {
        let needed = argon2.params().block_count();
        let guard = self.guard_oversized(needed);
        if guard.is_some() {
            let mut blocks = allocate(needed)?;
            return run(argon2, password, salt, output, &mut blocks);
        }
        run(argon2, password, salt, output, self.warm()?)
    }
}

fn run(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    blocks: &mut [Block],
) -> Result<(), ArgonError> {
    argon2.hash_password_into_with_memory(password, salt, output, blocks).map_err(ArgonError::Argon2)
}

fn allocate(blocks: usize) -> Result<Vec<Block>, ArgonError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks).map_err(|_| ArgonError::OutOfMemory(blocks))?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

/// A stored Argon2 hash, its cost within the caps.
pub(super) struct ArgonHash {
    argon2: Argon2<'static>,
    algorithm: Algorithm,
    version: Version,
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
        Ok(Self { argon2: Argon2::new(algorithm, version, params), algorithm, version, salt, output })
    }

    pub(super) fn verify(&self, password: &[u8], memory: &mut Memory) -> Result<bool, ArgonError> {
        let mut output = [0; Output::MAX_LENGTH];
        let output = &mut output[..self.output.len()];
        memory.hash(&self.argon2, password, &self.salt, output)?;
        Ok(output.ct_eq(self.output.as_bytes()).into())
    }

    /// Whether a new hash would be made in the same way.
    pub(super) fn is_made_with(&self, cost: HashCost) -> bool {
        let params = self.argon2.params();
        self.algorithm == Algorithm::Argon2id
            && self.version == Version::V0x13
            && self.has_cost(cost)
            && (params.keyid().is_empty() && params.data().is_empty())
            && (self.salt.len() == SALT_LEN && self.output.len() == OUTPUT_LEN)
    }

    /// Whether computing it takes what a live hash takes.
    pub(super) fn has_cost(&self, cost: HashCost) -> bool {
        let params = self.argon2.params();
        (params.m_cost(), params.t_cost(), params.p_cost()) == (cost.memory_kib, cost.time_cost, cost.parallelism)
    }
}

/// Cost of the self-test: 64 KiB, so that it takes under a millisecond.
const SELF_TEST_COST: HashCost = HashCost { memory_kib: 64, time_cost: 2, parallelism: 8 };

/// Made with the reference implementation (libargon2, through argon2-cffi).
const SELF_TEST_PHC: &str =
    "$argon2id$v=19$m=64,t=2,p=8$MDEyMzQ1Njc4OWFiY2RlZg$NbJ/T4NFd2QncUMgeGQSVDnba3lxUyW4WmGBes9GXJA";

/// Whether this build of Argon2, on this processor, agrees with the reference implementation.
pub(super) fn self_test() -> Result<bool, ArgonError> {
    let (Some(argon2), Ok(known)) = (SELF_TEST_COST.argon2(), ArgonHash::parse(SELF_TEST_PHC)) else {
        return Ok(false);
    };
    let mut memory = Memory::for_cost(&argon2);
    // The refusal runs first: what it leaves in the memory must not disturb the match.
    Ok(!known.verify(b"doorbook self-tesT", &mut memory)? && known.verify(b"doorbook self-test", &mut memory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: HashCost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };

    fn hash(cost: HashCost, password: &[u8], memory: &mut Memory) -> [u8; OUTPUT_LEN] {
        let mut output = [0; OUTPUT_LEN];
        memory.hash(&cost.argon2().unwrap(), password, b"sixteen-byte-salt", &mut output).unwrap();
        output
    }

    #[test]
    fn the_self_test_passes() {
        assert!(self_test().unwrap());
    }

    #[test]
    fn reused_memory_neither_moves_nor_changes_the_hash() {
        let mut reused = Memory::for_cost(&TINY.argon2().unwrap());
        let address = reused.warm().unwrap().as_ptr();
        for password in [&b"one"[..], b"two", b"one", b""] {
            let mut fresh = Memory::for_cost(&TINY.argon2().unwrap());
            assert_eq!(hash(TINY, password, &mut reused), hash(TINY, password, &mut fresh));
        }
        assert_eq!(reused.blocks.as_ptr(), address);
    }

    #[test]
    fn memory_of_a_dearer_hash_is_given_back() {
        let mut memory = Memory::for_cost(&TINY.argon2().unwrap());
        let dear = HashCost { memory_kib: 256, ..TINY };
        let mut its_own = Memory::for_cost(&dear.argon2().unwrap());
        hash(TINY, b"one", &mut memory);
        assert_eq!(hash(dear, b"one", &mut memory), hash(dear, b"one", &mut its_own));
        assert_eq!(memory.blocks.len(), 64);
    }

    #[test]
    fn a_cost_outside_the_bounds_makes_no_hash() {
        let default = HashCost::default();
        assert!(default.argon2().is_some());
        for broken in [
            HashCost { memory_kib: MEMORY_KIB_MAX + 1, ..default },
            HashCost { memory_kib: 8 * default.parallelism - 1, ..default },
            HashCost { time_cost: 0, ..default },
            HashCost { time_cost: TIME_COST_MAX + 1, ..default },
            HashCost { parallelism: 0, ..default },
            HashCost { parallelism: PARALLELISM_MAX + 1, ..default },
        ] {
            assert!(broken.argon2().is_none(), "{broken:?}");
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
