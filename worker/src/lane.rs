//! Lanes: which jobs wait behind which.

use std::time::Duration;

use doorbook_core::store::jobs::Dispatch;
use doorbook_core::store::project::outbox::Priority;

/// Jobs that one lane runs at a time. Source: design 6.
pub const CONCURRENCY: usize = 8;

/// A process lives for this long before it takes suspects. Where workers die of something else, again and again, each death would
/// be blamed on the job that happened to run.
pub const PROBATION: Duration = Duration::from_secs(5);

/// One queue of Redis, with workers of its own: a flood in one does not hold up another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Urgent,
    Notice,
    Chore,
    /// Jobs that may have killed their worker: one at a time.
    Suspect,
}

impl Lane {
    pub const ALL: [Self; 4] = [Self::Urgent, Self::Notice, Self::Chore, Self::Suspect];

    pub fn of(dispatch: &Dispatch) -> Self {
        match Priority::ALL.into_iter().find(|priority| priority.as_i16() == dispatch.priority) {
            _ if dispatch.suspect => Self::Suspect,
            Some(Priority::Urgent) => Self::Urgent,
            Some(Priority::Notice) => Self::Notice,
            Some(Priority::Chore) | None => Self::Chore,
        }
    }

    pub const fn queue(self) -> &'static str {
        match self {
            Self::Urgent => "doorbook:urgent",
            Self::Notice => "doorbook:notice",
            Self::Chore => "doorbook:chore",
            Self::Suspect => "doorbook:suspect",
        }
    }

    pub const fn concurrency(self) -> usize {
        if matches!(self, Self::Suspect) { 1 } else { CONCURRENCY }
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::value::JobId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_job_that_may_kill_its_worker_runs_in_the_lane_of_one() {
        let mut dispatch = Dispatch { job_id: JobId(Uuid::nil()), dispatch_no: 1, priority: 0, suspect: false };
        assert_eq!(Lane::of(&dispatch), Lane::Urgent);
        dispatch.priority = 2;
        assert_eq!(Lane::of(&dispatch), Lane::Chore);
        dispatch.suspect = true;
        assert_eq!((Lane::of(&dispatch), Lane::Suspect.concurrency()), (Lane::Suspect, 1));
    }
}
