//! Dropping months of what expires. For the database's owner: no service may do it.

use std::time::Duration;

use uuid::Uuid;

use super::audit::patient;
use super::{Db, StoreError};
use crate::audit::retired::{Month, Retired, Tally};
use crate::clock::Timestamp;

/// Seals read at once.
const PAGE: i64 = 10_000;
/// Tries to get the lock of a partition, and the pause after each: a service's statements go first.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(300);
const LOCK_BRIEFLY: &str = "set local lock_timeout = '100ms'";

/// Months whose partition of what expires is still there and that ended at least so long ago, the oldest first.
pub async fn months_ended(db: &Db, age: Duration) -> Result<Vec<Month>, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select to_char(to_date(right(c.relname, 6), 'YYYYMM'), 'YYYY-MM') as "month!"
           from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'events_expire'::regclass and c.relname ~ '^events_expire_[0-9]{6}$'
             and (to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month') at time zone 'UTC' <= now() - make_interval(secs => $1)
           order by c.relname"#,
        age.as_secs_f64()
    )
    .fetch_all(db)
    .await?;
    let odd = |text: &str| StoreError::Inconsistent(format!("a partition of the month {text}"));
    found.iter().map(|text| text.parse().map_err(|_| odd(text))).collect()
}

/// What stands in a month's partition.
pub struct Content {
    pub events: i64,
    pub sealed: i64,
    /// Seals of its events, whether those are there or not.
    pub seals: i64,
    /// Lowest and highest position.
    pub first: Option<i64>,
    pub last: Option<i64>,
}

pub async fn content(db: &Db, month: Month) -> Result<Content, StoreError> {
    let mut patient = patient(db).await?;
    let content = sqlx::query_as!(
        Content,
        r#"select count(*) as "events!", count(s.position) as "sealed!", min(s.position) as first, max(s.position) as last,
                  (select count(*) from event_seals where retention_class = 'expire' and event_id >= uuid7_floor($1) and event_id < uuid7_floor($2)) as "seals!"
           from events e left join event_seals s on s.event_id = e.event_id and s.retention_class = e.retention_class
           where e.retention_class = 'expire' and e.event_id >= uuid7_floor($1) and e.event_id < uuid7_floor($2)"#,
        month.start() as Timestamp,
        month.next().start() as Timestamp
    )
    .fetch_one(&mut patient)
    .await?;
    patient.rollback().await?;
    Ok(content)
}

/// How far the log is written to the sink, and how far the followers have come that must see an event before it goes.
pub struct Progress {
    pub written: i64,
    pub followed: i64,
}

pub async fn progress(db: &Db) -> Result<Progress, StoreError> {
    Ok(sqlx::query_as!(
        Progress,
        r#"select (select written_size from checkpoint_sink where log_id = 1) as "written!",
                  coalesce((select min(position) from followers), 0) as "followed!""#
    )
    .fetch_one(db)
    .await?)
}

/// The positions of a month's seals between two positions, told to `each` in order.
async fn walk(
    db: &Db,
    month: Month,
    (first, last): (i64, i64),
    mut each: impl AsyncFnMut(&[(i64, Vec<u8>)]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after = first - 1;
    loop {
        let rows = sqlx::query!(
            "select position, leaf_hash from event_seals
             where log_id = 1 and position > $1 and position <= $2 and retention_class = 'expire' 
               and event_id >= uuid7_floor($3) and event_id < uuid7_floor($4)
             order by position limit $5",
            after,
            last,
            month.start() as Timestamp,
            month.next().start() as Timestamp,
            PAGE
        )
        .fetch_all(db)
        .await?;
        let Some(end) = rows.last().map(|row| row.position) else { return Ok(()) };
        let page: Vec<_> = rows.into_iter().map(|row| (row.position, row.leaf_hash)).collect();
        each(&page).await?;
        after = end;
    }
}

/// Which events go with a month.
pub async fn tally(db: &Db, month: Month, span: (i64, i64)) -> Result<Retired, StoreError> {
    let mut tally = Tally::default();
    walk(db, month, span, async |page| {
        for (position, leaf) in page {
            tally.add(u64::try_from(*position).unwrap_or(0), &super::tree::hash(leaf)?);
        }
        Ok(())
    })
    .await?;
    Ok(tally.of(month))
}

/// Takes a month's rows out of what the trail is searched by.
pub async fn forget_terms(db: &Db, month: Month, span: (i64, i64)) -> Result<(), StoreError> {
    walk(db, month, span, async |page| {
        let positions: Vec<i64> = page.iter().map(|(position, _)| *position).collect();
        sqlx::query!("delete from event_search where position = any($1)", &positions).execute(db).await?;
        Ok(())
    })
    .await
}

/// Drops a month's partition, as soon as nobody reads or writes any part of the log for a moment.
pub async fn drop_partition(db: &Db, month: Month) -> Result<(), StoreError> {
    let name = format!("events_expire_{}", month.to_string().replace('-', ""));
    for _ in 0..LOCK_TRIES {
        let mut tx = db.begin().await?;
        sqlx::raw_sql(LOCK_BRIEFLY).execute(&mut tx).await?;
        // The name is made of digits of ours.
        let dropped = sqlx::query(sqlx::AssertSqlSafe(format!("drop table {name}"))).execute(&mut tx).await;
        match dropped.map_err(StoreError::from) {
            Ok(_) => return Ok(tx.commit().await?),
            Err(StoreError::Conflict) => tx.rollback().await?,
            Err(other) => return Err(other),
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(StoreError::Conflict)
}

/// What the log says of months that are gone.
pub struct Told {
    pub months: Vec<Retired>,
    /// Events that say so and cannot be read: nobody who writes by the rules leaves such, and they excuse nothing.
    pub unreadable: Vec<Uuid>,
}

/// Not what bears the id of another event, whose seal it would borrow, nor what has a seal of another log.
pub async fn retired(db: &Db) -> Result<Told, StoreError> {
    let mut patient = patient(db).await?;
    let rows = sqlx::query!(
        "select event_id, payload from events e where retention_class = 'keep' and type = 'EventsRetired'
           and not exists (select 1 from event_seals s where s.event_id = e.event_id
                               and (s.retention_class <> e.retention_class or s.log_id <> 1 or s.position < 1))
         order by event_id"
    )
    .fetch_all(&mut patient)
    .await?;
    patient.rollback().await?;
    let mut told = Told { months: Vec::new(), unreadable: Vec::new() };
    for row in rows {
        match read(&row.payload) {
            Some(month) => told.months.push(month),
            None => told.unreadable.push(row.event_id),
        }
    }
    Ok(told)
}

fn read(payload: &serde_json::Value) -> Option<Retired> {
    let text = |name: &str| payload.get(name).and_then(serde_json::Value::as_str);
    let digest = text("digest").and_then(crate::audit::note::unhex).and_then(|bytes| bytes.try_into().ok());
    Some(Retired {
        month: text("month")?.parse().ok()?,
        events: payload.get("events").and_then(serde_json::Value::as_u64)?,
        digest: digest?,
    })
}
