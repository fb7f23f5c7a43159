//! Idempotency-Key: a write that is repeated with the same key has happened once. The outcome is stored in the statement of the
//! write; the answer is made anew from the request or from state, so nothing of either is kept but MACs.

use aws_lc_rs::hmac;

use super::{Context, Doorbook, Refusal, retrying};
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
    /// Runs `command` with the key that it writes beside its events, anew after a conflict; `None` when the same request has happened
    /// already.
    pub(crate) async fn once<T, F>(
        &self,
        header: Option<&IdempotencyHeader>,
        context: &Context,
        command: impl Fn(Option<IdempotencyKey>) -> F,
    ) -> Result<Option<T>, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        retrying(|| self.unless_done(header, context, &command)).await
    }

    /// The same for what is not to be run twice: what costs too much, or counts.
    pub(crate) async fn unless_done<T, F>(
        &self,
        header: Option<&IdempotencyHeader>,
        context: &Context,
        command: impl FnOnce(Option<IdempotencyKey>) -> F,
    ) -> Result<Option<T>, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        // Boxed: commands within commands would be moved about in each other's frames.
        let Some(header) = header else { return Box::pin(command(None)).await.map(Some) };
        let key = self.idempotency_key(header, context);
        if self.is_done(&key).await? {
            return Ok(None);
        }
        crate::failpoint!("command.begun");
        let refusal = match Box::pin(command(Some(key))).await {
            Ok(done) => return Ok(Some(done)),
            Err(Refusal::Unavailable(error)) => return Err(error.into()),
            Err(refusal) => refusal,
        };
        // What refused it may be what the same request has just done, after we looked for its key. What that has cost, such as a guess,
        // stays counted.
        match self.is_done(&key).await {
            Ok(true) => Ok(None),
            Ok(false) | Err(Refusal::Unavailable(_)) => Err(refusal),
            Err(mismatch) => Err(mismatch),
        }
    }

    async fn is_done(&self, key: &IdempotencyKey) -> Result<bool, Refusal> {
        match counters::replay(&self.db, key).await? {
            None => Ok(false),
            Some(replay) if !replay.same_request => Err(Refusal::IdempotencyMismatch),
            Some(replay) if replay.session_over => Err(Refusal::IdempotencySessionOver),
            Some(_) => Ok(true),
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
