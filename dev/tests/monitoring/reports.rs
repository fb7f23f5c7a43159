//! Errors and panics reach Sentry, once each, and nothing personal with them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::common::*;
use crate::receiver::Receiver;

/// The events of all envelopes.
fn events(receiver: &Receiver) -> Vec<Value> {
    let posted = receiver.posted();
    let events = posted.iter().map(|posted| {
        assert!(posted.head.starts_with("POST /api/42/envelope/ HTTP/1.1"), "{}", posted.head);
        assert!(posted.head.contains("sentry_key=abc123"), "{}", posted.head);
        let text = std::str::from_utf8(&posted.body).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let header: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!((&header["type"], &header["length"]), (&json!("event"), &json!(lines[2].len())));
        serde_json::from_str(lines[2]).unwrap()
    });
    events.collect()
}

/// C088. Breaks when `api/src/command.rs`: `tracing::warn!("a command panicked");` → `tracing::error!("a command panicked");`.
#[tokio::test]
async fn a_panic_answers_500_and_is_reported_once_without_what_the_client_sent() {
    let receiver = Receiver::start().await;
    let dsn = format!("{}/42", receiver.base.replace("http://", "http://abc123@"));
    let settings = [
        ("SENTRY_DSN", dsn.as_str()),
        ("SENTRY_ENVIRONMENT", "stage"),
        ("DOORBOOK_FAILPOINTS", "login.reserved=panic"),
    ];
    let house = house(&settings).await;
    let email = house.registered().await;
    let body = json!({ "email": email, "password": "canary-password" });
    let headers = [("User-Agent", "canary-agent"), ("X-Canary", "canary-header")];
    let path = "/api/auth/login/?canary=query";
    let answer = house.client().send(reqwest::Method::POST, path, Some(body), &headers).await.unwrap();
    assert_eq!(answer.status, 500, "{answer:?}");
    let trace = answer.headers["traceparent"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    until("the report has arrived", async || !events(&receiver).is_empty()).await;
    // A second report of the same panic would come at once.
    sleep(Duration::from_millis(500)).await;
    let events = events(&receiver);
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!((&event["level"], &event["environment"]), (&json!("fatal"), &json!("stage")));
    assert_eq!(event["contexts"]["trace"]["trace_id"], json!(trace));
    assert!(event["tags"]["place"].as_str().unwrap().contains("failpoint.rs:"), "{event}");
    assert_eq!(event["event_id"].as_str().map(str::len), Some(32));
    let all = receiver.posted().into_iter().map(|posted| posted.head + &String::from_utf8_lossy(&posted.body));
    let all: String = all.collect();
    for canary in ["canary", email.as_str(), "@example.com", "10.0.", PASSWORD] {
        assert!(!all.contains(canary), "{canary} in {all}");
    }
    assert_eq!(house.client().get("/health").await.unwrap().status, 200, "the process lives on");
    let api = scrape(&house.api_ops).await;
    assert_eq!(api.get("doorbook_panics_total"), Some(&1.0));
    assert_eq!(api.get("doorbook_error_reports_total{outcome=\"sent\"}"), Some(&1.0));
    // On the console the panic is one line like any other.
    let lines = objects(&house.stand.api.log().unwrap());
    assert!(lines.iter().any(|line| line["message"] == "panicked" && line["level"] == "ERROR"));
}
