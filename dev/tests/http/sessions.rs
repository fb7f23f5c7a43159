//! Refreshing, listing and ending sessions, and the history of them.

use std::collections::BTreeSet;
use std::time::Duration;

use doorbook_dev::Stand;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::common::*;

/// The shortest grace but none, so that it is over soon.
const GRACE: Duration = Duration::from_secs(1);

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[("REFRESH_GRACE_SECONDS", "1")])).await
}

/// C025. Breaks when `core/src/session/refresh.rs`: `now.since(family.rotated_at) <= grace` → `grace >= Duration::ZERO`.
#[tokio::test]
async fn a_refresh_token_is_spent_by_its_use_once_the_grace_is_over() {
    let stand = shared().await;
    let email = registered(stand).await;
    let mut sessions = Vec::new();
    // Below SESSIONS_MAX a person, or the oldest would end.
    for _ in 0..dose(10, 100) {
        let person = if sessions.len() % 10 == 9 { registered(stand).await } else { email.clone() };
        let first = if sessions.len() < 10 { login(stand, &person, PASSWORD).await } else { welcomed(stand).await.1 };
        sessions.push(first);
    }
    let mut rotated = Vec::new();
    let mut tokens = BTreeSet::new();
    for first in &sessions {
        let client = client(stand);
        let next = refresh(&client, first.text("refresh")).await;
        assert_eq!(next.status, 200, "{next:?}");
        assert_eq!(next.text("session_id"), first.text("session_id"));
        for answer in [first, &next] {
            assert!(
                tokens.insert(answer.text("refresh").to_owned()) && tokens.insert(answer.text("access").to_owned())
            );
        }
        let profile = client.with_token(next.text("access")).get("/api/auth/profile/").await.unwrap();
        assert_eq!(profile.status, 200, "the new access token works");
        rotated.push(next);
    }
    tokio::time::sleep(GRACE + Duration::from_millis(100)).await;
    for (first, next) in sessions.iter().zip(&rotated) {
        let client = client(stand);
        let spent = refresh(&client, first.text("refresh")).await;
        assert_eq!((spent.status, spent.text("type")), (401, "/problems/unauthorized"), "{spent:?}");
        // Whoever holds a copy holds nothing: the whole family is over.
        assert_eq!(refresh(&client, next.text("refresh")).await.status, 401);
        let profile = client.with_token(next.text("access")).get("/api/auth/profile/").await.unwrap();
        assert_eq!(profile.status, 401);
    }
}

/// C034. Breaks when `core/src/service/sessions.rs`: `if row.account_id != caller.account {` → `if false {`.
#[tokio::test]
async fn the_session_of_somebody_else_is_answered_like_one_that_does_not_exist() {
    let stand = shared().await;
    let ((_, own), (owner, theirs)) = (welcomed(stand).await, welcomed(stand).await);
    let (id, bearer) = (theirs.text("session_id"), format!("Bearer {}", own.text("access")));
    let headers = [("Authorization", bearer.as_str())];
    let mut wire = wire(stand).await;
    let mut shown = BTreeSet::new();
    for attempt in 0..dose(10_u64, 250) {
        let random = uuid::Uuid::from_u64_pair(0x0198_0000_0000_7000 + attempt, 0x8000_0000_0000_0000 + attempt);
        for id in [id, &random.to_string()] {
            let path = format!("/api/auth/sessions/{id}/");
            let reply = wire.send("DELETE", &path, &headers, b"").await.unwrap();
            assert_eq!(reply.status, 404, "{reply:?}");
            shown.insert(reply.shown().replace(id, "ID"));
        }
    }
    assert_eq!(shown.len(), 1, "{shown:#?}");
    for odd in ["x", "1", "%00", "..%2f", "0198000000007000800000000000000z"] {
        let reply = wire.send("DELETE", &format!("/api/auth/sessions/{odd}/"), &headers, b"").await.unwrap();
        assert_eq!((reply.status, reply.problem().0.as_str()), (404, "not-found"), "{odd}");
    }
    assert_eq!(owner.get("/api/auth/profile/").await.unwrap().status, 200, "it still lives");
}

#[tokio::test]
async fn own_sessions_are_listed_with_device_and_address_and_can_be_ended() {
    let stand = shared().await;
    let email = registered(stand).await;
    let (first, _) = logged_in(stand, &email).await;
    let place = somewhere();
    let agent = [("User-Agent", "Test \u{1b}[31m Browser/1.0"), ("X-Forwarded-For", &place)];
    let body = credentials(&email, PASSWORD).to_string();
    let mut wire = crate::wire::Wire::open(&stand.base, "127.0.0.1").await;
    let headers = [agent[0], agent[1], ("Content-Type", "application/json")];
    // A header with a control byte is refused before it can be listed.
    assert_eq!(wire.send("POST", "/api/auth/login/", &headers, body.as_bytes()).await.unwrap().status, 400);
    let mut wire = crate::wire::Wire::open(&stand.base, &place).await;
    let headers = [("User-Agent", "Test Browser/1.0"), ("Content-Type", "application/json")];
    let second = wire.send("POST", "/api/auth/login/", &headers, body.as_bytes()).await.unwrap().json();

    let list = first.get("/api/auth/sessions/").await.unwrap();
    let listed = list.body["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{list:?}");
    assert_eq!(listed[0]["id"], second["session_id"], "newest first");
    assert_eq!((&listed[0]["device"], &listed[0]["address"]), (&json!("Test Browser/1.0"), &json!(place)));
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&json!(false), &json!(true)));
    for field in ["created_at", "last_used_at", "expires_at"] {
        assert!(listed[0][field].as_str().is_some_and(|time| time.ends_with('Z')), "{field}");
    }

    let path = format!("/api/auth/sessions/{}/", second["session_id"].as_str().unwrap());
    assert_eq!(first.delete(&path).await.unwrap().status, 204);
    assert_eq!(first.delete(&path).await.unwrap().status, 404, "it is gone");
    let dead = client(stand).with_token(second["access"].as_str().unwrap());
    assert_eq!(dead.get("/api/auth/profile/").await.unwrap().status, 401);
    assert_eq!(refresh(&dead, second["refresh"].as_str().unwrap()).await.status, 401);
    let list = first.get("/api/auth/sessions/").await.unwrap();
    assert_eq!(list.body["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_person_reads_the_own_history_page_by_page_and_nobody_elses() {
    let stand = shared().await;
    let (other, _) = welcomed(stand).await;
    let email = registered(stand).await;
    for _ in 0..2 {
        assert_eq!(login(stand, &email, OTHER_PASSWORD).await.status, 401);
    }
    let (client, tokens) = logged_in(stand, &email).await;
    let all = client.get("/api/auth/events/").await.unwrap();
    let all = all.body["events"].as_array().unwrap();
    let names: Vec<_> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["LoggedIn", "LoginFailed", "LoginFailed"], "newest first: {names:?}");
    assert!(names.contains(&"Registered") && names.contains(&"EmailVerificationRequested"), "{names:?}");
    assert_eq!(all[0]["session_id"], tokens.body["session_id"]);
    assert!(all[0]["by_owner"] == true && all[1]["by_owner"] == false, "{all:?}");
    assert!(all[1]["address"].as_str().is_some_and(|address| address.starts_with("10.")), "{:?}", all[1]);

    let mut walked = Vec::new();
    let mut path = "/api/auth/events/?limit=2".to_owned();
    loop {
        let page = client.get(&path).await.unwrap();
        let events = page.body["events"].as_array().unwrap();
        assert!(events.len() <= 2);
        walked.extend(events.iter().cloned());
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("/api/auth/events/?limit=2&before={next}");
    }
    assert_eq!(&walked, all, "the pages are the whole");
    for (query, name) in [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("before=x", "before")] {
        let refused = client.get(&format!("/api/auth/events/?{query}")).await.unwrap();
        assert_eq!((refused.status, faults(&refused)[0].0.as_str()), (422, name), "{query}");
    }

    let theirs = other.get("/api/auth/events/").await.unwrap();
    let ids: BTreeSet<_> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let leaked =
        theirs.body["events"].as_array().unwrap().iter().any(|event| ids.contains(event["id"].as_str().unwrap()));
    assert!(!leaked, "{theirs:?}");
}

#[tokio::test]
async fn logout_ends_both_tokens_and_may_be_repeated() {
    let stand = shared().await;
    let email = registered(stand).await;
    let ((client, tokens), (_, other)) = (logged_in(stand, &email).await, logged_in(stand, &email).await);
    let body = json!({ "refresh": tokens.text("refresh") });
    for _ in 0..2 {
        assert_eq!(client.post("/api/auth/logout/", body.clone()).await.unwrap().status, 204);
        assert_eq!(client.get("/api/auth/profile/").await.unwrap().status, 401);
        assert_eq!(refresh(&client, tokens.text("refresh")).await.status, 401);
    }
    let (third, _) = logged_in(stand, &email).await;
    let ended = third.send(reqwest::Method::POST, "/api/auth/logout/all/", None, &[]).await.unwrap();
    assert_eq!(ended.status, 204);
    assert_eq!(third.get("/api/auth/profile/").await.unwrap().status, 401);
    assert_eq!(refresh(&third, other.text("refresh")).await.status, 401);
}
