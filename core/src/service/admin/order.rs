//! One order about an account that is somebody else's, and what follows from it.

use uuid::Uuid;

use crate::account::{Command, ErasureCause, Rejection, Role, Status, decide};
use crate::clock::Timestamp;
use crate::limit::Admission;
use crate::service::access::{Caller, Right};
use crate::service::append::{Batch, Hand, MailOrder};
use crate::service::idempotent::IdempotencyHeader;
use crate::service::login::{is_lockable, login_bucket, login_target};
use crate::service::{Context, Doorbook, Refusal};
use crate::session::RevokeReason;
use crate::store::keys::identifiers::Bucket;
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::{accounts, counters, sessions};
use crate::value::{AccountId, DataKeyId, EventId, SessionId, TokenId};

/// Devices whose blocks an unlock lifts, the newest first.
const DEVICES_MAX: i64 = 100;

/// What others than its owner may do to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intervention {
    Disable,
    Enable,
    /// Lifts the lock, and blocks that time would lift.
    Unlock,
    /// Ends all sessions; nobody logs in before the owner has set a new password with a mailed link.
    ForceReset,
    RevokeSessions,
    GrantRole(Role),
    RevokeRole(Role),
    /// Deletes its key and all that is about its person, at once and for good.
    Erase,
}

impl Intervention {
    /// Whether a session that somebody has walked away from must not be enough.
    const fn needs_step_up(self) -> bool {
        match self {
            Self::Disable | Self::ForceReset | Self::GrantRole(_) | Self::RevokeRole(_) | Self::Erase => true,
            Self::Enable | Self::Unlock | Self::RevokeSessions => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub what: Intervention,
    pub reason: String,
}

impl Order {
    pub fn new(what: Intervention, reason: impl Into<String>) -> Self {
        Self { what, reason: reason.into() }
    }
}

impl Doorbook {
    /// An operator's order. True when it changed anything.
    pub async fn command_account(&self, account: AccountId, order: &Order, context: &Context) -> Result<bool, Refusal> {
        self.carry_out(account, order, None, None, context).await
    }

    /// An admin's order.
    pub async fn administer(
        &self,
        caller: Caller,
        account: AccountId,
        order: &Order,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.unless_done(header, context, async |_| {
            if order.what.needs_step_up() {
                self.require_step_up(caller).await?;
            }
            self.carry_out(account, order, Some(caller), header, context).await
        })
        .await
        .map(drop)
    }

    /// Ends one session of an account by an admin's hand. A session of another account is answered like one that does not exist.
    pub async fn end_session_of(
        &self,
        caller: Caller,
        account: AccountId,
        session: SessionId,
        reason: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let hand = self.hand_of(caller, context).await?;
            let row = sessions::by_id(&self.db, session, &[]).await?;
            let Some(row) = row.filter(|row| row.account_id == account && row.revoked_at.is_none()) else {
                return Err(Refusal::NotFound);
            };
            let mut batch = Batch::new(context, self.now()).by(Some(&hand));
            let words = Some(reason.to_owned());
            batch.end_session(account, session, row.stream_version, RevokeReason::Admin, words, None)?;
            batch.write.put_idempotency(key, 204, Some(caller.session));
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// What acts for an admin, who is one at this moment.
    pub(super) async fn hand_of(&self, caller: Caller, context: &Context) -> Result<Hand, Refusal> {
        self.admit_still(caller, Right::Administer, context).await?;
        let key = self.vault.account_key(&self.db, caller.account).await?;
        Ok(Hand { session: caller.session, key })
    }

    /// The same for an order that may be an operator's, who has none.
    pub(super) async fn hand_if(&self, caller: Option<Caller>, context: &Context) -> Result<Option<Hand>, Refusal> {
        let Some(caller) = caller else { return Ok(None) };
        self.hand_of(caller, context).await.map(Some)
    }

    async fn carry_out(
        &self,
        account: AccountId,
        order: &Order,
        caller: Option<Caller>,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<bool, Refusal> {
        self.once_within(header, context, async |key| {
            let hand = self.hand_if(caller, context).await?;
            let loaded = accounts::by_id(&self.db, &self.vault, account).await?.ok_or(Refusal::NotFound)?;
            let mut batch = Batch::new(context, self.now()).by(hand.as_ref());
            let token = TokenId::new(batch.now);
            let command = self.command(&loaded, order, token).await?;
            let events = decide(&loaded.account, command).map_err(|rejection| match rejection {
                Rejection::Disabled => Refusal::AccountDisabled,
                other => other.into(),
            })?;
            let changes = !events.is_empty();
            if changes {
                let (after, causes) = batch.account(&loaded, events, None)?;
                self.follow_up(&mut batch, &loaded, order.what, token, &causes).await?;
                self.keep_an_admin(&mut batch, &loaded, &after).await?;
            }
            if !changes && key.is_none() {
                return Ok(false);
            }
            batch.write.put_idempotency(key, 204, caller.map(|caller| caller.session));
            crate::failpoint!("admin.read");
            batch.commit(self).await?;
            Ok(changes)
        })
        .await
        .map(Option::unwrap_or_default)
    }

    async fn command(&self, loaded: &Loaded, order: &Order, token: TokenId) -> Result<Command, Refusal> {
        let reason = order.reason.clone();
        Ok(match order.what {
            Intervention::Disable => Command::Disable { reason },
            Intervention::Enable => Command::Enable { reason },
            Intervention::Unlock => Command::Unlock { blocked: self.is_blocked(loaded).await?, reason },
            Intervention::ForceReset => Command::ForceReset { token, reason },
            Intervention::RevokeSessions => Command::RevokeAllSessions { reason },
            Intervention::GrantRole(role) => Command::GrantRole { role, reason },
            Intervention::RevokeRole(role) => Command::RevokeRole { role, reason },
            Intervention::Erase => Command::Erase {
                cause: ErasureCause::Ordered,
                reason: Some(reason),
                data_key: loaded.data_key.as_ref().map(|key| DataKeyId(key.id)),
            },
        })
    }

    /// What is more than the account's own row.
    async fn follow_up(
        &self,
        batch: &mut Batch<'_>,
        loaded: &Loaded,
        what: Intervention,
        token: TokenId,
        causes: &[EventId],
    ) -> Result<(), Refusal> {
        match what {
            Intervention::Unlock => {
                let keys = counters::keys_now(&self.db, &self.vault).await?;
                for bucket in self.login_buckets(loaded).await? {
                    batch.write.clear_counter(&keys, &bucket);
                }
            }
            Intervention::ForceReset => {
                // An open change of address may be a thief's: it must not outlive the password he had.
                batch.write.void_tokens(loaded.id, &[TokenKind::Change], batch.now);
                let life = self.policy.reset_expiry;
                batch.write.open_token(self.new_token(token, loaded.id, TokenKind::Reset, life, batch.now));
                let order = MailOrder::urgent("reset_forced", loaded.id, Some(token));
                for cause in causes {
                    batch.mail(&order, *cause, loaded.data_key.as_ref())?;
                }
            }
            // Where it ends the owner's wish to leave.
            Intervention::Enable if loaded.account.status == Status::Leaving => {
                batch.write.void_tokens(loaded.id, &[TokenKind::Cancel], batch.now);
            }
            Intervention::GrantRole(role) => self.tell_of_role(batch, loaded, "role_granted", role, causes)?,
            Intervention::RevokeRole(role) => self.tell_of_role(batch, loaded, "role_revoked", role, causes)?,
            Intervention::Disable | Intervention::Enable | Intervention::RevokeSessions | Intervention::Erase => {}
        }
        Ok(())
    }

    fn tell_of_role(
        &self,
        batch: &mut Batch<'_>,
        loaded: &Loaded,
        template: &'static str,
        role: Role,
        causes: &[EventId],
    ) -> Result<(), Refusal> {
        let (Some(email), Some(key)) = (loaded.email(), &loaded.data_key) else { return Ok(()) };
        for cause in causes {
            self.notice_to(batch, (template, Some(role.as_str())), loaded.id, (&email, key), *cause)?;
        }
        Ok(())
    }

    /// What counts the guesses at an account: the address, and each device that is known.
    async fn login_buckets(&self, loaded: &Loaded) -> Result<Vec<Bucket>, Refusal> {
        let Some(email) = loaded.email() else { return Ok(Vec::new()) };
        let devices = sessions::devices_of(&self.db, loaded.id, DEVICES_MAX).await?;
        let buckets = std::iter::once(None).chain(devices.into_iter().map(Some));
        Ok(buckets.map(|device| login_bucket(&email, device, loaded.account.session_epoch)).collect())
    }

    async fn is_blocked(&self, loaded: &Loaded) -> Result<bool, Refusal> {
        for bucket in self.login_buckets(loaded).await? {
            if self.blocked_until(loaded, &bucket).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Until when guesses at an account are refused in this bucket.
    pub(super) async fn blocked_until(&self, loaded: &Loaded, bucket: &Bucket) -> Result<Option<Timestamp>, Refusal> {
        let Some(email) = loaded.email() else { return Ok(None) };
        let (row, now) = counters::read(&self.db, &self.vault, bucket).await?;
        // Asked as a guess would ask; nothing is written.
        let (mut counter, target, rule) = (row.counter.clone(), row.target(&login_target(&email)), self.policy.login);
        if is_lockable(loaded) {
            counter = counter.unlocked(rule, now, target);
        }
        Ok(match counter.reserve(rule, now, Uuid::nil(), target) {
            Admission::Blocked { until } => Some(until),
            Admission::Granted(_) | Admission::Busy => None,
        })
    }
}
