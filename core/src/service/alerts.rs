//! Alerts: the rules over the log as it is sealed, and what the worker itself sees. Each is appended once, whoever dies or is at work
//! beside: what the rules remember, how far they have come and what they say are one transaction.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::append::Batch;
use super::{Alerting, Context, Doorbook, Refusal};
use crate::alert::{Alert, Evidence, Fact, Key, Rule, SecurityEvent, State, Subject, judge, keys_of};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::store::alerts::{self, FOLLOWER};
use crate::store::db::bounded;
use crate::store::follow::{self, Read};
use crate::store::log::{self, StreamKind};
use crate::store::{StoreError, Tx};
use crate::terms::{self, Severity};
use crate::token::random;
use crate::value::{AccountId, EventId, StreamId};

/// Most events of one transaction.
const BATCH: i64 = 500;
const HOUR: Duration = Duration::from_hours(1);
/// Alerts of one rule and hour that operators are told of: whoever attacks thousands of accounts must not fill their mailboxes, nor keep them from
/// hearing of what it has led to. The list has all.
const TOLD_AN_HOUR: u64 = 60;

/// An alert as operators are told of it.
#[derive(Debug)]
pub struct Raised {
    pub id: EventId,
    pub at: Timestamp,
    pub rule: String,
    pub severity: Severity,
    pub account: Option<AccountId>,
    pub actor: Option<AccountId>,
    pub follower: Option<String>,
    pub evidence: Evidence,
}

impl Raised {
    pub(super) fn read(id: EventId, at: Timestamp, payload: &serde_json::Value) -> Result<Self, StoreError> {
        match Event::read(StreamKind::Security.as_str(), "SecurityAlertRaised", payload, None)? {
            Event::Security(SecurityEvent::SecurityAlertRaised {
                rule,
                severity,
                account,
                actor,
                follower,
                evidence,
            }) => Ok(Self { id, at, rule, severity, account, actor, follower, evidence }),
            _ => Err(StoreError::Inconsistent(format!("{id} is no alert"))),
        }
    }

    /// What it is about, for people; the name of a rule that this release does not know.
    pub fn about(&self) -> &str {
        Rule::parse(&self.rule).map_or(self.rule.as_str(), |rule| rule.about())
    }
}

/// What one step of the follower has done.
#[derive(Debug, Default)]
pub struct Step {
    /// How many positions it has come on, dropped ones among them.
    pub positions: usize,
    pub raised: Vec<Rule>,
}

/// A read event as rules see it.
pub(super) fn fact(read: Read) -> Fact {
    let Read { stored, event, personal } = read;
    let network = personal
        .and_then(|personal| personal.address)
        .and_then(|text| text.parse().ok())
        .map(|address| terms::network(address).to_string());
    Fact {
        id: stored.event_id,
        at: stored.recorded_at,
        stream: stored.stream_id,
        event,
        account: stored.subject_id,
        actor: stored.actor_id,
        network,
    }
}

impl Doorbook {
    /// Takes in what was sealed since, and appends the alerts that it raises. For the worker; only one at a time gets to work.
    pub async fn follow_alerts(&self) -> Result<Step, Refusal> {
        bounded(self.judge_sealed()).await
    }

    async fn judge_sealed(&self) -> Result<Step, Refusal> {
        let mut tx = self.db.begin().await.map_err(StoreError::from)?;
        let Some(place) = follow::take(&mut tx, FOLLOWER).await? else {
            tx.commit().await.map_err(StoreError::from)?;
            return Ok(Step::default());
        };
        let read = follow::read(&mut tx, &self.db, &self.vault, place.position, BATCH, is_opened).await?;
        if read.position == place.position {
            tx.commit().await.map_err(StoreError::from)?;
            return read.stop.map_or_else(|| Ok(Step::default()), |error| Err(error.into()));
        }
        let facts: Vec<Fact> = read.events.into_iter().map(fact).collect();
        let raised = self.weigh(&mut tx, &facts).await?;
        let positions = follow::moved(&mut tx, FOLLOWER, &place, read.position).await?;
        crate::failpoint!("alerts.raised");
        tx.commit().await.map_err(StoreError::from)?;
        Ok(Step { positions, raised })
    }

    /// What the rules say of these facts is appended, and what they remember is kept.
    async fn weigh(&self, tx: &mut Tx, facts: &[Fact]) -> Result<Vec<Rule>, Refusal> {
        let thresholds = &self.policy.alerts.thresholds;
        let keys = keys_of(facts, thresholds);
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // Who changes it begins to count anew: nothing that is remembered can be found any more.
        let key = self.vault.search_key(&self.db).await.map_err(StoreError::from)?;
        let mut memory = alerts::remembered(tx, &key, keys.clone()).await?;
        let before: HashMap<Key, State> =
            keys.iter().filter_map(|key| Some((key.clone(), memory.get(key)?.clone()))).collect();
        let alerts: Vec<Alert> = facts.iter().flat_map(|fact| judge(fact, &mut memory, thresholds)).collect();
        let changed = keys.iter().filter_map(|key| Some((key, memory.get(key)?)));
        let nothing = State::default();
        let changed = changed.filter(|(key, state)| *state != before.get(key).unwrap_or(&nothing));
        alerts::remember(tx, &key, changed).await?;
        if !alerts.is_empty() {
            let context = Context::system(Uuid::from_bytes(random()));
            let now = self.now();
            let mut batch = Batch::new(&context, now);
            let mut told = HashMap::new();
            for alert in &alerts {
                let raised = match told.get(&alert.rule) {
                    Some(raised) => *raised,
                    None => alerts::raised_since(tx, now.minus(HOUR), alert.rule).await?,
                };
                batch.alert(alert, raised < TOLD_AN_HOUR, &self.policy.alerts)?;
                told.insert(alert.rule, raised + 1);
            }
            batch.into_write().run(tx).await?;
        }
        Ok(alerts.iter().map(|alert| alert.rule).collect())
    }

    /// An alert by its id.
    pub async fn raised(&self, id: EventId) -> Result<Option<Raised>, Refusal> {
        let Some(event) = log::by_id(&self.db, id).await? else { return Ok(None) };
        Ok(Some(Raised::read(id, event.recorded_at, &event.payload)?))
    }

    /// Raises an alert about what the worker itself sees, once for as long as it is seen without a break of the quiet period, by however
    /// many workers. True when it was.
    pub async fn raise_while_seen(&self, rule: Rule, subject: Subject, count: u64) -> Result<bool, Refusal> {
        let key = self.vault.search_key(&self.db).await.map_err(StoreError::from)?;
        let name = alerts::name(&key, &subject);
        let now = self.now();
        let until = now.plus(self.policy.alerts.thresholds.quiet);
        if alerts::stay_quiet(&self.db, rule, name, until).await? {
            return Ok(false);
        }
        let evidence = Evidence { count, threshold: 1, ..Evidence::default() };
        let context = Context::system(Uuid::from_bytes(random()));
        let mut batch = Batch::new(&context, now);
        batch.write.begin_quiet(rule, name, until);
        batch.alert(&Alert { rule, subject, at: now, evidence }, true, &self.policy.alerts)?;
        match batch.commit(self).await {
            Ok(()) => Ok(true),
            // Another worker has seen it too.
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Rules ask for the network of failed logins alone.
pub(super) fn is_opened(kind: &str) -> bool {
    kind == StreamKind::Attempts.as_str()
}

impl Batch<'_> {
    /// Appends an alert: a stream of its own, named like the event. `told`: operators hear of it.
    fn alert(&mut self, alert: &Alert, told: bool, alerting: &Alerting) -> Result<(), Refusal> {
        let id = self.next_id();
        let stream = StreamId(id.0);
        self.write.open_stream(stream, StreamKind::Security, None, 1);
        self.event_with(id, stream, 1, None, None, Event::Security(alert.event()), None)?;
        self.caused_by(alert.evidence.events.last().copied());
        self.write.insert_alert(id, alert.rule, alert.severity());
        if told {
            self.tell_of_alert(id, alerting)?;
        }
        Ok(())
    }
}
