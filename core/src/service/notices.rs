//! What an owner is told of: where somebody has logged in, what was tried in vain, what others have changed.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use uuid::Uuid;

use super::append::{Batch, MailOrder};
use super::{Context, Doorbook, NOT_ME_EXPIRY, Refusal, retrying};
use crate::clock::Timestamp;
use crate::event::Personal;
use crate::job;
use crate::limit::{Counter, Rule};
use crate::store::keys::DataKey;
use crate::store::keys::identifiers::Bucket;
use crate::store::log;
use crate::store::project::counters::CounterRow;
use crate::store::project::outbox::{NewJob, Priority};
use crate::store::project::tokens::TokenKind;
use crate::store::query::accounts::Loaded;
use crate::store::query::{accounts, counters};
use crate::terms::network;
use crate::value::{AccountId, ClientOrigin, Email, EventId, JobId, TokenId};

const DAY: Duration = Duration::from_hours(24);
/// What may happen again and again is told once a day. Source: bar C096.
pub(super) const ONCE_A_DAY: Rule = Rule { max: 1, window: DAY, block: Duration::ZERO };
/// Logins are told so often: whoever has the password could fill a mailbox from as many networks as he has, and the mailbox may
/// be that of somebody who never asked for an account.
const LOGINS_TOLD: Rule = Rule { max: 5, window: Duration::from_hours(1), block: Duration::ZERO };
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
        // Whoever logs in for the first time has just registered.
        let is_new = !(known_place || arrival.known_device || owner.logins == 0);
        let from = network(context.origin.address).to_string();
        let (mut guessed, mut told) = (None, None);
        if arrival.failures >= FAILURES_TOLD {
            guessed = self.room(ONCE_A_DAY, "login_after_failures", owner.id, from.as_bytes()).await?;
        }
        let template = if guessed.is_some() { "login_after_failures" } else { "login_new_place" };
        if guessed.is_some() || is_new {
            told = self.room(LOGINS_TOLD, "login", owner.id, &[]).await?;
            // Of what there is no room for, nothing is remembered: it is told another time.
            if told.is_none() {
                return Ok(());
            }
        }
        // Written once a day: a login should not cost a row more than that.
        if let Ok(counter) = place.counter.clone().count(ONCE_A_DAY, at) {
            batch.write.put_counter(place, &counter, at.plus(PLACE_MEMORY));
        }
        let is_told = told.is_some();
        for room in [guessed, told].into_iter().flatten() {
            room.take(batch);
        }
        if is_told { self.notice(batch, template, owner, arrival.cause) } else { Ok(()) }
    }

    /// Orders a look at what guesses have led to. Every block and every lock costs the same row, whoever is meant: the time of an answer
    /// must not tell whether there is an owner (`docs/adr/0022`).
    pub(super) fn look_at_guesses(batch: &mut Batch<'_>, cause: EventId, context: &Context) {
        batch.write.insert_job(&NewJob {
            id: JobId::new(batch.now),
            kind: job::GUESSES,
            reference: cause.0,
            priority: Priority::Notice,
            run_at: batch.now,
            trace: context.origin.trace_id,
            span: context.origin.span_id,
        });
    }

    /// Tells the owner of an account that guesses have begun a block or a lock, once a day of each. Nothing happens where nobody is to be
    /// told: the event is about no account, or was rolled up.
    pub async fn tell_of_guesses(&self, cause: EventId, trace: Uuid) -> Result<(), Refusal> {
        let Some(event) = log::by_id(&self.db, cause).await? else { return Ok(()) };
        let template = match event.name.as_str() {
            "LoginBlocked" => "login_blocked",
            "AccountLocked" => "account_locked",
            _ => return Ok(()),
        };
        let Some(account) = event.subject_id.map(AccountId) else { return Ok(()) };
        retrying(async || {
            let Some(owner) = accounts::by_id(&self.db, &self.vault, account).await? else { return Ok(()) };
            let Some(key) = &owner.data_key else { return Ok(()) };
            let from: Personal = match &event.pii {
                Some(sealed) => key.key.open_json(cause.0, sealed)?,
                None => Personal::default(),
            };
            let address = from.address.and_then(|text| text.parse().ok());
            let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let agent = from.user_agent.unwrap_or_default();
            let context = Context::stranger(ClientOrigin::new(address, &agent, trace));
            let mut batch = Batch::new(&context, self.now()).told_at(event.recorded_at);
            if self.may_tell(&mut batch, ONCE_A_DAY, template, account, &[]).await? {
                self.notice(&mut batch, template, &owner, cause)?;
                batch.commit(self).await?;
            }
            Ok(())
        })
        .await
    }

    /// Whether a notice of this kind is within its rule; remembers that it is told.
    pub(super) async fn may_tell(
        &self,
        batch: &mut Batch<'_>,
        rule: Rule,
        template: &'static str,
        account: AccountId,
        about: &[u8],
    ) -> Result<bool, Refusal> {
        let room = self.room(rule, template, account, about).await?;
        let may = room.is_some();
        if let Some(room) = room {
            room.take(batch);
        }
        Ok(may)
    }

    /// Room for one more notice of this kind; `None` beyond its rule.
    async fn room(
        &self,
        rule: Rule,
        template: &'static str,
        account: AccountId,
        about: &[u8],
    ) -> Result<Option<Room>, Refusal> {
        let bucket = Bucket::new("notice", &[template.as_bytes(), account.0.as_bytes(), about]);
        let (row, at) = counters::read(&self.db, &self.vault, &bucket).await?;
        let Ok(counter) = row.counter.clone().count(rule, at) else { return Ok(None) };
        let until = counter.forgotten_at(rule, at);
        Ok(Some(Room { row, counter, until }))
    }
}

/// A notice that may be told: what is remembered of it when it is.
struct Room {
    row: CounterRow,
    counter: Counter,
    until: Timestamp,
}

impl Room {
    fn take(self, batch: &mut Batch<'_>) {
        batch.write.put_counter(&self.row, &self.counter, self.until);
    }
}
