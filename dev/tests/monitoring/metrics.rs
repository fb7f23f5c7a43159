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

/// What an expression wants of a metric's labels: `status=~` of `requests_total{status=~"5.."}`, and the whole of `state="used"`.
/// What scraping adds is left out.
fn selectors(expression: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices('{') {
        let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
        let name = expression[..at].rsplit(|sign| !is_name(sign)).next().unwrap();
        let inside = expression[at + 1..].split('}').next().unwrap();
        for label in inside.split(',').map(str::trim) {
            let (key, _) = label.split_once(['=', '!']).unwrap();
            let is_exact = label[key.len()..].starts_with("=\"");
            let wanted = if is_exact { label.to_owned() } else { format!("{key}=") };
            if name != "up" && !matches!(key, "job" | "instance") {
                found.push((name.to_owned(), wanted));
            }
        }
    }
    found
}

#[test]
fn names_are_read_from_an_expression() {
    let found =
        names("sum by (route_x, le) (rate(a_total{status_x=~\"5..\"}[5m])) / b_sum > 0.5 and on (job_x) c_d == 1");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a_total", "b_sum", "c_d"]);
    let wanted = selectors("a_total{job=\"x\", s=~\"5..\",t=\"u\"} / b_sum{v!=\"w\"} + up{job=\"x\"}");
    let wanted: Vec<_> = wanted.iter().map(|(name, label)| (name.as_str(), label.as_str())).collect();
    assert_eq!(wanted, [("a_total", "s="), ("a_total", "t=\"u\""), ("b_sum", "v=")]);
}

/// Breaks when `api/src/metrics.rs`: `let name = "doorbook_http_request_duration_seconds";` → `let name = "doorbook_http_request_seconds";`.
#[tokio::test]
async fn every_metric_that_dashboard_and_alerts_ask_for_is_exported() {
    let house = house(&[]).await;
    let email = house.registered().await;
    assert_eq!(house.login(&email, PASSWORD).await.status, 200);
    // A rule names this route.
    let reset = serde_json::json!({ "email": email });
    assert_eq!(house.client().post("/api/auth/password/reset/", reset).await.unwrap().status, 202);
    assert!(!house.mailed(&email, "dbv_").await.is_empty());
    let mut samples = Vec::new();
    for ops in [&house.api_ops, &house.worker_ops] {
        samples.extend(scrape(ops).await.into_keys());
    }
    let exported: BTreeSet<_> = samples.iter().map(|name| name.split('{').next().unwrap().to_owned()).collect();
    let expressions = expressions();
    let all = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap()
        + &std::fs::read_to_string(deploy("grafana/doorbook.json")).unwrap();
    assert_eq!(
        expressions.len(),
        all.matches(" expr: ").count() + all.matches("\"expr\":").count(),
        "each expression of either file is looked at"
    );
    for expression in expressions {
        let names = names(&expression);
        assert!(!names.is_empty() || expression.contains("up{"), "{expression}");
        for name in names {
            assert!(exported.contains(&name), "{name} of {expression} is exported by nobody: {exported:?}");
        }
        for (name, label) in selectors(&expression) {
            let has = |sample: &&String| sample.starts_with(&format!("{name}{{")) && sample.contains(&label);
            assert!(samples.iter().any(|sample| has(&sample)), "{name} of {expression} has no {label}");
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

/// Breaks when `api/src/ops.rs`: `page.gauge("doorbook_trail_streams_open", help, doorbook.open_streams());` → `page.gauge("doorbook_trail_streams_open", help, 0);`.
#[tokio::test]
async fn streams_of_the_trail_are_counted_while_somebody_listens() {
    let house = house(&[]).await;
    let email = house.registered().await;
    house.stand.doorbook(&["account", "role", "grant", &email, "auditor", "--reason", "a test"]).await.unwrap();
    let login = house.login(&email, PASSWORD).await;
    let are_open = async |count: f64| scrape(&house.api_ops).await.get("doorbook_trail_streams_open") == Some(&count);
    assert!(are_open(0.0).await);
    let http = doorbook_dev::loopback().build().unwrap();
    let asked = http.get(format!("{}/api/admin/audit/events/stream/", house.stand.base));
    let stream = asked.bearer_auth(login.text("access")).send().await.unwrap();
    assert!(stream.status() == 200 && are_open(1.0).await);
    drop((stream, http));
    until("nobody listens any more", || are_open(0.0)).await;
}

/// Breaks when `deploy/prometheus/alerts.yml`: `      - alert: DoorbookPoolBusy` → `      - alert: DoorbookPoolFull`.
#[test]
fn each_alert_has_its_line_about_what_to_do() {
    let rules = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let rules: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let page = std::fs::read_to_string(deploy("../docs/MONITORING.md")).unwrap();
    let lines = page.lines().filter(|line| line.starts_with("| `Doorbook"));
    let told = lines.flat_map(|line| line.split('|').nth(1).unwrap_or_default().split(", "));
    let told: BTreeSet<_> = told.map(|name| name.trim().trim_matches('`')).collect();
    assert_eq!(rules, told);
}

/// Breaks when `deploy/prometheus/alerts.yml`: `expr: up{job=~"doorbook-(api|worker)"} == 0` → `expr: up{job=~"doorbook-(api|worker)"} = 0`.
#[test]
fn promtool_accepts_the_rules() {
    let mut promtool = std::process::Command::new(doorbook_dev::promtool().unwrap());
    let output = promtool.arg("check").arg("rules").arg(deploy("prometheus/alerts.yml")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
