//! Due jobs on their way to the queue.

use doorbook_core::store::jobs::{self, HandOver};
use doorbook_core::store::project::outbox::Priority::{self, Chore, Urgent};

use crate::common::*;

/// Breaks when `core/src/store/jobs.rs`: `if took_all_room && row` → `if !took_all_room && row`.
#[tokio::test]
async fn a_full_window_is_told_and_holds_back_its_own_priority_alone() {
    let house = house().await;
    let book = house.book().await;
    for n in 0..3 {
        register(&book, &format!("user{n}@example.com")).await.unwrap();
    }
    let chore = "insert into jobs (job_id, kind, ref, priority, run_at)
         values (gen_random_uuid(), 'purge', gen_random_uuid(), 2, clock_timestamp())";
    house.alter(chore).await;
    let worker = house.worker();
    let hand_over = async |priorities: &[Priority], window| {
        let HandOver { jobs, full } = jobs::dispatch(&worker, priorities, 10, window).await.unwrap();
        let mut taken: Vec<i16> = jobs.iter().map(|job| job.priority).collect();
        taken.sort_unstable();
        (taken, full)
    };
    let [urgent, chore] = [Urgent, Chore].map(Priority::as_i16);
    assert_eq!(hand_over(&[Chore], 0).await, (vec![], vec![Chore]), "what was not asked for is not told");
    assert_eq!(hand_over(&Priority::ALL, 2).await, (vec![urgent, urgent, chore], vec![Urgent]), "two places each");
    assert_eq!(hand_over(&Priority::ALL, 2).await, (vec![], vec![Urgent]), "nobody has finished one");
    assert_eq!(hand_over(&Priority::ALL, 9).await, (vec![urgent], vec![]), "more places than jobs");
    assert_eq!(hand_over(&Priority::ALL, 0).await, (vec![], vec![]), "no place, but nothing that waits for one");
}
