//! Errors and panics reach Sentry, once each, and so do the requests it is to be told of; nothing personal with them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::common::*;
use crate::receiver::Receiver;

/// What all envelopes hold, which must be of this kind.
fn items(receiver: &Receiver, kind: &str) -> Vec<Value> {
    let posted = receiver.posted();
    let items = posted.iter().map(|posted| {
        assert!(posted.head.starts_with("POST /api/42/envelope/ HTTP/1.1"), "{}", posted.head);
        assert!(posted.head.contains("sentry_key=abc123"), "{}", posted.head);
        let text = std::str::from_utf8(&posted.body).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let header: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!((&header["type"], &header["length"]), (&json!(kind), &json!(lines[2].len())));
        serde_json::from_str(lines[2]).unwrap()
    });
    items.collect()
}

/// C088. Breaks when `api/src/command.rs`: `tracing::warn!("a command panicked");` → `tracing::error!("a command panicked");`.
#[tokio::test]
async fn a_panic_answers_500_and_is_reported_once_without_what_the_client_sent() {
    let receiver = Receiver::start().await;
    let dsn = format!("{}/42", receiver.base.replace("http://", "http://abc123@"));
    let settings = [
        ("SENTRY_DSN", dsn.as_str()),
        ("SENTRY_ENVIRONMENT", "stage"),
        ("SENTRY_TRACES_SAMPLE_RATE", "0"),
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
    until("the report has arrived", async || !items(&receiver, "event").is_empty()).await;
    // A second report of the same panic would come at once.
    sleep(Duration::from_millis(500)).await;
    let events = items(&receiver, "event");
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

/// C088. Breaks when `core/src/telemetry/transactions.rs`: `request.route.unwrap_or("unmatched")` → `request.route.unwrap_or("/no/such")`.
#[tokio::test]
async fn a_sampled_request_is_one_transaction_named_by_its_route_without_what_the_client_sent() {
    let receiver = Receiver::start().await;
    let dsn = format!("{}/42", receiver.base.replace("http://", "http://abc123@"));
    let house = house(&[("SENTRY_DSN", dsn.as_str()), ("SENTRY_TRACES_SAMPLE_RATE", "1")]).await;
    let email = house.registered().await;
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let caller = format!("00-{trace}-{span}-01");
    let headers = [("traceparent", caller.as_str()), ("User-Agent", "canary-agent"), ("X-Canary", "canary-header")];
    let body = json!({ "email": email, "password": "canary-password" });
    let (login, unknown) = ("/api/auth/login/?canary=query", "/no/such/canary?canary=query");
    let send = async |path, body| house.client().send(reqwest::Method::POST, path, body, &headers).await.unwrap();
    assert_eq!((send(login, Some(body)).await.status, send(unknown, None).await.status), (401, 404));
    let of_trace = || {
        let items = items(&receiver, "transaction").into_iter();
        items.filter(|item| item["contexts"]["trace"]["trace_id"] == trace).collect::<Vec<_>>()
    };
    until("both have arrived", async || of_trace().len() >= 2).await;
    sleep(Duration::from_millis(500)).await;
    let told: Vec<_> = of_trace();
    let names: Vec<_> = told.iter().map(|item| (&item["transaction"], &item["contexts"]["trace"]["status"])).collect();
    let expected = [("POST /api/auth/login/", "unauthenticated"), ("POST unmatched", "not_found")]
        .map(|(a, b)| (json!(a), json!(b)));
    assert_eq!(names, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    for item in &told {
        assert_eq!((&item["type"], &item["tags"]["process"]), (&json!("transaction"), &json!("api")));
        assert!(item["timestamp"].as_f64().unwrap() >= item["start_timestamp"].as_f64().unwrap(), "{item}");
    }
    let all = receiver.posted().into_iter().map(|posted| posted.head + &String::from_utf8_lossy(&posted.body));
    let all: String = all.collect();
    for canary in ["canary", "/no/such", email.as_str(), "@example.com", "10.0.", PASSWORD] {
        assert!(!all.contains(canary), "{canary} in {all}");
    }
    assert!(scrape(&house.api_ops).await["doorbook_transactions_total{outcome=\"sent\"}"] >= 2.0);
}

#[tokio::test]
async fn a_sample_rate_of_zero_tells_of_no_request() {
    let receiver = Receiver::start().await;
    let dsn = format!("{}/42", receiver.base.replace("http://", "http://abc123@"));
    let mut house = house(&[("SENTRY_DSN", dsn.as_str()), ("SENTRY_TRACES_SAMPLE_RATE", "0")]).await;
    for _ in 0..20 {
        assert_eq!(house.client().get("/api/auth/").await.unwrap().status, 200);
    }
    // What waited would be handed over at the end.
    house.stand.api.terminate().unwrap();
    assert!(house.stand.api.ended(Duration::from_secs(10)).await.unwrap().success());
    assert!(receiver.posted().is_empty(), "{:?}", receiver.posted());
}
