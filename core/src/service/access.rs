//! Access tokens against session and account, on every call.

use super::{Doorbook, Refusal};
use crate::store::query::sessions;
use crate::token::signing::Jwk;
use crate::value::{AccountId, SessionId};

/// Who makes an authenticated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: AccountId,
    pub session: SessionId,
}

impl Doorbook {
    /// The public keys of access tokens, the one that signs first; none when HS256 signs and no other ever did.
    pub fn public_token_keys(&self) -> &[Jwk] {
        self.access.public_keys()
    }

    /// The token's holder, if the token, its session and its account are in force right now. A store that cannot answer refuses.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        let claims = self.access.verify(token, self.clock.now()).ok_or(Refusal::Unauthenticated)?;
        let standing = sessions::standing(&self.db, claims.session, claims.account).await?;
        let now = self.clock.observe(standing.now);
        if standing.in_force && claims.expires_at > now {
            Ok(Caller { account: claims.account, session: claims.session })
        } else {
            Err(Refusal::Unauthenticated)
        }
    }
}
