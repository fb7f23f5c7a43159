//! The one place where passwords are hashed and verified: a few threads of low priority and the memory that they share out.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::PasswordPlain;
use super::admission::MovingAverage;
use super::argon::{HashCost, OUTPUT_LEN, Recipe, SALT_LEN};
use super::engine::{ArgonError, Engine, Memory};
use super::legacy::{StoredHash, Unreadable};
use super::pool::{Pool, Unserved};

/// Niceness of the hashing threads (0 is normal, 19 the lowest priority). At 0 the p99 of other routes doubles while
/// hashes are computed; between 5 and 10 it stays.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// How long the memory of hashes is kept when none is asked for. Taking it anew costs a hash half its time again; keeping it costs
/// everything else on the machine 100 MiB a thread.
const IDLE: Duration = Duration::from_secs(30);

/// How long a refusal for want of room is held back. Whoever asks again at once would otherwise take the hashing threads' own time: at
/// their low priority they get what all others leave.
const REFUSAL_HELD: Duration = Duration::from_millis(25);

/// An Argon2id hash in the PHC string format, to be stored.
pub struct PhcString(String);

impl PhcString {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PhcString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhcString(…)")
    }
}

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub matches: bool,
    /// The password matches, but the stored hash is not what [`Hasher::hash`] would make of it today.
    pub rehash: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Nothing was computed. The queue of now will have been served after `retry_after`.
    #[error("too many passwords are being verified")]
    Overloaded { retry_after: Duration },
    /// No memory, no randomness or a defect; logged where it happened.
    #[error("the password could not be hashed")]
    Failed,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Argon2 does not accept {0:?}")]
    Cost(HashCost),
    #[error("the self-test of Argon2 failed: this build gives other hashes than the reference implementation")]
    SelfTest,
    #[error("no randomness from the operating system")]
    Randomness,
    #[error("no hashing thread")]
    Thread(#[from] std::io::Error),
}

/// Hashes and verifies passwords. One a process; clones share its threads.
///
/// A clone that is dropped cancels nothing; when the last one goes, the threads end.
#[derive(Clone)]
pub struct Hasher {
    live: Arc<Live>,
    pool: Pool<Memory>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    verifications: AtomicU64,
    rejected: AtomicU64,
}

impl Hasher {
    /// Starts `permits` hashing threads, each with `cost.memory_kib` from its first hash on until none has come for half a minute. No full
    /// hash is computed.
    pub fn start(cost: HashCost, engine: Engine, permits: NonZeroUsize) -> Result<Self, StartError> {
        let live = Arc::new(Live::new(cost, engine)?);
        let of_pool = Arc::clone(&live);
        let make = move || Memory::new(of_pool.engine, &of_pool.recipe);
        let pool = Pool::start(permits.get(), "hash", IDLE, lower_priority, make)?;
        Ok(Self { live, pool, counters: Arc::default() })
    }

    /// One thread a core: more would only share them.
    pub fn default_permits() -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    pub async fn hash(&self, password: &PasswordPlain) -> Result<PhcString, HashError> {
        let (live, password) = (Arc::clone(&self.live), password.share());
        self.run(move |memory| live.hash(&password, memory)).await
    }

    /// Refuses what would be refused for want of room, before anything else is done for it, and a moment late.
    pub async fn room(&self) -> Result<(), HashError> {
        let refused = self.has_room();
        if refused.is_err() {
            tokio::time::sleep(REFUSAL_HELD).await;
        }
        refused
    }

    /// Refuses what would be refused for want of room now. Nobody gets a place by asking: one that is held while the database is waited
    /// for could be held by guesses that are refused for another reason, and keep everybody else out.
    pub fn has_room(&self) -> Result<(), HashError> {
        self.pool.look().map_err(|unserved| self.failed(unserved))
    }

    /// Whether `password` is the one of which `stored` was made.
    ///
    /// No stored hash (an unknown account), one that cannot be read and a mismatch take the same time: at least that
    /// of a hash with the live parameters.
    pub async fn verify(&self, stored: Option<&str>, password: &PasswordPlain) -> Result<Verified, HashError> {
        let (live, counters) = (Arc::clone(&self.live), Arc::clone(&self.counters));
        let (stored, password) = (stored.map(str::to_owned), password.share());
        self.run(move |memory| {
            counters.verifications.fetch_add(1, Ordering::Relaxed);
            live.verify(stored.as_deref(), &password, memory)
        })
        .await
    }

    /// What computes: [`Engine::Argon2`] also where another was asked for and did not pass its self-test.
    pub fn engine(&self) -> Engine {
        self.live.engine
    }

    /// Verifications computed since the start.
    pub fn verifications(&self) -> u64 {
        self.counters.verifications.load(Ordering::Relaxed)
    }

    /// Hashes being computed now, and jobs that wait for a thread.
    pub fn in_use(&self) -> (usize, usize) {
        self.pool.in_use()
    }

    /// Calls refused as [`HashError::Overloaded`] since the start.
    pub fn rejected(&self) -> u64 {
        self.counters.rejected.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, ComputeError> + Send + 'static,
    ) -> Result<T, HashError> {
        let result = self.pool.run(work).await.map_err(|unserved| self.failed(unserved))?;
        result.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            HashError::Failed
        })
    }

    fn failed(&self, unserved: Unserved) -> HashError {
        match unserved {
            Unserved::Full { retry_after } => {
                self.counters.rejected.fetch_add(1, Ordering::Relaxed);
                HashError::Overloaded { retry_after }
            }
            Unserved::Lost => HashError::Failed,
        }
    }
}

/// On Linux alone a priority belongs to a thread; elsewhere this would slow the whole process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "hashing threads run at normal priority");
    }
}

#[derive(Debug, thiserror::Error)]
enum ComputeError {
    #[error(transparent)]
    Argon(#[from] ArgonError),
    #[error("no randomness from the operating system")]
    Randomness(#[from] aws_lc_rs::error::Unspecified),
}

/// The parameters of new hashes and what is derived from them.
struct Live {
    cost: HashCost,
    recipe: Recipe,
    engine: Engine,
    /// Verified where there is nothing to verify. Salt and output are random, so no password matches it and making it
    /// takes no hash.
    dummy: StoredHash,
    /// How long a hash with the live parameters takes.
    time: MovingAverage,
}

impl Live {
    fn new(cost: HashCost, engine: Engine) -> Result<Self, StartError> {
        let recipe = cost.recipe().ok_or(StartError::Cost(cost))?;
        if !Engine::Argon2.self_test().is_ok_and(|passed| passed) {
            return Err(StartError::SelfTest);
        }
        let engine = engine.or_reference();
        let salt: [u8; SALT_LEN] = random().map_err(|_| StartError::Randomness)?;
        let output: [u8; OUTPUT_LEN] = random().map_err(|_| StartError::Randomness)?;
        let dummy = StoredHash::parse(&cost.phc(&salt, &output)).map_err(|_| StartError::Cost(cost))?;
        Ok(Self { cost, recipe, engine, dummy, time: MovingAverage::default() })
    }

    fn hash(&self, password: &PasswordPlain, memory: &mut Memory) -> Result<PhcString, ComputeError> {
        let salt: [u8; SALT_LEN] = random()?;
        let mut output = [0; OUTPUT_LEN];
        let started = Instant::now();
        memory.hash(&self.recipe, password.normalized().as_bytes(), &salt, &mut output)?;
        self.time.record(started.elapsed());
        Ok(PhcString(self.cost.phc(&salt, &output)))
    }

    /// Both forms of a password that is not in NFC are always tried, also on the dummy: how long it takes depends on
    /// the password alone, not on the account.
    fn verify(
        &self,
        stored: Option<&str>,
        password: &PasswordPlain,
        memory: &mut Memory,
    ) -> Result<Verified, ComputeError> {
        let readable = stored.and_then(read);
        let hash = readable.as_ref().unwrap_or(&self.dummy);
        let normalized = self.check(hash, password.normalized(), memory)?;
        let unnormalized = match password.unnormalized() {
            Some(raw) => self.check(hash, raw, memory)?,
            None => false,
        };
        let matches = readable.is_some() && (normalized || unnormalized);
        Ok(Verified { matches, rehash: matches && !(normalized && hash.is_made_with(self.cost)) })
    }

    /// Verifies one form, in no less time than the live parameters take.
    fn check(&self, hash: &StoredHash, password: &str, memory: &mut Memory) -> Result<bool, ComputeError> {
        let started = Instant::now();
        let matches = hash.verify(password, memory)?;
        let elapsed = started.elapsed();
        if hash.has_cost(self.cost) {
            self.time.record(elapsed);
        } else if let Some(padding) = self.padding(elapsed) {
            let mut output = [0; OUTPUT_LEN];
            memory.hash(&padding, password.as_bytes(), &[0; SALT_LEN], &mut output)?;
            std::hint::black_box(output);
        }
        Ok(matches)
    }

    /// A hash that takes what remains of a live one's time: a cheap imported hash must not tell by its speed that the
    /// account exists.
    fn padding(&self, elapsed: Duration) -> Option<Recipe> {
        let Some(whole) = self.time.get() else { return Some(self.recipe.clone()) };
        let part = whole.saturating_sub(elapsed);
        self.cost.fraction(part.as_nanos(), whole.as_nanos())?.recipe()
    }
}

fn read(stored: &str) -> Option<StoredHash> {
    match StoredHash::parse(stored) {
        Ok(hash) => Some(hash),
        Err(Unreadable::Unusable) => None,
        Err(reason) => {
            tracing::warn!(%reason, "a stored password hash cannot be verified; the login is refused");
            None
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
