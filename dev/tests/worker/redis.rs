//! Redis is a doorbell: without it, mail flows all the same.

use std::time::Duration;

use doorbook_dev::sink::{Fault, Stage};
use tokio::time::sleep;

use crate::common::*;

/// Time a mail takes at the server, so that there are always some under way.
const SLOW: Fault = Fault::Delay(Duration::from_millis(40));

/// Jobs that Redis has lost are offered anew. Source: bar 6 asks for 60 s.
const OFFERED_ANEW_WITHIN: Duration = Duration::from_secs(40);

/// People of [`visits`], beyond those of the tests.
const VISITORS: usize = 100_000;

/// Visits that must succeed whatever happens to Redis; their registrations.
async fn visits(house: &House, first: usize, count: usize) -> Vec<Registered> {
    let mut all = Vec::new();
    for number in 0..count {
        all.push(house.visit(VISITORS + first + number).await);
        sleep(Duration::from_millis(100)).await;
    }
    all
}

/// C104. Breaks when `worker/src/sweep.rs`: `lost |= queue.take_lost();` → `let _ = queue.take_lost();`.
#[tokio::test]
async fn every_mail_goes_out_and_the_api_answers_while_redis_is_emptied_again_and_again() {
    let house = house().await;
    let worker = house.worker().await;
    let count = dose(100, 1_000);
    for _ in 0..2 * count {
        house.stand.sink.fail(Stage::Body, SLOW);
    }
    let empty = async {
        for _ in 0..dose(8, 80) {
            sleep(Duration::from_millis(250)).await;
            house.redis("FLUSHDB").await;
        }
    };
    let (mut all, visitors, ()) = tokio::join!(house.register_all(0..count), visits(&house, 0, dose(10, 100)), empty);
    all.extend(visitors);
    house.until_settled(OFFERED_ANEW_WITHIN).await;

    // The lane's worker has started again, and tickets travel through Redis as before.
    assert!(worker.metric("queue_restarts_total").await > Some(0));
    let (pushed, local) = (worker.metric("jobs_pushed_total").await, worker.metric("jobs_local_total").await);
    all.push(house.register(count).await);
    house.until_settled(SOON).await;
    assert_eq!(worker.metric("jobs_local_total").await, local);
    assert!(worker.metric("jobs_pushed_total").await > pushed);
    house.assert_each_sent_once(&all).await;
}

/// C104. Breaks when `worker/src/relay.rs`: `.filter(|ticket| !self.local.take(lane, *ticket))` → `.filter(|_| true)`.
#[tokio::test]
async fn every_mail_goes_out_and_the_api_answers_when_redis_dies_and_comes_back_or_never_does() {
    let cluster = own_cluster().await;
    let house = house_on(&cluster).await;
    let mut worker = house.worker().await;
    let count = dose(60, 600);
    for _ in 0..4 * count {
        house.stand.sink.fail(Stage::Body, SLOW);
    }
    let fall = async {
        sleep(Duration::from_millis(300)).await;
        cluster.redis().kill().await.unwrap();
        sleep(Duration::from_secs(2)).await;
        cluster.redis().start().await.unwrap();
        // And again, as one that answers nobody.
        sleep(Duration::from_secs(1)).await;
        cluster.redis().pause().await.unwrap();
        sleep(Duration::from_secs(2)).await;
        cluster.redis().resume().await.unwrap();
    };
    let (mut all, visitors, ()) = tokio::join!(house.register_all(0..count), visits(&house, 0, 20), fall);
    all.extend(visitors);
    house.until_settled(OFFERED_ANEW_WITHIN).await;

    let fall = async {
        sleep(Duration::from_millis(300)).await;
        cluster.redis().kill().await.unwrap();
    };
    let (more, visitors, ()) = tokio::join!(house.register_all(count..2 * count), visits(&house, 20, 10), fall);
    all.extend(more.into_iter().chain(visitors));
    house.until_settled(OFFERED_ANEW_WITHIN).await;
    assert!(worker.metric("jobs_local_total").await > Some(0));

    // A worker that never had a Redis, to its end.
    worker.program.kill().await.unwrap();
    let mut worker = house.worker().await;
    all.extend(house.register_all(2 * count..2 * count + 10).await);
    house.until_settled(SOON).await;
    worker.program.terminate().unwrap();
    assert!(worker.program.ended(SOON).await.unwrap().success());
    house.assert_each_sent_once(&all).await;
}
