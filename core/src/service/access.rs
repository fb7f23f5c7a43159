//! Access tokens against session and account, on every call.

use super::{Doorbook, Refusal};
use crate::store::query::sessions;
use crate::token::access::AccessClaims;
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

    /// What a token of ours says, which is not yet believed: session and account may be over.
    pub(super) fn claims(&self, token: &str) -> Result<AccessClaims, Refusal> {
        self.access.verify(token, self.clock.now()).ok_or(Refusal::Unauthenticated)
    }

    /// The token's holder, if the token, its session and its account are in force right now. A store that cannot answer refuses.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        let claims = self.claims(token)?;
        let standing = sessions::standing(&self.db, claims.session, claims.account).await?;
        let now = self.clock.observe(standing.now);
        if standing.in_force && claims.expires_at > now {
            Ok(Caller { account: claims.account, session: claims.session })
        } else {
            Err(Refusal::Unauthenticated)
        }
    }
}
