//! Tokens and the keys they come from.

pub mod access;
pub mod cursor;
mod der;
pub mod keys;
pub mod opaque;
pub mod pem;
pub mod signing;

use aws_lc_rs::rand;

/// Bytes of the operating system's random generator, through AWS-LC.
///
/// # Panics
/// When the generator fails: there is no safe way to go on without chance, and it does not fail on a running system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "nothing safe can be done without a random generator")]
    rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}
