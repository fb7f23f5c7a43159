//! Searching the trail: any combination of fields and a span of time, newest first, in pages whose cost is bounded.

use std::net::IpAddr;

use uuid::Uuid;

use super::{Doorbook, Refusal, Sight, fault};
use crate::clock::Timestamp;
use crate::event::Personal;
use crate::operator::OperatorEvent;
use crate::service::Context;
use crate::service::access::Caller;
use crate::store::keys::search::SearchKey;
use crate::store::log::{self, SealedEvent};
use crate::store::search::{self as view, Query};
use crate::terms::{self, Field, Severity};
use crate::token::cursor;
use crate::value::{AccountId, Email, EventId, SessionId};

/// Rows walked for one page at most. Source: some 20 ms of index rows in memory.
const WALK_MAX: i64 = 20_000;
/// Which field is the rarest is told by how far down its newest so many rows reach.
const REACH: i64 = 200;
/// Accounts that one address may have belonged to, of which the trail is searched.
const OWNERS_MAX: i64 = 20;
/// Longest name of an event.
const NAME_MAX: usize = 64;
/// Longest domain. Source: RFC 1035, 2.3.4.
const DOMAIN_MAX: usize = 253;

/// What is searched for; every field that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub account: Option<AccountId>,
    pub actor: Option<AccountId>,
    pub session: Option<SessionId>,
    /// Name of the event.
    pub name: Option<String>,
    /// This one or worse.
    pub severity: Option<Severity>,
    pub address: Option<IpAddr>,
    /// An IPv4 /24 or an IPv6 /48, by any of its addresses.
    pub network: Option<IpAddr>,
    /// Events of every account that ever had this address.
    pub email: Option<Email>,
    pub email_domain: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Filter {
    /// Fields and values that the view is asked for; the account's addresses apart.
    fn terms(&self) -> Vec<(Field, String)> {
        let id = |field, id: Option<Uuid>| id.map(|id| (field, id.to_string()));
        [
            id(Field::Account, self.account.map(|account| account.0)),
            id(Field::Actor, self.actor.map(|account| account.0)),
            id(Field::Session, self.session.map(|session| session.0)),
            self.name.clone().map(|name| (Field::Type, name)),
            self.severity.filter(|level| *level > Severity::Info).map(|it| (Field::Severity, it.as_str().to_owned())),
            self.address.map(|address| (Field::Address, address.to_canonical().to_string())),
            self.network.map(|address| (Field::Network, terms::network(address.to_canonical()).to_string())),
            self.email_domain.as_deref().and_then(Email::domain_of).map(|domain| (Field::EmailDomain, domain)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Names of the fields that are given, for the trail.
    pub(super) fn fields(&self) -> Vec<String> {
        let mut names: Vec<_> = self.terms().iter().map(|(field, _)| field.name().to_owned()).collect();
        names.extend(self.email.iter().map(|_| Field::Email.name().to_owned()));
        names.extend(self.from.iter().map(|_| "from".to_owned()));
        names.extend(self.to.iter().map(|_| "to".to_owned()));
        names
    }

    /// What a cursor is bound to.
    pub(super) fn canonical(&self, caller: Caller) -> String {
        let email = self.email.as_ref().map(Email::normal_form);
        let span = (self.from.map(Timestamp::micros), self.to.map(Timestamp::micros));
        format!("{}\0{:?}\0{email:?}\0{span:?}", caller.account, self.terms())
    }

    /// Refuses what no search can mean.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.name.as_ref().is_some_and(|name| name.len() > NAME_MAX) {
            return Err(fault("type", format!("must hold at most {NAME_MAX} characters")));
        }
        if self.email_domain.as_ref().is_some_and(|domain| domain.chars().count() > DOMAIN_MAX) {
            return Err(fault("email_domain", format!("must hold at most {DOMAIN_MAX} characters")));
        }
        if self.email_domain.as_deref().is_some_and(|text| Email::domain_of(text).is_none()) {
            return Err(fault("email_domain", "must be a domain such as example.com".to_owned()));
        }
        Ok(())
    }

    /// Whether an event that can be found by these has all that is asked for, span and mailbox apart.
    pub(super) fn is_met_by(&self, found_by: &[(Field, String)]) -> bool {
        self.terms().iter().all(|term| found_by.contains(term))
    }

    fn holds(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }
}

/// An event as auditors and admins see it.
#[derive(Debug)]
pub struct TrailEntry {
    pub position: i64,
    pub id: EventId,
    pub kind: String,
    pub name: String,
    pub schema_version: i16,
    pub severity: Option<Severity>,
    pub at: Timestamp,
    pub account: Option<Uuid>,
    pub actor_kind: String,
    pub actor: Option<Uuid>,
    pub session: Option<Uuid>,
    pub trace: Option<Uuid>,
    pub cause: Option<Uuid>,
    pub payload: serde_json::Value,
    pub personal: Option<Personal>,
    /// It had personal data, whose key has been deleted.
    pub erased: bool,
}

impl TrailEntry {
    pub(super) fn new(
        event: SealedEvent,
        severity: Option<Severity>,
        personal: Option<Personal>,
        erased: bool,
    ) -> Self {
        Self {
            position: event.position,
            id: event.event_id,
            kind: event.kind,
            name: event.name,
            schema_version: event.schema_version,
            severity,
            at: event.recorded_at,
            account: event.subject_id,
            actor_kind: event.actor_kind,
            actor: event.actor_id,
            session: event.session_id,
            trace: event.trace_id,
            cause: event.causation_id,
            payload: event.payload,
            personal,
            erased,
        }
    }
}

/// A page, newest first. It may be short, or empty, and still have a next one: a search walks so many rows a page and no more.
#[derive(Debug)]
pub struct Page {
    pub entries: Vec<TrailEntry>,
    pub next: Option<String>,
}

/// Where a search stands.
struct Walk {
    lead: Option<(Field, Vec<i64>)>,
    others: Vec<(Field, i64)>,
    from: i64,
    before: i64,
}

impl Doorbook {
    /// One page of a search. Only the first of a search is recorded.
    pub async fn search_trail(
        &self,
        caller: Caller,
        filter: &Filter,
        cursor: Option<&str>,
        limit: u32,
        context: &Context,
    ) -> Result<Page, Refusal> {
        filter.check()?;
        let search = filter.canonical(caller);
        let before = match cursor {
            None => None,
            Some(text) => {
                let invalid = || fault("cursor", "is not from a page of this search");
                Some(cursor::read(&self.roots, text, &search).ok_or_else(invalid)?)
            }
        };
        if before.is_none() {
            let fields = filter.fields();
            self.note(caller, filter.account, OperatorEvent::AuditSearched { fields }, context).await?;
        }
        let sight = self.sight(caller).await?;
        let (entries, next) = self.walk(filter, before, i64::from(limit.max(1)), sight).await?;
        Ok(Page { entries, next: next.map(|position| cursor::write(&self.roots, position, &search)) })
    }

    /// The newest events of a search, for a page that is recorded as a whole.
    pub async fn newest(&self, caller: Caller, filter: &Filter, limit: u32) -> Result<Vec<TrailEntry>, Refusal> {
        let sight = self.sight(caller).await?;
        Ok(self.walk(filter, None, i64::from(limit), sight).await?.0)
    }

    /// Entries below a position, and where to go on.
    pub(super) async fn walk(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: i64,
        sight: Sight,
    ) -> Result<(Vec<TrailEntry>, Option<i64>), Refusal> {
        let Some(walk) = self.plan(filter, before).await? else { return Ok((Vec::new(), None)) };
        let Walk { lead, others, from, before } = walk;
        let found = view::page(&self.db, &Query { lead, others, from, before, limit, walk: WALK_MAX }).await?;
        let mut events = log::sealed_at(&self.db, &found.positions).await?;
        events.retain(|event| filter.holds(event.recorded_at));
        Ok((self.entries(events, sight).await?, found.next))
    }

    /// What to walk along and what to check on the way: along the rarest field. `None`: nothing can match.
    async fn plan(&self, filter: &Filter, before: Option<i64>) -> Result<Option<Walk>, Refusal> {
        let (mut from, mut end) = (1, i64::MAX);
        if filter.from.is_some() || filter.to.is_some() {
            let first = filter.from.unwrap_or(Timestamp::from_seconds(0));
            let last = filter.to.unwrap_or_else(|| self.now().plus(std::time::Duration::from_hours(1)));
            let Some((lowest, past)) = view::bounds(&self.db, first, last).await? else { return Ok(None) };
            (from, end) = (lowest, past);
        }
        let before = before.unwrap_or(i64::MAX).min(end);
        let key = self.vault.search_key(&self.db).await?;
        let mut terms: Vec<_> =
            filter.terms().into_iter().map(|(field, value)| (field, key.term(field, &value))).collect();
        if terms.len() > 1 {
            let mut placed = Vec::new();
            for (field, term) in terms {
                placed.push((view::reach(&self.db, field, term, before, REACH).await?, field, term));
            }
            placed.sort_unstable();
            terms = placed.into_iter().map(|(_, field, term)| (field, term)).collect();
        }
        let mut terms = terms.into_iter();
        let lead = match &filter.email {
            Some(email) => Some((Field::Account, self.owners(&key, email).await?)),
            None => terms.next().map(|(field, term)| (field, vec![term])),
        };
        if lead.as_ref().is_some_and(|(_, values)| values.is_empty()) {
            return Ok(None);
        }
        Ok(Some(Walk { lead, others: terms.collect(), from, before }))
    }

    /// Terms of the accounts that have or had this address.
    async fn owners(&self, key: &SearchKey, email: &Email) -> Result<Vec<i64>, Refusal> {
        let term = key.term(Field::Email, email.normal_form());
        let mut owners = view::subjects(&self.db, term, OWNERS_MAX).await?;
        owners.extend(self.find_account(email).await?.map(|account| account.0));
        owners.sort_unstable();
        owners.dedup();
        Ok(owners.iter().map(|owner| key.term(Field::Account, &owner.to_string())).collect())
    }
}
