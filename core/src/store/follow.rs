//! Views that follow the log. A follower reads sealed events by position and moves its checkpoint in the transaction of its effect:
//! killed anywhere, it goes on where its effect ends. It never skips: what it cannot read stops it, and the stop is an alarm.

use sqlx::PgExecutor;

use super::keys::Vault;
use super::log::{self, SealedEvent};
use super::{Db, StoreError, Tx};
use crate::clock::Timestamp;
use crate::event::{Event, Personal};

/// Longest reason kept, in bytes.
const FAULT_MAX: usize = 1_024;

/// A follower as operators see it.
#[derive(Debug)]
pub struct Follower {
    pub name: String,
    pub position: i64,
    /// Sealed events that it has not read.
    pub behind: i64,
    /// Why it stands still.
    pub fault: Option<String>,
    pub moved_at: Timestamp,
}

/// How far a follower has come.
pub(crate) struct Place {
    pub position: i64,
    /// Up to here events have been counted: further on than `position` while a view is filled again.
    pub counted: i64,
}

/// Takes a follower for this transaction; `None` while another process has it.
pub(crate) async fn take(tx: &mut Tx, name: &str) -> Result<Option<Place>, StoreError> {
    let found = free(tx, name).await?;
    if found.is_some() {
        return Ok(found);
    }
    // Either somebody has it, or it is new.
    sqlx::query!("insert into followers (follower) values ($1) on conflict do nothing", name).execute(&mut *tx).await?;
    free(tx, name).await
}

async fn free(tx: &mut Tx, name: &str) -> Result<Option<Place>, StoreError> {
    Ok(sqlx::query_as!(
        Place,
        "select position, counted from followers where follower = $1 for update skip locked",
        name
    )
    .fetch_optional(tx)
    .await?)
}

/// Sends a follower back to the first event, when whoever has it has finished.
pub(super) async fn from_the_start(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    sqlx::query!("insert into followers (follower) values ($1) on conflict do nothing", name).execute(&mut *tx).await?;
    sqlx::query!(
        "update followers set counted = greatest(counted, position), position = 0, fault = null where follower = $1",
        name
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Everything up to `position` has had its effect; how many positions that are.
pub(crate) async fn moved(tx: &mut Tx, name: &str, from: &Place, position: i64) -> Result<usize, StoreError> {
    sqlx::query!(
        "update followers set position = $2, counted = greatest(counted, $2), fault = null, moved_at = clock_timestamp()
         where follower = $1",
        name,
        position
    )
    .execute(tx)
    .await?;
    Ok(usize::try_from(position - from.position).unwrap_or_default())
}

/// Notes why a follower stands still; it tries again at every look, since a later build may be able to read on.
pub async fn stopped(db: &Db, name: &str, fault: &str) -> Result<(), StoreError> {
    let end = fault.floor_char_boundary(FAULT_MAX);
    sqlx::query!(
        "update followers set fault = $2 where follower = $1 and fault is distinct from $2",
        name,
        &fault[..end]
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How far a follower has come; 0 before its first step.
pub async fn position(db: &Db, name: &str) -> Result<i64, StoreError> {
    let found = sqlx::query_scalar!("select position from followers where follower = $1", name);
    Ok(found.fetch_optional(db).await?.unwrap_or(0))
}

/// All followers.
pub async fn all(db: &Db) -> Result<Vec<Follower>, StoreError> {
    Ok(sqlx::query_as!(
        Follower,
        r#"select f.follower as name, f.position, coalesce(l.last, 0) - f.position as "behind!", f.fault,
                  f.moved_at as "moved_at: Timestamp"
           from followers f, (select max(position) as last from event_seals where log_id = 1) l order by f.follower"#
    )
    .fetch_all(db)
    .await?)
}

/// A sealed event and what it says.
pub(crate) struct Read {
    pub stored: SealedEvent,
    pub event: Event,
    pub personal: Option<Personal>,
}

/// What lies ahead of a follower.
pub(crate) struct Ahead {
    pub events: Vec<Read>,
    /// The last of them or, behind events that retention has dropped, of those; else where it was.
    pub position: i64,
    /// Why there are no more for now.
    pub stop: Option<StoreError>,
}

/// Reads on behind `after`, at most `limit` events, up to one that is missing or cannot be read. Personal data is opened in streams of the
/// kinds that `opened` names; elsewhere it is as if it had been erased.
pub(crate) async fn read(
    tx: &mut Tx,
    db: &Db,
    vault: &Vault,
    after: i64,
    limit: i64,
    opened: fn(&str) -> bool,
) -> Result<Ahead, StoreError> {
    let mut ahead = Ahead { events: Vec::new(), position: after, stop: None };
    let mut sealed = log::sealed_after(&mut *tx, after, limit).await?;
    if sealed.is_empty() {
        let Some(window) = window(&mut *tx, after).await? else { return Ok(ahead) };
        if window.is_retired {
            ahead.position = window.last;
            return Ok(ahead);
        }
        // Sealed a moment ago, or missing.
        sealed = log::sealed_after(&mut *tx, after, limit).await?;
        if sealed.is_empty() {
            ahead.stop = Some(missing(after + 1));
            return Ok(ahead);
        }
    }
    let keys = sealed.iter().filter(|event| opened(&event.kind)).filter_map(|event| event.pii_key_id);
    let keys = vault.keys_of(db, keys).await?;
    ahead.events.reserve(sealed.len());
    for stored in sealed {
        let next = ahead.position + 1;
        if stored.position != next && !are_retired(tx, ahead.position, stored.position).await? {
            ahead.stop = Some(missing(next));
            break;
        }
        match stored.read(&keys) {
            Ok((event, personal)) => {
                ahead.position = stored.position;
                ahead.events.push(Read { stored, event, personal });
            }
            Err(unreadable) => {
                ahead.stop = Some(unreadable);
                break;
            }
        }
    }
    Ok(ahead)
}

fn missing(position: i64) -> StoreError {
    StoreError::Inconsistent(format!("position {position} is missing from the log"))
}

/// Sealed events behind `after`, in order, at most `limit`: past those that retention has dropped, however many they are. For who only reads.
pub async fn read_on(db: &Db, mut after: i64, limit: i64) -> Result<Vec<SealedEvent>, StoreError> {
    loop {
        let sealed = log::sealed_after(db, after, limit).await?;
        if !sealed.is_empty() {
            return Ok(sealed);
        }
        match window(db, after).await? {
            Some(Window { last, is_retired: true }) => after = last,
            // The end, or sealed a moment ago: the next look has it.
            _ => return Ok(sealed),
        }
    }
}

/// The next thousand positions, as far as [`log::sealed_after`] looks.
struct Window {
    last: i64,
    /// All of them belong to events that retention has dropped.
    is_retired: bool,
}

async fn window<'c>(db: impl PgExecutor<'c>, after: i64) -> Result<Option<Window>, StoreError> {
    let found = sqlx::query!(
        r#"select max(p.position) as last,
                  coalesce(bool_and(p.retention_class = 'expire' and not exists (
                      select 1 from events e where e.retention_class = 'expire' and e.event_id = p.event_id
                  )) and count(*) = max(p.position) - $1, false) as "is_retired!"
           from (
               select s.position, s.event_id, s.retention_class from event_seals s
               where s.log_id = 1 and s.position > $1 order by s.position limit 1000
           ) p"#,
        after
    )
    .fetch_one(db)
    .await?;
    Ok(found.last.map(|last| Window { last, is_retired: found.is_retired }))
}

/// Whether all positions between the two were sealed and belong to events that retention has dropped since.
async fn are_retired(tx: &mut Tx, after: i64, before: i64) -> Result<bool, StoreError> {
    let sealed = sqlx::query_scalar!(
        r#"select count(*) as "count!" from event_seals p
           where p.log_id = 1 and p.position > $1 and p.position < $2 and p.retention_class = 'expire'
             and not exists (select 1 from events e where e.retention_class = 'expire' and e.event_id = p.event_id)"#,
        after,
        before
    )
    .fetch_one(tx)
    .await?;
    Ok(sealed == before - after - 1)
}
