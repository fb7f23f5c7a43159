//! What apalis-redis makes necessary, kept as tests.

use std::time::Duration;

use doorbook_dev::sink::{Fault, Stage};
use tokio::time::sleep;

use crate::common::*;

/// Ids of one lane that Redis may hold. 8,000 due ones would wedge the lane for good.
const WAITING_MAX: i64 = 2_000;

/// Jobs of one priority that are with the queue or running. Two relays at once may overshoot it by its own size.
const WINDOW: i64 = 1_000;

/// Breaks when `worker/src/queue.rs`: `if scheduled + active + tickets.len() > WAITING_MAX {` → `if scheduled + active + tickets.len() > 100 * WAITING_MAX {`.
#[tokio::test]
async fn redis_never_holds_more_than_two_windows_of_a_lane_even_if_its_tickets_grow_stale() {
    let house = house().await;
    // Every slot is stuck, the lane's and those for tickets that Redis does not take: the server greets nobody for a while.
    // Mails to a slow domain would be put back; each of these has one of its own.
    let mut stuck = Vec::new();
    for number in 0..24 {
        stuck.push(house.register_at(number, &format!("d{number}.example")).await);
    }
    for _ in 0..8 {
        house.stand.sink.fail(Stage::Greeting, Fault::Delay(Duration::from_secs(9)));
    }
    let _worker = house.worker().await;
    house.until(SOON, "select least(count(*), 8) from jobs where kind = 'mail' and state = 'running'", 8).await;
    house
        .execute(
            "insert into jobs (job_id, kind, ref, priority, run_at)
             select gen_random_uuid(), 'mail', gen_random_uuid(), 0, clock_timestamp() from generate_series(1, 3500)",
        )
        .await;
    let mut most = 0;
    for round in 0..30 {
        sleep(Duration::from_millis(150)).await;
        let waiting = house.waiting_in_redis().await;
        most = most.max(waiting);
        assert!(waiting <= WAITING_MAX, "{waiting} ids in Redis");
        let out =
            house.number("select count(*) from jobs where priority = 0 and state in ('dispatched', 'running')").await;
        assert!(out <= WINDOW, "{out} jobs are out");
        if round % 5 == 4 {
            // As if nobody had claimed them for a minute: each becomes a new ticket, and its old one stays in Redis.
            house
                .execute(
                    "update jobs set dispatched_at = dispatched_at - interval '2 minutes' where state = 'dispatched'",
                )
                .await;
        }
    }
    println!("figure: at most {most} ids in Redis");
    assert!(most > WINDOW, "only {most}: no stale tickets were left behind");
    house.until(Duration::from_secs(60), "select count(*) from jobs where state <> 'done'", 0).await;
    house.assert_each_sent_once(&stuck).await;
}

/// Breaks when `worker/src/queue.rs`: `let mut fired = false;` → `let mut fired = false; if !fired { return Poll::Pending; }`.
#[tokio::test]
async fn a_worker_that_was_idle_starts_a_job_within_a_second() {
    let house = house().await;
    let worker = house.worker().await;
    for round in 0..dose(3, 10) {
        sleep(Duration::from_secs(5)).await;
        house.register(round).await;
        house.until_settled(SOON).await;
    }
    let slow = "select count(*) from deliveries where settled_at - created_at > interval '1 second'";
    assert_eq!(house.number(slow).await, 0);
    assert_eq!(worker.metric("jobs_local_total").await, Some(0));
}
