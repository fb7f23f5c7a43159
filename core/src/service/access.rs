//! Access tokens against session and account, on every call.

use super::append::Batch;
use super::{Context, Doorbook, Refusal};
use crate::account::Role;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::store::keys::DataKey;
use crate::store::log::StreamKind;
use crate::store::query::{accounts, sessions};
use crate::token::access::AccessClaims;
use crate::token::signing::Jwk;
use crate::value::{AccountId, SessionId, StreamId};

/// Who makes an authenticated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: AccountId,
    pub session: SessionId,
}

/// What a route is for, beyond the caller's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Reading the trail: auditors and admins.
    Audit,
    /// Changing accounts: admins.
    Administer,
}

impl Right {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Administer => "administer",
        }
    }

    pub(super) fn is_of(self, roles: &[Role]) -> bool {
        roles.iter().any(|role| match self {
            Self::Audit => matches!(role, Role::Auditor | Role::Admin),
            Self::Administer => matches!(role, Role::Admin),
        })
    }
}

/// How much of a person somebody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Plain,
    /// Addresses of mailboxes are masked, names left out.
    Masked,
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

    /// When a token ends that has just been believed.
    pub fn token_end(&self, token: &str) -> Result<Timestamp, Refusal> {
        self.claims(token).map(|claims| claims.expires_at)
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

    /// Refuses a caller without this right, by the roles of this moment. The refusal is an event.
    pub async fn admit(&self, caller: Caller, right: Right, context: &Context) -> Result<(), Refusal> {
        if self.may(caller, right).await? {
            return Ok(());
        }
        self.note_denied(caller, right.as_str(), context).await;
        Err(Refusal::Forbidden)
    }

    /// The same of a session that is still in force: a body that comes slowly outlasts session and role of whoever sends it.
    pub(super) async fn admit_still(&self, caller: Caller, right: Right, context: &Context) -> Result<(), Refusal> {
        if !sessions::standing(&self.db, caller.session, caller.account).await?.in_force {
            return Err(Refusal::Unauthenticated);
        }
        self.admit(caller, right, context).await
    }

    /// Whether a caller has this right, by the roles of this moment. Nothing is noted.
    pub async fn may(&self, caller: Caller, right: Right) -> Result<bool, Refusal> {
        Ok(right.is_of(&accounts::roles(&self.db, caller.account).await?))
    }

    /// What a caller may see of others: admins all, auditors the masks.
    pub(super) async fn sight(&self, caller: Caller) -> Result<Sight, Refusal> {
        let plain = self.may(caller, Right::Administer).await?;
        Ok(if plain { Sight::Plain } else { Sight::Masked })
    }

    /// The same while reading goes on: `None` when session or right have ended meanwhile.
    pub(super) async fn sight_still(&self, caller: Caller) -> Result<Option<Sight>, Refusal> {
        let standing = sessions::standing(&self.db, caller.session, caller.account).await?;
        let roles = accounts::roles(&self.db, caller.account).await?;
        let sight = if Right::Administer.is_of(&roles) { Sight::Plain } else { Sight::Masked };
        Ok((standing.in_force && Right::Audit.is_of(&roles)).then_some(sight))
    }

    /// Appends what somebody did with, or in want of, a right. From where is sealed with the actor's own key: the account that it
    /// is about neither learns it nor, erased, takes it along.
    pub(crate) async fn note(
        &self,
        caller: Caller,
        subject: Option<AccountId>,
        event: OperatorEvent,
        context: &Context,
    ) -> Result<(), Refusal> {
        let key = self.vault.account_key(&self.db, caller.account).await?;
        let context = context.clone().acting(caller.account);
        let batch = self.noted(caller, subject, Event::Operator(event), key.as_ref(), &context)?;
        Ok(batch.commit(self).await?)
    }

    /// The same on its way, for those who write more with it. `key` and `context` are the actor's.
    pub(super) fn noted<'a>(
        &self,
        caller: Caller,
        subject: Option<AccountId>,
        event: Event,
        key: Option<&DataKey>,
        context: &'a Context,
    ) -> Result<Batch<'a>, Refusal> {
        let mut batch = Batch::new(context, self.now());
        let stream = Self::operator_stream(caller.account);
        batch.write.append_stream(stream, StreamKind::Operator, 1);
        batch.event(stream, 1, subject, Some(caller.session), event, key)?;
        Ok(batch)
    }

    /// The stream of what one account does as auditor or admin. Nothing is decided on it.
    fn operator_stream(account: AccountId) -> StreamId {
        /// Namespace of operators' streams; any constant does.
        const NAMESPACE: uuid::Uuid = uuid::uuid!("0b1d7f0e-3a52-5f7e-8c1b-5e0f6f9d2c41");
        StreamId(uuid::Uuid::new_v5(&NAMESPACE, account.0.as_bytes()))
    }
}
