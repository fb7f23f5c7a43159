//! Tells owners of blocks and locks that guesses have begun.

use doorbook_core::service::Doorbook;
use doorbook_core::store::jobs::Claimed;
use doorbook_core::value::EventId;

use super::Verdict;

pub async fn run(doorbook: &Doorbook, job: &Claimed) -> Verdict {
    match doorbook.tell_of_guesses(EventId(job.reference), job.trace_id.unwrap_or_default()).await {
        Ok(()) => Verdict::Done,
        Err(error) => Verdict::retry(&error),
    }
}
