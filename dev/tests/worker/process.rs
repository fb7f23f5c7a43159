//! A worker's beginning and end, and a database that goes away in between.

use std::time::Duration;

use doorbook_core::store::jobs::LEASE;
use doorbook_dev::sink::{Fault, Stage};
use tokio::time::sleep;

use crate::common::*;

/// End after SIGTERM with jobs running. Source: bar 6.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Breaks when `worker/src/lib.rs`: `const GRACE: Duration = Duration::from_secs(7);` → `const GRACE: Duration = Duration::from_secs(0);`.
#[tokio::test]
async fn a_worker_that_is_asked_to_end_finishes_what_it_runs_and_gives_the_rest_back() {
    let house = house().await;
    let all = house.register_all(0..40).await;
    for _ in 0..all.len() {
        house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_millis(800)));
    }
    let mut worker = house.worker().await;
    house.until(SOON, "select least(count(*), 8) from jobs where kind = 'mail' and state = 'running'", 8).await;
    worker.program.terminate().unwrap();
    let status = worker.program.ended(ENDS_WITHIN).await.unwrap();
    assert!(status.success(), "{status}: {}", worker.program.log().unwrap());
    let (running, sent) =
        ("select count(*) from jobs where state = 'running'", "select count(*) from deliveries where state = 'sent'");
    assert_eq!(house.number(running).await, 0);
    let sent = house.number(sent).await;
    assert!((8..40).contains(&sent), "{sent} were sent");

    let _worker = house.worker().await;
    house.until_settled(SOON).await;
    house.assert_each_sent_once(&all).await;
}

/// Breaks when `worker/src/lib.rs`: `Err(error) if error.is_temporary() => trouble.failed(&error),` → `Err(error) if false && error.is_temporary() => trouble.failed(&error),`.
#[tokio::test]
async fn a_worker_that_starts_before_its_database_lives_waits_and_serves_when_it_comes() {
    let cluster = own_cluster().await;
    let house = house_on(&cluster).await;
    let registered = house.register(0).await;
    cluster.postgres().stop().await.unwrap();
    let mut worker = house.launch_worker(&[]).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(worker.program.exited().unwrap(), None);
    let http = doorbook_dev::loopback().build().unwrap();
    for (path, status) in [("live", 200), ("ready", 503)] {
        let answer = http.get(format!("{}/health/{path}", worker.ops)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    cluster.postgres().start().await.unwrap();
    worker.ready().await;
    house.until_settled(SOON).await;
    house.assert_each_sent_once(&[registered]).await;
}

/// C103. Breaks when `worker/src/runner.rs`: `deadline = Instant::now() + SETTLE_PATIENCE;\n            } else` → `return;\n            } else`.
#[tokio::test]
async fn nothing_acknowledged_is_lost_or_sent_twice_when_postgres_dies_under_load() {
    let cluster = own_cluster().await;
    let house = house_on(&cluster).await;
    let mut worker = house.worker().await;
    let count = dose(200, 4_000);
    for _ in 0..count {
        house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_millis(100)));
    }
    let load = async {
        let mut acknowledged = Vec::new();
        for number in 0..count {
            // A refusal, or an answer that never came, promises nothing.
            if let Ok((registered, answer)) = house.try_registering(number).await
                && answer.status == 201
            {
                acknowledged.push(registered);
            } else {
                sleep(Duration::from_millis(50)).await;
            }
        }
        acknowledged
    };
    let deaths = dose(2, 50);
    let dying = async {
        for _ in 0..deaths {
            sleep(Duration::from_millis(700)).await;
            cluster.postgres().kill().await.unwrap();
            sleep(Duration::from_millis(300)).await;
            cluster.postgres().start().await.unwrap();
        }
    };
    let (acknowledged, ()) = tokio::join!(load, dying);
    assert!(acknowledged.len() > count / 4, "{} of {count}", acknowledged.len());
    // Eight at a time that take 100 ms each: what is acknowledged while Postgres is up comes faster than that.
    house.until_settled(Duration::from_secs(dose(60, 180))).await;
    assert_eq!(worker.program.exited().unwrap(), None);

    let copies = house.copies(&acknowledged).await;
    println!("figure: {deaths} deaths of Postgres, {} mails acknowledged", copies.len());
    assert!(copies.iter().all(|copies| copies.len() == 1));
    house.until(SOON, "select (select count(*) from events) - (select count(*) from event_seals)", 0).await;
}

/// Breaks when `worker/src/lib.rs`: `let was_away = trouble.persists();` → `let was_away = false;`.
/// Breaks when `worker/src/sweep.rs`: `if !is_away && Instant::now() >= sweep_at {` → `if !is_away && sweep_at.elapsed() < Duration::MAX {`.
#[tokio::test]
async fn what_became_of_mails_is_known_still_when_postgres_was_away_for_longer_than_their_leases() {
    let cluster = own_cluster().await;
    let house = house_on(&cluster).await;
    let mut other = house.worker().await;
    other.program.pause().unwrap();
    let registered = house.register_all(0..4).await;
    for _ in &registered {
        // Less than makes a domain a slow one.
        house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_millis(800)));
    }
    let mut holder = house.worker().await;
    house.until(SOON, "select count(*) from jobs where kind = 'mail' and state = 'running'", 4).await;
    cluster.postgres().kill().await.unwrap();
    other.program.resume().unwrap();
    // In the whole dose for longer than an outcome is offered to a Postgres that is there.
    sleep(dose(LEASE + Duration::from_secs(3), Duration::from_secs(90))).await;
    let _begun_meanwhile = house.launch_worker(&[]).await;
    sleep(Duration::from_secs(1)).await;
    // The others are back first, by more than they wait between two sweeps.
    holder.program.pause().unwrap();
    cluster.postgres().start().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    holder.program.resume().unwrap();
    house.until_settled(SOON).await;
    assert_eq!(holder.metric("jobs_lost_total").await, Some(0));
    house.assert_each_sent_once(&registered).await;
}

/// A worker, and a mail that it is handing over for a second.
async fn under_way(house: &House) -> (Worker, Registered) {
    let worker = house.worker().await;
    house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_secs(1)));
    let registered = house.register(0).await;
    house.until(SOON, "select count(*) from jobs where kind = 'mail' and state = 'running'", 1).await;
    (worker, registered)
}

/// Breaks when `worker/src/runner.rs`: `Ok(true) | Err(StoreError::Conflict) => Some(error),` → `Ok(true) | Err(StoreError::Conflict) => None,`.
#[tokio::test]
async fn a_lock_that_holds_an_outcome_up_sends_no_mail_twice() {
    let house = house().await;
    let (worker, registered) = under_way(&house).await;
    let mut lock = house.owner.begin().await.unwrap();
    sqlx::query("lock table deliveries in share row exclusive mode").execute(&mut *lock).await.unwrap();
    // The mail's second at the server, and longer than a statement waits for a lock.
    sleep(Duration::from_secs(4)).await;
    lock.rollback().await.unwrap();
    house.until_settled(SOON).await;
    assert_eq!(worker.metric("jobs_lost_total").await, Some(0));
    house.assert_each_sent_once(&[registered]).await;
}

/// Breaks when `core/src/service/mail.rs`: `let read = if read.is_some() { read }` → `let read = if true { read }`.
#[tokio::test]
async fn the_outcome_of_a_mail_that_changed_while_it_was_under_way_is_written_all_the_same() {
    let house = house().await;
    let (worker, registered) = under_way(&house).await;
    house.execute("update streams set version = version + 1 where kind = 'notification'").await;
    house.until_settled(SOON).await;
    assert_eq!(worker.metric("jobs_lost_total").await, Some(0));
    house.assert_each_sent_once(&[registered]).await;
}

/// Breaks when `worker/src/runner.rs`: `Err(error) => StoreError::Inconsistent(error.to_string()),` → `Err(error) => return tracing::error!(%error, "not written"),`.
#[tokio::test]
async fn an_outcome_that_meets_an_error_nobody_knows_is_offered_anew() {
    let house = house().await;
    let (worker, registered) = under_way(&house).await;
    house.execute("create function fails() returns trigger language plpgsql as $$ begin raise exception 'io error' using errcode = '58030'; end $$").await;
    house.execute("create trigger fails before update on deliveries for each row when (new.state = 'sent') execute function fails()").await;
    // The mail's second at the server, and some tries.
    sleep(Duration::from_secs(3)).await;
    house.execute("drop trigger fails on deliveries").await;
    house.until_settled(SOON).await;
    assert_eq!(worker.metric("jobs_lost_total").await, Some(0));
    house.assert_each_sent_once(&[registered]).await;
}
