//! Jobs that nobody tries again by itself.

use uuid::Uuid;

use super::super::write::Write;
use super::super::{Db, StoreError};
use crate::clock::Timestamp;
use crate::job;
use crate::value::JobId;

pub struct DeadJob {
    pub job_id: JobId,
    pub kind: String,
    pub reference: Uuid,
    pub attempt: i32,
    pub last_error: Option<String>,
    pub settled_at: Option<Timestamp>,
}

/// Dead jobs, newest first, at most `limit`; with `only` this one, if it is dead.
pub async fn dead(db: &Db, only: Option<JobId>, limit: i64) -> Result<Vec<DeadJob>, StoreError> {
    Ok(sqlx::query_as!(
        DeadJob,
        r#"select job_id as "job_id: JobId", kind, ref as reference, attempt, last_error, settled_at as "settled_at: Timestamp"
           from jobs where state = 'dead' and ($1::uuid is null or job_id = $1) order by settled_at desc limit $2"#,
        only.map(|job| job.0),
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Gives a dead job another life; false when it is not dead, or sends a mail, whose story must tell of it.
pub async fn redrive(db: &Db, job: JobId) -> Result<bool, StoreError> {
    let redriven = sqlx::query!(
        "update jobs set state = 'due', run_at = clock_timestamp(), created_at = clock_timestamp(), starts = 0, attempt = 0, settled_at = null
         where job_id = $1 and state || '' = 'dead' and kind <> $2",
        job.0,
        job::MAIL
    )
    .execute(db)
    .await?;
    Ok(redriven.rows_affected() == 1)
}

impl Write {
    /// Guard: a dead job is done, as what it was for is done by another one.
    pub fn lay_to_rest(&mut self, job: JobId, fence: i64) {
        let (id, fence) = (self.bind(job.0), self.bind(fence));
        self.guard(
            "lay_to_rest",
            &format!(
                "update jobs set state = 'done' where job_id = {id} and fence = {fence} and state || '' = 'dead' and {{after}} returning 1"
            ),
        );
    }

    /// Guard: a dead job has another life.
    pub fn revive_job(&mut self, job: JobId, fence: i64) {
        let (id, fence) = (self.bind(job.0), self.bind(fence));
        self.guard(
            "revive_job",
            &format!(
                "update jobs set state = 'due', run_at = clock_timestamp(), created_at = clock_timestamp(), starts = 0, attempt = 0,
                    settled_at = null
                 where job_id = {id} and fence = {fence} and state || '' = 'dead' and {{after}} returning 1"
            ),
        );
    }
}
