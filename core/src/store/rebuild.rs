//! Replays the log: compares what it comes to with the live rows, or writes it over them. A comparison reads each batch in one
//! snapshot; a rebuild then holds the guards of the accounts that differ, a few at a time. The service goes on meanwhile. Every
//! statement is about all accounts of its batch. Which columns are derived, and so compared and rebuilt, stands in `columns`.

mod compare;
pub(crate) mod fold;
mod repair;
mod rows;
#[cfg(test)]
mod spec;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use self::compare::{Live, Opened, StreamRow, compare};
use self::fold::{Past, Replay};
use self::repair::Repairs;
use self::rows::load;
use super::keys::{DataKey, Vault};
use super::{Db, StoreError, Tx};
use crate::account::{Profile, Status};
use crate::event::{Event, Personal};
use crate::value::{AccountId, Email, EventId};

/// Accounts of one batch, and so of one snapshot: small enough that no statement comes near the statement timeout.
const BATCH: i64 = 200;
/// Accounts that a rebuild holds at a time: a login to one of them waits, so it must be a short while. Source: a hundred with a few
/// sessions each take some 20 ms.
const HELD: usize = 100;
/// How often a rebuild tries again when the service holds what it waits for, and the pause between.
const TRIES: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Events of one read.
const PAGE: usize = 5_000;
/// Differences that are listed; the others are only counted.
const LISTED_MAX: usize = 1_000;

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    pub accounts: u64,
    pub sessions: u64,
    pub events: u64,
    /// One line each, without personal data; at most 1,000.
    pub differences: Vec<String>,
    /// Differences beyond those listed.
    pub unlisted: u64,
    /// Accounts whose rows were written anew.
    pub rebuilt: u64,
}

impl Report {
    fn note(&mut self, difference: String) {
        if self.differences.len() < LISTED_MAX {
            self.differences.push(difference);
        } else {
            self.unlisted += 1;
        }
    }

    /// Differences, listed or not.
    pub fn found(&self) -> u64 {
        u64::try_from(self.differences.len()).unwrap_or(u64::MAX).saturating_add(self.unlisted)
    }

    fn count(&mut self, case: &Case) {
        self.accounts += 1;
        self.sessions += u64::try_from(case.live.sessions.len()).unwrap_or(u64::MAX);
        self.events += case.events;
    }

    fn add(&mut self, other: Self) {
        self.accounts += other.accounts;
        self.sessions += other.sessions;
        self.events += other.events;
        self.rebuilt += other.rebuilt;
        self.unlisted += other.unlisted;
        other.differences.into_iter().for_each(|difference| self.note(difference));
    }
}

/// One account under comparison.
#[derive(Default)]
struct Case {
    live: Live,
    key: Option<DataKey>,
    replay: Replay,
    /// How many were replayed, and what is wrong with some of them.
    events: u64,
    faults: Vec<String>,
}

impl Case {
    /// Whether every event could be read, and what they have sealed: without its key, an account that was not erased has lost it.
    fn is_whole(&self) -> bool {
        let has_key = self.key.is_some() || self.replay.account.status == Status::Erased || self.events == 0;
        self.faults.is_empty() && has_key
    }
}

type Cases = BTreeMap<AccountId, Case>;

/// A batch after its comparison.
struct Page {
    last: Uuid,
    report: Report,
    differing: Vec<Uuid>,
}

/// Compares the derived columns of every account with a replay of its events.
pub async fn check(db: &Db, vault: &Vault) -> Result<Report, StoreError> {
    let (mut report, mut after) = (Report::default(), Uuid::nil());
    while let Some(page) = check_page(db, vault, after).await? {
        after = page.last;
        report.add(page.report);
    }
    Ok(report)
}

/// Writes the derived columns of every account anew where they differ from a replay of its events. What does not differ is only
/// read; what does is compared again under its guards. No effect of an event happens again. `owner` is the owner's connection: no
/// service may do this. The report lists what differs even so: rows that hold what no event tells, such as a token's salt, cannot
/// be made again.
pub async fn rebuild(owner: &Db, vault: &Vault) -> Result<Report, StoreError> {
    let (mut report, mut after) = (Report::default(), Uuid::nil());
    while let Some(page) = check_page(owner, vault, after).await? {
        after = page.last;
        report.add(Report { differences: Vec::new(), unlisted: 0, ..page.report });
        for ids in page.differing.chunks(HELD) {
            report.add(rebuild_held(owner, vault, ids).await?);
        }
    }
    Ok(report)
}

/// Compares the next accounts behind `after`; `None` at the end.
async fn check_page(db: &Db, vault: &Vault, after: Uuid) -> Result<Option<Page>, StoreError> {
    let mut snapshot = db.snapshot().await?;
    let ids = page(&mut snapshot, after, BATCH).await?;
    let Some(last) = ids.last().copied() else {
        snapshot.rollback().await?;
        return Ok(None);
    };
    let cases = gather(&mut snapshot, vault, &ids).await?;
    snapshot.rollback().await?;
    let mut page = Page { last, report: Report::default(), differing: Vec::new() };
    for (id, case) in &cases {
        let known = page.report.found();
        judge(*id, case, vault, &mut page.report);
        page.report.count(case);
        if page.report.found() > known {
            page.differing.push(id.0);
        }
    }
    Ok(Some(page))
}

/// Rebuilds these accounts, again while the service holds what it waits for; what differs even so.
async fn rebuild_held(owner: &Db, vault: &Vault, ids: &[Uuid]) -> Result<Report, StoreError> {
    for _ in 1..TRIES {
        match try_held(owner, vault, ids).await {
            Err(StoreError::Conflict) => tokio::time::sleep(RETRY_AFTER).await,
            other => return other,
        }
    }
    try_held(owner, vault, ids).await
}

async fn try_held(owner: &Db, vault: &Vault, ids: &[Uuid]) -> Result<Report, StoreError> {
    let mut held = owner.begin().await?;
    hold(&mut held, ids).await?;
    let cases = gather(&mut held, vault, ids).await?;
    let (mut before, mut repairs) = (Report::default(), Repairs::default());
    for (id, case) in &cases {
        let known = before.found();
        let opened = judge(*id, case, vault, &mut before);
        // What was not replayed whole says less than the rows do: it is told, and nothing is made of it.
        if before.found() > known && case.is_whole() {
            repairs.add(*id, case, opened)?;
            before.rebuilt += 1;
        }
    }
    let mut left = Report { rebuilt: before.rebuilt, ..Report::default() };
    if before.found() > 0 {
        repairs.write(&mut held).await?;
        // Under the guards no event has come since: the replay stands, the rows are read anew.
        let mut again = load(&mut held, vault, ids).await?;
        for (id, case) in cases {
            let fresh = again.entry(id).or_default();
            (fresh.replay, fresh.faults) = (case.replay, case.faults);
        }
        streams(&mut held, &mut again).await?;
        for (id, case) in &again {
            judge(*id, case, vault, &mut left);
        }
    }
    held.commit().await?;
    Ok(left)
}

/// Notes all that differs in one account; gives what had to be opened for it.
fn judge(id: AccountId, case: &Case, vault: &Vault, report: &mut Report) -> Opened {
    for fault in &case.faults {
        report.note(format!("accounts {id}: {fault}"));
    }
    if case.key.is_some() && case.replay.account.status == Status::Erased {
        report.note(format!("keys.data_keys {id}: has outlived the erasure of its account"));
    }
    let opened = open(id, case, vault, report);
    compare(id, &case.live, &opened, &case.replay, report);
    opened
}

/// Takes the guards of these accounts and then of their sessions, in the order in which every command takes them.
async fn hold(db: &mut Tx, ids: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!("select stream_id from streams where stream_id = any($1) order by stream_id for update", ids)
        .fetch_all(&mut *db)
        .await?;
    sqlx::query!(
        "select t.stream_id from streams t join sessions s on s.session_id = t.stream_id
         where s.account_id = any($1) order by t.stream_id for update of t",
        ids
    )
    .fetch_all(db)
    .await?;
    Ok(())
}

/// Live rows and replay of these accounts.
async fn gather(db: &mut Tx, vault: &Vault, ids: &[Uuid]) -> Result<Cases, StoreError> {
    let mut cases = load(&mut *db, vault, ids).await?;
    replay(&mut *db, ids, &mut cases).await?;
    streams(db, &mut cases).await?;
    Ok(cases)
}

/// Ids of accounts that have a row or a stream. Streams of attempts have random ids: the search ends with the ids made by now.
async fn page(db: &mut Tx, after: Uuid, most: i64) -> Result<Vec<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from (
               (select account_id as id from accounts where account_id > $1 order by account_id limit $2)
               union
               (select stream_id from streams
                where kind = 'account' and stream_id > $1 and stream_id < uuid7_floor(clock_timestamp() + interval '1 day')
                order by stream_id limit $2)
           ) ids order by id limit $2"#,
        after,
        most
    )
    .fetch_all(db)
    .await?)
}

struct EventRow {
    event_id: EventId,
    kind: Option<String>,
    stream_id: Uuid,
    version: i64,
    name: String,
    subject_id: Uuid,
    payload: Value,
    pii: Option<Vec<u8>>,
    pii_key_id: Option<Uuid>,
}

/// Folds all kept events of these accounts, a page at a time.
async fn replay(db: &mut Tx, ids: &[Uuid], cases: &mut Cases) -> Result<(), StoreError> {
    let mut after = (Uuid::nil(), Uuid::nil(), 0);
    loop {
        let rows = sqlx::query_as!(
            EventRow,
            r#"select e.event_id as "event_id: EventId", s.kind as "kind?", e.stream_id, e.version, e.type as name,
                      e.subject_id as "subject_id!", e.payload, e.pii, e.pii_key_id
               from events e left join streams s on s.stream_id = e.stream_id
               where e.retention_class = 'keep' and e.subject_id = any($1) and (e.subject_id, e.stream_id, e.version) > ($2, $3, $4)
               order by e.subject_id, e.stream_id, e.version limit $5"#,
            ids,
            after.0,
            after.1,
            after.2,
            i64::try_from(PAGE).unwrap_or(i64::MAX)
        )
        .fetch_all(&mut *db)
        .await?;
        for row in &rows {
            after = (row.subject_id, row.stream_id, row.version);
            let account = AccountId(row.subject_id);
            let case = cases.entry(account).or_default();
            case.events += 1;
            if let Err(fault) = fold(account, case, row) {
                case.faults.push(fault);
            }
        }
        if rows.len() < PAGE {
            for case in cases.values_mut() {
                case.replay.end();
            }
            return Ok(());
        }
    }
}

fn fold(account: AccountId, case: &mut Case, row: &EventRow) -> Result<(), String> {
    let personal: Option<Personal> = match (&row.pii, &case.key) {
        (Some(sealed), Some(key)) if row.pii_key_id == Some(key.id) => {
            let opened = key.key.open_json(row.event_id.0, sealed);
            Some(opened.map_err(|error| format!("event {}: {error}", row.event_id))?)
        }
        _ => None,
    };
    let kind = row.kind.as_deref().unwrap_or("(no row in streams)");
    let event = Event::read(kind, &row.name, &row.payload, personal.as_ref())
        .map_err(|error| format!("event {}: {error}", row.event_id))?;
    let past = Past { id: row.event_id, stream: row.stream_id, version: row.version, event, personal };
    case.replay.apply(account, past)
}

/// Guard rows of the streams that have been replayed, and of the accounts.
async fn streams(db: &mut Tx, cases: &mut Cases) -> Result<(), StoreError> {
    let mut owners: BTreeMap<Uuid, AccountId> = BTreeMap::new();
    for (id, case) in &*cases {
        owners.insert(id.0, *id);
        owners.extend(case.replay.versions.keys().map(|stream| (*stream, *id)));
    }
    let ids: Vec<Uuid> = owners.keys().copied().collect();
    let rows = sqlx::query_as!(
        StreamRow,
        "select stream_id, kind, subject_id, version, session_epoch, logins from streams where stream_id = any($1)",
        &ids
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        if let Some(owner) = owners.get(&row.stream_id) {
            cases.entry(*owner).or_default().live.streams.push(row);
        }
    }
    Ok(())
}

/// Opens what is sealed. Personal data that has outlived its key, or does not open with it, is a difference of its own.
fn open(id: AccountId, case: &Case, vault: &Vault, report: &mut Report) -> Opened {
    #[derive(serde::Deserialize)]
    struct Origin {
        address: String,
        user_agent: String,
    }
    let mut opened = Opened { lookup_key_id: vault.email_key_id(), ..Opened::default() };
    if let Some(sealed) = case.live.account.as_ref().and_then(|account| account.profile.as_ref()) {
        opened.profile = open_column::<Profile>(case.key.as_ref(), id.0, sealed)
            .inspect_err(|fault| report.note(format!("accounts {id}: profile {fault}")))
            .ok();
    }
    for session in &case.live.sessions {
        let origin = session.origin.as_ref().and_then(|sealed| {
            open_column::<Origin>(case.key.as_ref(), session.session_id.0, sealed)
                .inspect_err(|fault| report.note(format!("sessions {}: origin {fault}", session.session_id)))
                .ok()
        });
        opened.origins.push(origin.map(|origin| (origin.address, origin.user_agent)));
    }
    let email = case.replay.account.profile.as_ref().map(|profile| Email::parse(&profile.email));
    match email {
        Some(Ok(email)) => opened.email_key = Some(vault.email_key(&email)),
        Some(Err(error)) => report.note(format!("accounts {id}: the address that its events tell {error}")),
        None => {}
    }
    opened
}

fn open_column<T: serde::de::DeserializeOwned>(
    key: Option<&DataKey>,
    owner: Uuid,
    sealed: &[u8],
) -> Result<T, &'static str> {
    let key = key.ok_or("has outlived the key that sealed it")?;
    key.key.open_json(owner, sealed).map_err(|_| "does not open with the account's key")
}
