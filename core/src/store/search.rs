//! The search view: keyed hashes of what events can be found by, and how many of each type an hour had.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::db::bounded;
use super::follow::Read;
use super::keys::search::SearchKey;
use super::keys::{Vault, erasure};
use super::{Db, StoreError, Tx, follow, log};
use crate::clock::Timestamp;
use crate::event::{Event, Personal};
use crate::terms::{self, Field};
use crate::value::EventId;

/// Name of its follower.
pub const FOLLOWER: &str = "search";
/// Most events of one transaction.
const BATCH: i64 = 1_000;

/// What an hour has of one type.
struct Hour {
    events: i64,
    first: i64,
    last: i64,
    /// What the events stand for beyond themselves.
    rolled_up: i64,
}

/// Rows in the making.
#[derive(Default)]
struct Rows {
    fields: Vec<i16>,
    terms: Vec<i64>,
    positions: Vec<i64>,
    /// Accounts whose key went, and that key.
    shredded: Vec<(Uuid, Uuid)>,
    hours: BTreeMap<(Timestamp, String), Hour>,
}

impl Rows {
    fn push(&mut self, key: &SearchKey, event: &log::SealedEvent, read: &Event, personal: Option<&Personal>) {
        for (field, value) in terms::of(read, (event.subject_id, event.actor_id, event.session_id), personal) {
            self.fields.push(field.number());
            self.terms.push(key.term(field, &value));
            self.positions.push(event.position);
        }
        if let Some((account, key)) = event.subject_id.zip(erasure::shredded(&event.name, &event.payload)) {
            self.shredded.push((account, key));
        }
    }

    fn count(&mut self, event: &log::SealedEvent, read: &Event) {
        let hour = Timestamp::from_seconds(event.recorded_at.seconds().div_euclid(3_600) * 3_600);
        let (first, last) = (event.position, event.position);
        let fresh = Hour { events: 0, first, last, rolled_up: 0 };
        let counted = self.hours.entry((hour, event.name.clone())).or_insert(fresh);
        counted.events += 1;
        counted.last = last;
        counted.rolled_up += i64::try_from(read.rolled_up()).unwrap_or(i64::MAX);
    }
}

/// Takes in one batch; how many positions it has come on, dropped ones among them. 0 also when another process is at work. An event that cannot be read ends the batch before
/// it; when it is the first, it is the error.
pub async fn follow(db: &Db, vault: &Vault) -> Result<usize, StoreError> {
    bounded(go_on(db, vault)).await
}

async fn go_on(db: &Db, vault: &Vault) -> Result<usize, StoreError> {
    let mut tx = db.begin().await?;
    let Some(place) = follow::take(&mut tx, FOLLOWER).await? else {
        tx.commit().await?;
        return Ok(0);
    };
    // Who changes it waits for this transaction.
    let key = vault.search_key(db).await?;
    let ahead = follow::read(&mut tx, db, vault, place.position, BATCH, |_| true).await?;
    if ahead.position == place.position {
        tx.commit().await?;
        return ahead.stop.map_or(Ok(0), Err);
    }
    let mut rows = Rows::default();
    for Read { stored, event, personal } in &ahead.events {
        rows.push(&key, stored, event, personal.as_ref());
        if stored.position > place.counted {
            rows.count(stored, event);
        }
    }
    let shredded = std::mem::take(&mut rows.shredded);
    insert(&mut tx, rows).await?;
    for (account, data_key) in shredded {
        forget(&mut tx, &key, account, data_key).await?;
    }
    let positions = follow::moved(&mut tx, FOLLOWER, &place, ahead.position).await?;
    tx.commit().await?;
    Ok(positions)
}

/// Empties the view; followers fill it again from the first event on, under whatever key is in force after this transaction. Nobody
/// follows meanwhile. What was counted by the hour stays: nothing of it hangs on the key, and it tells of months that are gone.
pub(super) async fn begin_anew(tx: &mut Tx) -> Result<(), StoreError> {
    follow::from_the_start(&mut *tx, FOLLOWER).await?;
    sqlx::query!("truncate event_search").execute(tx).await?;
    Ok(())
}

/// Takes away what events could be found by that a deleted key had sealed: those about its account, and those that its holder did.
async fn forget(tx: &mut Tx, key: &SearchKey, account: Uuid, data_key: Uuid) -> Result<(), StoreError> {
    let term = |field| key.term(field, &account.to_string());
    let personal = Field::PERSONAL.map(Field::number);
    sqlx::query!(
        "delete from event_search s using (
             select p.position from event_search a
             join event_seals p on p.log_id = 1 and p.position = a.position
             join events e on e.retention_class = p.retention_class and e.event_id = p.event_id
             where ((a.field = $1 and a.term = $2) or (a.field = $3 and a.term = $4)) and e.pii_key_id = $5
         ) sealed where s.position = sealed.position and s.field = any($6)",
        Field::Account.number(),
        term(Field::Account),
        Field::Actor.number(),
        term(Field::Actor),
        data_key,
        &personal
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes away what events of strangers could be found by that a key has sealed, a page of events behind `after`; the last of the page, `None`
/// when it was the last.
pub async fn forget_strangers(db: &Db, key: &erasure::StrangerKey, after: Uuid) -> Result<Option<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"with page as (
               select event_id from events
               where retention_class = 'expire' and event_id > $1 and event_id < $2 order by event_id limit $3
           ), forgotten as (
               delete from event_search s using page
               join events e on e.retention_class = 'expire' and e.event_id = page.event_id and e.pii_key_id = $4
               join event_seals p on p.event_id = page.event_id
               where s.position = p.position and s.field = any($5)
           )
           select event_id as "last!" from page order by event_id desc limit 1"#,
        after,
        key.to,
        BATCH,
        key.id,
        &Field::PERSONAL.map(Field::number)
    )
    .fetch_optional(db)
    .await?)
}

async fn insert(tx: &mut Tx, rows: Rows) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into event_search (field, term, position) select * from unnest($1::smallint[], $2::bigint[], $3::bigint[])
         on conflict do nothing",
        &rows.fields,
        &rows.terms,
        &rows.positions
    )
    .execute(&mut *tx)
    .await?;
    let (mut hours, mut types) = (vec![], vec![]);
    let (mut counts, mut firsts, mut lasts, mut rolled_up) = (vec![], vec![], vec![], vec![]);
    for ((hour, name), counted) in rows.hours {
        hours.push(hour);
        types.push(name);
        counts.push(counted.events);
        firsts.push(counted.first);
        lasts.push(counted.last);
        rolled_up.push(counted.rolled_up);
    }
    sqlx::query!(
        "insert into event_hours as h (hour, type, events, first_position, last_position, rolled_up)
         select * from unnest($1::timestamptz[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
         on conflict (hour, type) do update set events = h.events + excluded.events, rolled_up = h.rolled_up + excluded.rolled_up,
             first_position = least(h.first_position, excluded.first_position),
             last_position = greatest(h.last_position, excluded.last_position)",
        &hours as &[Timestamp],
        &types,
        &counts,
        &firsts,
        &lasts,
        &rolled_up
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a page is looked for with.
pub struct Query {
    /// The field whose rows are walked, and the values it may have; none: all events are walked.
    pub lead: Option<(Field, Vec<i64>)>,
    /// What must hold as well.
    pub others: Vec<(Field, i64)>,
    /// Positions from this one (included) ...
    pub from: i64,
    /// ... to this one (not included), newest first.
    pub before: i64,
    /// Most positions of a page.
    pub limit: i64,
    /// Most rows walked for one page: a rare combination of frequent fields costs pages, never minutes.
    pub walk: i64,
}

/// Positions that match, newest first, and where to go on: `None` when there is nothing further down.
pub struct Found {
    pub positions: Vec<i64>,
    pub next: Option<i64>,
}

/// One page. Costs at most `walk` rows whatever is asked for, and as few as it can: each step walks four times as far as the one before.
pub async fn page(db: &Db, query: &Query) -> Result<Found, StoreError> {
    let Some((field, values)) = &query.lead else { return everything(db, query).await };
    let lead = (*field, values.as_slice());
    let (mut positions, mut before, mut walked) = (Vec::new(), query.before, 0);
    let mut rows = query.limit * if query.others.is_empty() { 1 } else { 4 };
    loop {
        rows = rows.min(query.walk - walked);
        let step = step(db, query, lead, before, rows).await?;
        positions.extend(step.matched);
        positions.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        walked += step.walked;
        let next = match step.lowest {
            _ if is_full(&positions, query.limit) => positions.last().copied(),
            Some(lowest) if step.walked >= rows && walked < query.walk => {
                (before, rows) = (lowest, rows * 4);
                continue;
            }
            lowest => lowest.filter(|_| step.walked >= rows),
        };
        return Ok(Found { positions, next });
    }
}

/// So many rows of the lead, newest first, and which of them hold the rest as well.
struct Step {
    matched: Vec<i64>,
    walked: i64,
    lowest: Option<i64>,
}

async fn step(db: &Db, query: &Query, lead: (Field, &[i64]), before: i64, rows: i64) -> Result<Step, StoreError> {
    let fields: Vec<i16> = query.others.iter().map(|(field, _)| field.number()).collect();
    let terms: Vec<i64> = query.others.iter().map(|(_, term)| *term).collect();
    Ok(sqlx::query_as!(
        Step,
        r#"with lead as (
               select c.position from unnest($1::bigint[]) as t(term)
               cross join lateral (
                   select s.position from event_search s
                   where s.field = $2 and s.term = t.term and s.position < $3 and s.position >= $4
                   order by s.position desc limit $5
               ) c order by c.position desc limit $5
           ), matched as (
               select l.position from lead l where not exists (
                   select 1 from unnest($6::smallint[], $7::bigint[]) as r(field, term)
                   where not exists (select 1 from event_search o where o.field = r.field and o.term = r.term and o.position = l.position)
               )
           )
           select coalesce((select array_agg(position order by position desc) from matched), '{}') as "matched!",
                  (select count(*) from lead) as "walked!", (select min(position) from lead) as lowest"#,
        lead.1,
        lead.0.number(),
        before,
        query.from,
        rows,
        &fields,
        &terms
    )
    .fetch_one(db)
    .await?)
}

/// A page of all events.
async fn everything(db: &Db, query: &Query) -> Result<Found, StoreError> {
    let positions = sqlx::query_scalar!(
        "select position from event_seals where log_id = 1 and position < $1 and position >= $2 order by position desc limit $3",
        query.before,
        query.from,
        query.limit
    )
    .fetch_all(db)
    .await?;
    let next = positions.last().copied().filter(|_| is_full(&positions, query.limit));
    Ok(Found { positions, next })
}

fn is_full(positions: &[i64], limit: i64) -> bool {
    i64::try_from(positions.len()).is_ok_and(|count| count >= limit)
}

/// How far down the newest `rows` events with this value reach: the further, the rarer it is here. `None`: there are fewer.
pub async fn reach(db: &Db, field: Field, term: i64, before: i64, rows: i64) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar!(
        "select position from event_search where field = $1 and term = $2 and position < $3
         order by position desc offset $4 limit 1",
        field.number(),
        term,
        before,
        rows - 1
    )
    .fetch_optional(db)
    .await?)
}

/// Accounts that ever had something to do with an address, at most `limit`: those that had it before those that only asked for it, and
/// each the earliest first: who comes later hides nobody.
pub async fn subjects(db: &Db, term: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select e.subject_id as "subject!" from event_search s
           join event_seals p on p.log_id = 1 and p.position = s.position
           join events e on e.retention_class = p.retention_class and e.event_id = p.event_id
           where s.field = $1 and s.term = $2 and e.subject_id is not null
           group by e.subject_id order by bool_or(e.type <> 'EmailChangeRequested') desc, min(s.position) limit $3"#,
        Field::Email.number(),
        term,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Events walked for one page of a domain's accounts.
const DOMAIN_WALK: i64 = 500;
/// The events that name an address: only they are looked at for a newer one.
const NAMING: [&str; 6] =
    ["Registered", "AccountImported", "ProfileUpdated", "EmailChangeRequested", "EmailChanged", "EmailChangeUndone"];

/// Accounts of a page, and where to go on: `None` when there is nothing further down.
pub struct Holders {
    pub found: Vec<Uuid>,
    pub next: Option<EventId>,
}

/// Accounts that have something to do with a domain, each at the newest event that says so, below a position, newest first, at most
/// `limit`. Walks `DOMAIN_WALK` events: a page may be short, or empty, and still have a next one.
///
/// The number stands in the statement: Postgres would plan for a tenth of the domain's events and join whole tables.
pub async fn of_domain(db: &Db, term: i64, before: i64, limit: i64) -> Result<Holders, StoreError> {
    let names = NAMING.map(str::to_owned);
    let rows = sqlx::query!(
        r#"select e.event_id as "event_id: EventId", e.subject_id, e.subject_id is not null and not exists (
               select 1 from events f
               join event_seals q on q.log_id = 1 and q.event_id = f.event_id
               join event_search n on n.field = $1 and n.term = $2 and n.position = q.position
               where f.retention_class = 'keep' and f.subject_id = e.subject_id and f.event_id > e.event_id
                 and f.type = any($4) and q.position > l.position
           ) as "newest!"
           from (
               select s.position from event_search s
               where s.field = $1 and s.term = $2 and s.position < $3 order by s.position desc limit 500
           ) l
           join event_seals p on p.log_id = 1 and p.position = l.position
           join events e on e.retention_class = p.retention_class and e.event_id = p.event_id
           order by l.position desc"#,
        Field::EmailDomain.number(),
        term,
        before,
        &names
    )
    .fetch_all(db)
    .await?;
    let (mut found, mut last, mut rest) =
        (Vec::new(), None, i64::try_from(rows.len()).unwrap_or(i64::MAX) >= DOMAIN_WALK);
    for row in rows {
        if i64::try_from(found.len()).unwrap_or(i64::MAX) >= limit {
            rest = true;
            break;
        }
        last = Some(row.event_id);
        found.extend(row.subject_id.filter(|_| row.newest));
    }
    Ok(Holders { found, next: last.filter(|_| rest) })
}

/// Positions that hold every event recorded in these hours, and few others: from the first, to before the second. `None`: no event is.
pub async fn bounds(db: &Db, from: Timestamp, to: Timestamp) -> Result<Option<(i64, i64)>, StoreError> {
    let row = sqlx::query!(
        "select min(first_position) as first, max(last_position) as last from event_hours
         where hour > $1::timestamptz - interval '1 hour' and hour < $2",
        from as Timestamp,
        to as Timestamp
    )
    .fetch_one(db)
    .await?;
    Ok(row.first.zip(row.last).map(|(first, last)| (first, last.saturating_add(1))))
}
