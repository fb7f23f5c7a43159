//! Api and worker behind the pooler.

use std::time::{Duration, Instant};

use doorbook_dev::{Role, Stand};
use serde_json::json;
use tokio::time::sleep;

use crate::common::cluster;

const SOON: Duration = Duration::from_secs(20);

/// Registers and waits until the mail is there and the log is sealed.
async fn mailed_and_sealed(stand: &Stand) {
    let body =
        json!({ "email": "ana@example.com", "password": "violet harbour 73", "password_confirm": "violet harbour 73" });
    let answer = stand.client().post("/api/auth/register/", body).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    stand.sink.wait_for(|mail| mail.envelope.to == ["ana@example.com"], SOON).await.unwrap();
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let unsealed = "select (select count(*) from events) - (select count(*) from event_seals)
                         + (select count(*) from jobs where kind = 'mail' and state <> 'done')";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(unsealed).fetch_one(&owner).await.unwrap() > 0 {
        assert!(begun.elapsed() < SOON, "events are never sealed, or a mail's job has no end");
        sleep(Duration::from_millis(20)).await;
    }
}

const POLLING: &str = "due jobs are found by polling alone";

#[tokio::test]
async fn mails_are_sent_and_the_log_is_sealed_behind_a_pooler() {
    let mut stand = Stand::start_pooled(cluster().await, &[]).await.unwrap();
    stand.start_worker().await.unwrap();
    mailed_and_sealed(&stand).await;
    let log = stand.worker.as_ref().unwrap().log().unwrap();
    assert!(!log.contains(POLLING) && !log.contains("listening for due jobs"), "{log}");
    let differences = stand.doorbook(&["projections", "check"]).await.unwrap();
    assert!(differences.contains(" 0 differences"), "{differences}");
}

#[tokio::test]
async fn without_a_direct_url_jobs_are_found_by_polling_and_the_log_says_so() {
    let mut stand = Stand::start_pooled(cluster().await, &[("DATABASE_DIRECT_URL", "")]).await.unwrap();
    stand.start_worker().await.unwrap();
    mailed_and_sealed(&stand).await;
    let log = stand.worker.as_ref().unwrap().log().unwrap();
    assert!(log.contains(POLLING), "{log}");
}
