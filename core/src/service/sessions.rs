//! Ending and listing sessions.

use super::append::{Batch, MailContext};
use super::idempotent::IdempotencyHeader;
use super::limits::OWN_CHANGES;
use super::{Context, Doorbook, Refusal, access::Caller, retrying};
use crate::account::{Command, decide};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::session::{RevokeReason, SessionEvent};
use crate::store::keys::DataKey;
use crate::store::keys::identifiers::Bucket;
use crate::store::query::{accounts, sessions};
use crate::value::{AccountId, SessionId, StreamId};

/// Most sessions listed; SESSIONS_MAX is far below.
const LISTED_MAX: i64 = 1_000;

/// A session as its owner sees it.
#[derive(Debug)]
pub struct SessionView {
    pub id: SessionId,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub device_remembered: bool,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Batch<'_> {
    /// Ends one session by somebody's hand.
    pub fn end_session(
        &mut self,
        account: AccountId,
        session: SessionId,
        version: i64,
        reason: RevokeReason,
        words: Option<String>,
        key: Option<&DataKey>,
    ) -> Result<(), Refusal> {
        self.write.extend_stream(StreamId(session.0), version, 1);
        let event = Event::Session(SessionEvent::SessionRevoked { reason, words });
        self.event(StreamId(session.0), version + 1, Some(account), Some(session), event, key)?;
        self.write.end_session(session, reason.as_str(), self.now);
        Ok(())
    }
}

impl Doorbook {
    /// Ends the session of a refresh token; access token and all. Repeating it changes nothing, and nothing is told of a token
    /// that was never ours.
    pub async fn logout(&self, refresh: &str, context: &Context) -> Result<(), Refusal> {
        retrying(async || {
            let Some((row, _)) = self.genuine_refresh(refresh, &context.origin).await? else {
                return match self.bad_token(&context.origin, Refusal::Unauthenticated).await {
                    Refusal::Unauthenticated => Ok(()),
                    limited => Err(limited),
                };
            };
            if row.revoked_at.is_some() {
                return Ok(());
            }
            let key = self.vault.account_key(&self.db, row.account_id).await?;
            let context = context.clone().acting(row.account_id);
            let mut batch = Batch::new(&context, self.now());
            let stream = StreamId(row.session_id.0);
            batch.write.extend_stream(stream, row.stream_version, 1);
            let event = Event::Session(SessionEvent::LoggedOut);
            batch.event(
                stream,
                row.stream_version + 1,
                Some(row.account_id),
                Some(row.session_id),
                event,
                key.as_ref(),
            )?;
            batch.write.end_session(row.session_id, "logged_out", batch.now);
            crate::failpoint!("logout.read");
            Ok(batch.commit(self).await?)
        })
        .await
    }

    /// Ends every session of the caller, this one too.
    pub async fn logout_all(
        &self,
        caller: Caller,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.unless_done(header, context, async |_| {
            let bucket = Bucket::new("logout_all", &[caller.account.0.as_bytes()]);
            self.count(&bucket, OWN_CHANGES, &context.origin).await?;
            self.end_all_sessions(caller, header, context).await
        })
        .await
        .map(drop)
    }

    async fn end_all_sessions(
        &self,
        caller: Caller,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once_within(header, context, async |key| {
            let owner =
                accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
            let events = decide(&owner.account, Command::RevokeAllSessions { reason: "owner".to_owned() })?;
            let mut batch = Batch::new(context, self.now());
            batch.account(&owner, events, Some(caller.session))?;
            batch.write.put_idempotency(key, 204, Some(caller.session));
            crate::failpoint!("revoke.read");
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    pub async fn list_sessions(&self, caller: Caller) -> Result<Vec<SessionView>, Refusal> {
        let key = self.vault.account_key(&self.db, caller.account).await?;
        self.session_views(caller.account, key.as_ref()).await
    }

    /// Live sessions, newest first. `key` is the account's.
    pub(super) async fn session_views(
        &self,
        account: AccountId,
        key: Option<&DataKey>,
    ) -> Result<Vec<SessionView>, Refusal> {
        let mut views = Vec::new();
        for row in sessions::live(&self.db, account, LISTED_MAX).await? {
            let origin: Option<MailContext> = match (&row.origin, key) {
                (Some(sealed), Some(key)) => Some(key.key.open_json(row.session_id.0, sealed)?),
                _ => None,
            };
            let (address, user_agent) = origin.map(|origin| (origin.address, origin.user_agent)).unzip();
            views.push(SessionView {
                id: row.session_id,
                address,
                user_agent,
                device_remembered: row.device_id.is_some(),
                created_at: row.created_at,
                last_used_at: row.last_used_at,
                expires_at: row.absolute_end,
            });
        }
        Ok(views)
    }

    /// Ends one of the caller's sessions. Somebody else's id is answered like one that does not exist, and noted: nobody comes by it
    /// unless it was leaked.
    pub async fn revoke_session(
        &self,
        caller: Caller,
        session: SessionId,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |once| {
            let row = sessions::by_id(&self.db, session, &[]).await?;
            let Some(row) = row.filter(|row| row.account_id != caller.account || row.revoked_at.is_none()) else {
                return Err(Refusal::NotFound);
            };
            if row.account_id != caller.account {
                self.note_denied(caller, "session_revoke", context).await;
                return Err(Refusal::NotFound);
            }
            let key = self.vault.account_key(&self.db, caller.account).await?;
            let mut batch = Batch::new(context, self.now());
            batch.end_session(caller.account, session, row.stream_version, RevokeReason::Owner, None, key.as_ref())?;
            batch.write.put_idempotency(once, 204, Some(caller.session));
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }
}
