//! The end of both processes: readiness goes off first, what is in flight is finished, and all is over in ten seconds.

use std::time::{Duration, Instant};

use doorbook_dev::sink::{Fault, Stage};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::common::*;

/// Source: bar 6.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

async fn status(url: &str) -> Option<u16> {
    let http = doorbook_dev::loopback().timeout(Duration::from_secs(2)).build().unwrap();
    http.get(url).send().await.ok().map(|answer| answer.status().as_u16())
}

/// C108. Breaks when `api/src/edge.rs`: `notice: Duration::from_secs(2),` → `notice: Duration::ZERO,`.
#[tokio::test]
async fn the_api_ends_in_time_without_failing_a_request() {
    // Hashes as dear as by default are under way when it is told to end.
    let dear = [("ARGON2_MEMORY_KIB", "102400"), ("ARGON2_TIME_COST", "2"), ("ARGON2_PARALLELISM", "8")];
    let mut house = house(&dear).await;
    let rounds = if std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full") { 50 } else { 1 };
    for _ in 0..rounds {
        let email = house.registered().await;
        assert_eq!(status(&format!("{}/health/ready", house.api_ops)).await, Some(200));
        let mut load = JoinSet::new();
        for _ in 0..4 {
            let (client, email, base) = (house.client(), email.clone(), house.stand.base.clone());
            load.spawn(async move {
                let started = Instant::now();
                while started.elapsed() < Duration::from_millis(600) {
                    let body = json!({ "email": email, "password": PASSWORD });
                    let answer = client.at(&base).post("/api/auth/login/", body).await.unwrap();
                    assert!(matches!(answer.status, 200 | 429), "{answer:?}");
                }
            });
        }
        sleep(Duration::from_millis(300)).await;
        house.stand.api.terminate().unwrap();
        let asked = Instant::now();
        until("the api says that it ends", async || {
            status(&format!("{}/health/ready", house.api_ops)).await == Some(503)
        })
        .await;
        assert_eq!(status(&format!("{}/health/live", house.api_ops)).await, Some(200), "it lives while it ends");
        while let Some(done) = load.join_next().await {
            done.unwrap();
        }
        let ended = house.stand.api.ended(ENDS_WITHIN.saturating_sub(asked.elapsed())).await.unwrap();
        assert!(ended.success(), "{ended}");
        house.stand.restart_api().await.unwrap();
    }
}

/// C108. Breaks when `worker/src/lib.rs`: `const GRACE: Duration = Duration::from_secs(7);` → `const GRACE: Duration = Duration::from_mins(7);`.
#[tokio::test]
async fn a_worker_whose_mail_server_does_not_answer_ends_in_time_all_the_same() {
    let mut house = house(&[("EMAIL_TIMEOUT_SECONDS", "60")]).await;
    house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_secs(40)));
    house.registered().await;
    until("the mail is on its way", async || scrape(&house.worker_ops).await["doorbook_worker_jobs_running"] >= 1.0)
        .await;
    let worker = house.stand.worker.as_mut().unwrap();
    worker.terminate().unwrap();
    assert!(worker.ended(ENDS_WITHIN).await.unwrap().success());
}
