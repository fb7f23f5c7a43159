//! Trouble with the places that mails go to, and the mails that wait for it to end. Every function is one committed statement.

use std::time::Duration;

use super::jobs::Claimed;
use super::{Db, StoreError};
use crate::value::JobId;

/// A destination is closed at this weight.
pub const CLOSED_FROM: i32 = 10;
/// Weights stop counting here.
const WEIGHT_MAX: i32 = 1_000;
/// A destination is closed for this long at first; the pause doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
/// Bound of the pause: with the sweep and the mail itself, the first mail gets through within a minute after the trouble. Source: bar 6.
const PAUSE_MAX: Duration = Duration::from_secs(40);
/// A mail that tries a closed destination keeps others from it for this long, unless it says how it went.
const PROBE: Duration = Duration::from_secs(45);

/// The mail server, or the domain of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination(pub [u8; 32]);

/// What is known of a destination that had trouble.
pub struct Known {
    pub destination: Vec<u8>,
    pub weight: i32,
    /// Somebody may try whether it is still closed.
    pub may_be_tried: bool,
}

/// What is known of these two; nothing of those that never had trouble.
pub async fn known(db: &Db, of: [Destination; 2]) -> Result<Vec<Known>, StoreError> {
    let [one, other] = of.map(|destination| destination.0.to_vec());
    Ok(sqlx::query_as!(
        Known,
        r#"select destination, weight,
                  open_at <= clock_timestamp() and coalesce(probe_until <= clock_timestamp(), true) as "may_be_tried!"
           from mail_destinations where destination in ($1, $2)"#,
        one,
        other
    )
    .fetch_all(db)
    .await?)
}

/// Takes the one place of a mail that tries a closed destination. False when another mail has it.
pub async fn take_probe(db: &Db, destination: Destination) -> Result<bool, StoreError> {
    let taken = sqlx::query!(
        "update mail_destinations set probe_until = clock_timestamp() + $2 * interval '1 second'
         where destination = $1 and open_at <= clock_timestamp() and coalesce(probe_until <= clock_timestamp(), true)",
        &destination.0,
        PROBE.as_secs_f64()
    )
    .execute(db)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Adds to a destination's trouble, and closes it when that is enough. With a `job`, its mail is tried anew as soon as the trouble ends.
pub async fn add_trouble(db: &Db, destination: Destination, weight: i32, job: Option<JobId>) -> Result<(), StoreError> {
    sqlx::query!(
        "with place as (
             insert into mail_destinations as d (destination, weight, open_at, failed_at) values ($1, $2, clock_timestamp(), clock_timestamp())
             on conflict (destination) do update set
                 weight = least(d.weight + $2, $4), failed_at = clock_timestamp(), probe_until = null,
                 closings = d.closings + (d.weight + $2 >= $3 and d.open_at <= clock_timestamp())::int,
                 open_at = case when d.weight + $2 >= $3 and d.open_at <= clock_timestamp()
                     then clock_timestamp() + least($6::float8, $5 * 2 ^ least(d.closings, 10)) * interval '1 second' else d.open_at end
             returning weight
         )
         insert into held_mails (job_id, destination, held_at)
         select $7::uuid, $1, clock_timestamp() from place where weight >= $3 and $7::uuid is not null
         on conflict (job_id) do update set destination = excluded.destination",
        &destination.0,
        weight,
        CLOSED_FROM,
        WEIGHT_MAX,
        PAUSE_FIRST.as_secs_f64(),
        PAUSE_MAX.as_secs_f64(),
        job.map(|job| job.0)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A mail got through: these are open, whatever was before.
pub async fn end_trouble(db: &Db, of: &[Destination]) -> Result<(), StoreError> {
    let of: Vec<Vec<u8>> = of.iter().map(|destination| destination.0.to_vec()).collect();
    sqlx::query!(
        "update mail_destinations set weight = 0, closings = 0, open_at = clock_timestamp(), probe_until = null where destination = any($1)",
        &of
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts a job back for `pause`, as if this worker had not begun it; with a destination, until that is open if that is sooner. False when it is
/// another worker's by now.
pub async fn hold(db: &Db, job: &Claimed, by: Option<Destination>, pause: Duration) -> Result<bool, StoreError> {
    let held = sqlx::query_scalar!(
        r#"with job as (
               update jobs set state = 'due', run_at = clock_timestamp() + $3 * interval '1 second', starts = greatest(starts - 1, 0), lease_until = null
               where job_id = $1 and fence = $2 and state || '' = 'running' returning job_id
           ), held as (
               insert into held_mails (job_id, destination, held_at)
               select job_id, $4, clock_timestamp() from job where $4::bytea is not null
               on conflict (job_id) do update set destination = excluded.destination
           )
           select count(*) as "count!" from job"#,
        job.job_id.0,
        job.fence,
        pause.as_secs_f64(),
        by.map(|destination| destination.0.to_vec())
    )
    .fetch_one(db)
    .await?;
    Ok(held == 1)
}

/// Makes held mails due: all whose destination is open again, up to `batch` of each, and one of each that may be tried. How many.
pub async fn release(db: &Db, batch: i64) -> Result<u64, StoreError> {
    let released = sqlx::query!(
        "with free as (
             select held.job_id from mail_destinations d cross join lateral (
                 select h.job_id from held_mails h where h.destination = d.destination order by h.held_at
                 limit case when d.weight < $1 then $2::bigint else 1 end for update skip locked
             ) held
             where d.weight < $1 or (d.open_at <= clock_timestamp() and coalesce(d.probe_until <= clock_timestamp(), true))
         ), gone as (
             delete from held_mails h using free where h.job_id = free.job_id returning h.job_id
         )
         update jobs j set run_at = clock_timestamp() from gone
         where j.job_id = gone.job_id and j.state || '' = 'due' and j.run_at > clock_timestamp()",
        CLOSED_FROM,
        batch
    )
    .execute(db)
    .await?;
    Ok(released.rows_affected())
}

/// Forgets trouble that is a day old, at most `limit` of it. Nothing waits for it: a held mail is tried within the hour in any case.
pub async fn purge(db: &Db, limit: i64) -> Result<u64, StoreError> {
    // now(), not clock_timestamp(): only what is stable within the statement can bound the index scan.
    let gone = sqlx::query!(
        "delete from mail_destinations where failed_at < now() - interval '1 day' and destination in
             (select destination from mail_destinations where failed_at < now() - interval '1 day' limit $1)",
        limit
    )
    .execute(db)
    .await?;
    Ok(gone.rows_affected())
}
