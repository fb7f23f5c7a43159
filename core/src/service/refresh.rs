//! Refresh: the newest token is spent for its successor; the one before gets the same successor within the grace; an older
//! genuine one ends the family.

use super::append::Batch;
use super::limits::{BAD_TOKENS, network_bucket};
use super::login::Tokens;
use super::notices::ONCE_A_DAY;
use super::{Context, Doorbook, Refusal, retrying};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::session::{Family, Presentation, RevokeReason, SessionEvent, judge};
use crate::store::StoreError;
use crate::store::query::accounts;
use crate::store::query::sessions::{self, SessionRow, Spent};
use crate::token::keys::Use;
use crate::token::opaque::{self, OpaqueToken, Presented};
use crate::value::{AccountId, ClientOrigin, EventId, SessionId, StreamId};

impl SessionRow {
    fn generation(&self) -> u32 {
        u32::try_from(self.generation).unwrap_or(u32::MAX)
    }

    pub(crate) fn family(&self) -> Family {
        Family {
            generation: self.generation(),
            rotated_at: self.rotated_at,
            absolute_end: self.absolute_end,
            idle_end: self.idle_end,
            revoked: self.revoked_at.is_some() || self.outlived,
        }
    }
}

impl Doorbook {
    pub async fn refresh(&self, token: &str, context: &Context) -> Result<Tokens, Refusal> {
        let Some(presented) = self.genuine(token) else {
            return Err(self.bad_token(&context.origin, Refusal::Unauthenticated).await);
        };
        let buckets = self.vault.identifiers().names(&network_bucket("bad_token", &context.origin));
        retrying(async || {
            crate::failpoint!("refresh.presented");
            match self.spend(&presented, &buckets).await? {
                Some(tokens) => Ok(tokens),
                None => self.refresh_not_current(&presented, &buckets, context).await,
            }
        })
        .await
    }

    /// The next pair, if the token is the newest of a living session and its network has guesses left for certain.
    async fn spend(&self, presented: &Presented, network: &[Vec<u8>]) -> Result<Option<Tokens>, Refusal> {
        let key_id = self.roots.current_id();
        let idle = self.policy.session_idle;
        let session = SessionId(presented.id);
        let spent = Spent { session, generation: presented.generation.into(), salt: &presented.salt };
        let Some(rotated) = sessions::rotate(&self.db, &spent, key_id, idle, (network, BAD_TOKENS.max)).await? else {
            return Ok(None);
        };
        self.clock.observe(rotated.now);
        crate::failpoint!("refresh.committed");
        let next = presented.generation.saturating_add(1);
        self.tokens(rotated.account_id, session, next, key_id, &presented.salt, rotated.absolute_end, None).map(Some)
    }

    /// What a token is that could not be spent at once: the row says.
    async fn refresh_not_current(
        &self,
        presented: &Presented,
        buckets: &[Vec<u8>],
        context: &Context,
    ) -> Result<Tokens, Refusal> {
        let Some(row) = self.row_of(presented, buckets).await? else {
            return Err(self.bad_token(&context.origin, Refusal::Unauthenticated).await);
        };
        Self::network_may_guess(&row)?;
        self.clock.observe(row.now);
        crate::failpoint!("refresh.read");
        match judge(&row.family(), presented.generation, row.now, self.policy.refresh_grace) {
            Presentation::Ended => Err(Refusal::Unauthenticated),
            Presentation::Repeated => self.answer(&row, row.generation(), &row.key_id),
            // Its network has guessed a lot, but long ago, or the row moved while the statement waited for it. Nothing left to spend now:
            // somebody was faster, and what the row says then decides.
            Presentation::Current => {
                self.spend(presented, &[]).await?.ok_or(Refusal::Unavailable(StoreError::Conflict))
            }
            Presentation::Reused => {
                self.end_reused(&row, presented.generation, context).await?;
                Err(Refusal::Unauthenticated)
            }
        }
    }

    /// The same as [`Self::session_of`]. Refuses a network that has presented too many tokens that were not ours: one of its guesses
    /// may be right. Those that are not are for the caller to count.
    pub(crate) async fn genuine_refresh(
        &self,
        token: &str,
        origin: &ClientOrigin,
    ) -> Result<Option<(SessionRow, u32)>, Refusal> {
        let buckets = self.vault.identifiers().names(&network_bucket("bad_token", origin));
        let found = self.session_of(token, &buckets).await?;
        if let Some((row, _)) = &found {
            Self::network_may_guess(row)?;
        }
        Ok(found)
    }

    /// The session of a refresh token that this service made, with what a counter holds, and the token's generation.
    pub(crate) async fn session_of(
        &self,
        token: &str,
        buckets: &[Vec<u8>],
    ) -> Result<Option<(SessionRow, u32)>, Refusal> {
        let Some(presented) = self.genuine(token) else { return Ok(None) };
        Ok(self.row_of(&presented, buckets).await?.map(|row| (row, presented.generation)))
    }

    /// A refresh token that was made with one of our keys. A generation was made with the key that was current then; which one that was
    /// is kept for the last two only.
    fn genuine(&self, token: &str) -> Option<Presented> {
        opaque::parse(Use::Refresh, token).filter(|presented| opaque::is_ours(&self.roots, Use::Refresh, presented))
    }

    async fn row_of(&self, presented: &Presented, buckets: &[Vec<u8>]) -> Result<Option<SessionRow>, Refusal> {
        let row = sessions::by_id(&self.db, SessionId(presented.id), buckets).await?;
        Ok(row.filter(|row| presented.is_of(&row.salt)))
    }

    fn network_may_guess(row: &SessionRow) -> Result<(), Refusal> {
        let guesses = row.counter.as_ref().map(|counter| counter.0.clone()).unwrap_or_default();
        Self::guesses_left(&guesses, row.now)
    }

    fn answer(&self, row: &SessionRow, generation: u32, key_id: &str) -> Result<Tokens, Refusal> {
        self.tokens(row.account_id, row.session_id, generation, key_id, &row.salt, row.absolute_end, None)
    }

    async fn end_reused(&self, row: &SessionRow, generation: u32, context: &Context) -> Result<(), Refusal> {
        let owner = accounts::by_id(&self.db, &self.vault, row.account_id).await?.ok_or(Refusal::Unauthenticated)?;
        let key = owner.data_key.as_ref();
        let mut batch = Batch::new(context, self.now());
        batch.write.extend_stream(StreamId(row.session_id.0), row.stream_version, 2);
        let stream = StreamId(row.session_id.0);
        let reused = Event::Session(SessionEvent::RefreshTokenReused { generation });
        let cause =
            batch.event(stream, row.stream_version + 1, Some(row.account_id), Some(row.session_id), reused, key)?;
        let revoked = Event::Session(SessionEvent::SessionRevoked { reason: RevokeReason::TokenReuse, words: None });
        batch.event(stream, row.stream_version + 2, Some(row.account_id), Some(row.session_id), revoked, key)?;
        batch.write.end_session(row.session_id, RevokeReason::TokenReuse.as_str(), batch.now);
        // Whoever holds tokens can show spent ones as often as he likes.
        if self.may_tell(&mut batch, ONCE_A_DAY, "token_reused", owner.id, &[]).await? {
            self.notice(&mut batch, "token_reused", &owner, cause)?;
        }
        tracing::warn!(target: "authentication", session = %row.session_id, "a spent refresh token came back: the session is ended");
        Ok(batch.commit(self).await?)
    }

    /// Access and refresh token of one generation of a session.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a column of the session row; a struct would only name them again"
    )]
    pub(crate) fn tokens(
        &self,
        account: AccountId,
        session: SessionId,
        generation: u32,
        key_id: &str,
        salt: &[u8],
        absolute_end: Timestamp,
        device: Option<OpaqueToken>,
    ) -> Result<Tokens, Refusal> {
        let now = self.clock.now();
        // A repeated refresh of a key that has been dropped cannot be answered: the family's holder logs in again.
        let refresh = opaque::derive(&self.roots, Use::Refresh, key_id, session.0, generation, salt)
            .ok_or(Refusal::Unauthenticated)?;
        let expires_at = now.plus(self.policy.access_lifetime).min(absolute_end);
        let access = self
            .access
            .sign(account, session, EventId::new(now).0, now, expires_at)
            .map_err(|error| Refusal::Internal(format!("signing an access token: {error}")))?;
        let csrf = self.derive_csrf(session, salt)?;
        let (expires_in, session_left) = (expires_at.since(now), absolute_end.since(now));
        Ok(Tokens { access, refresh, csrf, expires_in, session_left, session, device })
    }
}
