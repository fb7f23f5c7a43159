//! Idempotency-Key: a write that is repeated with the same key has happened once. The outcome is stored in the statement of the
//! write; the answer is made anew from the request or from state, so nothing of either is kept but MACs.

use aws_lc_rs::hmac;

use super::{Context, Doorbook, Refusal, retrying};
use crate::event::Actor;
use crate::store::StoreError;
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

    /// The same within [`Self::unless_done`], which has looked for the key a moment ago and looks again when this is refused: here it is
    /// looked for after a conflict only. While SECRET_KEY changes another process may write the same request under another name, which
    /// conflicts with nothing.
    pub(crate) async fn once_within<T, F>(
        &self,
        header: Option<&IdempotencyHeader>,
        context: &Context,
        command: impl Fn(Option<IdempotencyKey>) -> F,
    ) -> Result<Option<T>, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let keys = header.map_or_else(Vec::new, |header| self.idempotency_keys(header, context));
        if keys.len() > 1 {
            return self.once(header, context, command).await;
        }
        match Box::pin(command(keys.into_iter().next())).await {
            Err(Refusal::Unavailable(StoreError::Conflict)) => self.once(header, context, command).await,
            other => other.map(Some),
        }
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
        let keys = self.idempotency_keys(header, context);
        if self.is_done(&keys).await? {
            return Ok(None);
        }
        crate::failpoint!("command.begun");
        let refusal = match Box::pin(command(keys.first().copied())).await {
            Ok(done) => return Ok(Some(done)),
            Err(Refusal::Unavailable(error)) => return Err(error.into()),
            Err(refusal) => refusal,
        };
        // What refused it may be what the same request has just done, after we looked for its key. What that has cost, such as a guess,
        // stays counted.
        match self.is_done(&keys).await {
            Ok(true) => Ok(None),
            Ok(false) | Err(Refusal::Unavailable(_)) => Err(refusal),
            Err(mismatch) => Err(mismatch),
        }
    }

    /// Whether the same request has happened, under whichever of these keys.
    async fn is_done(&self, keys: &[IdempotencyKey]) -> Result<bool, Refusal> {
        for key in keys {
            match counters::replay(&self.db, key).await? {
                None => {}
                Some(replay) if !replay.same_request => return Err(Refusal::IdempotencyMismatch),
                Some(replay) if replay.session_over => return Err(Refusal::IdempotencySessionOver),
                Some(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Whether the session of a genuine token has made this write, though it may be over by now. To whoever ended a session
    /// and never got the answer, a plain 401 would say that nothing had happened.
    pub async fn has_written(&self, token: &str, route: &str, key: &str) -> Result<bool, Refusal> {
        let Some(claims) = self.access.verify(token, self.clock.now()) else { return Ok(false) };
        let caller = claims.account.0.to_string();
        for root in self.roots.keys(Use::Idempotency) {
            if counters::written_in(&self.db, scope(root, route, &caller), mac(root, "key", key), claims.session)
                .await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the request is known by under the current SECRET_KEY, and under those that it may have been carried out with before.
    fn idempotency_keys(&self, header: &IdempotencyHeader, context: &Context) -> Vec<IdempotencyKey> {
        let caller = match context.actor {
            Actor::Account(account) => account.0.to_string(),
            Actor::Stranger | Actor::Operator | Actor::System => context.origin.network().to_string(),
        };
        let key = |root| IdempotencyKey {
            scope: scope(root, &header.route, &caller),
            key: mac(root, "key", &header.key),
            request: mac(root, "request", &header.body),
        };
        self.roots.keys(Use::Idempotency).map(key).collect()
    }
}

fn scope(root: &hmac::Key, route: &str, caller: &str) -> [u8; 32] {
    mac(root, "scope", &format!("{route}\0{caller}"))
}

fn mac(root: &hmac::Key, label: &str, text: &str) -> [u8; 32] {
    let tag = hmac::sign(root, format!("{label}\0{text}").as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}
