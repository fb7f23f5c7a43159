use doorbook_core::store::{Db, Pooler, seal};
use doorbook_dev::Role;

use crate::common::*;

pub async fn seal_all(house: &House) {
    let worker = Db::new(&house.database.url_for(Role::Worker), 1, Pooler::None).unwrap();
    let unsealed = "select (select count(*) from events) - (select count(*) from event_seals)";
    // Transactions of other tests hold the sealer back as well: transaction ids are the cluster's.
    while sqlx::query_scalar::<_, i64>(unsealed).fetch_one(&house.owner).await.unwrap() > 0 {
        seal::seal_batch(&worker).await.unwrap();
    }
}

#[tokio::test]
async fn the_tail_shows_the_last_sealed_events_in_order_and_no_personal_data() {
    let house = house().await;
    register(&house.book().await, "ana@example.com").await;
    assert_eq!(house.run("events tail").await, "", "nothing is sealed yet");
    seal_all(&house).await;
    let tail = house.run("events tail").await;
    let names: Vec<&str> = tail.lines().map(|line| line.split_whitespace().nth(5).unwrap()).collect();
    assert_eq!(names, ["Registered", "EmailVerificationRequested", "MailQueued"]);
    assert!(!tail.contains("ana") && !tail.contains("203.0.113.7"), "{tail}");
    assert_eq!(house.run("events tail --last 1").await, format!("{}\n", tail.lines().last().unwrap()));

    let id = tail.lines().next().unwrap().split_whitespace().nth(2).unwrap();
    let event = house.run(&format!("events show {id}")).await;
    assert!(event.contains("Registered") && event.contains("sealed by key"), "{event}");
    assert!(!event.contains("ana@"), "{event}");
    let unknown = house.run_with(&["events", "show", "00000000-0000-0000-0000-000000000000"], &[], "").await;
    assert_eq!(unknown.status, 1);
}

/// A mail that failed for good: its job.
async fn failed(house: &House, repeated_by: Option<uuid::Uuid>) -> String {
    register(&house.book().await, "ana@example.com").await;
    let job: uuid::Uuid = sqlx::query_scalar(
        "with failed as (update deliveries set state = 'failed', repeated_by = $1 returning delivery_id)
         update jobs set state = 'dead', settled_at = clock_timestamp(), last_error = '550 no such user'
         from failed where ref = delivery_id returning job_id",
    )
    .bind(repeated_by)
    .fetch_one(&house.owner)
    .await
    .unwrap();
    job.to_string()
}

const DUE: &str = "select count(*) from jobs j join deliveries d on d.delivery_id = j.ref where j.state = 'due' and d.state = 'deferred'";
const TOLD: &str = "select count(*) from events where type = 'MailQueued' and actor_kind = 'operator' and payload->>'words' = 'mended'";

/// Breaks when `core/src/service/admin/mail_orders.rs`: `batch.write.revive_delivery(mail);` → ``.
#[tokio::test]
async fn a_dead_job_is_listed_and_redriven_once_and_its_mail_tells_by_whom_and_why() {
    let house = house().await;
    assert_eq!(house.run("jobs dead").await, "");
    let job = failed(&house, None).await;
    let dead = house.run("jobs dead").await;
    assert!(dead.contains(&job) && dead.contains("550 no such user"), "{dead}");
    let unexplained = house.run_with(&["jobs", "redrive", &job], &[], "").await;
    assert!(unexplained.status == 1 && unexplained.err.contains("--reason"), "{}", unexplained.err);
    assert_eq!((house.number(DUE).await, house.number(TOLD).await), (0, 0));
    house.run(&format!("jobs redrive {job} --reason mended")).await;
    assert_eq!((house.number(DUE).await, house.number(TOLD).await), (1, 1));
    assert_eq!(house.run_with(&["jobs", "redrive", &job, "--reason", "mended"], &[], "").await.status, 1);
    assert_eq!(house.number(TOLD).await, 1);
}

/// Breaks when `core/src/service/admin/mail_orders.rs`: `if row.repeated_by.is_some() {` → `if false {`.
#[tokio::test]
async fn a_dead_job_whose_mail_was_ordered_anew_is_done_and_not_redriven() {
    let house = house().await;
    let job = failed(&house, Some(uuid::Uuid::from_u128(1))).await;
    assert!(house.run(&format!("jobs redrive {job} --reason mended")).await.contains("sent anew"));
    assert_eq!((house.number(DUE).await, house.number(TOLD).await), (0, 0));
    assert_eq!(house.run("jobs dead").await, "");
}
