//! Access tokens: JWTs (RFC 9068 `at+jwt`) that name a session. What they say is checked against the session on every call.

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keys::key_id;
use super::signing::{Algorithm, Jwk, PrivateKey, PublicKey};
use crate::clock::Timestamp;
use crate::value::{AccountId, SessionId};

const TYPE: &str = "at+jwt";
const TOKEN_USE: &str = "access";
/// Processes follow the database's clock with an error of a round trip; a token may be this much younger than now, in seconds.
const FUTURE_SECONDS_MAX: i64 = 2;
/// Longest token looked at, in bytes; ours are under 600, under 1,200 when RSA signs them.
const LENGTH_MAX: usize = 2_048;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    token_use: String,
}

/// Only these three: `jwk`, `jku`, `x5u`, `crit`, `b64` and whatever else a forger thinks of is no header of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    typ: String,
    alg: String,
    kid: String,
}

/// What a valid access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    pub account: AccountId,
    pub session: SessionId,
    pub expires_at: Timestamp,
}

/// What access tokens are signed with.
#[derive(Clone, Debug)]
pub enum SigningKey {
    /// HS256: whoever verifies can sign as well.
    Shared(SharedKey),
    Private(PrivateKey),
}

/// A secret of HS256, which shows itself to nobody.
#[derive(Clone)]
pub struct SharedKey(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

/// The ring of access tokens: the first signs and verifies, all others verify only.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    pub current: SigningKey,
    pub shared_fallbacks: Vec<SharedKey>,
    pub public_fallbacks: Vec<PublicKey>,
}

impl TokenKeys {
    /// HS256 with this key alone.
    pub fn shared(key: &[u8]) -> Self {
        let current = SigningKey::Shared(SharedKey(Zeroizing::new(key.to_vec())));
        Self { current, shared_fallbacks: Vec::new(), public_fallbacks: Vec::new() }
    }

    /// Every public key, the current one first; each once.
    pub fn public(&self) -> Vec<&PublicKey> {
        let current = match &self.current {
            SigningKey::Private(key) => Some(key.public()),
            SigningKey::Shared(_) => None,
        };
        let mut keys: Vec<&PublicKey> = Vec::new();
        for key in current.into_iter().chain(&self.public_fallbacks) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

/// A key that verifies, and what its tokens must claim.
struct Key {
    kid: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

/// Signs with the current key of the ring, verifies with all of them.
pub struct AccessTokens {
    header: Header,
    encoding: EncodingKey,
    /// By name; the current one first.
    keys: Vec<Key>,
    public: Vec<Jwk>,
    issuer: String,
    audience: String,
}

impl AccessTokens {
    pub fn new(ring: &TokenKeys, issuer: &str, audience: &str) -> Self {
        let validation = |algorithm: Algorithm| {
            let mut validation = Validation::new(algorithm.of_library());
            validation.set_audience(&[audience]);
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
            // Times are compared with the database's clock below; the library would take this machine's, with a leeway of 60 s.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.leeway = 0;
            validation
        };
        let shared = |key: &SharedKey| Key {
            kid: key_id(&key.0),
            algorithm: Algorithm::Hs256,
            decoding: DecodingKey::from_secret(&key.0),
            validation: validation(Algorithm::Hs256),
        };
        let public = |key: &PublicKey| Key {
            kid: key.kid().to_owned(),
            algorithm: key.algorithm(),
            decoding: key.decoding(),
            validation: validation(key.algorithm()),
        };
        let (encoding, current) = match &ring.current {
            SigningKey::Shared(key) => (EncodingKey::from_secret(&key.0), shared(key)),
            SigningKey::Private(key) => (key.encoding(), public(key.public())),
        };
        let mut header = Header::new(current.algorithm.of_library());
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(current.kid.clone());
        let mut keys = vec![current];
        keys.extend(ring.shared_fallbacks.iter().map(shared));
        keys.extend(ring.public_fallbacks.iter().map(public));
        let jwks = ring.public().into_iter().map(PublicKey::jwk).collect();
        Self { header, encoding, keys, public: jwks, issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// The public keys, the current one first: what others verify our tokens with.
    pub fn public_keys(&self) -> &[Jwk] {
        &self.public
    }

    pub fn sign(
        &self,
        account: AccountId,
        session: SessionId,
        jti: Uuid,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: account.0,
            sid: session.0,
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires_at.seconds(),
            jti,
            token_use: TOKEN_USE.to_owned(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.encoding)
    }

    /// `None` for whatever is not a token of ours in force at `now`; the reason is nobody's business.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<AccessClaims> {
        if token.len() > LENGTH_MAX {
            return None;
        }
        let header = strict_header(token)?;
        // The key says which algorithm is right; a token only names a key.
        let key = self.keys.iter().find(|key| key.kid == header.kid)?;
        if !(header.typ == TYPE && header.alg == key.algorithm.name()) {
            return None;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation).ok()?.claims;
        let latest = now.seconds() + FUTURE_SECONDS_MAX;
        let in_force = claims.token_use == TOKEN_USE
            && claims.exp > now.seconds()
            && (0..=latest).contains(&claims.nbf)
            && (0..=latest).contains(&claims.iat)
            && claims.iss == self.issuer
            && claims.aud == self.audience;
        in_force.then_some(AccessClaims {
            account: AccountId(claims.sub),
            session: SessionId(claims.sid),
            expires_at: Timestamp::from_seconds(claims.exp),
        })
    }

    /// Signs and verifies once with each algorithm in use: a build without a crypto backend, or with a wrong one, must not open a
    /// port. The private halves of fallbacks are not ours: a pair made for the moment stands for them.
    pub fn self_test(&self, now: Timestamp) -> bool {
        let mut tested = vec![self.keys[0].algorithm];
        if !self.round_trip(now) {
            return false;
        }
        for key in &self.keys {
            if tested.contains(&key.algorithm) {
                continue;
            }
            tested.push(key.algorithm);
            let current = match PrivateKey::generate(key.algorithm) {
                Ok(Some(pair)) => SigningKey::Private(pair),
                Ok(None) => SigningKey::Shared(SharedKey(Zeroizing::new(super::random::<32>().to_vec()))),
                Err(_) => return false,
            };
            let ring = TokenKeys { current, shared_fallbacks: Vec::new(), public_fallbacks: Vec::new() };
            if !Self::new(&ring, &self.issuer, &self.audience).round_trip(now) {
                return false;
            }
        }
        true
    }

    fn round_trip(&self, now: Timestamp) -> bool {
        let (account, session) = (AccountId(Uuid::nil()), SessionId(Uuid::max()));
        let Ok(token) = self.sign(account, session, Uuid::nil(), now, Timestamp::from_seconds(now.seconds() + 60))
        else {
            return false;
        };
        let Some((message, signature)) = token.rsplit_once('.') else { return false };
        let tampered = format!("{message}.AAAA{}", signature.get(4..).unwrap_or_default());
        self.verify(&token, now).is_some_and(|claims| claims.session == session)
            && self.verify(&tampered, now).is_none()
    }
}

fn strict_header(token: &str) -> Option<StrictHeader> {
    use base64::Engine as _;
    let (head, _) = token.split_once('.')?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).ok()?;
    serde_json::from_slice(&bytes).ok()
}
