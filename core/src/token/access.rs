//! Access tokens: JWTs (RFC 9068 `at+jwt`) that name a session. What they say is checked against the session on every call.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::key_id;
use crate::clock::Timestamp;
use crate::value::{AccountId, SessionId};

const TYPE: &str = "at+jwt";
const TOKEN_USE: &str = "access";
/// Processes follow the database's clock with an error of a round trip; a token may be this much younger than now, in seconds.
const FUTURE_SECONDS_MAX: i64 = 2;
/// Longest token looked at, in bytes; ours are under 600.
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

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// Signs with JWT_SECRET_KEY, verifies with it and its fallbacks.
pub struct AccessTokens {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    validation: Validation,
}

impl AccessTokens {
    pub fn new(current: &[u8], fallbacks: &[&[u8]], issuer: &str, audience: &str) -> Self {
        let keys = std::iter::once(current)
            .chain(fallbacks.iter().copied())
            .map(|secret| Key {
                id: key_id(secret),
                encoding: EncodingKey::from_secret(secret),
                decoding: DecodingKey::from_secret(secret),
            })
            .collect();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Times are compared with the database's clock below; the library would take this machine's, with a leeway of 60 s.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.leeway = 0;
        Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned(), validation }
    }

    pub fn sign(
        &self,
        account: AccountId,
        session: SessionId,
        jti: Uuid,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let key = &self.keys[0];
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.id.clone());
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
        jsonwebtoken::encode(&header, &claims, &key.encoding)
    }

    /// `None` for whatever is not a token of ours in force at `now`; the reason is nobody's business.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<AccessClaims> {
        if token.len() > LENGTH_MAX {
            return None;
        }
        let header = strict_header(token)?;
        let key = self.keys.iter().find(|key| key.id == header.kid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation).ok()?.claims;
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

    /// Signs and verifies once: a build without a crypto backend, or with a wrong one, must not open a port.
    pub fn self_test(&self, now: Timestamp) -> bool {
        let (account, session) = (AccountId(Uuid::nil()), SessionId(Uuid::max()));
        let Ok(token) = self.sign(account, session, Uuid::nil(), now, Timestamp::from_seconds(now.seconds() + 60))
        else {
            return false;
        };
        let tampered = format!("{}{}", &token[..token.len() - 4], "AAAA");
        self.verify(&token, now).is_some_and(|claims| claims.session == session)
            && self.verify(&tampered, now).is_none()
    }
}

fn strict_header(token: &str) -> Option<StrictHeader> {
    use base64::Engine as _;
    let (head, _) = token.split_once('.')?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).ok()?;
    let header: StrictHeader = serde_json::from_slice(&bytes).ok()?;
    (header.typ == TYPE && header.alg == "HS256").then_some(header)
}
