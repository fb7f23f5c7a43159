//! Recurring jobs. A job's id is derived from its name and tick, so that any number of workers may insert it: one row, one run.
//! After a downtime the present tick runs at once; those that were missed are not repeated, each does the work of all.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::job;
use doorbook_core::service::Doorbook;
use doorbook_core::store::jobs::{self, Claimed};
use doorbook_core::store::project::outbox::Priority;
use doorbook_core::value::JobId;
use uuid::Uuid;

use crate::stop::Stop;
use crate::trouble::Trouble;

/// Pause between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Namespace of the ids of recurring jobs; any value that nobody else takes.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b1f_0f5d_95c4_4f0e_8a0e_0d2f_7c53_a1b9);

/// A kind of job and how often it runs, aligned to the Unix epoch.
struct Recurring {
    kind: &'static str,
    every: Duration,
}

const ALL: [Recurring; 4] = [
    Recurring { kind: job::EXPIRE, every: Duration::from_secs(15) },
    Recurring { kind: job::ROLL_UP, every: Duration::from_secs(15) },
    Recurring { kind: job::PURGE, every: Duration::from_hours(1) },
    Recurring { kind: job::PARTITIONS, every: Duration::from_hours(24) },
];

impl Recurring {
    fn tick(&self, now: Timestamp) -> i64 {
        now.seconds().div_euclid(i64::try_from(self.every.as_secs()).unwrap_or(i64::MAX))
    }

    fn id(&self, tick: i64) -> JobId {
        JobId(Uuid::new_v5(&NAMESPACE, format!("{}:{tick}", self.kind).as_bytes()))
    }
}

/// Whether a later tick of the same job exists by then.
pub fn is_superseded(job: &Claimed, by: Timestamp) -> bool {
    ALL.iter().any(|recurring| recurring.kind == job.kind && recurring.tick(by) > recurring.tick(job.created_at))
}

/// Inserts each tick when its time has come, until `stop`.
pub async fn run(doorbook: Arc<Doorbook>, stop: Stop) {
    let mut trouble = Trouble::new("inserting recurring jobs");
    let mut inserted = [None; ALL.len()];
    loop {
        let now = doorbook.clock.now();
        for (recurring, last) in ALL.iter().zip(&mut inserted) {
            let tick = recurring.tick(now);
            if *last == Some(tick) {
                continue;
            }
            let id = recurring.id(tick);
            match jobs::insert_tick(&doorbook.db, id, recurring.kind, Priority::Chore.as_i16()).await {
                Ok(_) => {
                    *last = Some(tick);
                    trouble.worked();
                }
                Err(error) => trouble.failed(&error),
            }
        }
        if !stop.pause(LOOK_EVERY).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gives_a_tick_the_same_id_and_no_two_ticks_share_one() {
        let [expire, _, purge, _] = ALL;
        let noon = Timestamp::from_seconds(1_800_000_000);
        let within = noon.plus(Duration::from_millis(14_999));
        assert_eq!(expire.id(expire.tick(noon)), expire.id(expire.tick(within)));
        assert_ne!(expire.id(expire.tick(noon)), expire.id(expire.tick(noon.plus(Duration::from_secs(15)))));
        assert_ne!(expire.id(7), purge.id(7));
        assert_eq!(expire.id(7).0.get_version_num(), 5);
    }
}
