//! The trail as it is sealed, over Server-Sent Events.

use std::time::{Duration, Instant};

use doorbook_dev::{Client, Stand};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::audit::found;
use crate::common::*;

const STREAM: &str = "/api/admin/audit/events/stream/";
/// Longest wait for a message or an end.
const WITHIN: Duration = Duration::from_secs(40);

/// Somebody with a role: the address, and an access token.
async fn listener(stand: &Stand, role: &str) -> (String, String) {
    let email = empowered(stand, role).await;
    let token = login(stand, &email, PASSWORD).await.text("access").to_owned();
    (email, token)
}

async fn ask(base: &str, token: &str, query: &str, resume: Option<&str>) -> Response {
    let http = doorbook_dev::loopback().build().unwrap();
    let mut request = http.get(format!("{base}{STREAM}{query}")).bearer_auth(token);
    if let Some(id) = resume {
        request = request.header("Last-Event-ID", id);
    }
    request.send().await.unwrap()
}

/// A stream as a browser reads it.
struct Listening {
    response: Response,
    text: String,
    /// `id` of the last message.
    last: Option<String>,
}

impl Listening {
    async fn open(stand: &Stand, token: &str, query: &str, resume: Option<&str>) -> Self {
        let response = ask(&stand.base, token, query, resume).await;
        assert_eq!(response.status(), StatusCode::OK, "{:?}", response.text().await);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new(), last: resume.map(str::to_owned) }
    }

    /// The next event; `None` at an orderly end. That something comes to keep the connection alive is not enough.
    async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(WITHIN, self.read()).await.expect("an event or an end in time")
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (mut data, block, rest) = (None, block.to_owned(), rest.to_owned());
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => self.last = Some(id.to_owned()),
                        Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                        _ => assert_eq!(line, ":", "a comment"),
                    }
                }
                self.text = rest;
                if data.is_some() {
                    return data;
                }
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads on to an event of this name and, with it, all before it; what it read.
    async fn until(&mut self, name: &str, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.iter().filter(|event: &&Value| event["type"] == name).count() < count {
            events.push(self.next().await.expect("no end before"));
        }
        events
    }
}

fn positions_of(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["position"].as_i64().unwrap()).collect()
}

async fn register_many(stand: &Stand, count: usize) -> Vec<String> {
    let mut emails = Vec::new();
    for _ in 0..count {
        emails.push(registered(stand).await);
    }
    emails
}

/// C079. Breaks when `core/src/service/audit/live.rs`: `self.ready.extend(page);` → `self.ready.extend(page.into_iter().skip(1));`.
#[tokio::test]
async fn a_stream_tells_each_event_once_in_order_and_goes_on_where_it_was_broken_off() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (_, token) = listener(&stand, "admin").await;
    let mut stream = Listening::open(&stand, &token, "", None).await;
    let (count, mut told) = (dose(4, 40), Vec::new());
    let (mut last, mut mark) = (None, 0);
    for round in 0..dose(3, 20) {
        register_many(&stand, count).await;
        told.extend(stream.until("Registered", count).await);
        last.clone_from(&stream.last);
        mark = positions_of(&told[told.len() - 1..])[0];
        drop(stream);
        // Meanwhile nobody listens in this process.
        register_many(&stand, count).await;
        tokio::time::sleep(Duration::from_millis(300 * (round % 3))).await;
        stream = Listening::open(&stand, &token, "", last.as_deref()).await;
        told.extend(stream.until("Registered", count).await);
    }
    let positions = positions_of(&told);
    let first = positions[0];
    assert_eq!(positions, (first..first + i64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    let opened = told.iter().filter(|event| event["type"] == "AuditStreamOpened").count();
    assert_eq!(opened, 1, "a stream that goes on is no other");

    // Several at once, one of them behind.
    let mut others = [
        Listening::open(&stand, &token, "", None).await,
        Listening::open(&stand, &token, "?type=Registered", None).await,
        Listening::open(&stand, &token, "", last.as_deref()).await,
    ];
    let emails = register_many(&stand, 2).await;
    for other in &mut others[..2] {
        let names: Vec<_> = other.until("Registered", 2).await;
        let mails: Vec<_> = names.iter().filter_map(|event| event["personal"]["email"].as_str()).collect();
        assert_eq!(mails, emails);
    }
    let again = others[2].until("Registered", count + 2).await;
    assert_eq!(positions_of(&again)[0], mark + 1);
}

/// C067, C069. Breaks when `core/src/service/access.rs`: `(standing.in_force && Right::Audit.is_of(&roles))` → `(standing.in_force || Right::Audit.is_of(&roles))`.
#[tokio::test]
async fn a_stream_ends_with_the_session_or_the_role_that_it_was_opened_with() {
    // It is no request that takes too long.
    let mut stand = stand(&[("REQUEST_TIMEOUT_SECONDS", "5")]).await;
    stand.start_worker().await.unwrap();
    let (role, token) = listener(&stand, "auditor").await;
    let (session, other) = listener(&stand, "auditor").await;
    let opened = Instant::now();
    let mut streams =
        [Listening::open(&stand, &token, "", None).await, Listening::open(&stand, &other, "", None).await];
    let email = registered(&stand).await;
    for stream in &mut streams {
        let masked = stream.until("Registered", 1).await.pop().unwrap();
        assert_eq!(masked["personal"]["email"], "q•••@example.com", "{email}");
    }
    let begun = Instant::now();
    stand.doorbook(&["account", "role", "revoke", &role, "auditor", "--reason", "a test"]).await.unwrap();
    stand.doorbook(&["account", "disable", &session, "--reason", "a test"]).await.unwrap();
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    let after = begun.elapsed();
    assert!(after < Duration::from_secs(30) && opened.elapsed() > Duration::from_secs(5), "{after:?}");
    println!("figure: a stream whose right was taken ended after {after:.1?}");
    assert_eq!(ask(&stand.base, &token, "", None).await.status(), 403);
    assert_eq!(ask(&stand.base, &other, "", None).await.status(), 401);
}

/// Breaks when `core/src/service/audit/live.rs`: `own >= STREAMS_OF_ACCOUNT_MAX || all >= STREAMS_MAX` → `all >= STREAMS_MAX`.
#[tokio::test]
async fn a_stream_is_asked_for_by_rule_and_there_are_so_many_of_them() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (_, token) = listener(&stand, "admin").await;
    let (_, other) = listener(&stand, "auditor").await;
    let admin: Client = client(&stand).with_token(&token);
    let mut first = Listening::open(&stand, &token, "?type=Registered&network=198.51.100.0/24", None).await;
    registered(&stand).await;
    let there = client(&stand).from_address("198.51.100.9");
    there.post("/api/auth/register/", registration(&someone(), PASSWORD)).await.unwrap();
    let told = first.until("Registered", 1).await;
    assert_eq!((told.len(), told[0]["personal"]["address"].as_str()), (1, Some("198.51.100.9")));
    let id = first.last.clone().unwrap();
    for (query, resume, field) in [
        ("?severity=loud", None, "severity"),
        ("?email=a@example.com", None, "email"),
        ("?from=2026-01-01T00:00:00Z", None, "from"),
        ("", Some("nowhere"), "Last-Event-ID"),
        // Of another search, and of somebody else.
        ("?type=Registered", Some(&*id), "Last-Event-ID"),
    ] {
        let headers: Vec<_> = resume.iter().map(|id| ("Last-Event-ID", *id)).collect();
        let refused = admin.send(reqwest::Method::GET, &format!("{STREAM}{query}"), None, &headers).await.unwrap();
        assert_eq!((refused.status, &*faults(&refused)[0].0), (422, field), "{query}");
    }
    let stolen = ask(&stand.base, &other, "?type=Registered&network=198.51.100.0/24", Some(&id)).await;
    assert_eq!(stolen.status(), 422);

    let mut more = Vec::new();
    for _ in 1..4 {
        more.push(Listening::open(&stand, &token, "", None).await);
    }
    let surplus = ask(&stand.base, &token, "", None).await;
    assert_eq!((surplus.status().as_u16(), surplus.headers()["retry-after"].to_str().unwrap()), (429, "10"));
    drop(surplus);
    let theirs = Listening::open(&stand, &other, "?type=Nothing", None).await;
    drop((more, theirs));
    // A client that went away is noticed when something is to be told.
    let mut free = false;
    for _ in 0..50 {
        registered(&stand).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        free = ask(&stand.base, &token, "", None).await.status() == 200;
        if free {
            break;
        }
    }
    assert!(free, "who has gone leaves the place");
    let fields = found(&admin, "?type=AuditStreamOpened&limit=200").await;
    assert!(fields.iter().any(|event| event["payload"] == json!({ "fields": ["type", "network"] })), "{fields:?}");
}

/// Breaks when `api/src/routes/admin/stream.rs`: `_ = ending.0.wait_for(|ending| *ending) => None,` → `_ = std::future::pending::<()>() => None,`.
#[tokio::test]
async fn a_stream_is_no_reason_for_a_process_to_stay() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (_, token) = listener(&stand, "admin").await;
    let mut stream = Listening::open(&stand, &token, "", None).await;
    registered(&stand).await;
    stream.until("Registered", 1).await;
    let begun = Instant::now();
    stand.api.terminate().unwrap();
    while stream.next().await.is_some() {}
    let ended_after = begun.elapsed();
    assert!(ended_after < Duration::from_secs(2), "{ended_after:?}");
    assert!(ended(&mut stand.api).await.success());
    println!("figure: a stream ended {ended_after:.1?} after SIGTERM, its process {:.1?}", begun.elapsed());
    assert!(!stand.api.log().unwrap().contains("connections were cut"));
    // Another process goes on where it ended.
    let id = stream.last.unwrap();
    stand.restart_api().await.unwrap();
    registered(&stand).await;
    let mut stream = Listening::open(&stand, &token, "", Some(&id)).await;
    let told = stream.until("Registered", 1).await;
    let places = positions_of(&told);
    assert_eq!(places, (places[0]..places[0] + i64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
}
