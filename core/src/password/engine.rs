//! What computes Argon2, and the memory that a hashing thread keeps for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::{Algorithm, Argon2, Block, Version};

use super::argon::{ArgonHash, HashCost, OUTPUT_LEN, Recipe, SALT_LEN};

/// All give the same hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The crate `argon2`: the reference here.
    Argon2,
    /// The crate `argon2-rust`: the vector instructions that the processor has, on huge pages (docs/adr/0027).
    Simd,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ArgonError {
    #[error("no memory for a hash of {0} KiB")]
    OutOfMemory(usize),
    #[error("argon2: {0}")]
    Argon2(argon2::Error),
    #[error("argon2-rust: {0}")]
    Simd(argon2_rust::Error),
}

/// The blocks of one hashing thread. Reused, because fresh pages cost as much time as the hash itself; Argon2 writes
/// every block before it reads it, so what an earlier hash left behind has no effect.
pub(super) struct Memory {
    blocks: Blocks,
    /// Blocks that are kept: those of the live cost. What a dearer stored hash needs is given back.
    kept: usize,
}

enum Blocks {
    Argon2(Vec<Block>),
    /// None before the first hash. Boxed: the crate keeps the parameters beside its memory.
    Simd(Option<Box<argon2_rust::Hasher>>),
}

/// Held while a stored hash uses more memory than a thread keeps: only one at a time in the process, so the peak is
/// the threads' own memory and once the cap.
static OVERSIZED: Mutex<()> = Mutex::new(());

impl Memory {
    /// Memory that keeps the blocks of `live`.
    pub(super) fn new(engine: Engine, live: &Recipe) -> Self {
        Self { blocks: Blocks::none(engine), kept: live.params.block_count() }
    }

    /// Whether a hash has run in what is kept.
    #[cfg(test)]
    pub(super) fn is_warm(&self) -> bool {
        self.blocks.count() > 0
    }

    /// A guard if `kib` is more than this thread keeps.
    pub(super) fn guard_oversized(&self, kib: usize) -> Option<MutexGuard<'static, ()>> {
        (kib > self.kept).then(|| OVERSIZED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn hash(
        &mut self,
        recipe: &Recipe,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), ArgonError> {
        let needed = recipe.params.block_count();
        let guard = self.guard_oversized(needed);
        if guard.is_some() {
            return Blocks::none(self.blocks.engine()).hash(recipe, needed, password, salt, output);
        }
        self.blocks.hash(recipe, self.kept, password, salt, output)
    }
}

impl Blocks {
    const fn none(engine: Engine) -> Self {
        match engine {
            Engine::Argon2 => Self::Argon2(Vec::new()),
            Engine::Simd => Self::Simd(None),
        }
    }

    const fn engine(&self) -> Engine {
        match self {
            Self::Argon2(_) => Engine::Argon2,
            Self::Simd(_) => Engine::Simd,
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        match self {
            Self::Argon2(blocks) => blocks.len(),
            Self::Simd(hasher) => hasher.as_ref().map_or(0, |hasher| hasher.reserved_blocks()),
        }
    }

    /// In `count` blocks, which are enough.
    fn hash(
        &mut self,
        recipe: &Recipe,
        count: usize,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), ArgonError> {
        match self {
            Self::Argon2(blocks) => {
                if blocks.is_empty() {
                    *blocks = allocate(count)?;
                }
                let argon2 = Argon2::new(recipe.algorithm, recipe.version, recipe.params.clone());
                argon2.hash_password_into_with_memory(password, salt, output, blocks).map_err(ArgonError::Argon2)
            }
            Self::Simd(hasher) => {
                let argon2 = simd(recipe, output.len())?;
                let hasher = hasher.get_or_insert_with(|| Box::new(argon2.hasher()));
                hasher.set_argon2(argon2);
                hasher
                    .hash_into_with_ad(password, salt, &[], recipe.params.data(), output)
                    .map_err(|error| failed(error, count))
            }
        }
    }
}

fn allocate(blocks: usize) -> Result<Vec<Block>, ArgonError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks).map_err(|_| ArgonError::OutOfMemory(blocks))?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

/// The same recipe in the other crate's words. One thread: the cores are shared by hashing several passwords at once.
fn simd(recipe: &Recipe, output_len: usize) -> Result<argon2_rust::Argon2, ArgonError> {
    let algorithm = match recipe.algorithm {
        Algorithm::Argon2d => argon2_rust::Algorithm::Argon2d,
        Algorithm::Argon2i => argon2_rust::Algorithm::Argon2i,
        Algorithm::Argon2id => argon2_rust::Algorithm::Argon2id,
    };
    let version = match recipe.version {
        Version::V0x10 => argon2_rust::Version::V0x10,
        Version::V0x13 => argon2_rust::Version::V0x13,
    };
    let params = argon2_rust::Params::builder()
        .memory(argon2_rust::params::Memory::kib(recipe.params.m_cost().into()))
        .passes(recipe.params.t_cost())
        .lanes(recipe.params.p_cost())
        .threads(1)
        .tag_len(argon2_rust::params::TagLen::bytes(output_len as u64))
        .build()
        .map_err(ArgonError::Simd)?;
    Ok(argon2_rust::Argon2::new(algorithm, version, params))
}

fn failed(error: argon2_rust::Error, blocks: usize) -> ArgonError {
    match error {
        argon2_rust::Error::MemoryAllocationError => ArgonError::OutOfMemory(blocks),
        other => ArgonError::Simd(other),
    }
}

/// Cost of the self-test: 64 KiB, so that it takes under a millisecond.
const SELF_TEST_COST: HashCost = HashCost { memory_kib: 64, time_cost: 2, parallelism: 8 };

/// Made with the reference implementation (libargon2, through argon2-cffi).
const SELF_TEST_PHC: &str =
    "$argon2id$v=19$m=64,t=2,p=8$MDEyMzQ1Njc4OWFiY2RlZg$NbJ/T4NFd2QncUMgeGQSVDnba3lxUyW4WmGBes9GXJA";

/// Passwords, each for a salt of its own, that a second engine is compared with the first on, before it is trusted with any.
const COMPARED: usize = 8;

impl Engine {
    /// Whether this build of it, on this processor, agrees with the reference implementation.
    pub(super) fn self_test(self) -> Result<bool, ArgonError> {
        let (Some(recipe), Ok(known)) = (SELF_TEST_COST.recipe(), ArgonHash::parse(SELF_TEST_PHC)) else {
            return Ok(false);
        };
        let mut memory = Memory::new(self, &recipe);
        // The refusal runs first: what it leaves in the memory must not disturb the match.
        Ok(!known.verify(b"doorbook self-tesT", &mut memory)? && known.verify(b"doorbook self-test", &mut memory)?)
    }

    /// This engine if it does what [`Self::Argon2`] does; that one if not, which a warning tells.
    pub(super) fn or_reference(self) -> Self {
        if self == Self::Argon2 {
            return self;
        }
        match self.self_test().and_then(|passed| Ok(passed && self.agrees()?)) {
            Ok(true) => self,
            Ok(false) => {
                tracing::warn!("ARGON2_ENGINE gives other hashes than argon2 on this machine; argon2 is used");
                Self::Argon2
            }
            Err(error) => {
                tracing::warn!(%error, "ARGON2_ENGINE does not work on this machine; argon2 is used");
                Self::Argon2
            }
        }
    }

    /// Whether random passwords and salts give what the reference gives.
    fn agrees(self) -> Result<bool, ArgonError> {
        let Some(recipe) = SELF_TEST_COST.recipe() else { return Ok(false) };
        let mut memories = [Memory::new(Self::Argon2, &recipe), Memory::new(self, &recipe)];
        for _ in 0..COMPARED {
            let mut random = [0; 2 * SALT_LEN];
            // Without randomness the comparison is still one, of the same bytes.
            if aws_lc_rs::rand::fill(&mut random).is_err() {
                tracing::warn!("no randomness for the self-test of ARGON2_ENGINE");
            }
            let (password, salt) = random.split_at(SALT_LEN);
            let mut outputs = [[0; OUTPUT_LEN]; 2];
            for (memory, output) in memories.iter_mut().zip(&mut outputs) {
                memory.hash(&recipe, password, salt, output)?;
            }
            if outputs[0] != outputs[1] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
