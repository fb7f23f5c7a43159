//! The public keys of access tokens, for services that verify them without asking.

use doorbook_core::token::signing::Jwk;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::Chapter;
use super::input::Asked;

/// How long others may go on without asking again: a new key is published this long before it signs (`docs/KEYS.md`).
const CACHE_CONTROL: &str = "public, max-age=300";

/// One public key. Source: RFC 7517, RFC 8037, RFC 7518.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PublicJwk {
    /// `OKP`, `EC` or `RSA`.
    kty: String,
    /// `Ed25519` or `P-256`.
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Modulus of an RSA key.
    n: Option<String>,
    /// Exponent of an RSA key.
    e: Option<String>,
    /// As in the header of a token: the key's RFC 7638 thumbprint.
    kid: String,
    /// `EdDSA`, `ES256` or `RS256`.
    alg: String,
    /// Always `sig`.
    #[oai(rename = "use")]
    usage: String,
}

#[derive(Object)]
pub struct KeySet {
    /// The key that signs comes first. Empty while tokens are signed with HS256: then nobody else can verify them.
    keys: Vec<PublicJwk>,
}

#[derive(ApiResponse)]
pub enum KeySetAnswer {
    /// The key set.
    #[oai(status = 200)]
    Ok(Json<KeySet>, #[oai(header = "Cache-Control")] String),
}

pub struct KeyRoutes;

#[OpenApi(tag = "Chapter::Sessions")]
#[expect(clippy::unused_async, reason = "the framework takes async handlers only")]
impl KeyRoutes {
    /// Public keys of access tokens
    ///
    /// A valid token may still belong to a session that has ended; whoever must know asks `POST /api/auth/token/verify/`.
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "jwks")]
    async fn jwks(&self, asked: Asked) -> KeySetAnswer {
        let keys = asked.doorbook.public_token_keys().iter().map(public).collect();
        KeySetAnswer::Ok(Json(KeySet { keys }), CACHE_CONTROL.to_owned())
    }
}

fn public(key: &Jwk) -> PublicJwk {
    let Jwk { kty, crv, x, y, n, e, kid, alg, usage } = key.clone();
    PublicJwk { kty, crv, x, y, n, e, kid, alg, usage }
}
