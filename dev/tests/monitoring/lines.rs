//! Log lines: what a client sends can forge none, and the failed login stands there as log watchers know it.

use doorbook_dev::{Cluster, Launch, Stand, ensure_binaries, free_port};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::common::*;

/// What breaks a line, drives a terminal, ends a JSON string or turns text around.
const HOSTILE: [&str; 10] = [
    "\r\n{\"level\":\"INFO\",\"message\":\"forged\"}",
    "\u{1b}[2J\u{1b}]0;forged\u{7}",
    "\"},\"forged\":{\"a\":\"",
    "\\\"forged\\",
    "\u{0}forged",
    "\u{202e}degrof\u{2066}",
    "\u{2028}forged\u{2029}",
    "\u{9b}31mforged",
    "${jndi:ldap://forged} %0d%0aforged %n%s",
    "\u{7f}\u{8}\u{8}forged\tforged",
];

/// Every sign by itself that may end a line, drive a terminal or turn text around, between two letters.
fn each_unsafe() -> Vec<String> {
    ('\0'..='\u{ffff}').filter(|sign| is_unsafe(*sign)).map(|sign| format!("a{sign}forged")).collect()
}

/// Sources: Unicode, general category Cc, line and paragraph separator, and the property Bidi_Control.
fn is_unsafe(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Sends bytes as they are, in a connection of their own, and waits for the answer's end.
async fn raw(stand: &Stand, request: &[u8]) {
    let mut stream = TcpStream::connect(stand.base.strip_prefix("http://").unwrap()).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

fn request(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// Every place that a client fills, filled with `text`.
async fn fill_all(stand: &Stand, text: &str) {
    let inside = text.bytes().fold(String::new(), |inside, byte| format!("{inside}%{byte:02x}"));
    let good = json!({ "email": "a@example.com", "password": "x" }).to_string();
    for line in [
        format!("POST /api/auth/login/?q={inside}"),
        format!("GET /{inside}"),
        format!("GET /{text}"),
        format!("GET /api/auth/sessions/{inside}/"),
        format!("{text} /api/auth/"),
    ] {
        raw(stand, &request(&line, "", &good)).await;
    }
    for name in [
        "User-Agent",
        "traceparent",
        "Origin",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Authorization",
        "Accept-Language",
        "Idempotency-Key",
        "Cookie",
        "X-CSRF-Token",
        "Referer",
        "Host",
    ] {
        raw(stand, &request("POST /api/auth/login/", &format!("{name}: {text}\r\n"), &good)).await;
    }
    for email in [
        format!("a{text}@example.com"),
        format!("a@{text}.example.com"),
        format!("\"{text}\"@example.com"),
        text.to_owned(),
    ] {
        let body = json!({ "email": email, "password": text, text: text, "device_token": text }).to_string();
        raw(stand, &request("POST /api/auth/login/", "", &body)).await;
        let body = json!({ "email": email, "password": text }).to_string();
        raw(stand, &request("POST /api/auth/login/", "", &body)).await;
    }
}

/// C089. Breaks when `core/src/telemetry.rs`: `write_escaped(&mut writer, members)?;` → `writer.write_str(members)?;`.
#[tokio::test]
async fn nothing_a_client_sends_forges_a_line() {
    let is_full = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    let singles = if is_full { each_unsafe() } else { Vec::new() };
    for format in ["json", "console"] {
        let folder = Folder::new();
        let file = folder.path("a.log");
        let settings =
            [("LOG_FORMAT", format), ("LOG_LEVEL", "trace"), ("LOG_EMAIL", "plain"), ("LOG_FILE", file.as_str())];
        let house = house(&settings).await;
        for text in HOSTILE.into_iter().chain(singles.iter().map(String::as_str)) {
            fill_all(&house.stand, text).await;
        }
        let (api, worker) = (house.stand.api.log().unwrap(), house.worker_log());
        println!("figure: {} lines as {format}", api.lines().count());
        assert!(api.lines().count() > 10 * (HOSTILE.len() + singles.len()), "each request is told of");
        for log in [api, worker, std::fs::read_to_string(folder.path("a-api.log")).unwrap()] {
            for line in log.lines() {
                assert!(!line.contains(is_unsafe), "{line:?}");
                assert!(format == "json" || line.starts_with("api 20") || line.starts_with("worker 20"), "{line:?}");
            }
            if format == "json" {
                assert!(objects(&log).iter().all(|line| line["forged"].is_null() && line["message"] != "forged"));
            }
        }
    }
}

/// C090. Breaks when `core/src/config/mod.rs`: `given = self.given.join(" "), ` → ``.
#[tokio::test]
async fn a_start_and_a_refused_request_are_lines_that_say_with_what_and_which() {
    let house = house(&[("REFRESH_GRACE_SECONDS", "7")]).await;
    for log in [house.stand.api.log().unwrap(), house.worker_log()] {
        let start = objects(&log).into_iter().find(|line| line["message"] == "settings loaded").unwrap();
        let given: Vec<_> = start["given"].as_str().unwrap().split(' ').collect();
        assert!(given.contains(&"SECRET_KEY") && given.contains(&"REFRESH_GRACE_SECONDS"), "{start}");
        assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
        for (name, value) in house.stand.environment().iter().filter(|(name, _)| name.contains("SECRET")) {
            assert!(!log.contains(value), "{name}");
        }
    }
    let refused = house.client().with_token("no token").get("/api/auth/profile/").await.unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
    let trace = refused.text("trace_id");
    until("the refusal is a line", async || {
        let lines = objects(&house.stand.api.log().unwrap());
        lines
            .iter()
            .any(|line| line["trace_id"] == trace && line["status"] == 401 && line["route"] == "/api/auth/profile/")
    })
    .await;
}

/// C090. Breaks when `core/src/service/login.rs`: `self.tell_of_failure(guess.email, reason, failure.blocked_until.is_some(), context);` → `drop(reason);`.
#[tokio::test]
async fn a_failed_login_is_a_line_that_names_address_and_origin_as_the_setting_says() {
    for (setting, expected) in [("plain", "ana.canary@example.com"), ("masked", "a•••@example.com"), ("hash", "")]
    {
        let house = house(&[("LOG_EMAIL", setting)]).await;
        let client = house.client().from_address("203.0.113.77");
        for email in ["ana.canary@example.com", "no address at all", "ana.canary@@example.com"] {
            let body = json!({ "email": email, "password": "wrong password" });
            client.post("/api/auth/login/", body).await.unwrap();
        }
        let log = house.stand.api.log().unwrap();
        let lines: Vec<_> = objects(&log).into_iter().filter(|line| line["target"] == "authentication").collect();
        assert_eq!(lines.len(), 1, "one for what is an address, none for what is not: {lines:?}");
        let message = lines[0]["message"].as_str().unwrap();
        let named = message.strip_prefix("Failed login attempt for email: ").unwrap();
        let named = named.strip_suffix(" from IP: 203.0.113.77").unwrap();
        match expected {
            "" => assert!(named.len() == 32 && named.bytes().all(|byte| byte.is_ascii_hexdigit()), "{named}"),
            expected => assert_eq!(named, expected),
        }
        assert_eq!(log.contains("ana.canary"), setting == "plain", "{log}");
        assert_eq!(
            (&lines[0]["level"], lines[0]["span"]["trace_id"].as_str().map(str::len)),
            (&json!("WARN"), Some(32))
        );
    }
}

/// Breaks when `api/src/middleware/trace.rs`: `if !self.answered {` → `if false {`.
#[tokio::test]
async fn each_request_is_one_access_line_also_when_its_client_goes_away() {
    let house = house(&[("DOORBOOK_FAILPOINTS", "login.verified=pause:1000")]).await;
    let mut stream = TcpStream::connect(house.stand.base.strip_prefix("http://").unwrap()).await.unwrap();
    let body = json!({ "email": "a@example.com", "password": "x" }).to_string();
    stream.write_all(&request("POST /api/auth/login/?canary=1", "", &body)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    drop(stream);
    house.client().get("/api/auth/?canary=2").await.unwrap();
    let access = || {
        let lines = objects(&house.stand.api.log().unwrap()).into_iter();
        lines
            .filter(|line| line["target"] == "doorbook::access" && line["route"] != "/health/ready")
            .collect::<Vec<_>>()
    };
    until("both lines", async || access().len() >= 2).await;
    let lines = access();
    let of = |status: u16| lines.iter().find(|line| line["status"] == status).unwrap();
    let answered = of(200);
    assert_eq!((&answered["method"], &answered["route"]), (&json!("GET"), &json!("/api/auth/")));
    assert!(answered["ms"].is_u64() && answered["bytes"].is_u64(), "{answered}");
    assert_eq!(answered["trace_id"].as_str().map(str::len), Some(32));
    assert_eq!(of(499)["method"], "POST");
    assert!(!house.stand.api.log().unwrap().contains("canary"));
}

/// Breaks when `core/src/telemetry/console.rs`: `if !self.has_room(out)? {` → `if false {`.
#[tokio::test]
async fn whoever_reads_the_console_and_stands_still_costs_lines_and_no_request() {
    /// Some 300 bytes a line; a pipe holds 64 KiB.
    const REQUESTS: usize = 1_000;
    let house = house(&[]).await;
    let folder = Folder::new();
    let fifo = folder.path("console");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut console = pipe::OpenOptions::new().read_write(true).open_receiver(&fifo).unwrap();
    let [base, ops] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port().unwrap()));
    let program = ensure_binaries().await.unwrap().join("doorbook-api");
    let launch =
        Launch::new("/bin/sh").arg("-c").arg("exec \"$0\" 2> \"$1\"").arg(program.to_str().unwrap()).arg(&fifo);
    let launch = launch.envs(house.stand.environment().to_vec()).env("API_BIND", &base).env("API_OPS_BIND", &ops);
    let mut api = launch.start(Cluster::shared().await.unwrap().run()).unwrap();
    let (base, ops) = (format!("http://{base}"), format!("http://{ops}"));
    api.wait_ready(&base, SOON).await.unwrap();
    let client = house.client().at(&base);

    let requests = async {
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/api/auth/").await.unwrap().status, 200);
        }
    };
    timeout(SOON, requests).await.expect("nobody waits for the console");

    assert!(scrape(&ops).await["doorbook_log_write_failures_total{sink=\"console\"}"] > 0.0, "they are counted");
    let mut read = vec![0; 128 * 1024];
    let length = timeout(SOON, console.read(&mut read)).await.expect("it was written").unwrap();
    client.get("/api/auth/?again").await.unwrap();
    let more = timeout(SOON, console.read(&mut read[length..])).await.expect("it is written again").unwrap();
    let text = String::from_utf8(read[..length + more].to_vec()).unwrap();
    assert!(objects(&text).len() > 100, "{text}");
}
