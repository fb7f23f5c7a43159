//! The trail as it is sealed. One reader a process follows the log while somebody listens, opens what it reads once and hands it to all;
//! nobody who listens asks the database again but for what was sealed before, and for the right to listen on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};

use super::search::{Filter, TrailEntry};
use super::{Caller, Context, Doorbook, FieldFault, Refusal, Sight, fault, opened, seen};
use crate::clock::Timestamp;
use crate::event::{Event, Personal};
use crate::operator::OperatorEvent;
use crate::store::follow;
use crate::store::log::{self, SealedEvent};
use crate::store::search::FOLLOWER;
use crate::terms::{self, Field, Severity};
use crate::token::cursor;
use crate::value::AccountId;

/// Streams of one process, and of one account in it.
const STREAMS_MAX: usize = 32;
const STREAMS_OF_ACCOUNT_MAX: usize = 4;
/// When somebody may try again who was one too many.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Longest life of a stream: whoever listens on comes again, and is checked like anybody.
const LIFE_MAX: Duration = Duration::from_hours(1);
/// How often session and role are looked at again. Source: their end must be noticed within a minute.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// How often a stream that told nothing says how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// How often the log is asked for what was sealed since, and the pause after an error.
const POLL: Duration = Duration::from_millis(250);
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// Events read at once.
const PAGE: i64 = 500;
/// Events that a slow listener may be behind before it is cut off.
const BEHIND_MAX: usize = 1_024;
/// Events that a stream catches up with; who was away for longer searches.
const RESUME_MAX: i64 = 100_000;
/// The header that names where to go on.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// A sealed event, opened: shared by all who listen.
struct Told {
    event: SealedEvent,
    severity: Option<Severity>,
    personal: Option<Personal>,
    erased: bool,
    terms: Vec<(Field, String)>,
}

/// Who listens in this process.
#[derive(Default)]
pub(crate) struct Hub(Mutex<Listeners>);

#[derive(Default)]
struct Listeners {
    open: HashMap<AccountId, usize>,
    /// What the reader writes to; `None` while nobody listens.
    feed: Option<broadcast::Sender<Arc<Told>>>,
}

/// A place among the listeners, until it is dropped.
struct Place {
    doorbook: Arc<Doorbook>,
    account: AccountId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = self.doorbook.live.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = listeners.open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                listeners.open.remove(&self.account);
            }
        }
    }
}

/// What a stream says.
#[derive(Debug)]
pub enum Live {
    /// An event, and the id to go on behind it.
    Event(Box<TrailEntry>, String),
    /// Nothing that was asked for; the id to go on from here.
    Progress(String),
}

/// What the ids of a stream are signed with, if a stream can be asked for this.
fn signed_with(filter: &Filter, caller: Caller) -> Result<String, Refusal> {
    filter.check()?;
    let unfit = [("email", filter.email.is_some()), ("from", filter.from.is_some()), ("to", filter.to.is_some())];
    if let Some((field, _)) = unfit.into_iter().find(|(_, is_given)| *is_given) {
        return Err(fault(field, "is nothing that a stream can be asked for"));
    }
    Ok(format!("live\0{}", filter.canonical(caller)))
}

/// A stream of the trail.
pub struct Stream {
    place: Place,
    caller: Caller,
    filter: Filter,
    /// What the ids of this stream are signed with.
    search: String,
    sight: Sight,
    feed: broadcast::Receiver<Arc<Told>>,
    /// The last position that was looked at, and the last that the client knows of.
    position: i64,
    told: i64,
    /// What was sealed before is read from the log first.
    catching_up: bool,
    ready: VecDeque<Arc<Told>>,
    ends_at: Instant,
    check_at: Instant,
    progress_at: Instant,
}

impl Doorbook {
    /// Opens a stream of what is sealed from now on or, with the id of an earlier one, of what was sealed since. It ends with the caller's
    /// session or right, at `until`, or when its reader is too slow. That it was opened is an event, once for it and its continuations.
    pub async fn open_stream(
        self: &Arc<Self>,
        caller: Caller,
        filter: Filter,
        resume: Option<&str>,
        until: Timestamp,
        context: &Context,
    ) -> Result<Stream, Refusal> {
        let search = signed_with(&filter, caller)?;
        let place = self.take_place(caller.account)?;
        let newest = log::last_position(&self.db).await?;
        let position = match resume {
            None => {
                let opened = OperatorEvent::AuditStreamOpened { fields: filter.fields() };
                self.note(caller, filter.account, opened, context).await?;
                newest
            }
            Some(id) => {
                let refused = |words| Refusal::Invalid(vec![FieldFault::new(LAST_EVENT_ID, "invalid", words)]);
                let position = cursor::read(&self.roots, id, &search)
                    .ok_or_else(|| refused("is not from a stream of this search"))?;
                if newest - position > RESUME_MAX {
                    return Err(refused("is too far back: search for what was missed"));
                }
                position
            }
        };
        let sight = self.sight(caller).await?;
        let now = Instant::now();
        Ok(Stream {
            feed: self.listen(newest),
            place,
            caller,
            filter,
            search,
            sight,
            position,
            told: position,
            catching_up: true,
            ready: VecDeque::new(),
            ends_at: now + until.since(self.clock.now()).min(LIFE_MAX),
            check_at: now + CHECK_EVERY,
            progress_at: now + PROGRESS_EVERY,
        })
    }

    /// The newest events as far as searches have come, and the id of a stream that goes on right behind them.
    pub async fn tail(
        &self,
        caller: Caller,
        filter: &Filter,
        limit: u32,
        context: &Context,
    ) -> Result<(Vec<TrailEntry>, String), Refusal> {
        let search = signed_with(filter, caller)?;
        let opened = OperatorEvent::AuditStreamOpened { fields: filter.fields() };
        self.note(caller, filter.account, opened, context).await?;
        let newest = log::last_position(&self.db).await?;
        let position = follow::position(&self.db, FOLLOWER).await?.clamp((newest - RESUME_MAX).max(0), newest);
        let sight = self.sight(caller).await?;
        let (entries, _) = self.walk(filter, Some(position + 1), i64::from(limit), sight).await?;
        Ok((entries, cursor::write(&self.roots, position, &search)))
    }

    /// Streams that are open in this process.
    pub fn open_streams(&self) -> usize {
        self.live.0.lock().unwrap_or_else(PoisonError::into_inner).open.values().sum()
    }

    fn take_place(self: &Arc<Self>, account: AccountId) -> Result<Place, Refusal> {
        let mut listeners = self.live.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = listeners.open.values().sum();
        let own = listeners.open.get(&account).copied().unwrap_or(0);
        if own >= STREAMS_OF_ACCOUNT_MAX || all >= STREAMS_MAX {
            return Err(Refusal::Limited { retry_after: RETRY_AFTER });
        }
        listeners.open.insert(account, own + 1);
        Ok(Place { doorbook: Arc::clone(self), account })
    }

    /// Listens to the reader, which begins behind `position` when there was none.
    fn listen(self: &Arc<Self>, position: i64) -> broadcast::Receiver<Arc<Told>> {
        let mut listeners = self.live.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = &listeners.feed {
            return feed.subscribe();
        }
        let (feed, receiver) = broadcast::channel(BEHIND_MAX);
        listeners.feed = Some(feed.clone());
        tokio::spawn(Arc::clone(self).read_on(position, feed));
        receiver
    }

    /// Reads on while somebody listens.
    async fn read_on(self: Arc<Self>, mut position: i64, feed: broadcast::Sender<Arc<Told>>) {
        loop {
            {
                let mut listeners = self.live.0.lock().unwrap_or_else(PoisonError::into_inner);
                if feed.receiver_count() == 0 {
                    listeners.feed = None;
                    return;
                }
            }
            let pause = match self.sealed_since(position).await {
                Ok(page) => {
                    let is_full = page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
                    for told in page {
                        position = told.event.position;
                        // Whoever was there a moment ago may be gone.
                        let _ = feed.send(told);
                    }
                    if is_full { Duration::ZERO } else { POLL }
                }
                Err(error) => {
                    tracing::warn!(%error, "those who listen to the trail wait: it cannot be read");
                    ERROR_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    async fn sealed_since(&self, position: i64) -> Result<Vec<Arc<Told>>, Refusal> {
        let events = follow::read_on(&self.db, position, PAGE).await?;
        let keys = self.vault.keys_of(&self.db, events.iter().filter_map(|event| event.pii_key_id)).await?;
        let mut page = Vec::with_capacity(events.len());
        for event in events {
            let (personal, erased) = opened(&event, &keys);
            let read = Event::read(&event.kind, &event.name, &event.payload, personal.as_ref());
            let ids = (event.subject_id, event.actor_id, event.session_id);
            let (severity, terms) = match read {
                Ok(read) => (Some(Severity::of(&read)), terms::of(&read, ids, personal.as_ref())),
                // Whoever asks for everything gets what this build cannot read, too.
                Err(_) => (None, Vec::new()),
            };
            page.push(Arc::new(Told { event, severity, personal, erased, terms }));
        }
        Ok(page)
    }
}

impl Stream {
    /// What comes next; `None` at the end.
    pub async fn next(&mut self) -> Option<Live> {
        loop {
            let now = Instant::now();
            if now >= self.ends_at || (now >= self.check_at && !self.is_allowed().await) {
                return None;
            }
            if let Some(told) = self.ready.pop_front() {
                match self.look_at(&told) {
                    Some(live) => return Some(live),
                    None => continue,
                }
            }
            if self.catching_up {
                if let Err(error) = self.catch_up().await {
                    tracing::warn!(%error, "a stream of the trail was cut off: what was sealed before cannot be read");
                    return None;
                }
                continue;
            }
            tokio::select! {
                () = sleep_until(self.ends_at.min(self.check_at)) => {}
                () = sleep_until(self.progress_at) => {
                    self.progress_at = Instant::now() + PROGRESS_EVERY;
                    if self.position > self.told {
                        self.told = self.position;
                        return Some(Live::Progress(self.id()));
                    }
                }
                received = self.feed.recv() => match received {
                    Ok(told) => self.ready.push_back(told),
                    Err(RecvError::Lagged(_)) => {
                        tracing::info!("a stream of the trail was cut off: its reader is too slow");
                        return None;
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Reads what was sealed before. What is sealed after the read comes by the feed, which is listened to anew before it: reading may
    /// have taken longer than the feed keeps.
    async fn catch_up(&mut self) -> Result<(), Refusal> {
        self.feed = self.feed.resubscribe();
        let end = log::last_position(&self.place.doorbook.db).await?;
        let page = self.place.doorbook.sealed_since(self.position).await?;
        // A page may be short in the middle: of what retention has dropped, places are left.
        self.catching_up = page.last().is_some_and(|last| last.event.position < end);
        self.ready.extend(page);
        Ok(())
    }

    /// The event if it is new and asked for.
    fn look_at(&mut self, told: &Told) -> Option<Live> {
        // The feed repeats the end of what was caught up with.
        if told.event.position <= self.position {
            return None;
        }
        self.position = told.event.position;
        if !self.filter.is_met_by(&told.terms) {
            return None;
        }
        self.told = self.position;
        let personal = told.personal.clone().map(|personal| seen(personal, self.sight));
        let entry = TrailEntry::new(told.event.clone(), told.severity, personal, told.erased);
        Some(Live::Event(Box::new(entry), self.id()))
    }

    fn id(&self) -> String {
        cursor::write(&self.place.doorbook.roots, self.position, &self.search)
    }

    /// Whether session and role are in force still. A store that cannot answer ends the stream, as it refuses a request.
    async fn is_allowed(&mut self) -> bool {
        self.check_at = Instant::now() + CHECK_EVERY;
        let Ok(Some(sight)) = self.place.doorbook.sight_still(self.caller).await else { return false };
        self.sight = sight;
        true
    }
}
