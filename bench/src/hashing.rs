//! The floor of logins and registrations: nothing but hashes, on every core, in memory that is used again.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use doorbook_core::password::HashCost;

/// As long as Django's salts: a shorter one it makes anew at the first login, and Doorbook does not.
const SALT: &[u8; 22] = b"LikeDjangoOfThatLength";

/// A password as Django stores it.
pub fn of_django(cost: HashCost, password: &str) -> Result<String> {
    let params =
        Params::new(cost.memory_kib, cost.time_cost, cost.parallelism, Some(32)).map_err(|e| anyhow!("{e}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(password.as_bytes(), SALT).map_err(|error| anyhow!("{error}"))?;
    Ok(format!("argon2{hash}"))
}

/// Hashes a second of so many threads together.
pub fn rate(cost: HashCost, threads: usize, lasting: Duration) -> Result<f64> {
    let workers: Vec<_> = (0..threads).map(|_| thread::spawn(move || hash(cost, lasting))).collect();
    let mut rate = 0.0;
    for worker in workers {
        rate += worker.join().map_err(|_| anyhow!("a hashing thread died"))??;
    }
    Ok(rate)
}

/// Hashes a second of one thread, from its first hash to the end of the last one begun in time.
fn hash(cost: HashCost, lasting: Duration) -> Result<f64> {
    let params =
        Params::new(cost.memory_kib, cost.time_cost, cost.parallelism, Some(32)).map_err(|e| anyhow!("{e}"))?;
    let mut blocks = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; 32];
    let mut once = |salt: u32| {
        let salt = [salt.to_be_bytes(); 4].concat();
        argon2
            .hash_password_into_with_memory(b"violet harbour 73", &salt, &mut output, &mut blocks)
            .map_err(|error| anyhow!("{error}"))
    };
    // The first one meets pages that nobody has touched.
    once(0)?;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < lasting {
        count += 1;
        once(count)?;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
