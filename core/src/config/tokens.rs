//! Lives of tokens and sessions.

use std::time::Duration;

use super::reader::{Reader, Refused};
use super::registry;

/// Longest `iss` and `aud`, in characters: both travel with every request.
const CLAIM_CHARACTERS_MAX: usize = 255;

#[derive(Debug)]
pub struct Tokens {
    pub jwt_issuer: String,
    pub jwt_audience: String,
    pub access_lifetime: Duration,
    /// Absolute: no refresh extends it.
    pub session_lifetime: Duration,
    pub refresh_grace: Duration,
    /// None: a session ends only at its absolute end.
    pub session_idle: Option<Duration>,
    /// Of one account.
    pub sessions_max: u32,
    pub email_verification_lifetime: Duration,
    pub password_reset_lifetime: Duration,
}

impl Tokens {
    /// `frontend_url` is the issuer unless another is set.
    pub(super) fn read(reader: &mut Reader<'_>, frontend_url: Result<&str, Refused>) -> Result<Self, Refused> {
        let issuer = issuer(reader, frontend_url);
        let audience = reader.parsed(&registry::JWT_AUDIENCE, parse_claim);
        let access_lifetime = reader.minutes(&registry::JWT_ACCESS_TOKEN_LIFETIME_MINUTES);
        let session_lifetime = reader.days(&registry::JWT_REFRESH_TOKEN_LIFETIME_DAYS);
        let refresh_grace = reader.seconds(&registry::REFRESH_GRACE_SECONDS);
        let session_idle = idle(reader, access_lifetime.as_ref().ok());
        let sessions_max = reader.whole(&registry::SESSIONS_MAX);
        let email_verification_lifetime = reader.hours(&registry::EMAIL_VERIFICATION_EXPIRY_HOURS);
        let password_reset_lifetime = reader.hours(&registry::PASSWORD_RESET_TOKEN_EXPIRY_HOURS);
        Ok(Self {
            jwt_issuer: issuer?,
            jwt_audience: audience?,
            access_lifetime: access_lifetime?,
            session_lifetime: session_lifetime?,
            refresh_grace: refresh_grace?,
            session_idle: session_idle?,
            sessions_max: sessions_max?,
            email_verification_lifetime: email_verification_lifetime?,
            password_reset_lifetime: password_reset_lifetime?,
        })
    }
}

/// Whoever is at work refreshes when the access token is over, and not before: a session that ended sooner would end at work.
fn idle(reader: &mut Reader<'_>, access: Option<&Duration>) -> Result<Option<Duration>, Refused> {
    let idle = Some(reader.minutes(&registry::SESSION_IDLE_MINUTES)?).filter(|idle| !idle.is_zero());
    if idle.is_some_and(|idle| access.is_some_and(|access| idle <= *access)) {
        let rule = "must be 0 or more than JWT_ACCESS_TOKEN_LIFETIME_MINUTES";
        return Err(reader.refuse_because(&registry::SESSION_IDLE_MINUTES, rule));
    }
    Ok(idle)
}

fn issuer(reader: &mut Reader<'_>, frontend_url: Result<&str, Refused>) -> Result<String, Refused> {
    match reader.text(&registry::JWT_ISSUER)? {
        Some(text) => parse_claim(&text).ok_or_else(|| reader.refuse(&registry::JWT_ISSUER)),
        None => frontend_url.map(str::to_owned),
    }
}

fn parse_claim(text: &str) -> Option<String> {
    let is_claim = text.chars().count() <= CLAIM_CHARACTERS_MAX && !text.contains(char::is_control);
    is_claim.then(|| text.to_owned())
}
