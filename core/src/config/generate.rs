//! Fresh keys for `doorbook keys new`.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Random bytes of each key, as the guide makes them: `openssl rand -base64 50` and `secrets.token_urlsafe(32)`.
const SECRET_KEY_BYTES: usize = 50;
const JWT_SECRET_KEY_BYTES: usize = 32;

/// Lines for a `.env`, with keys that no one has seen. Fails only if the system has no randomness to give.
pub fn new_secret_block() -> Result<Zeroizing<String>, Unspecified> {
    let mut secret_key = Zeroizing::new([0; SECRET_KEY_BYTES]);
    rand::fill(secret_key.as_mut_slice())?;
    let mut jwt_secret_key = Zeroizing::new([0; JWT_SECRET_KEY_BYTES]);
    rand::fill(jwt_secret_key.as_mut_slice())?;
    let secret_key = Zeroizing::new(STANDARD.encode(*secret_key));
    let jwt_secret_key = Zeroizing::new(URL_SAFE_NO_PAD.encode(*jwt_secret_key));
    Ok(Zeroizing::new(format!("SECRET_KEY={}\nJWT_SECRET_KEY={}\n", *secret_key, *jwt_secret_key)))
}
