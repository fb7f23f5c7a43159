//! "This was not me": the link of a notice closes the account until its owner has set a new password.

use super::append::{Batch, MailOrder};
use super::email_change::detail;
use super::idempotent::IdempotencyHeader;
use super::{Context, Doorbook, Refusal};
use crate::account::{Command, decide};
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::tokens;
use crate::value::{Email, TokenId};

/// Changes of address that are looked at, the oldest first: whoever has the account now cannot crowd out what its owner was told of before.
const UNDOS_MAX: i64 = 100;
/// What somebody else may have asked for. Not the links that undo a change of address: each older mailbox may take the account back.
const VOIDED: [TokenKind; 3] = [TokenKind::Change, TokenKind::Verify, TokenKind::Cancel];

impl Doorbook {
    /// Nobody gets in any more: all sessions are over, no device is known, what somebody else may have asked for is worthless, and the
    /// mailbox that the notice went to is sent a link to set a new password. Where it is the account's no longer, it becomes that again:
    /// whoever changed the address would be sent the next link otherwise (`docs/adr/0020`).
    pub async fn freeze(
        &self,
        token: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let lookup = self.lookup_now().await?;
            let row = self.mailed_token(TokenKind::NotMe, token, context).await?;
            let owner = self.owner_of(&row).await?;
            let context = context.clone().acting(owner.id);
            let (told, _) = detail(&row, &owner)?;
            let current = owner.email().ok_or(Refusal::InvalidToken)?;
            let undo = self.undo_from(&owner, &told, &current).await?;
            let now = self.now();
            let told_key = lookup.keys_of(&told);
            if self.is_anothers(&told_key, owner.id, now).await? {
                return Err(Refusal::InvalidToken);
            }
            let reset = TokenId::new(now);
            let taken_back = undo.map(|undo| (undo, told.as_str().to_owned()));
            let command = Command::Freeze { token: row.token_id, reset, taken_back };
            let events = decide(&owner.account, command).map_err(|_| Refusal::InvalidToken)?;
            let mut batch = Batch::new(&context, now);
            let (_, ids) = batch.account(&owner, events, None)?;
            batch.write.use_token(row.token_id, now);
            if let Some(undo) = undo {
                batch.write.use_token(undo, now);
                batch.write.void_younger_tokens(owner.id, TokenKind::Undo, undo, now);
                batch.write.release_email(owner.id, &lookup.keys_of(&current));
                batch.write.claim_email(owner.id, &told_key, now);
            }
            batch.write.void_tokens(owner.id, &VOIDED, now);
            batch.write.void_tokens_but(owner.id, &[TokenKind::NotMe], row.token_id, now);
            batch.write.forget_devices(owner.id);
            let life = self.policy.reset_expiry;
            batch.write.open_token(self.new_token(reset, owner.id, TokenKind::Reset, life, now));
            if let Some(cause) = ids.last() {
                let order = MailOrder::urgent("reset_frozen", owner.id, Some(reset));
                batch.mail(&order, *cause, owner.data_key.as_ref())?;
            }
            batch.write.put_idempotency(key, 204, None);
            crate::failpoint!("not_me.read");
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// The link that makes the mailbox a notice went to the account's again, the oldest of several; `None` where it still is. Refused when
    /// nobody may go back to it: then it is not the owner's any more.
    async fn undo_from(&self, owner: &Loaded, told: &Email, current: &Email) -> Result<Option<TokenId>, Refusal> {
        if told.normal_form() == current.normal_form() {
            return Ok(None);
        }
        for row in tokens::usable(&self.db, owner.id, TokenKind::Undo, UNDOS_MAX).await? {
            let (old, _) = detail(&row, owner)?;
            if old.normal_form() == told.normal_form() {
                return Ok(Some(row.token_id));
            }
        }
        Err(Refusal::InvalidToken)
    }
}
