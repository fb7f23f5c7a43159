//! Numbers: what dashboard and alerts ask for is there, and the numbers are true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::*;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// What the rules and the dashboard ask for.
fn expressions() -> Vec<String> {
    let rules = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let mut expressions: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    let text = std::fs::read_to_string(deploy("grafana/doorbook.json")).unwrap();
    gather(&serde_json::from_str(&text).unwrap(), &mut expressions);
    expressions
}

fn gather(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "expr" => expressions.push(text.clone()),
                    value => gather(value, expressions),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| gather(value, expressions)),
        _ => {}
    }
}

/// The metrics of an expression: names with an underscore, outside of braces, that are no function and no label list.
fn names(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut word, mut braces) = (String::new(), 0);
    let mut skipping = false;
    for sign in expression.chars().chain([' ']) {
        if sign.is_ascii_alphanumeric() || sign == '_' || sign == ':' {
            word.push(sign);
            continue;
        }
        let labels_follow = matches!(word.as_str(), "by" | "without" | "on" | "ignoring" | "group_left");
        let is_metric = braces == 0 && !skipping && sign != '(' && word.contains('_');
        if is_metric && word.starts_with(|first: char| first.is_ascii_alphabetic()) {
            names.insert(std::mem::take(&mut word));
        }
        word.clear();
        match sign {
            '(' => skipping = labels_follow || skipping,
            ')' => skipping = false,
            '{' | '[' => braces += 1,
            '}' | ']' => braces -= 1,
            ' ' if labels_follow => skipping = true,
            _ => {}
        }
    }
    names
}

#[test]
fn names_are_read_from_an_expression() {
    let found =
        names("sum by (route_x, le) (rate(a_total{status_x=~\"5..\"}[5m])) / b_sum > 0.5 and on (job_x) c_d == 1");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a_total", "b_sum", "c_d"]);
}

/// Breaks when `api/src/metrics.rs`: `let name = "doorbook_http_request_duration_seconds";` → `let name = "doorbook_http_request_seconds";`.
#[tokio::test]
async fn every_metric_that_dashboard_and_alerts_ask_for_is_exported() {
    let house = house(&[]).await;
    let email = house.registered().await;
    assert_eq!(house.login(&email, PASSWORD).await.status, 200);
    assert!(!house.mailed(&email, "dbv_").await.is_empty());
    let mut exported = BTreeSet::new();
    for ops in [&house.api_ops, &house.worker_ops] {
        exported.extend(scrape(ops).await.into_keys().map(|name| name.split('{').next().unwrap().to_owned()));
    }
    let expressions = expressions();
    assert!(expressions.len() > 25, "{expressions:?}");
    for expression in expressions {
        let names = names(&expression);
        assert!(!names.is_empty() || expression.contains("up{"), "{expression}");
        for name in names {
            assert!(exported.contains(&name), "{name} of {expression} is exported by nobody: {exported:?}");
        }
    }
}

/// Breaks when `core/src/service/figures.rs`: `Err(Refusal::Blocked { .. }) => LoginOutcome::Blocked,` → `Err(Refusal::Blocked { .. }) => LoginOutcome::Failed,`.
#[tokio::test]
async fn requests_logins_blocks_hashes_and_mails_are_counted() {
    let house = house(&[("MAX_LOGIN_ATTEMPTS", "2")]).await;
    let email = house.registered().await;
    for (password, status) in [(PASSWORD, 200), ("wrong 1", 401), ("wrong 2", 401), (PASSWORD, 429)] {
        assert_eq!(house.login(&email, password).await.status, status);
    }
    house.client().get("/no/such/path").await.unwrap();
    assert!(!house.mailed(&email, "dbv_").await.is_empty());
    let api = scrape(&house.api_ops).await;
    let login = |status: u16| {
        format!("doorbook_http_requests_total{{route=\"/api/auth/login/\",method=\"POST\",status=\"{status}\"}}")
    };
    for (name, value) in [
        (login(200), 1.0),
        (login(401), 2.0),
        (login(429), 1.0),
        ("doorbook_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}".to_owned(), 1.0),
        ("doorbook_logins_total{outcome=\"success\"}".to_owned(), 1.0),
        ("doorbook_logins_total{outcome=\"failed\"}".to_owned(), 2.0),
        ("doorbook_logins_total{outcome=\"blocked\"}".to_owned(), 1.0),
        ("doorbook_login_blocks_total".to_owned(), 1.0),
        ("doorbook_password_verifications_total".to_owned(), 3.0),
        ("doorbook_password_hashes_running".to_owned(), 0.0),
        ("doorbook_http_requests_in_flight".to_owned(), 0.0),
        ("doorbook_db_connections_max".to_owned(), 16.0),
        ("doorbook_build_info{process=\"api\",version=\"0.1.0\"}".to_owned(), 1.0),
    ] {
        assert_eq!(api.get(&name), Some(&value), "{name} in {api:?}");
    }
    let count = "doorbook_http_request_duration_seconds_count{route=\"/api/auth/login/\",method=\"POST\"}";
    assert_eq!(api.get(count), Some(&4.0));
    assert!(api["process_start_time_seconds"] > 1.7e9);
    until("the mail is counted", async || {
        scrape(&house.worker_ops).await["doorbook_worker_mails_total{outcome=\"sent\"}"] >= 1.0
    })
    .await;
}

/// promtool comes with Debian's package `prometheus`; where it is missing, the names above are checked all the same.
#[test]
fn promtool_accepts_the_rules() {
    let run =
        std::process::Command::new("promtool").arg("check").arg("rules").arg(deploy("prometheus/alerts.yml")).output();
    match run {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => println!("promtool is not installed: skipped"),
        Err(error) => panic!("{error}"),
    }
}
