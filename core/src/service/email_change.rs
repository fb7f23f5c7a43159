//! Changing the address: the new one confirms, the old one is told and may undo.

use super::append::{Batch, MailOrder};
use super::idempotent::IdempotencyHeader;
use super::limits::{identifier_bucket, network_bucket, per_network};
use super::{Context, Doorbook, EMAIL_CHANGE_EXPIRY, Refusal, UNDO_WINDOW, access::Caller};
use crate::account::{Command, decide};
use crate::clock::Timestamp;
use crate::password::PasswordPlain;
use crate::store::keys::DataKey;
use crate::store::keys::identifiers::Bucket;
use crate::store::keys::lookup::EmailKeys;
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts;
use crate::store::query::accounts::Loaded;
use crate::store::query::tokens::TokenRow;
use crate::value::{AccountId, Email, TokenId};

impl Doorbook {
    /// Mails a link to the new address. Whether that address has an account already is told to nobody but its owner.
    pub async fn request_email_change(
        &self,
        caller: Caller,
        password: &PasswordPlain,
        new_email: &Email,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.unless_done(header, context, async |_| {
            let owner =
                accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
            let rule = self.policy.reset;
            // Nobody writes to strangers in our name: neither one account to many, nor many accounts from one network.
            let limits = [
                (identifier_bucket("email_change", new_email), rule),
                (Bucket::new("email_change_by", &[caller.account.0.as_bytes()]), per_network(rule)),
                (network_bucket("email_change_network", &context.origin), per_network(rule)),
            ];
            self.confirm_password(&owner, password, "password", &limits, context).await?;
            crate::failpoint!("email_change.proven");
            self.mail_email_change(caller, &owner, new_email, header, context).await
        })
        .await
        .map(drop)
    }

    /// `proven`: the account as it was read before its password was checked.
    async fn mail_email_change(
        &self,
        caller: Caller,
        proven: &Loaded,
        new_email: &Email,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once_within(header, context, async |key| {
            let owner = self.still_owner(caller, proven).await?;
            let data_key = owner.data_key.as_ref().ok_or(Refusal::Unauthenticated)?;
            let now = self.now();
            let token = TokenId::new(now);
            let command = Command::RequestEmailChange { token, new_email: new_email.as_str().to_owned() };
            let mut batch = Batch::new(context, now);
            batch.write.require_session(caller.session, None);
            let (_, ids) = batch.account(&owner, decide(&owner.account, command)?, Some(caller.session))?;
            let mut row = self.new_token(token, owner.id, TokenKind::Change, EMAIL_CHANGE_EXPIRY, now);
            row.detail = Some(data_key.key.seal_json(token.0, &new_email.as_str())?);
            batch.write.open_token(row);
            let order = MailOrder::to_other_mailbox("email_change_confirm", owner.id, token);
            for cause in ids {
                batch.mail(&order, cause, Some(data_key))?;
            }
            batch.write.put_idempotency(key, 202, Some(caller.session));
            crate::failpoint!("email_change.read");
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// The link that went to the new address.
    pub async fn confirm_email_change(
        &self,
        token: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let lookup = self.lookup_now().await?;
            let row = self.mailed_token(TokenKind::Change, token, context).await?;
            let owner = self.owner_of(&row).await?;
            let context = context.clone().acting(owner.id);
            let (new_email, data_key) = detail(&row, &owner)?;
            let old_email = owner.email().ok_or(Refusal::InvalidToken)?;
            let (new_key, old_key) = (lookup.keys_of(&new_email), lookup.keys_of(&old_email));
            let now = self.now();
            if self.is_anothers(&new_key, owner.id, now).await? {
                return Err(Refusal::EmailTaken);
            }
            let command = Command::ConfirmEmailChange { token: row.token_id, new_email: new_email.as_str().to_owned() };
            let events = decide(&owner.account, command).map_err(|_| Refusal::InvalidToken)?;
            let mut batch = Batch::new(&context, now);
            let (_, ids) = batch.account(&owner, events, None)?;
            batch.write.use_token(row.token_id, now);
            let undo = TokenId::new(now);
            if new_email.normal_form() != old_email.normal_form() {
                // An address that nobody has ever confirmed is kept from nobody who can.
                if owner.account.email_verified_at.is_some() {
                    batch.write.reserve_email(owner.id, &old_key, now.plus(UNDO_WINDOW));
                } else {
                    batch.write.release_email(owner.id, &old_key);
                }
                batch.write.claim_email(owner.id, &new_key, now);
            }
            batch.write.void_tokens(owner.id, &[TokenKind::Reset, TokenKind::Verify], now);
            let mut undo_row = self.new_token(undo, owner.id, TokenKind::Undo, UNDO_WINDOW, now);
            undo_row.detail = Some(data_key.key.seal_json(undo.0, &old_email.as_str())?);
            batch.write.open_token(undo_row);
            for cause in ids {
                let to_old = MailOrder::to_other_mailbox("email_change_notice", owner.id, undo);
                batch.mail(&to_old, cause, Some(data_key))?;
                batch.mail(&MailOrder::plain("email_changed", owner.id), cause, Some(data_key))?;
            }
            batch.write.put_idempotency(key, 204, None);
            crate::failpoint!("email_change.read");
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// The link that went to the old address: it is current again, the new one is free, and every session is over.
    pub async fn undo_email_change(
        &self,
        token: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let lookup = self.lookup_now().await?;
            let row = self.mailed_token(TokenKind::Undo, token, context).await?;
            let owner = self.owner_of(&row).await?;
            let context = context.clone().acting(owner.id);
            let (old_email, data_key) = detail(&row, &owner)?;
            let current = owner.email().ok_or(Refusal::InvalidToken)?;
            let (old_key, current_key) = (lookup.keys_of(&old_email), lookup.keys_of(&current));
            let now = self.now();
            // Another change has set it free since, and somebody has registered it.
            if self.is_anothers(&old_key, owner.id, now).await? {
                return Err(Refusal::InvalidToken);
            }
            let command = Command::UndoEmailChange { token: row.token_id, old_email: old_email.as_str().to_owned() };
            let events = decide(&owner.account, command).map_err(|_| Refusal::InvalidToken)?;
            let mut batch = Batch::new(&context, now);
            let (_, ids) = batch.account(&owner, events, None)?;
            batch.write.use_token(row.token_id, now);
            if old_email.normal_form() != current.normal_form() {
                batch.write.release_email(owner.id, &current_key);
                batch.write.claim_email(owner.id, &old_key, now);
            }
            // Undos of earlier changes stay usable: each older address may take the account back. Those of later changes went to addresses
            // that only whoever made the undone change has named.
            batch.write.void_tokens(owner.id, &UNDONE, now);
            batch.write.void_younger_tokens(owner.id, TokenKind::Undo, row.token_id, now);
            if let Some(cause) = ids.first() {
                let told = ("email_change_undone", None);
                self.notice_to(&mut batch, told, owner.id, (&old_email, data_key), *cause)?;
            }
            batch.write.put_idempotency(key, 204, None);
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// Whether somebody else has this address, or may go back to it.
    pub(super) async fn is_anothers(
        &self,
        email: &EmailKeys,
        account: AccountId,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        Ok(accounts::email_owner(&self.db, email, now).await?.is_some_and(|owner| owner != account))
    }
}

/// Links that a change of address may have let a thief ask for.
const UNDONE: [TokenKind; 4] = [TokenKind::Reset, TokenKind::Change, TokenKind::Verify, TokenKind::Cancel];

/// The address a token is about.
pub(super) fn detail<'a>(row: &TokenRow, owner: &'a Loaded) -> Result<(Email, &'a DataKey), Refusal> {
    let (Some(sealed), Some(key)) = (&row.detail, &owner.data_key) else { return Err(Refusal::InvalidToken) };
    let text: String = key.key.open_json(row.token_id.0, sealed)?;
    let email = Email::parse(&text).map_err(|error| Refusal::Internal(format!("stored address: {error}")))?;
    Ok((email, key))
}
