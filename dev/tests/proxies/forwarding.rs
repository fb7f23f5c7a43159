//! What a proxy tells the api, and what it keeps to itself.

use std::time::Duration;

use doorbook_dev::proxy::Front;
use serde_json::json;

use crate::common::*;

const PASSWORD: &str = "violet harbour 73";

/// What clients claim about themselves.
const CLAIMS: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.10\r\nX-Real-IP: 203.0.113.9\r\n\
     Forwarded: for=203.0.113.9;proto=http;host=evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\n\
     X-Forwarded-Port: 1\r\nCF-Connecting-IP: 203.0.113.9\r\nX_Forwarded_For: 203.0.113.9\r\n";

/// C060. Breaks when `api/src/middleware/client.rs`: `(true, true) => Scheme::Https,` → `(true, true) => Scheme::Http,`.
#[tokio::test]
async fn http_is_sent_to_https_once_and_only_https_is_remembered() {
    for front in FRONTS {
        let site = Site::start(front, &[]).await;
        for method in ["GET", "HEAD"] {
            let answer = site.http().await.ask(method, "/api/auth/?a=b", "", "").await;
            let location = format!("https://{HOST}/api/auth/?a=b");
            assert_eq!((answer.status, answer.header("location")), (308, Some(location.as_str())), "{front:?}");
            assert_eq!(answer.header("strict-transport-security"), None, "{front:?}");
        }
        let there = site.ask("GET", "/api/auth/?a=b", "", "").await;
        assert_eq!(there.status, 200, "{front:?}: no loop");
        let hsts = Some("max-age=31536000; includeSubDomains; preload");
        assert_eq!(there.header("strict-transport-security"), hsts, "{front:?}");
        assert_eq!(site.ask("GET", "/no/such", "", "").await.header("strict-transport-security"), hsts, "{front:?}");
        // A claim of https over http is a lie, and one of http over https too.
        for claim in ["https", "HTTPS", "https, https"] {
            let claim = format!("X-Forwarded-Proto: {claim}\r\n");
            assert_eq!(site.http().await.ask("GET", "/api/auth/", &claim, "").await.status, 308, "{front:?} {claim}");
        }
        assert_eq!(site.ask("GET", "/api/auth/", CLAIMS, "").await.status, 200, "{front:?}");
        for (method, headers, body) in [
            ("POST", "Content-Type: application/json\r\n", "{}"),
            ("DELETE", "", ""),
            ("GET", "Authorization: Bearer x\r\n", ""),
            ("GET", "Cookie: a=b\r\n", ""),
        ] {
            let answer = site.http().await.ask(method, "/api/auth/profile/", headers, body).await;
            assert_eq!((answer.status, answer.header("location")), (403, None), "{front:?} {method} {headers}");
        }
        let elsewhere = format!("GET /api/auth/ HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: {HOST}\r\n\r\n");
        let mut line = site.https().await;
        line.send(elsewhere.as_bytes()).await;
        assert_eq!(line.answer(false).await.unwrap().status, 400, "{front:?}");
    }
}

/// C014. Breaks when `deploy/nginx/doorbook.conf`: `proxy_set_header X-Forwarded-For $remote_addr;` → `proxy_set_header X-Forwarded-For $http_x_forwarded_for;`.
#[tokio::test]
async fn the_log_names_the_client_and_not_what_it_claims_to_be() {
    for front in FRONTS {
        let site = Site::start(front, &[]).await;
        let email = format!("{front:?}@example.com").to_lowercase();
        let register = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
        assert_eq!(site.post("/api/auth/register/", CLAIMS, &register).await.status, 201, "{front:?}");
        for number in 0..4 {
            let claim = format!("X-Forwarded-For: 198.51.100.{number}\r\n{CLAIMS}");
            let guess = json!({ "email": email, "password": "wrong" });
            assert_eq!(site.post("/api/auth/login/", &claim, &guess).await.status, 401, "{front:?}");
        }
        let login = json!({ "email": email, "password": PASSWORD });
        let access = site.post("/api/auth/login/", CLAIMS, &login).await.json()["access"].as_str().unwrap().to_owned();
        let events =
            site.ask("GET", "/api/auth/events/", &format!("Authorization: Bearer {access}\r\n"), "").await.json();
        let events: Vec<_> =
            events["events"].as_array().unwrap().iter().filter(|event| !event["address"].is_null()).collect();
        assert!(events.len() >= 6, "{front:?}: {events:?}");
        assert!(events.iter().all(|event| event["address"] == CLIENT), "{front:?}: {events:?}");
        let log = site.stand.api.log().unwrap();
        assert!(!log.contains("203.0.113.") && !log.contains("198.51.100."), "{front:?}");
        // The limit of registrations counts the client, whatever it claims: two are left.
        for (number, status) in [201, 201, 429].into_iter().enumerate() {
            let body = json!({ "email": format!("q{number}@example.com"), "password": PASSWORD, "password_confirm": PASSWORD });
            let claim = format!("X-Forwarded-For: 192.0.2.{number}\r\n");
            assert_eq!(site.post("/api/auth/register/", &claim, &body).await.status, status, "{front:?}");
        }
    }
}

/// Longer than either configuration waits for an answer that says nothing.
const SILENCE: Duration = Duration::from_secs(25);

/// Breaks when `api/src/routes/admin/stream.rs`: `const HEARTBEAT: Duration = Duration::from_secs(15);` → `const HEARTBEAT: Duration = Duration::from_secs(60);`.
#[tokio::test]
async fn the_stream_of_the_trail_is_kept_through_a_silence_and_never_kept_back() {
    let listen = async |front: Front| {
        let mut site = Site::start(front, &[]).await;
        site.stand.start_worker().await.unwrap();
        let register = async |email: &str| {
            let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
            assert_eq!(site.post("/api/auth/register/", "", &body).await.status, 201, "{front:?}");
        };
        register("chief@example.com").await;
        let grant = ["account", "role", "grant", "chief@example.com", "admin", "--reason", "a test"];
        site.stand.doorbook(&grant).await.unwrap();
        let login = json!({ "email": "chief@example.com", "password": PASSWORD });
        let access = site.post("/api/auth/login/", "", &login).await.json()["access"].as_str().unwrap().to_owned();
        let mut line = site.https().await;
        let path = "/api/admin/audit/events/stream/";
        let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {access}\r\n\r\n");
        line.send(head.as_bytes()).await;
        assert!(line.brings("text/event-stream", Duration::from_secs(10)).await, "{front:?}");
        tokio::time::sleep(SILENCE).await;
        register("late@example.com").await;
        assert!(line.brings("late@example.com", Duration::from_secs(10)).await, "{front:?}");
    };
    tokio::join!(listen(Front::Nginx), listen(Front::Haproxy));
}
