//! Why somebody could not log in, for whoever is asked: told from the events alone.

use std::collections::BTreeMap;

use super::past::EventRef;
use super::search::TrailEntry;
use super::{Caller, Context, Doorbook, Refusal};
use crate::attempt::End;
use crate::attempt::{Fact, Ground, explain};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::limit::Rule;
use crate::operator::OperatorEvent;
use crate::store::StoreError;
use crate::store::keys::identifiers::Bucket;
use crate::store::log::SealedEvent;
use crate::store::past;
use crate::value::{AccountId, EventId};

/// Most refusals of one page.
pub const REFUSALS_PAGE_MAX: u32 = 100;
/// The events that are refusals.
const REFUSALS: [&str; 4] = ["LoginFailed", "LoginBlocked", "AccountLocked", "RefreshTokenReused"];
/// What is looked at before the first refusal of a page: enough for the failures in a row that lock.
const BEFORE_MAX: i64 = 250;
/// Most events of the streams in which a block began: more failures than any rule counts.
const BESIDE_MAX: i64 = 2_000;

/// What ended a refusal.
#[derive(Clone, Debug)]
pub enum Ended {
    /// In force, or nobody has got in since.
    Not,
    /// It has run out.
    ByTime(Timestamp),
    By(EventRef),
}

#[derive(Debug)]
pub struct RefusalView {
    pub event: TrailEntry,
    pub ground: Ground,
    pub until: Option<Timestamp>,
    /// What led to it, the first first.
    pub because: Vec<EventRef>,
    pub ended: Ended,
}

#[derive(Debug)]
pub struct RefusalsPage {
    /// The newest first.
    pub refusals: Vec<RefusalView>,
    /// The rule by which failures count today.
    pub rule: Rule,
    /// Where the next page begins; `None` on the last.
    pub next: Option<EventId>,
}

impl Doorbook {
    /// Refused logins of an account, the newest first, older than `before`. That it was looked at is an event.
    pub async fn login_refusals(
        &self,
        caller: Caller,
        account: AccountId,
        before: Option<EventId>,
        limit: u32,
        context: &Context,
    ) -> Result<RefusalsPage, Refusal> {
        let now = self.clock.now();
        let story = self.story(account, now).await?;
        let looked = OperatorEvent::AuditSearched { fields: vec!["refusals".to_owned()] };
        if before.is_none() {
            self.note(caller, Some(account), looked, context).await?;
        } else {
            // Whoever turns pages adds nothing, and whoever begins with a later page is told of all the same.
            let both = [caller.account.0, account.0];
            let bucket = Bucket::new("refusals_looked", &both.each_ref().map(|id| id.as_bytes().as_slice()));
            self.note_hourly(caller, &bucket, Some(account), looked, context).await?;
        }
        let sight = self.sight(caller).await?;
        let limit = limit.clamp(1, REFUSALS_PAGE_MAX);
        let page = past::named(&self.db, account, &REFUSALS, now, before, i64::from(limit)).await?;
        let is_full = page.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = page.last().filter(|_| is_full).map(|event| event.event_id);
        let mut known: BTreeMap<EventId, SealedEvent> =
            story.into_iter().map(|happened| (happened.sealed.event_id, happened.sealed)).collect();
        known.extend(self.around(account, &page, now).await?.into_iter().map(|event| (event.event_id, event)));
        let explanations = explain(&facts(known.values())?, self.policy.login, now);
        let refer = |id: &EventId| known.get(id).map(EventRef::of);
        let mut refusals = Vec::with_capacity(page.len());
        for event in self.entries(page, sight).await? {
            let Some(told) = explanations.iter().find(|told| told.event == event.id) else { continue };
            refusals.push(RefusalView {
                ground: told.ground,
                until: told.until,
                because: told.because.iter().filter_map(refer).collect(),
                ended: match told.end {
                    None => Ended::Not,
                    Some(End::Time(at)) => Ended::ByTime(at),
                    Some(End::Event(id)) => refer(&id).map_or(Ended::Not, Ended::By),
                },
                event,
            });
        }
        Ok(RefusalsPage { refusals, rule: self.policy.login, next })
    }

    /// The page itself, what came before it, the logins that followed and what stands beside the blocks.
    async fn around(
        &self,
        account: AccountId,
        page: &[SealedEvent],
        now: Timestamp,
    ) -> Result<Vec<SealedEvent>, Refusal> {
        let Some(oldest) = page.last() else { return Ok(Vec::new()) };
        let names = ["LoginFailed", "LoginBlocked", "LoggedIn"];
        let mut events = past::named(&self.db, account, &names, now, Some(oldest.event_id), BEFORE_MAX).await?;
        let ids: Vec<_> = page.iter().map(|event| event.event_id).collect();
        events.extend(past::logins_after(&self.db, account, &ids).await?);
        let of_name = |name: &'static str| page.iter().filter(move |event| event.name == name);
        let mut streams: Vec<_> = of_name("LoginBlocked").map(|event| event.stream_id).collect();
        streams.sort_unstable();
        streams.dedup();
        events.extend(past::of_streams(&self.db, &streams, BESIDE_MAX).await?);
        let mut reused: Vec<_> = of_name("RefreshTokenReused").map(|event| event.stream_id).collect();
        reused.dedup();
        events.extend(past::of_streams(&self.db, &reused, BESIDE_MAX).await?);
        events.extend(page.iter().cloned());
        Ok(events)
    }
}

/// What the events say, in the order in which they were recorded.
fn facts<'a>(events: impl Iterator<Item = &'a SealedEvent>) -> Result<Vec<Fact>, StoreError> {
    let mut facts = Vec::new();
    for event in events {
        // Whose mailbox it was explains nothing.
        let read = Event::read(&event.kind, &event.name, &event.payload, None)?;
        facts.push(Fact { id: event.event_id, at: event.recorded_at, stream: event.stream_id, event: read });
    }
    facts.sort_by_key(|fact| (fact.at, fact.id));
    Ok(facts)
}
