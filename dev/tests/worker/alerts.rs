//! Alerts by workers that die, and about workers that stand still.

use std::os::unix::process::ExitStatusExt as _;

use crate::common::*;

/// SIGABRT: how a failpoint ends its process.
const ABORTED: i32 = 6;

const RAISED: &str = "select count(*) from events where type = 'SecurityAlertRaised'";

async fn make_admin(house: &House, number: usize) {
    house.register(number).await;
    let email = format!("p{number}@example.com");
    house.stand.doorbook(&["account", "role", "grant", &email, "admin", "--reason", "a test"]).await.unwrap();
}

/// Breaks when `core/src/service/alerts.rs`: `batch.into_write().run(tx).await?;` → `batch.into_write().run(&self.db).await?;`.
#[tokio::test]
async fn a_worker_that_dies_before_its_commit_leaves_each_alert_to_be_raised_once() {
    let house = house().await;
    make_admin(&house, 0).await;
    for _ in 0..dose(2, 20) {
        let mut worker = house.launch_worker(&[("DOORBOOK_FAILPOINTS", "alerts.raised=kill")]).await;
        assert_eq!(worker.program.ended(SOON).await.unwrap().signal(), Some(ABORTED));
    }
    assert_eq!(house.number(RAISED).await, 0);
    let workers = [house.worker().await, house.worker().await];
    house.until(SOON, RAISED, 1).await;
    for number in 1..4 {
        make_admin(&house, number).await;
    }
    house.until(SOON, RAISED, 4).await;
    house
        .until(SOON, "select (select max(position) from event_seals) - (select min(position) from followers)", 0)
        .await;
    assert_eq!(house.number(RAISED).await, 4);
    let listed =
        "select count(*) from alerts where rule = 'admin_granted' and severity = 'warning' and acknowledged_at is null";
    assert_eq!(house.number(listed).await, 4);
    let mut counted = 0;
    for worker in &workers {
        counted += worker.metric("alerts_raised_total{rule=\"admin_granted\"}").await.unwrap();
    }
    assert_eq!(counted, 4, "each is counted by who raised it");
}

/// Breaks when `worker/src/follower.rs`: `raise(&doorbook, &metrics, Rule::FollowerStopped, Subject::Follower(name), 1).await;` → `let _ = (name, Rule::ALL, Subject::All);`.
#[tokio::test]
async fn a_follower_that_stands_still_is_told_of_once_by_all_workers() {
    let house = house().await;
    house.register(0).await;
    let strange = "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                   select uuid7_floor(clock_timestamp()), 'keep', stream_id, version + 1, 'FromAnotherTime', '{}', 'system'
                   from streams where kind = 'account' limit 1";
    house.execute(strange).await;
    let _workers = [house.worker().await, house.worker().await];
    // Both cannot read on.
    house.until(SOON, RAISED, 2).await;
    let followers = "select count(distinct payload->>'follower') from events where type = 'SecurityAlertRaised'
                     and payload->>'rule' = 'follower_stopped' and payload->>'severity' = 'critical'";
    assert_eq!(house.number(followers).await, 2);
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(house.number(RAISED).await, 2, "two more looks of each");
}
