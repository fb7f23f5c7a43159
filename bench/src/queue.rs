//! The queue: how soon a job is done whose work is to see that there is none, and how many a second with their outcome in Postgres.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sqlx::PgPool;

use crate::scenario::{Dose, Figures};

/// Jobs that come one at a time.
const SINGLE: u32 = 50;

/// Longest wait for jobs.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// The job of a mail whose delivery is not there: the worker claims it, asks for the delivery and writes the outcome. Its reference is
/// what it is found by again.
const INSERT: &str = "
    with j as (insert into jobs (job_id, kind, ref, priority, run_at)
               select gen_random_uuid(), 'mail', $1, 0, clock_timestamp() from generate_series(1, $2::bigint) returning 1)
    select pg_notify('doorbook_jobs', '') from j limit 1";

/// `settled_at - created_at`: the second is taken before the commit and the first after the work, so that this is more than the time
/// from commit to start.
const TIMES: &str = "
    select count(*), coalesce(percentile_cont(0.5) within group (order by extract(epoch from settled_at - created_at)::float8 * 1000), 0),
           coalesce(percentile_cont(0.99) within group (order by extract(epoch from settled_at - created_at)::float8 * 1000), 0),
           coalesce(extract(epoch from max(settled_at) - min(created_at))::float8, 0)
    from jobs where ref = $1 and state in ('done', 'dead')";

/// Number, p50 and p99 in milliseconds, and seconds from the first to the last.
type Times = (i64, f64, f64, f64);

pub async fn measure(superuser: &PgPool, dose: Dose) -> Result<Figures> {
    let [single, many] = sqlx::query_as::<_, (uuid::Uuid, uuid::Uuid)>("select gen_random_uuid(), gen_random_uuid()")
        .fetch_one(superuser)
        .await
        .map(|(single, many)| [single, many])?;
    for number in 1..=SINGLE {
        sqlx::query(INSERT).bind(single).bind(1_i64).execute(superuser).await?;
        done(superuser, single, number).await?;
    }
    let (_, p50, p99, _) = done(superuser, single, SINGLE).await?;
    sqlx::query(INSERT).bind(many).bind(i64::from(dose.jobs)).execute(superuser).await?;
    let (_, _, _, seconds) = done(superuser, many, dose.jobs).await?;
    sqlx::query("delete from jobs where ref in ($1, $2)").bind(single).bind(many).execute(superuser).await?;
    Ok(Figures::from([("rate", f64::from(dose.jobs) / seconds), ("p50_ms", p50), ("p99_ms", p99)]))
}

/// Waits until so many jobs have their outcome.
async fn done(superuser: &PgPool, reference: uuid::Uuid, jobs: u32) -> Result<Times> {
    let begun = Instant::now();
    loop {
        let times: Times = sqlx::query_as(TIMES).bind(reference).fetch_one(superuser).await?;
        if times.0 == i64::from(jobs) {
            return Ok(times);
        }
        ensure!(begun.elapsed() < DONE_WITHIN, "{} of {jobs} jobs are done within {DONE_WITHIN:?}", times.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
