//! Recurring work: each tick once, however many workers there are, and none left out.

use std::time::Duration;

use tokio::time::sleep;

use crate::common::*;

/// Pause between two runs of what records expiry. Source: the worker's schedule.
const TICK: Duration = Duration::from_secs(15);

/// Breaks when `worker/src/schedule.rs`: `format!("{}:{tick}", self.kind).as_bytes()` → `format!("{}:{tick}:{}", self.kind, std::process::id()).as_bytes()`.
#[tokio::test]
async fn two_workers_run_each_tick_once() {
    let house = house().await;
    let ticks = dose(1, 8);
    let from = house.number("select extract(epoch from clock_timestamp())::bigint / 15").await;
    let workers = [house.worker().await, house.worker().await];
    sleep(TICK * u32::try_from(ticks).unwrap()).await;
    let to = house.number("select extract(epoch from clock_timestamp())::bigint / 15").await;
    house.until(SOON, "select count(*) from jobs where state <> 'done'", 0).await;

    let runs = house.number("select count(*) from jobs where kind = 'expire'").await;
    assert!((to - from..=to - from + 1).contains(&runs), "{runs} runs in ticks {from} to {to}");
    // Each run that ended is one job's, and no run came to nothing because another worker had the same job.
    let (all, settled) = ("select count(*) from jobs", "select count(*) from jobs where state = 'done'");
    let (jobs, done, lost) = loop {
        let (jobs, mut done, mut lost) = (house.number(settled).await, 0, 0);
        for worker in &workers {
            done += worker.metric("jobs_done_total").await.unwrap();
            lost += worker.metric("jobs_lost_total").await.unwrap();
        }
        // No tick came while they were asked.
        if house.number(all).await == jobs {
            break (jobs, done, lost);
        }
    };
    assert_eq!((done, lost), (jobs, 0));
    let crowded = "select count(*) from (
                       select from jobs where kind = 'expire'
                       group by floor(extract(epoch from created_at) / 15) having count(*) > 1) t";
    assert_eq!(house.number(crowded).await, 0);
}

/// Breaks when `worker/src/schedule.rs`: `let mut inserted = [None; ALL.len()];` → `let mut inserted = ALL.map(|recurring| Some(recurring.tick(doorbook.clock.now())));`.
#[tokio::test]
async fn a_tick_that_passed_while_no_worker_was_there_runs_when_one_starts() {
    let house = house().await;
    house
        .execute(
            "insert into heartbeats (process, kind, redis, mail, at)
             values ('gone', 'worker', 'ok', 'ok', clock_timestamp() - interval '2 days')",
        )
        .await;
    let _workers = (house.worker().await, house.worker().await);
    let done = "select count(*) from jobs where kind in ('expire', 'purge', 'partitions') and state = 'done'";
    // An hour's and a day's tick too, not at the next full hour.
    house.until(SOON, done, 3).await;
    assert_eq!(house.number("select count(*) from heartbeats where process = 'gone'").await, 0);
}
