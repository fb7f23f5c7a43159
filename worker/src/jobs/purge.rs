//! Deletes what nobody needs any more: rows that count nothing, accounts that nobody ever came back to, keys of strangers' days.

use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::store::jobs::{self, Claimed};
use doorbook_core::store::{StoreError, pacing};

use super::Verdict;

/// Rows of each table that one statement deletes, at most: far below the 3 s of a statement.
const BATCH: i64 = 1_000;
/// Batches of one run, at most; the next tick goes on.
const ROUNDS_MAX: usize = 1_000;

pub async fn run(doorbook: &Doorbook, job: &Claimed) -> Verdict {
    let mut gone = 0;
    for _ in 0..ROUNDS_MAX {
        match purge(doorbook).await {
            Ok(0) => break,
            Ok(batch) => gone += batch,
            Err(error) => return Verdict::retry(&error),
        }
    }
    match forget_people(doorbook, job).await {
        Ok((erased, days)) => tracing::info!(gone, erased, days, "purged"),
        Err(error) => return Verdict::retry(&error),
    }
    Verdict::Done
}

async fn purge(doorbook: &Doorbook) -> Result<u64, StoreError> {
    Ok(jobs::purge(&doorbook.db, BATCH).await? + pacing::purge(&doorbook.db, BATCH).await?)
}

/// How many accounts were erased because nobody ever confirmed or used them, and of how many days the strangers' data went.
async fn forget_people(doorbook: &Doorbook, job: &Claimed) -> Result<(usize, i32), Refusal> {
    let context = Context::system(job.trace_id.unwrap_or_default());
    let mut erased = 0;
    for _ in 0..ROUNDS_MAX {
        match doorbook.erase_unverified(&context).await? {
            0 => break,
            batch => erased += batch,
        }
    }
    Ok((erased, doorbook.shred_strangers().await?))
}
