//! Changing a password with the old one, and resetting it with a mailed link.

use std::time::Duration;

use uuid::Uuid;

use super::append::{Batch, MailOrder};
use super::idempotent::IdempotencyHeader;
use super::limits::{identifier_bucket, network_bucket, per_network, wait};
use super::login::login_target;
use super::{Context, Doorbook, Refusal, access::Caller};
use crate::account::{AccountEvent, Command, decide};
use crate::attempt::AttemptEvent;
use crate::limit::{Counter, Rule};
use crate::password::{PasswordPlain, PersonAttributes, PhcString};
use crate::store::StoreError;
use crate::store::keys::identifiers::Bucket;
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::{accounts, counters, sessions};
use crate::value::{AccountId, CredentialId, Email, TokenId};

/// Changes of a password that are asked for: each mails a notice, to an address that need not be the caller's while it is unverified.
const PASSWORD_CHANGES: Rule = Rule { max: 20, window: Duration::from_hours(1), block: Duration::ZERO };

impl Doorbook {
    /// Other sessions end, this one stays; the old password is dead at once.
    pub async fn change_password(
        &self,
        caller: Caller,
        current: &PasswordPlain,
        new: &PasswordPlain,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.unless_done(header, context, async |_| {
            let owner =
                accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
            self.check_password(new, "new_password", &attributes(&owner))?;
            let limit = (Bucket::new("password_change", &[caller.account.0.as_bytes()]), PASSWORD_CHANGES);
            self.confirm_password(&owner, current, "current_password", &[limit], context).await?;
            let phc = self.hasher.hash(new).await?;
            crate::failpoint!("password_change.hashed");
            self.replace_password(caller, &owner, &phc, header, context).await
        })
        .await
        .map(drop)
    }

    /// Writes what the password of `proven` allows, while that is the account's.
    async fn replace_password(
        &self,
        caller: Caller,
        proven: &Loaded,
        phc: &PhcString,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once_within(header, context, async |key| {
            let owner = self.still_owner(caller, proven).await?;
            let now = self.now();
            let credential = CredentialId::new(now);
            let events = decide(&owner.account, Command::ChangePassword { credential, kept_session: caller.session })?;
            let mut batch = Batch::new(context, now);
            batch.write.require_session(caller.session, None);
            let (after, ids) = batch.account(&owner, events, Some(caller.session))?;
            // An open change of address may be a thief's: it must not outlive the password he had.
            batch.write.void_tokens(owner.id, &[TokenKind::Reset, TokenKind::Change], now);
            if let Some(set) = after.credential {
                batch.write.replace_credential(owner.id, set.id, set.version, phc.as_str(), now);
            }
            for cause in ids {
                self.notice(&mut batch, "password_changed", &owner, cause)?;
            }
            batch.write.put_idempotency(key, 204, Some(caller.session));
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// The account as it is by now. Refused when its password, or the session, was ended since it was `proven`: whoever was refused a moment ago
    /// must not have carried out what he asked for before. What is written of it requires the session once more (`require_session`).
    pub(super) async fn still_owner(&self, caller: Caller, proven: &Loaded) -> Result<Loaded, Refusal> {
        let owner = accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
        let standing = sessions::standing(&self.db, caller.session, caller.account).await?;
        if !standing.in_force || !still_proven(proven, &owner) {
            return Err(Refusal::Unauthenticated);
        }
        Ok(owner)
    }

    /// Always the same answer and the same work: for an address without an active account every row is written too, and the
    /// worker finds nobody to send to.
    pub async fn request_reset(
        &self,
        email: &Email,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let (network, allowed) = (network_bucket("reset_network", &context.origin), per_network(self.policy.reset));
        let bucket = identifier_bucket("reset", email);
        let request = self.once(header, context, async |key| {
            let (of_network, [row], at) = counters::read_with(&self.db, &self.vault, &network, [&bucket]).await?;
            let requests = of_network.counter.clone().count(allowed, at);
            let requests = requests.map_err(|until| Refusal::Limited { retry_after: wait(until, at) })?;
            let owner = accounts::by_email(&self.db, &self.vault, &self.lookup().await?.keys_of(email)).await?;
            let mut batch = Batch::new(context, self.now());
            batch.write.put_idempotency(key, 202, None);
            let forgotten = requests.forgotten_at(allowed, at);
            let Ok(counter) = row.counter.clone().count(self.policy.reset, at) else {
                batch.write.put_counter(&of_network, &requests, forgotten);
                return Ok(batch.commit(self).await?);
            };
            let token = TokenId::new(batch.now);
            let stranger = self.vault.stranger_key(&self.db, batch.now).await?;
            let (account, causes, data_key) = match &owner {
                Some(owner) if owner.account.status.takes_resets() => {
                    let events = decide(&owner.account, Command::RequestReset { token })?;
                    let (_, ids) = batch.account(owner, events, None)?;
                    (owner.id, ids, owner.data_key.as_ref())
                }
                other => {
                    let subject = other.as_ref().map(|owner| (owner.id, owner.data_key.as_ref()));
                    let event = AttemptEvent::PasswordResetRequestedForUnknown;
                    let ids =
                        self.attempts(&mut batch, &bucket, self.policy.reset.window, subject, vec![event]).await?;
                    (self.phantom(&bucket), ids, Some(&*stranger))
                }
            };
            batch.write.open_token(self.new_token(
                token,
                account,
                TokenKind::Reset,
                self.policy.reset_expiry,
                batch.now,
            ));
            let order = MailOrder::urgent("reset", account, Some(token));
            for cause in causes {
                batch.mail(&order, cause, data_key)?;
            }
            batch.write.put_counter(&of_network, &requests, forgotten);
            batch.write.put_counter(&row, &counter, counter.forgotten_at(self.policy.reset, at));
            Ok(batch.commit(self).await?)
        });
        let requested = request.await;
        if matches!(requested, Err(Refusal::Limited { .. })) {
            self.note_exceeded(&network, allowed, &context.origin).await;
        }
        requested.map(drop)
    }

    /// The account that an address without one would have, always the same: its newer link voids its older one, row for row as
    /// for a real account.
    pub(super) fn phantom(&self, bucket: &Bucket) -> AccountId {
        AccountId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &self.vault.identifiers().name(bucket)))
    }

    /// Spends the link: new password, all sessions over, blocks and locks lifted. Nobody is logged in by it.
    pub async fn confirm_reset(
        &self,
        token: &str,
        new: &PasswordPlain,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.unless_done(header, context, async |_| {
            let row = self.mailed_token(TokenKind::Reset, token, context).await?;
            let owner = self.owner_of(&row).await?;
            self.check_password(new, "new_password", &attributes(&owner))?;
            let phc = self.hasher.hash(new).await?;
            self.reset_password(token, &phc, header, context).await
        })
        .await
        .map(drop)
    }

    async fn reset_password(
        &self,
        token: &str,
        phc: &PhcString,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once_within(header, context, async |key| {
            let row = self.mailed_token(TokenKind::Reset, token, context).await?;
            let owner = self.owner_of(&row).await?;
            let context = context.clone().acting(owner.id);
            let now = self.now();
            let credential = CredentialId::new(now);
            let events = decide(&owner.account, Command::ResetPassword { token: row.token_id, credential })
                .map_err(|_| Refusal::InvalidToken)?;
            let mut batch = Batch::new(&context, now);
            let (after, ids) = batch.account(&owner, events, None)?;
            batch.write.use_token(row.token_id, now);
            batch.write.void_tokens_but(owner.id, &[TokenKind::Reset, TokenKind::Change], row.token_id, now);
            if let Some(set) = after.credential {
                batch.write.replace_credential(owner.id, set.id, set.version, phc.as_str(), now);
            }
            self.forget_failures(&mut batch, &owner).await?;
            if let Some(cause) = ids.first() {
                self.notice(&mut batch, "password_reset_done", &owner, *cause)?;
            }
            batch.write.put_idempotency(key, 204, None);
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// The identifier may try again as if nothing had happened to it; what happened to its neighbours that share the bucket stays
    /// (`docs/adr/0007`). (Known devices begin a new bucket with the new epoch.)
    async fn forget_failures(&self, batch: &mut Batch<'_>, owner: &Loaded) -> Result<(), Refusal> {
        let Some(email) = owner.email() else { return Ok(()) };
        let rule = self.policy.login;
        let (row, at) = counters::read(&self.db, &self.vault, &identifier_bucket("login", &email)).await?;
        if row.counter == Counter::default() {
            return Ok(());
        }
        let counter = row.counter.clone().forget(row.target(&login_target(&email)));
        batch.write.put_counter(&row, &counter, counter.forgotten_at(rule, at));
        Ok(())
    }

    /// Stores the password of `proven` with the parameters in force, while that is the account's: hashing takes its time. The login has
    /// succeeded already: a failure here is tried again at the next one.
    pub(super) async fn rehash(&self, proven: &Loaded, password: &PasswordPlain, context: &Context) {
        let account = proven.id;
        let attempt = async {
            let phc = self.hasher.hash(password).await?;
            crate::failpoint!("login.rehashed");
            let owner = accounts::by_id(&self.db, &self.vault, account).await?.ok_or(Refusal::NotFound)?;
            if !still_proven(proven, &owner) {
                return Ok(());
            }
            let events = decide(&owner.account, Command::RehashPassword)?;
            let context = context.clone().acting(account);
            let mut batch = Batch::new(&context, self.now());
            for event in &events {
                if let AccountEvent::PasswordRehashed { credential, version } = event {
                    batch.write.replace_credential(account, *credential, *version, phc.as_str(), batch.now);
                }
            }
            batch.account(&owner, events, None)?;
            batch.commit(self).await.map_err(Refusal::from)
        };
        match attempt.await {
            Ok(()) | Err(Refusal::Unavailable(StoreError::Conflict)) => {}
            Err(error) => {
                tracing::warn!(%account, %error, "a password could not be stored with the parameters in force");
            }
        }
    }
}

/// What a password must not resemble.
pub(crate) fn attributes(owner: &Loaded) -> PersonAttributes<'_> {
    owner.account.profile.as_ref().map_or_else(PersonAttributes::default, |profile| PersonAttributes {
        email: &profile.email,
        first_name: &profile.first_name,
        last_name: &profile.last_name,
    })
}

impl Loaded {
    /// The current address; `None` once it has been erased.
    pub(crate) fn email(&self) -> Option<Email> {
        self.account.profile.as_ref().and_then(|profile| Email::parse(&profile.email).ok())
    }
}

/// Whether a password that was proven for the account as it was read then is its password still, and no session has been ended
/// since: otherwise the proof proves nothing any more. It stays the same password when a login has hashed it anew.
fn still_proven(then: &Loaded, now: &Loaded) -> bool {
    let [then, now] = [then, now].map(|read| (read.account.credential.map(|set| set.id), read.account.session_epoch));
    then == now
}
