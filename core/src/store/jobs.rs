//! The outbox from the worker's side: dispatch, claim, settle, sweep. Every function is one committed statement; nobody works
//! while a transaction is open.

mod dead;

use std::time::Duration;

use uuid::Uuid;

use super::project::outbox::Priority;
use super::write::Write;
use super::{Db, StoreError};
use crate::clock::Timestamp;
use crate::value::JobId;

pub use dead::{DeadJob, dead, redrive};

/// A claimed job is its worker's for this long; who is still at work renews it (`renew`). Afterwards another worker may have it.
pub const LEASE: Duration = Duration::from_secs(20);
/// A job that has been started this often without an outcome kills its workers: it is set aside at the next start.
pub const STARTS_MAX: i32 = 3;
/// Jobs that one sweep offers again.
pub const SWEEP_BATCH: u64 = 1_000;

/// A job handed to the queue: its id and which hand-over this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    pub job_id: JobId,
    pub dispatch_no: i32,
    pub priority: i16,
    /// It has been started before without an outcome: it runs alone.
    pub suspect: bool,
}

/// What a look for due jobs has come to.
#[derive(Debug, Default)]
pub struct HandOver {
    pub jobs: Vec<Dispatch>,
    /// Priorities of which no more could be taken: their windows are full.
    pub full: Vec<Priority>,
}

/// Marks due jobs of these priorities as dispatched, oldest first: of each up to `batch`, and no more than leave `window` of them with
/// the queue or running. Committed before they are pushed. Two relays at once may overshoot the window, at most by its own size.
pub async fn dispatch(db: &Db, priorities: &[Priority], batch: i64, window: i64) -> Result<HandOver, StoreError> {
    let numbers: Vec<i16> = priorities.iter().map(|priority| priority.as_i16()).collect();
    let rows = sqlx::query!(
        r#"with room as (
               -- Counted only where something is due: a full window is a thousand rows to look at.
               select p.priority, $3 - (select count(*) from jobs o where o.state in ('dispatched', 'running') and o.priority = p.priority) as room
               from unnest($1::smallint[]) as p(priority)
               where exists (select from jobs w where w.state = 'due' and w.priority = p.priority and w.run_at <= now())
           ), due as (
               -- now(), not clock_timestamp(): only what is stable within the statement can bound the index scan.
               select j.job_id from room cross join lateral (
                   select job_id from jobs where state = 'due' and priority = room.priority and run_at <= now()
                   order by run_at limit greatest(least($2, room.room), 0) for update skip locked
               ) j
           ), handed_over as (
               -- As a list: of a join Postgres does not know how few these are, and walks every job that there is.
               update jobs j set state = 'dispatched', dispatch_no = j.dispatch_no + 1, dispatched_at = clock_timestamp()
               where j.job_id = any (array(select job_id from due))
               returning j.job_id, j.dispatch_no, j.priority, j.starts >= 2 as suspect
           )
           select r.priority as "priority!", r.room as "room!", h.job_id as "job_id?: JobId", h.dispatch_no as "dispatch_no?", h.suspect as "suspect?"
           from room r left join handed_over h on h.priority = r.priority"#,
        &numbers,
        batch,
        window
    )
    .fetch_all(db)
    .await?;
    let mut handed_over = HandOver::default();
    for row in &rows {
        if let (Some(job_id), Some(dispatch_no), Some(suspect)) = (row.job_id, row.dispatch_no, row.suspect) {
            handed_over.jobs.push(Dispatch { job_id, dispatch_no, priority: row.priority, suspect });
        }
    }
    for (&priority, number) in priorities.iter().zip(numbers) {
        let Some(row) = rows.iter().find(|row| row.priority == number) else { continue };
        let taken = handed_over.jobs.iter().filter(|job| job.priority == number).count();
        let took_all_room = i64::try_from(taken).is_ok_and(|taken| taken >= row.room);
        if took_all_room && row.room < batch {
            handed_over.full.push(priority);
        }
    }
    Ok(handed_over)
}

/// Takes dispatched jobs back that nobody has claimed: they are due again, at once. How many still were as handed over.
pub async fn give_back(db: &Db, handed_over: &[(JobId, i32)]) -> Result<u64, StoreError> {
    let (ids, numbers): (Vec<Uuid>, Vec<i32>) = handed_over.iter().map(|(job, number)| (job.0, *number)).unzip();
    let given = sqlx::query!(
        "update jobs j set state = 'due' from unnest($1::uuid[], $2::int[]) as t(job_id, dispatch_no)
         where j.job_id = t.job_id and j.dispatch_no = t.dispatch_no and j.state || '' = 'dispatched'",
        &ids,
        &numbers
    )
    .execute(db)
    .await?;
    Ok(given.rows_affected())
}

/// A job that this worker may run until its lease ends.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub job_id: JobId,
    pub kind: String,
    pub reference: Uuid,
    pub priority: i16,
    pub attempt: i32,
    pub starts: i32,
    pub fence: i64,
    pub trace_id: Option<Uuid>,
    /// The bits of the span that asked for it.
    pub span_id: Option<i64>,
    /// Some destination of mails is in trouble: only then does a mail have to ask for its own.
    pub trouble: bool,
    pub created_at: Timestamp,
    pub now: Timestamp,
}

/// Takes a dispatched job; `None` when this hand-over is stale: somebody else has it, or it was dispatched anew.
pub async fn claim(db: &Db, job: JobId, dispatch_no: i32) -> Result<Option<Claimed>, StoreError> {
    Ok(sqlx::query_as!(
        Claimed,
        r#"update jobs set state = 'running', starts = starts + 1, fence = fence + 1,
                  lease_until = clock_timestamp() + $3 * interval '1 second'
           where job_id = $1 and dispatch_no = $2 and state || '' = 'dispatched'
           returning job_id as "job_id: JobId", kind, ref as reference, priority, attempt, starts, fence, trace_id, span_id,
                     exists (select from mail_destinations where weight > 0) as "trouble!",
                     created_at as "created_at: Timestamp", clock_timestamp() as "now!: Timestamp""#,
        job.0,
        dispatch_no,
        LEASE.as_secs_f64()
    )
    .fetch_optional(db)
    .await?)
}

/// Takes back the start of a claim whose answer was lost: nobody ran the job. When another worker has it by the same hand-over, it may be started once
/// more often than others before it is set aside.
pub async fn forget_start(db: &Db, job: JobId, dispatch_no: i32) -> Result<(), StoreError> {
    sqlx::query!(
        "update jobs set starts = greatest(starts - 1, 0) where job_id = $1 and dispatch_no = $2 and state || '' = 'running'",
        job.0,
        dispatch_no
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Prolongs the lease of a job that is still being worked on. False when it is another worker's by now.
pub async fn renew(db: &Db, job: &Claimed) -> Result<bool, StoreError> {
    let renewed = sqlx::query!(
        "update jobs set lease_until = clock_timestamp() + $3 * interval '1 second'
         where job_id = $1 and fence = $2 and state || '' = 'running'",
        job.job_id.0,
        job.fence,
        LEASE.as_secs_f64()
    )
    .execute(db)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// What became of a job.
#[derive(Clone, Debug)]
pub enum Outcome {
    Done,
    /// Again at this time.
    Retry {
        at: Timestamp,
        error: String,
    },
    /// Never again by itself; an operator may redrive it.
    Dead {
        error: String,
    },
}

impl Write {
    /// Guard: writes a job's outcome, if this worker still holds it.
    pub fn settle_job(&mut self, job: &Claimed, outcome: &Outcome) {
        let (id, fence) = (self.bind(job.job_id.0), self.bind(job.fence));
        let (state, run_at, error) = match outcome {
            Outcome::Done => ("done", None, None),
            Outcome::Retry { at, error } => ("due", Some(*at), Some(short(error))),
            Outcome::Dead { error } => ("dead", None, Some(short(error))),
        };
        let binds = [self.bind(state), self.bind(run_at), self.bind(error)];
        self.guard(
            "settle_job",
            &format!(
                "update jobs set state = {}, run_at = coalesce({}, run_at), last_error = {}, attempt = attempt + 1, starts = 0,
                    lease_until = null, settled_at = case when {} = 'due' then null else clock_timestamp() end
                 where job_id = {id} and fence = {fence} and state || '' = 'running' and {{after}} returning 1",
                binds[0], binds[1], binds[2], binds[0]
            ),
        );
    }

    /// Guard: a job that waits for its next try is due now.
    pub fn hasten_job(&mut self, job: JobId, fence: i64) {
        let (id, fence) = (self.bind(job.0), self.bind(fence));
        self.guard(
            "hasten_job",
            &format!(
                "update jobs set run_at = clock_timestamp()
                 where job_id = {id} and fence = {fence} and state || '' = 'due' and run_at > clock_timestamp() and {{after}} returning 1"
            ),
        );
    }

    /// Guard: a job is done without having been run, if no worker has it. Whoever holds a ticket for it finds it stale.
    pub fn call_off_job(&mut self, job: JobId, fence: i64) {
        let (id, fence) = (self.bind(job.0), self.bind(fence));
        self.guard(
            "call_off_job",
            &format!(
                "update jobs set state = 'done', fence = fence + 1, settled_at = clock_timestamp()
                 where job_id = {id} and fence = {fence} and state in ('due', 'dispatched') and {{after}} returning 1"
            ),
        );
    }
}

/// Cut to what the column holds.
pub(super) fn short(text: &str) -> String {
    const LENGTH_MAX: usize = 2_000;
    let end = (0..=text.len().min(LENGTH_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].replace('\0', "")
}

/// Settles a job that has no other effect in the database. False when the lease was lost: somebody else decides.
pub async fn settle(db: &Db, job: &Claimed, outcome: &Outcome) -> Result<bool, StoreError> {
    let mut write = Write::new();
    write.settle_job(job, outcome);
    match write.run(db).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Offers again what Redis or a dead worker has lost: dispatched but never claimed for `patience`, or running past its lease.
/// Returns how many, at most `SWEEP_BATCH`.
pub async fn sweep(db: &Db, patience: Duration) -> Result<u64, StoreError> {
    let swept = sqlx::query!(
        "with lost as (
             select job_id from jobs
             where (state = 'dispatched' and dispatched_at < clock_timestamp() - $1 * interval '1 second')
                or (state = 'running' and lease_until < clock_timestamp())
             order by dispatched_at limit $2 for update skip locked
         )
         update jobs j set state = 'due', lease_until = null, fence = j.fence + 1 from lost where j.job_id = lost.job_id",
        patience.as_secs_f64(),
        SWEEP_BATCH.cast_signed()
    )
    .execute(db)
    .await?;
    Ok(swept.rows_affected())
}

/// Inserts a recurring job whose id is derived from its name and tick; nothing when some worker has done so already.
pub async fn insert_tick(db: &Db, job: JobId, kind: &str, priority: i16) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        "insert into jobs (job_id, kind, ref, priority, run_at) values ($1, $2, $1, $3, clock_timestamp()) on conflict do nothing",
        job.0,
        kind,
        priority
    )
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Numbers that readiness, metrics and operators ask for.
#[derive(Debug)]
pub struct Backlog {
    pub due: i64,
    pub oldest_due_ms: i64,
    pub outstanding: i64,
    pub dead: i64,
}

pub async fn backlog(db: &Db) -> Result<Backlog, StoreError> {
    Ok(sqlx::query_as!(
        Backlog,
        r#"select (select count(*) from (select 1 from jobs where state = 'due' limit 100000) j) as "due!",
                  coalesce((select extract(epoch from clock_timestamp() - min(o.run_at)) * 1000
                            from unnest(array[0, 1, 2]::smallint[]) as p(priority) cross join lateral (
                                select run_at from jobs where state = 'due' and priority = p.priority and run_at <= now() order by run_at limit 1
                            ) o), 0)::bigint as "oldest_due_ms!",
                  (select count(*) from jobs where state in ('dispatched', 'running')) as "outstanding!",
                  (select count(*) from jobs where state = 'dead') as "dead!""#
    )
    .fetch_one(db)
    .await?)
}

/// A worker process as it has last told of itself.
#[derive(Debug)]
pub struct Worker {
    pub process: String,
    pub redis: String,
    pub mail: String,
    pub silent_ms: i64,
}

/// Workers that have shown themselves within the hour, the latest first; at most 100.
pub async fn workers(db: &Db) -> Result<Vec<Worker>, StoreError> {
    Ok(sqlx::query_as!(
        Worker,
        r#"select process, redis, mail, (extract(epoch from clock_timestamp() - at) * 1000)::bigint as "silent_ms!"
           from heartbeats where kind = 'worker' and at > clock_timestamp() - interval '1 hour' order by at desc limit 100"#
    )
    .fetch_all(db)
    .await?)
}

/// Makes the event partitions of this month and of `months` ahead; how many were missing.
pub async fn make_partitions(db: &Db, months: i32) -> Result<i32, StoreError> {
    Ok(sqlx::query_scalar!(r#"select make_event_partitions($1) as "made!""#, months).fetch_one(db).await?)
}

/// Deletes what has been done for a week, what counts nothing any more, replays older than a day and signs of life of processes
/// that ended a day ago; at most `limit` each. By `now()`: `clock_timestamp()` bounds no index scan, and all rows would be read to find
/// that there is nothing to delete. The outer words repeat the inner ones, as Postgres looks at the outer ones alone when it had to wait for
/// a row: one that was renewed meanwhile stays.
pub async fn purge(db: &Db, limit: i64) -> Result<u64, StoreError> {
    macro_rules! deleted {
        ($statement:literal) => {
            sqlx::query!($statement, limit).execute(db).await?.rows_affected()
        };
    }
    let mut gone = 0;
    gone += deleted!(
        "delete from jobs where state = 'done' and settled_at < now() - interval '7 days'
           and job_id in (select job_id from jobs where state = 'done' and settled_at < now() - interval '7 days' limit $1)"
    );
    gone += deleted!(
        "delete from counters where expires_at < now() and bucket in (select bucket from counters where expires_at < now() limit $1)"
    );
    gone += deleted!(
        "delete from counter_members where at < now() - interval '1 day'
           and (bucket, member) in (select bucket, member from counter_members where at < now() - interval '1 day' limit $1)"
    );
    gone += deleted!(
        "delete from attempt_minutes where minute in (select minute from attempt_minutes where minute < now() - interval '1 hour' limit $1)"
    );
    gone += deleted!(
        "delete from alert_states where expires_at < now()
           and (rule, subject) in (select rule, subject from alert_states where expires_at < now() limit $1)"
    );
    gone += deleted!(
        "delete from idempotency where created_at < now() - interval '24 hours'
           and (scope, key_hash) in (select scope, key_hash from idempotency where created_at < now() - interval '24 hours' limit $1)"
    );
    gone += deleted!(
        "delete from heartbeats where at < now() - interval '1 day'
           and process in (select process from heartbeats where at < now() - interval '1 day' limit $1)"
    );
    Ok(gone)
}

/// A worker's sign of life.
pub async fn heartbeat(db: &Db, process: &str, redis: &str, mail: &str) -> Result<Timestamp, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"insert into heartbeats (process, kind, redis, mail, at) values ($1, 'worker', $2, $3, clock_timestamp())
           on conflict (process) do update set redis = excluded.redis, mail = excluded.mail, at = excluded.at
           returning at as "at!: Timestamp""#,
        process,
        redis,
        mail
    )
    .fetch_one(db)
    .await?)
}
