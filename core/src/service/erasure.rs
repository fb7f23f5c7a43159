//! The end of an account: its owner asks for it and may take that back, then nothing about its person is left.

use std::time::Duration;

use super::append::{Batch, MailOrder};
use super::idempotent::IdempotencyHeader;
use super::{Context, Doorbook, Refusal, access::Caller};
use crate::account::{Command, ErasureCause, Status, decide};
use crate::audit::receipt::Receipt;
use crate::clock::Timestamp;
use crate::password::PasswordPlain;
use crate::store::checkpoints;
use crate::store::keys::erasure;
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts;
use crate::store::query::accounts::Loaded;
use crate::store::query::tokens::TokenRow;
use crate::store::{StoreError, search};
use crate::value::{AccountId, DataKeyId, TokenId};

/// Accounts of one read; the job comes back for more.
const BATCH: i64 = 100;

/// That an account was erased, signed.
#[derive(Debug)]
pub struct ErasureReceipt {
    pub erased_at: Timestamp,
    /// Backups of keys that were taken before are to be deleted by then.
    pub backups_until: Timestamp,
    /// A signed note (`audit::note`), by the key that signs checkpoints.
    pub note: String,
}

impl Doorbook {
    /// Asks for the account to be erased when the grace period is over. Every session ends, and nobody logs in meanwhile; the mail's link
    /// takes it back. When it will be.
    pub async fn request_deletion(
        &self,
        caller: Caller,
        password: &PasswordPlain,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<Timestamp, Refusal> {
        let asked = self.unless_done(header, context, async |_| {
            let owner =
                accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
            self.confirm_password(&owner, password, "password", &[], context).await?;
            self.begin_grace(caller, &owner, header, context).await
        });
        if let Some(erase_at) = asked.await?.flatten() {
            return Ok(erase_at);
        }
        // Made anew from state, as every answer to a repeated request.
        let owner = accounts::by_id(&self.db, &self.vault, caller.account).await?;
        owner.and_then(|owner| owner.account.erase_at).ok_or(Refusal::Unauthenticated)
    }

    /// Writes what the password of `proven` allows, while that is the account's.
    async fn begin_grace(
        &self,
        caller: Caller,
        proven: &Loaded,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<Option<Timestamp>, Refusal> {
        self.once_within(header, context, async |key| {
            let owner = self.still_owner(caller, proven).await?;
            let now = self.now();
            let (token, erase_at) = (TokenId::new(now), now.plus(self.policy.deletion_grace));
            let events = decide(&owner.account, Command::RequestDeletion { token, erase_at })?;
            let mut batch = Batch::new(context, now);
            batch.write.require_session(caller.session, None);
            let (after, ids) = batch.account(&owner, events, Some(caller.session))?;
            // What a thief may have asked for must not outlive a deletion that is taken back.
            batch.write.void_tokens(owner.id, &[TokenKind::Reset, TokenKind::Change], now);
            let life = self.policy.deletion_grace;
            batch.write.open_token(self.new_token(token, owner.id, TokenKind::Cancel, life, now));
            let order = MailOrder::urgent("deletion_requested", owner.id, Some(token));
            for cause in ids {
                batch.mail(&order, cause, owner.data_key.as_ref())?;
            }
            self.keep_an_admin(&mut batch, &owner, &after).await?;
            batch.write.put_idempotency(key, 202, Some(caller.session));
            crate::failpoint!("deletion.read");
            batch.commit(self).await?;
            Ok(erase_at)
        })
        .await
    }

    /// The link of the mail about it: all is as before, but for the sessions.
    pub async fn cancel_deletion(
        &self,
        token: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let row = self.mailed_token(TokenKind::Cancel, token, context).await?;
            let owner = self.owner_of(&row).await?;
            let context = context.clone().acting(owner.id);
            let command = Command::CancelDeletion { token: row.token_id };
            let events = decide(&owner.account, command).map_err(|_| Refusal::InvalidToken)?;
            if events.is_empty() {
                return Err(Refusal::InvalidToken);
            }
            let mut batch = Batch::new(&context, self.now());
            batch.account(&owner, events, None)?;
            batch.write.use_token(row.token_id, batch.now);
            batch.write.put_idempotency(key, 204, None);
            crate::failpoint!("deletion.read");
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// Erases the account of a link whose time to take the deletion back has run out. False when it is not to be erased.
    pub(super) async fn end_grace(&self, row: &TokenRow, context: &Context) -> Result<bool, Refusal> {
        let owner = accounts::by_id(&self.db, &self.vault, row.account_id).await?;
        let Some(owner) = owner.filter(|owner| owner.account.erase_at.is_some_and(|at| at <= row.now)) else {
            return Ok(false);
        };
        self.erase(&owner, ErasureCause::Requested, context).await.map(|()| true)
    }

    /// Erases accounts whose address nobody has confirmed in time and that nobody ever logged in to; how many.
    pub async fn erase_unverified(&self, context: &Context) -> Result<usize, Refusal> {
        let mut erased = 0;
        for id in accounts::unverified(&self.db, self.policy.unverified_lifetime, BATCH).await? {
            let owner = match accounts::by_id(&self.db, &self.vault, id).await.map_err(Refusal::from) {
                Ok(Some(owner)) => owner,
                Ok(None) => continue,
                // Whoever cannot be read holds nobody else up.
                Err(error @ Refusal::Internal(_)) => {
                    tracing::error!(account = %id, %error, "an unverified account cannot be erased");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let account = &owner.account;
            if account.email_verified_at.is_some() || owner.last_login_at.is_some() || account.status != Status::Active
            {
                continue;
            }
            match self.erase(&owner, ErasureCause::Unverified, context).await {
                Ok(()) => erased += 1,
                // Somebody has verified it or logged in after all.
                Err(Refusal::Unavailable(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(erased)
    }

    /// Deletes the keys of days whose strangers' personal data is kept no longer, and what their events could be found by; how many
    /// days.
    pub async fn shred_strangers(&self) -> Result<i32, Refusal> {
        let days = days(self.policy.stranger_lifetime);
        let due = erasure::strangers_due(&self.db, days).await?;
        let Some(last) = due.last() else { return Ok(0) };
        for key in &due {
            let mut after = key.from;
            while let Some(last) = search::forget_strangers(&self.db, key, after).await? {
                after = last;
            }
        }
        crate::failpoint!("erasure.forgotten");
        Ok(erasure::shred_strangers(&self.db, &last.day).await?)
    }

    /// One statement: the events, the key and all rows. A conflict leaves everything as it was.
    async fn erase(&self, owner: &Loaded, cause: ErasureCause, context: &Context) -> Result<(), Refusal> {
        let data_key = owner.data_key.as_ref().map(|key| DataKeyId(key.id));
        let events = decide(&owner.account, Command::Erase { cause, reason: None, data_key })?;
        let mut batch = Batch::new(context, self.now());
        let (after, _) = batch.account(owner, events, None)?;
        self.keep_an_admin(&mut batch, owner, &after).await?;
        crate::failpoint!("erasure.read");
        Ok(batch.commit(self).await?)
    }

    /// Says, signed, that an account was erased, as the log tells it: the same each time it is asked for.
    pub async fn erasure_receipt(&self, account: AccountId) -> Result<ErasureReceipt, Refusal> {
        let erasure = erasure::of(&self.db, account).await?.ok_or(Refusal::NotFound)?;
        let erased_at = erasure.event.at();
        let receipt = Receipt {
            origin: checkpoints::origin(&self.db).await?,
            account: account.0,
            event: erasure.event.0,
            erased_at,
            data_key: erasure.data_key.map(|key| key.0),
            backups_until: erased_at.plus(self.policy.key_backup_lifetime),
        };
        let note = receipt.sign(&self.checkpoint_signers(None).await?).to_string();
        Ok(ErasureReceipt { erased_at, backups_until: receipt.backups_until, note })
    }
}

/// Whole days, rounded down.
fn days(life: Duration) -> i32 {
    i32::try_from(life.as_secs() / 86_400).unwrap_or(i32::MAX)
}
