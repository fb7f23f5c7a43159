//! Tokens by which a page proves that it could read our answers, for sessions whose refresh token lies in a cookie: a browser
//! sends a cookie along whoever asks for it. A session has one such token, derived like all others and never stored.

use aws_lc_rs::digest::{SHA256, digest};

use super::{Context, Doorbook, Refusal};
use crate::session::{Presentation, judge};
use crate::token::keys::Use;
use crate::token::opaque::{self, OpaqueToken, SALT_LENGTH};
use crate::value::SessionId;

/// One token a session: rotation of the refresh token does not change it.
const GENERATION: u32 = 0;

/// The salt of a session's page token. Pages can read it in the token, which must not lead to the salt of the refresh tokens.
fn salt_of(session: &[u8]) -> Vec<u8> {
    let mut salt = digest(&SHA256, session).as_ref().to_vec();
    salt.truncate(SALT_LENGTH);
    salt
}

impl Doorbook {
    /// The token of the session that `refresh` belongs to. Reads only; a refresh token that is spent or was never ours is
    /// refused without further ado.
    pub async fn csrf_token(&self, refresh: &str) -> Result<OpaqueToken, Refusal> {
        let (row, presented) = self.session_of(refresh, &[]).await?.ok_or(Refusal::Unauthenticated)?;
        self.clock.observe(row.now);
        match judge(&row.family(), presented, row.now, self.policy.refresh_grace) {
            Presentation::Current | Presentation::Repeated => self.derive_csrf(row.session_id, &row.salt),
            Presentation::Reused | Presentation::Ended => Err(Refusal::Unauthenticated),
        }
    }

    pub(crate) fn derive_csrf(&self, session: SessionId, salt: &[u8]) -> Result<OpaqueToken, Refusal> {
        opaque::derive(&self.roots, Use::Csrf, self.roots.current_id(), session.0, GENERATION, &salt_of(salt))
            .ok_or(Refusal::Unauthenticated)
    }

    /// Refuses unless `csrf` was made for the session of `refresh`, whichever key was current then. A refresh token that was
    /// never ours counts as a guess.
    pub async fn check_csrf(&self, refresh: &str, csrf: &str, context: &Context) -> Result<(), Refusal> {
        let presented = opaque::parse(Use::Csrf, csrf).filter(|token| token.generation == GENERATION);
        let Some((row, _)) = self.genuine_refresh(refresh, &context.origin).await? else {
            return Err(self.bad_token(&context.origin, Refusal::Unauthenticated).await);
        };
        let matches = presented
            .filter(|token| token.id == row.session_id.0)
            .is_some_and(|token| opaque::is_ours(&self.roots, Use::Csrf, &token) && token.is_of(&salt_of(&row.salt)));
        if matches { Ok(()) } else { Err(Refusal::Forged) }
    }
}
