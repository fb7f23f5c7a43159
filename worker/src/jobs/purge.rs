//! Deletes rows that count nothing any more.

use doorbook_core::service::Doorbook;
use doorbook_core::store::jobs;

use super::Verdict;

/// Rows of each table that one statement deletes, at most: far below the 3 s of a statement.
const BATCH: i64 = 1_000;
/// Batches of one run, at most; the next tick goes on.
const ROUNDS_MAX: usize = 1_000;

pub async fn run(doorbook: &Doorbook) -> Verdict {
    let mut gone = 0;
    for _ in 0..ROUNDS_MAX {
        match jobs::purge(&doorbook.db, BATCH).await {
            Ok(0) => break,
            Ok(batch) => gone += batch,
            Err(error) => return Verdict::retry(&error),
        }
    }
    tracing::info!(gone, "purged");
    Verdict::Done
}
