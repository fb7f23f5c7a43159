//! The api dies between its commit and its answer, or is told to stop with work in hand.

use std::time::Duration;

use doorbook_dev::Stand;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::common::*;
use crate::insider::Insider;
use crate::wire::Wire;

/// End after SIGTERM. Source: bar 6.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Sends `body` to an api process that dies before it answers; what came in spite of it.
async fn lost(stand: &Stand, failpoint: &str, path: &str, body: &Value) {
    let (mut doomed, base) = stand.another_api_with(&[("DOORBOOK_FAILPOINTS", failpoint)]).await.unwrap();
    let mut wire = Wire::open(&base, &somewhere()).await;
    let headers = [("Content-Type", "application/json")];
    let reply = wire.send("POST", path, &headers, body.to_string().as_bytes()).await;
    assert!(reply.is_none(), "the answer was to be lost: {reply:?}");
    assert!(!ended(&mut doomed).await.success(), "the process was to die");
}

/// C027. Breaks when `core/src/session/refresh.rs`: `presented.checked_add(1) == Some(family.generation) && now.since(family.rotated_at) <= grace` → `family.generation == 0`.
#[tokio::test]
async fn a_refresh_whose_answer_was_lost_works_when_it_is_repeated() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    for _ in 0..dose(5, 100) {
        let (client, first) = welcomed(&stand).await;
        let body = json!({ "refresh": first.text("refresh") });
        lost(&stand, "refresh.committed=kill", "/api/auth/token/refresh/", &body).await;
        let id: uuid::Uuid = first.text("session_id").parse().unwrap();
        let generation = sqlx::query_scalar::<_, i64>("select generation from sessions where session_id = $1").bind(id);
        assert_eq!(generation.fetch_one(&insider.owner).await.unwrap(), 2, "it was committed");

        let again = refresh(&client, first.text("refresh")).await;
        assert_eq!((again.status, again.text("session_id")), (200, first.text("session_id")), "{again:?}");
        let generation = sqlx::query_scalar::<_, i64>("select generation from sessions where session_id = $1").bind(id);
        assert_eq!(
            generation.fetch_one(&insider.owner).await.unwrap(),
            2,
            "one successor, however often it is asked for"
        );
        let profile = client.with_token(again.text("access")).get("/api/auth/profile/").await.unwrap();
        assert_eq!(profile.status, 200);
        assert_eq!(refresh(&client, again.text("refresh")).await.status, 200, "the successor is spent like any other");
    }
}

/// C027. Breaks when `core/src/service/login.rs`: `let counter = row.counter.clone().settle_success(rule, counted_at, guess.reservation);` → `let counter = row.counter.clone();`.
#[tokio::test]
async fn a_login_whose_answer_was_lost_leaves_a_session_and_nothing_else() {
    let stand = stand(&[]).await;
    for _ in 0..dose(2, 100) {
        let email = registered(&stand).await;
        // One less than what blocks: had the lost ones counted as failures, this account would be blocked.
        for _ in 0..4 {
            assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 401);
        }
        lost(&stand, "login.committed=kill", "/api/auth/login/", &credentials(&email, PASSWORD)).await;
        for _ in 0..4 {
            assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 401, "the lost login was a success");
        }
        let (client, _) = logged_in(&stand, &email).await;
        let sessions = client.get("/api/auth/sessions/").await.unwrap();
        assert_eq!(sessions.body["sessions"].as_array().unwrap().len(), 2, "{sessions:?}");
        assert_eq!(Insider::of(&stand).await.events(&email, "LoggedIn").await, 2);
    }
}

/// C108. Breaks when `api/src/main.rs`: `stop.send_replace(true);` → `drop(stop);`.
#[tokio::test]
async fn told_to_stop_the_api_is_not_ready_first_then_takes_nothing_new_and_answers_what_is_in_flight() {
    let stand = stand(&[]).await;
    let email = registered(&stand).await;
    let slow = [("DOORBOOK_FAILPOINTS", "login.verified=pause:5000")];
    let (mut api, base) = stand.another_api_with(&slow).await.unwrap();
    let (mut asking, mut idle) = (Wire::open(&base, &somewhere()).await, Wire::open(&base, &somewhere()).await);
    for wire in [&mut asking, &mut idle] {
        assert_eq!(wire.get("/health", &[]).await.status, 200);
    }
    let body = credentials(&email, PASSWORD);
    let at = base.clone();
    let in_flight =
        tokio::spawn(async move { Wire::open(&at, &somewhere()).await.post("/api/auth/login/", &body).await });
    sleep(Duration::from_millis(500)).await;
    api.terminate().unwrap();
    sleep(Duration::from_millis(200)).await;
    let probe = Wire::open(&base, &somewhere()).await.get("/health/ready", &[]).await;
    assert_eq!(probe.status, 503, "load balancers are told before the door is shut");
    assert_eq!(asking.get("/health", &[]).await.status, 200, "whoever has not heard of it yet is served");
    sleep(Duration::from_millis(2_300)).await;
    let refused = tokio::net::TcpStream::connect(base.strip_prefix("http://").unwrap()).await;
    assert!(refused.is_err(), "nothing new is taken");
    assert!(asking.send("GET", "/health", &[], b"").await.is_none(), "that answer was the last of its connection");
    sleep(Duration::from_millis(1_000)).await;
    assert!(idle.send("GET", "/health", &[], b"").await.is_none(), "idle connections are closed");
    assert!(api.exited().unwrap().is_none(), "it waits for the login");

    let reply = in_flight.await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(api.ended(ENDS_WITHIN).await.unwrap().success(), "it ended in order");
    let access = reply.json()["access"].as_str().unwrap().to_owned();
    let profile = client(&stand).with_token(&access).get("/api/auth/profile/").await.unwrap();
    assert_eq!(profile.status, 200, "and what it answered holds");
}
