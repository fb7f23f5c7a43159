//! Proving that a mailbox is the account's: the link of the first mail, and asking for another.

use super::append::{Batch, MailOrder};
use super::idempotent::IdempotencyHeader;
use super::limits::{identifier_bucket, network_bucket, per_network};
use super::{Context, Doorbook, Refusal};
use crate::account::{Command, Rejection, decide};
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::tokens::TokenRow;
use crate::store::query::{accounts, counters, tokens};
use crate::token::opaque;
use crate::value::{Email, TokenId};

impl Doorbook {
    /// The row of a mailed token that is genuine and usable now. Anything else counts against the network and is refused alike.
    pub(crate) async fn mailed_token(
        &self,
        kind: TokenKind,
        text: &str,
        context: &Context,
    ) -> Result<TokenRow, Refusal> {
        self.token_guesses_left(&context.origin).await?;
        let Some(presented) = opaque::parse(kind.purpose(), text) else {
            return Err(self.bad_token(&context.origin, Refusal::InvalidToken).await);
        };
        let row = tokens::by_id(&self.db, TokenId(presented.id)).await?;
        // The same work for an id that does not exist.
        let (key_id, salt) = row
            .as_ref()
            .map_or((self.roots.current_id(), [0; opaque::SALT_LENGTH].as_slice()), |row| (&row.key_id, &row.salt));
        let made_here = opaque::verify(&self.roots, kind.purpose(), key_id, &presented, salt);
        let genuine = made_here && row.as_ref().is_some_and(|row| row.kind == kind.as_str());
        match row {
            Some(row) if genuine && row.usable() => Ok(row),
            // A link that was genuine once is no guess: it is refused without counting.
            Some(_) if genuine => Err(Refusal::InvalidToken),
            _ => Err(self.bad_token(&context.origin, Refusal::InvalidToken).await),
        }
    }

    pub(crate) async fn owner_of(&self, row: &TokenRow) -> Result<Loaded, Refusal> {
        accounts::by_id(&self.db, &self.vault, row.account_id).await?.ok_or(Refusal::InvalidToken)
    }

    /// The link of the verification mail.
    pub async fn verify_email(
        &self,
        token: &str,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once(header, context, async |key| {
            let row = self.mailed_token(TokenKind::Verify, token, context).await?;
            let owner = self.owner_of(&row).await?;
            let context = context.clone().acting(owner.id);
            let events = match decide(&owner.account, Command::VerifyEmail { token: row.token_id }) {
                Ok(events) => events,
                Err(Rejection::AlreadyVerified) => return Ok(()),
                Err(_) => return Err(Refusal::InvalidToken),
            };
            let mut batch = Batch::new(&context, self.now());
            batch.account(&owner, events, None)?;
            batch.write.use_token(row.token_id, batch.now);
            batch.write.put_idempotency(key, 204, None);
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }

    /// Another verification mail. Always the same answer; over the identifier's limit no mail.
    pub async fn resend_verification(
        &self,
        email: &Email,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let network = network_bucket("resend", &context.origin);
        self.unless_done(header, context, async |_| {
            self.count(&network, per_network(self.policy.reset), &context.origin).await?;
            self.mail_verification_anew(email, header, context).await
        })
        .await
        .map(drop)
    }

    async fn mail_verification_anew(
        &self,
        email: &Email,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let bucket = identifier_bucket("resend", email);
        self.once_within(header, context, async |key| {
            let (row, at) = counters::read(&self.db, &self.vault, &bucket).await?;
            let mut batch = Batch::new(context, self.now());
            batch.write.put_idempotency(key, 202, None);
            let Ok(counter) = row.counter.clone().count(self.policy.reset, at) else {
                return if key.is_some() { Ok(batch.commit(self).await?) } else { Ok(()) };
            };
            let owner = accounts::by_email(&self.db, &self.vault, &self.lookup().await?.keys_of(email)).await?;
            let token = TokenId::new(batch.now);
            let wanted = owner.as_ref().and_then(|owner| {
                decide(&owner.account, Command::RequestVerification { token }).ok().map(|events| (owner, events))
            });
            if let Some((owner, events)) = wanted {
                let (_, ids) = batch.account(owner, events, None)?;
                batch.write.open_token(self.new_token(
                    token,
                    owner.id,
                    TokenKind::Verify,
                    self.policy.verification_expiry,
                    batch.now,
                ));
                let order = MailOrder::urgent("verify", owner.id, Some(token));
                for cause in ids {
                    batch.mail(&order, cause, owner.data_key.as_ref())?;
                }
            }
            batch.write.put_counter(&row, &counter, counter.forgotten_at(self.policy.reset, at));
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }
}
