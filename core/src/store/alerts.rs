//! What the rules of alerts remember, and the list of what they have said.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::keys::search::SearchKey;
use super::write::{Expect, Write};
use super::{Db, StoreError, Tx};
use crate::alert::{Key, Memory, Rule, State, Subject};
use crate::clock::Timestamp;
use crate::terms::Severity;
use crate::value::EventId;

/// Name of the follower.
pub const FOLLOWER: &str = "alerts";

/// What the state of a subject is kept under.
pub(crate) fn name(key: &SearchKey, subject: &Subject) -> [u8; 32] {
    match subject {
        Subject::All => key.name("all", b""),
        Subject::Account(id) => key.name("account", id.as_bytes()),
        Subject::Actor(id) => key.name("actor", id.as_bytes()),
        Subject::Network(network) => key.name("network", network.as_bytes()),
        Subject::Follower(follower) => key.name("follower", follower.as_bytes()),
    }
}

/// What is remembered under these keys.
pub(crate) async fn remembered(tx: &mut Tx, key: &SearchKey, keys: Vec<Key>) -> Result<Memory, StoreError> {
    let mut memory = Memory::default();
    let mut named: HashMap<(String, Vec<u8>), Key> =
        keys.into_iter().map(|it| ((it.0.as_str().to_owned(), name(key, &it.1).to_vec()), it)).collect();
    let (rules, subjects): (Vec<String>, Vec<Vec<u8>>) = named.keys().cloned().unzip();
    let rows = sqlx::query!(
        "select s.rule, s.subject, s.state from unnest($1::text[], $2::bytea[]) as k(rule, subject)
         join alert_states s on s.rule = k.rule and s.subject = k.subject",
        &rules,
        &subjects
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let Some(key) = named.remove(&(row.rule, row.subject)) else { continue };
        // What cannot be read was written by another release: it is remembered anew.
        memory.put(key, serde_json::from_value(row.state).unwrap_or_default());
    }
    Ok(memory)
}

/// Remembers these.
pub(crate) async fn remember<'a>(
    tx: &mut Tx,
    key: &SearchKey,
    states: impl Iterator<Item = (&'a Key, &'a State)>,
) -> Result<(), StoreError> {
    let (mut rules, mut subjects, mut values, mut ends) = (vec![], vec![], vec![], vec![]);
    for ((rule, subject), state) in states {
        rules.push(rule.as_str().to_owned());
        subjects.push(name(key, subject).to_vec());
        values.push(serde_json::to_value(state).map_err(|error| StoreError::Inconsistent(error.to_string()))?);
        ends.push(state.expires_at());
    }
    sqlx::query!(
        "insert into alert_states (rule, subject, state, expires_at)
         select * from unnest($1::text[], $2::bytea[], $3::jsonb[], $4::timestamptz[])
         on conflict (rule, subject) do update set state = excluded.state, expires_at = excluded.expires_at",
        &rules,
        &subjects,
        &values as &[Value],
        &ends as &[Timestamp]
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How many of a rule were raised since.
pub(crate) async fn raised_since(tx: &mut Tx, since: Timestamp, rule: Rule) -> Result<u64, StoreError> {
    let raised = sqlx::query_scalar!(
        r#"select count(*) as "count!" from alerts where alert_id >= uuid7_floor($1) and rule = $2"#,
        since as Timestamp,
        rule.as_str()
    )
    .fetch_one(tx)
    .await?;
    Ok(raised.unsigned_abs())
}

impl Write {
    /// Guard: something that a look has found has not been told of; until `until` it need not be again. Conflict when it has been.
    pub fn begin_quiet(&mut self, rule: Rule, subject: [u8; 32], until: Timestamp) {
        let (rule, subject) = (self.bind(rule.as_str()), self.bind(subject.to_vec()));
        let until = self.bind(until);
        self.guard(
            "begin_quiet",
            &format!(
                "insert into alert_states as s (rule, subject, state, expires_at)
                 select {rule}, {subject}, '{{}}'::jsonb, {until} where {{after}}
                 on conflict (rule, subject) do update set expires_at = excluded.expires_at
                 where s.expires_at <= clock_timestamp() returning 1"
            ),
        );
    }

    /// Somebody has taken note of an alert; conflict when somebody had.
    pub fn acknowledge_alert(&mut self, alert: EventId, now: Timestamp) {
        let (id, now) = (self.bind(alert.0), self.bind(now));
        self.step(
            "acknowledge_alert",
            Expect::Rows(1),
            format!(
                "update alerts set acknowledged_at = {now} where alert_id = {id} and acknowledged_at is null returning 1"
            ),
        );
    }

    /// Lists an alert.
    pub fn insert_alert(&mut self, alert: EventId, rule: Rule, severity: Severity) {
        let binds = [self.bind(alert.0), self.bind(rule.as_str()), self.bind(severity.as_str())];
        self.step(
            "insert_alert",
            Expect::Rows(1),
            format!("insert into alerts (alert_id, rule, severity) values ({}) returning 1", binds.join(", ")),
        );
    }
}

/// Which alerts are asked for. All that is given must be so.
#[derive(Default)]
pub(crate) struct Query<'a> {
    pub rule: Option<&'a str>,
    /// One of these, if any.
    pub severities: Vec<String>,
    pub acknowledged: Option<bool>,
    /// Older than this one.
    pub before: Option<EventId>,
    pub limit: i64,
}

/// An alert as it was raised, and who has taken note of it.
pub(crate) struct Listed {
    pub alert_id: EventId,
    pub raised_at: Timestamp,
    pub payload: Value,
    pub acknowledged_at: Option<Timestamp>,
    pub acknowledged_by: Option<Uuid>,
    pub acknowledgement: Option<Value>,
}

/// A page of alerts, newest first.
pub(crate) async fn page(db: &Db, query: &Query<'_>) -> Result<Vec<Listed>, StoreError> {
    Ok(sqlx::query_as!(
        Listed,
        r#"select a.alert_id as "alert_id: EventId", e.recorded_at as "raised_at: Timestamp", e.payload,
                  a.acknowledged_at as "acknowledged_at: Timestamp", k.actor_id as acknowledged_by, k.payload as "acknowledgement?"
           from (
               select alert_id, acknowledged_at from alerts
               where ($1::uuid is null or alert_id < $1) and ($2::text is null or rule = $2) and severity = any($3)
                 and ($4::boolean is null or (acknowledged_at is not null) = $4)
               order by alert_id desc limit $5
           ) a
           join events e on e.retention_class = 'keep' and e.event_id = a.alert_id
           left join events k on k.retention_class = 'keep' and k.stream_id = a.alert_id and k.version = 2
           order by a.alert_id desc"#,
        query.before.map(|before| before.0),
        query.rule,
        &query.severities,
        query.acknowledged,
        query.limit
    )
    .fetch_all(db)
    .await?)
}

/// Whether an alert has been taken note of; `None` when there is no such alert.
pub(crate) async fn is_acknowledged(db: &Db, alert: EventId) -> Result<Option<bool>, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select acknowledged_at is not null as "acknowledged!" from alerts where alert_id = $1"#,
        alert.0
    );
    Ok(found.fetch_optional(db).await?)
}

/// Alerts that nobody has taken note of, counted up to 1,000.
pub(crate) async fn open(db: &Db) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 from alerts where acknowledged_at is null limit 1000) a"#
    )
    .fetch_one(db)
    .await?)
}

/// What a look has found is still so: it stays told until `until`. False when it is not told yet, or was too long ago.
pub(crate) async fn stay_quiet(db: &Db, rule: Rule, subject: [u8; 32], until: Timestamp) -> Result<bool, StoreError> {
    let held = sqlx::query!(
        "update alert_states set expires_at = greatest(expires_at, $3)
         where rule = $1 and subject = $2 and expires_at > clock_timestamp()",
        rule.as_str(),
        subject.as_slice(),
        until as Timestamp
    )
    .execute(db)
    .await?;
    Ok(held.rows_affected() == 1)
}
