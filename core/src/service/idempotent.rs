//! Idempotency-Key: a write that is repeated with the same key has happened once. The outcome is stored in the statement of the
//! write; the answer is made anew from the request or from state, so nothing of either is kept but MACs.

use aws_lc_rs::hmac;

use super::{Context, Doorbook, Refusal};
use crate::event::Actor;
use crate::store::project::idempotency::IdempotencyKey;
use crate::store::query::counters;
use crate::token::keys::Use;

/// Longest key accepted, in characters.
pub const KEY_LENGTH_MAX: usize = 255;

/// What came with the request: the header, the route and the body without passwords in a canonical form.
#[derive(Clone, Debug)]
pub struct IdempotencyHeader {
    pub key: String,
    /// Path below `/api/`, without the slash at its end.
    pub route: String,
    pub body: String,
}

impl Doorbook {
    /// `Ok(Some(key))`: go on and write the key with the command. `Ok(None)`: no key was sent. `Err(Done)`: it has happened.
    pub(crate) async fn begin(
        &self,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<Progress, Refusal> {
        let Some(header) = header else { return Ok(Progress::Go(None)) };
        let key = self.idempotency_key(header, context);
        match counters::replay(&self.db, &key).await? {
            None => Ok(Progress::Go(Some(key))),
            Some(replay) if !replay.same_request => Err(Refusal::IdempotencyMismatch),
            Some(replay) if replay.session_over => Err(Refusal::IdempotencySessionOver),
            Some(_) => Ok(Progress::Done),
        }
    }

    /// Whether the session of a genuine token has made this write, though it may be over by now. To whoever ended a session
    /// and never got the answer, a plain 401 would say that nothing had happened.
    pub async fn has_written(&self, token: &str, route: &str, key: &str) -> Result<bool, Refusal> {
        let Some(claims) = self.access.verify(token, self.clock.now()) else { return Ok(false) };
        let scope = self.idempotency_scope(route, &claims.account.0.to_string());
        Ok(counters::written_in(&self.db, scope, self.idempotency_mac("key", key), claims.session).await?)
    }

    fn idempotency_key(&self, header: &IdempotencyHeader, context: &Context) -> IdempotencyKey {
        let caller = match context.actor {
            Actor::Account(account) => account.0.to_string(),
            Actor::Stranger | Actor::Operator | Actor::System => context.origin.network().to_string(),
        };
        IdempotencyKey {
            scope: self.idempotency_scope(&header.route, &caller),
            key: self.idempotency_mac("key", &header.key),
            request: self.idempotency_mac("request", &header.body),
        }
    }

    fn idempotency_scope(&self, route: &str, caller: &str) -> [u8; 32] {
        self.idempotency_mac("scope", &format!("{route}\0{caller}"))
    }

    fn idempotency_mac(&self, label: &str, text: &str) -> [u8; 32] {
        let tag = hmac::sign(self.roots.current_key(Use::Idempotency), format!("{label}\0{text}").as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }
}

/// Whether there is anything to do.
pub(crate) enum Progress {
    Go(Option<IdempotencyKey>),
    Done,
}
