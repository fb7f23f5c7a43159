//! What must hold after everything that has happened: nine judges of the ledger, the database and the mails.

mod acknowledged;
mod families;
mod limits;
mod log;
mod mails;
mod passwords;
mod phantoms;
mod refusals;
mod spoil;

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doorbook_dev::{Mail, Role};
use sqlx::PgPool;
use uuid::Uuid;

use crate::ledger::{Action, Entry, Outcome};
use crate::nemesis::Strike;
use crate::rig::Rig;
use crate::visit::Town;

pub(crate) use spoil::unseen;

/// Findings that a report spells out.
const SHOWN: usize = 5;

/// What one judge has to say.
pub struct Verdict {
    pub name: &'static str,
    /// What was looked at, in numbers.
    pub figure: String,
    /// What must not be; none if all is well.
    pub findings: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {} found wrong", self.name, self.figure, self.findings.len())?;
        self.findings.iter().take(SHOWN).try_for_each(|finding| write!(f, "\n      {finding}"))
    }
}

/// An event, as far as the judges care.
#[derive(Debug, sqlx::FromRow)]
pub struct Event {
    pub event_id: Uuid,
    pub r#type: String,
    pub stream_id: Uuid,
    pub subject_id: Option<Uuid>,
    pub actor_kind: String,
    pub trace_id: Option<Uuid>,
    /// In milliseconds since the Unix epoch.
    pub at: i64,
}

/// All that is judged.
pub struct Evidence {
    pub entries: Vec<Entry>,
    pub events: Vec<Event>,
    pub mails: Vec<Mail>,
    pub strikes: Vec<Strike>,
    /// When everybody was there and the load began.
    pub load_began: Duration,
    pub owner: PgPool,
    started: Instant,
    by_trace: HashMap<Uuid, usize>,
}

impl Evidence {
    async fn gather(rig: &Rig, town: &Town, strikes: &[Strike], load_began: Duration) -> Result<Self> {
        let owner = rig.database.pool(Role::Migrator).await?;
        let events = "select event_id, type, stream_id, subject_id, actor_kind, trace_id,
            (extract(epoch from recorded_at) * 1000)::bigint as at from events order by event_id";
        let events = sqlx::query_as(events).fetch_all(&owner).await.context("cannot read the log")?;
        let entries = town.ledger.entries();
        let by_trace = entries.iter().enumerate().map(|(number, entry)| (entry.trace, number)).collect();
        let (mails, strikes) = (town.sink.mails_from(0), strikes.to_vec());
        Ok(Self { entries, events, mails, strikes, load_began, started: town.ledger.started(), owner, by_trace })
    }

    /// The operation that an event names.
    fn entry(&self, event: &Event) -> Option<&Entry> {
        self.by_trace.get(&event.trace_id?).map(|number| &self.entries[*number])
    }

    /// Operations that were acknowledged.
    fn done(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.outcome == Outcome::Done)
    }

    /// The account of each person, as far as they got one.
    fn accounts(&self) -> HashMap<usize, Uuid> {
        let registered = self.events.iter().filter(|event| event.r#type == "Registered");
        registered.filter_map(|event| Some((self.entry(event)?.intent.person, event.subject_id?))).collect()
    }

    /// When the ledger was begun, in the database's milliseconds since the Unix epoch: no event is older than its operation.
    fn begun(&self) -> i64 {
        let ages = self.events.iter().filter_map(|event| Some(event.at - millis(self.entry(event)?.begun)));
        ages.min().unwrap_or_default()
    }

    /// When a mail came, by the ledger's clock.
    fn arrived(&self, mail: &Mail) -> Duration {
        mail.at.saturating_duration_since(self.started)
    }

    /// What is told of an operation that was judged.
    fn describe(entry: &Entry) -> String {
        let last = entry.attempts.last();
        let statuses: Vec<_> = entry.attempts.iter().map(|attempt| attempt.status.unwrap_or_default()).collect();
        let (person, action, begun) = (entry.intent.person, entry.intent.action, entry.begun.as_secs_f64());
        let ended = last.map(|attempt| attempt.ended().as_secs_f64()).unwrap_or_default();
        format!(
            "person {person}: {action:?} {begun:.2} s to {ended:.2} s, {statuses:?}, trace {}",
            entry.trace.simple()
        )
    }

    async fn number(&self, sql: &'static str) -> Result<i64> {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.with_context(|| format!("cannot ask: {sql}"))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// All judges, one after the other. The service must be at rest.
pub async fn judge(rig: &Rig, town: &Town, strikes: &[Strike], load_began: Duration) -> Result<Vec<Verdict>> {
    let evidence = Evidence::gather(rig, town, strikes, load_began).await?;
    Ok(vec![
        acknowledged::judge(&evidence),
        phantoms::judge(&evidence),
        passwords::judge(&evidence),
        families::judge(&evidence).await?,
        mails::judge(&evidence).await?,
        log::projections(rig).await?,
        log::judge(rig, &evidence).await?,
        limits::judge(&evidence).await?,
        refusals::judge(&evidence),
    ])
}

/// Events that only an operation of this kind may have caused.
fn cause(event: &str) -> Option<Action> {
    let all = [Action::Register, Action::Login, Action::Reset, Action::Confirm, Action::Change, Action::Logout];
    all.into_iter().find(|action| action.event() == Some(event))
}
