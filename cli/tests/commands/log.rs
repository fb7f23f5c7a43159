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

#[tokio::test]
async fn a_dead_job_is_listed_and_redriven_once() {
    let house = house().await;
    register(&house.book().await, "ana@example.com").await;
    assert_eq!(house.run("jobs dead").await, "");
    let job: uuid::Uuid = sqlx::query_scalar(
        "update jobs set state = 'dead', settled_at = clock_timestamp(), last_error = '550 no such user' returning job_id",
    )
    .fetch_one(&house.owner)
    .await
    .unwrap();
    let dead = house.run("jobs dead").await;
    assert!(dead.contains(&job.to_string()) && dead.contains("550 no such user"), "{dead}");
    house.run(&format!("jobs redrive {job}")).await;
    assert_eq!(house.number("select count(*) from jobs where state = 'due'").await, 1);
    assert_eq!(house.run_with(&["jobs", "redrive", &job.to_string()], &[], "").await.status, 1);
}
