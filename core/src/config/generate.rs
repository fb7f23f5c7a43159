//! Fresh keys for `doorbook keys new`.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::token::signing::{Algorithm, PrivateKey};

/// Random bytes of each key, as the guide makes them: `openssl rand -base64 50` and `secrets.token_urlsafe(32)`.
const SECRET_KEY_BYTES: usize = 50;
const JWT_SECRET_KEY_BYTES: usize = 32;

/// Lines for a `.env`, with keys that no one has seen. Fails only if the system has no randomness to give.
pub fn new_secret_block() -> Result<Zeroizing<String>, Unspecified> {
    new_secret_block_for(Algorithm::Hs256)
}

/// The same for access tokens signed otherwise. The private key stands on one line, its line breaks written as `\n`: every reader
/// of a `.env` takes that. Its public half follows as a comment, for the fallbacks of the processes that do not sign with it yet.
pub fn new_secret_block_for(algorithm: Algorithm) -> Result<Zeroizing<String>, Unspecified> {
    let mut secret_key = Zeroizing::new([0; SECRET_KEY_BYTES]);
    rand::fill(secret_key.as_mut_slice())?;
    let secret_key = Zeroizing::new(STANDARD.encode(*secret_key));
    let Some(pair) = PrivateKey::generate(algorithm)? else {
        let mut jwt_secret_key = Zeroizing::new([0; JWT_SECRET_KEY_BYTES]);
        rand::fill(jwt_secret_key.as_mut_slice())?;
        let jwt_secret_key = Zeroizing::new(URL_SAFE_NO_PAD.encode(*jwt_secret_key));
        return Ok(Zeroizing::new(format!("SECRET_KEY={}\nJWT_SECRET_KEY={}\n", *secret_key, *jwt_secret_key)));
    };
    let written = |pem: &str| Zeroizing::new(pem.trim_end().replace('\n', "\\n"));
    Ok(Zeroizing::new(format!(
        "SECRET_KEY={}\nJWT_ALGORITHM={}\nJWT_PRIVATE_KEY='{}'\n# kid {}\n# JWT_PUBLIC_KEY_FALLBACKS='{}'\n",
        *secret_key,
        algorithm.name(),
        *written(&pair.to_pem()),
        pair.public().kid(),
        *written(&pair.public().to_pem()),
    )))
}
