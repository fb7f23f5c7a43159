//! Due jobs on their way to the queue.

use doorbook_core::store::jobs::{self, HandOver};
use doorbook_core::store::project::outbox::Priority;

use crate::common::*;

/// Breaks when `core/src/store/jobs.rs`: `if took_all_room && row` → `if !took_all_room && row`.
#[tokio::test]
async fn a_full_window_is_told_and_holds_back_its_own_priority_alone() {
    let house = house().await;
    let book = house.book().await;
    for n in 0..3 {
        register(&book, &format!("user{n}@example.com")).await.unwrap();
    }
    house
        .alter(
            "insert into jobs (job_id, kind, ref, priority, run_at)
             select id, 'purge', id, 2, clock_timestamp() from (select gen_random_uuid() as id) j"
                .to_owned(),
        )
        .await;
    let (urgent, chore) = (Priority::Urgent.as_i16(), Priority::Chore.as_i16());
    let worker = house.worker();
    let hand_over = async |batch, window| {
        let handed_over = jobs::dispatch(&worker, &Priority::ALL.map(Priority::as_i16), batch, window).await.unwrap();
        let HandOver { jobs, full } = handed_over;
        (jobs.iter().map(|job| job.priority).collect::<Vec<_>>(), full)
    };

    let only_chores = jobs::dispatch(&worker, &[chore], 10, 0).await.unwrap();
    assert!(only_chores.jobs.is_empty(), "no place: {only_chores:?}");
    assert_eq!(only_chores.full, [chore], "what was not asked for is not told");

    let (mut jobs, full) = hand_over(10, 2).await;
    jobs.sort_unstable();
    assert_eq!((jobs, full), (vec![urgent, urgent, chore], vec![urgent]), "two places each");
    assert_eq!(hand_over(10, 2).await, (vec![], vec![urgent]), "nobody has finished one");
    assert_eq!(hand_over(10, 9).await, (vec![urgent], vec![]), "more places than jobs");
    assert_eq!(hand_over(10, 9).await, (vec![], vec![]), "nothing is due");
}
