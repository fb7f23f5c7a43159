//! What an owner is told of: where somebody has logged in, what was tried in vain, what others have changed.

use std::time::Duration;

use super::append::{Batch, MailOrder};
use super::limits::identifier_bucket;
use super::{Context, Doorbook, NOT_ME_EXPIRY, Refusal};
use crate::clock::Timestamp;
use crate::limit::Rule;
use crate::store::keys::DataKey;
use crate::store::keys::identifiers::Bucket;
use crate::store::project::counters::CounterRow;
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::counters;
use crate::terms::network;
use crate::value::{AccountId, Email, EventId, TokenId};

const DAY: Duration = Duration::from_hours(24);
/// What may happen again and again is told once a day. Source: bar C096.
const ONCE_A_DAY: Rule = Rule { max: 1, window: DAY, block: Duration::ZERO };
/// A network is known to an account for so long after a login from there.
const PLACE_MEMORY: Duration = Duration::from_hours(90 * 24);
/// Failures in a row after which a success is told. Source: bar C096.
const FAILURES_TOLD: u32 = 3;

/// A login on its way to be written.
pub(super) struct Arrival<'a> {
    pub owner: &'a Loaded,
    pub known_device: bool,
    /// Guesses that failed since the last success.
    pub failures: u32,
    /// What is remembered of its network.
    pub place: &'a CounterRow,
    pub at: Timestamp,
    pub cause: EventId,
}

/// What is remembered of an account and the network of a client: /24 of IPv4, /48 of IPv6.
pub(super) fn place(account: AccountId, context: &Context) -> Bucket {
    Bucket::new("login_place", &[account.0.as_bytes(), network(context.origin.address).to_string().as_bytes()])
}

impl Doorbook {
    /// Tells an account's owner what `cause` says, at the address that he has now, with a link for the case that it was not he.
    pub(super) fn notice(
        &self,
        batch: &mut Batch<'_>,
        template: &'static str,
        owner: &Loaded,
        cause: EventId,
    ) -> Result<(), Refusal> {
        let (Some(email), Some(key)) = (owner.email(), &owner.data_key) else { return Ok(()) };
        self.notice_to(batch, (template, None), owner.id, (&email, key), cause)
    }

    /// The same of a template that says `about` what it is, at an address that may not have been the account's when it was read.
    pub(super) fn notice_to(
        &self,
        batch: &mut Batch<'_>,
        (template, about): (&'static str, Option<&'static str>),
        account: AccountId,
        (email, key): (&Email, &DataKey),
        cause: EventId,
    ) -> Result<(), Refusal> {
        let id = TokenId::new(batch.now);
        let mut row = self.new_token(id, account, TokenKind::NotMe, NOT_ME_EXPIRY, batch.now);
        row.detail = Some(key.key.seal_json(id.0, &email.as_str())?);
        batch.write.open_token(row);
        batch.mail(&MailOrder { about, ..MailOrder::notice(template, account, id) }, cause, Some(key))
    }

    /// Remembers where somebody has logged in from, and tells the owner when that is new or when others may have guessed before: one
    /// mail a login, whichever is worse.
    pub(super) async fn tell_of_login(
        &self,
        batch: &mut Batch<'_>,
        arrival: &Arrival<'_>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let Arrival { owner, place, at, .. } = *arrival;
        let known_place = place.counter.last().is_some_and(|last| last.plus(PLACE_MEMORY) > at);
        // Written once a day: a login should not cost a row more than that.
        if let Ok(counter) = place.counter.clone().count(ONCE_A_DAY, at) {
            batch.write.put_counter(place, &counter, at.plus(PLACE_MEMORY));
        }
        let from = network(context.origin.address).to_string();
        if arrival.failures >= FAILURES_TOLD
            && self.may_tell(batch, "login_after_failures", owner.id, from.as_bytes()).await?
        {
            return self.notice(batch, "login_after_failures", owner, arrival.cause);
        }
        // Whoever logs in for the first time has just registered.
        if known_place || arrival.known_device || owner.logins == 0 {
            return Ok(());
        }
        self.notice(batch, "login_new_place", owner, arrival.cause)
    }

    /// Tells the owner that guesses have begun a block or a lock. For an address without an account the same is written, and the worker
    /// finds nobody to send it to: the time of an answer must not tell (`docs/adr/0005`).
    pub(super) async fn tell_of_guesses(
        &self,
        batch: &mut Batch<'_>,
        template: &'static str,
        owner: Option<&Loaded>,
        guessed: &Email,
        cause: EventId,
    ) -> Result<(), Refusal> {
        let account = owner.map_or_else(|| self.phantom(&identifier_bucket("login", guessed)), |owner| owner.id);
        if !self.may_tell(batch, template, account, &[]).await? {
            return Ok(());
        }
        let stranger = self.vault.stranger_key(&self.db, batch.now).await?;
        let key = owner.and_then(|owner| owner.data_key.as_ref()).unwrap_or(&stranger);
        let email = owner.and_then(Loaded::email);
        self.notice_to(batch, (template, None), account, (email.as_ref().unwrap_or(guessed), key), cause)
    }

    /// Whether a notice of this kind is the first within a day; remembers that it is told.
    async fn may_tell(
        &self,
        batch: &mut Batch<'_>,
        template: &'static str,
        account: AccountId,
        about: &[u8],
    ) -> Result<bool, Refusal> {
        let bucket = Bucket::new("notice", &[template.as_bytes(), account.0.as_bytes(), about]);
        let (row, at) = counters::read(&self.db, &self.vault, &bucket).await?;
        let Ok(counter) = row.counter.clone().count(ONCE_A_DAY, at) else { return Ok(false) };
        batch.write.put_counter(&row, &counter, counter.forgotten_at(ONCE_A_DAY, at));
        Ok(true)
    }
}
