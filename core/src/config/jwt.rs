//! Keys of access tokens: one that signs, any number that only verify.

use zeroize::Zeroizing;

use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;
use super::secrets::{KEYS_MAX, fallbacks, jwt_key_fault, key};
use crate::token::access::{SharedKey, SigningKey, TokenKeys};
use crate::token::signing::{Algorithm, PrivateKey, PublicKey};

pub(super) fn read(reader: &mut Reader<'_>) -> Result<TokenKeys, Refused> {
    let choices = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let current = match reader.choice(&registry::JWT_ALGORITHM, &choices) {
        Ok(Algorithm::Hs256) => {
            key(reader, &registry::JWT_SECRET_KEY, jwt_key_fault).map(|key| SigningKey::Shared(shared(&key)))
        }
        Ok(algorithm) => private(reader, algorithm).map(SigningKey::Private),
        Err(refused) => Err(refused),
    };
    // Whatever signs now: tokens of the algorithm before, or of the next one, are verified as well.
    let shared_fallbacks = fallbacks(reader, &registry::JWT_SECRET_KEY_FALLBACKS, jwt_key_fault);
    let public_fallbacks = public(reader);
    Ok(TokenKeys {
        current: current?,
        shared_fallbacks: shared_fallbacks?.iter().map(shared).collect(),
        public_fallbacks: public_fallbacks?,
    })
}

fn shared(key: &Secret) -> SharedKey {
    SharedKey(Zeroizing::new(key.expose().as_bytes().to_vec()))
}

fn private(reader: &mut Reader<'_>, algorithm: Algorithm) -> Result<PrivateKey, Refused> {
    let variable = &registry::JWT_PRIVATE_KEY;
    let text = reader.required_secret(variable)?;
    PrivateKey::of_pem(text.expose(), algorithm)
        .map_err(|fault| reader.refuse_because(variable, format!("must {fault}")))
}

fn public(reader: &mut Reader<'_>) -> Result<Vec<PublicKey>, Refused> {
    let variable = &registry::JWT_PUBLIC_KEY_FALLBACKS;
    let Some(text) = reader.secret(variable)? else { return Ok(Vec::new()) };
    match PublicKey::all_of_pem(text.expose()) {
        Ok(keys) if keys.len() <= KEYS_MAX => Ok(keys),
        Ok(_) => Err(reader.refuse(variable)),
        Err(fault) => Err(reader.refuse_because(variable, format!("must {fault}"))),
    }
}
