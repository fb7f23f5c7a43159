//! Who is let in, and what every answer carries, whatever becomes of the request.

use doorbook_dev::Stand;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::common::*;
use crate::wire::{Reply, Wire};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const HTTPS: (&str, &str) = ("X-Forwarded-Proto", "https");
const INDEX: &str = "/api/auth/";
const LOGIN: &str = "/api/auth/login/";
const ORIGIN: &str = "https://app.example.com";

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND
        .get_or_init(|| {
            stand(&[
                ("ALLOWED_HOSTS", "auth.example.com,.wild.example.org,[::1],127.0.0.1"),
                ("CORS_ALLOWED_ORIGINS", "https://app.example.com,https://admin.example.com:8443"),
            ])
        })
        .await
}

/// Every documented path, as one can ask for it.
async fn paths(stand: &Stand) -> Vec<String> {
    let document = client(stand).get("/api/openapi.json").await.unwrap().body;
    let id = "00000000-0000-7000-8000-000000000000";
    let documented = document["paths"].as_object().unwrap().keys().map(|path| path.replace("{id}", id));
    documented.chain(["/api/openapi.json".to_owned(), "/docs/".to_owned()]).collect()
}

fn assert_security_headers(reply: &Reply, what: &str, path: &str, https: bool) {
    // Public keys, and nothing but them, may lie in caches.
    let is_keys = path == "/.well-known/jwks.json" && reply.status == 200;
    let cache = if is_keys { "public, max-age=300" } else { "no-store" };
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-xss-protection", "1; mode=block"),
        ("cache-control", cache),
        ("vary", "Origin"),
    ] {
        let sent: Vec<_> = reply.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
        assert_eq!(sent, [value], "{name}: {what} {path}: {reply:?}");
    }
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{what} {path}");
    let hsts = https.then_some("max-age=31536000; includeSubDomains; preload");
    assert_eq!(reply.header("strict-transport-security"), hsts, "{what} {path}");
    for absent in ["server", "x-powered-by", "via"] {
        assert_eq!(reply.header(absent), None, "{what} {path}");
    }
    assert!(reply.header("traceparent").is_some(), "{what} {path}");
    if reply.status >= 400 && !reply.body.is_empty() {
        reply.problem();
    }
}

/// C048. Breaks when `api/src/server.rs`: `self.headers.apply(trace.path(), client.scheme, response.headers_mut());` → `if response.status() != 405 { self.headers.apply(trace.path(), client.scheme, response.headers_mut()); }`.
#[tokio::test]
async fn every_answer_of_every_route_carries_the_security_headers() {
    let stand = shared().await;
    let mut wire = wire(stand).await;
    let preflight = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")];
    let granted = [("Origin", ORIGIN), ("Access-Control-Request-Method", "POST")];
    let mut count = 0;
    for path in paths(stand).await {
        let large = vec![b' '; 70_000];
        for (what, method, extra, body) in [
            ("as it is", "GET", &[][..], &b""[..]),
            ("head only", "HEAD", &[], b""),
            ("empty", "POST", &[JSON], b"{}"),
            ("malformed", "POST", &[JSON], b"{"),
            ("form", "POST", &[("Content-Type", "application/x-www-form-urlencoded")], b"a=b"),
            ("too large", "POST", &[JSON], &large),
            ("no such method", "PUT", &[], b""),
            ("trace", "TRACE", &[], b""),
            ("options", "OPTIONS", &[], b""),
            ("refused preflight", "OPTIONS", &preflight, b""),
            ("preflight", "OPTIONS", &granted, b""),
            ("another host", "GET", &[("Host", "evil.example")], b""),
        ] {
            for https in [false, true] {
                let mut headers = extra.to_vec();
                headers.extend(https.then_some(HTTPS));
                let mut apart;
                // After a body that was too large the connection ends.
                let one = if body.len() > 60_000 {
                    apart = self::wire(stand).await;
                    &mut apart
                } else {
                    &mut wire
                };
                let reply = one.send(method, &path, &headers, body).await.unwrap();
                assert_security_headers(&reply, what, &path, https);
                count += 1;
            }
        }
        let reply = wire.get(&format!("{path}nothing/here"), &[]).await;
        assert_eq!(reply.status, 404);
        assert_security_headers(&reply, "below", &path, false);
    }
    println!("figure: {count} answers of every route had every header");
}

/// C048, C051. Breaks when `api/src/stream.rs`: `bytes.get(8..10) == Some(b" 4")` → `bytes.get(8..10) == Some(b" 9")`.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_answered_like_any_other() {
    let stand = shared().await;
    let many = "X-A: b\r\n".repeat(101);
    let long = format!("X-A: {}\r\n", "b".repeat(40_000));
    let head = format!("POST {LOGIN} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
    let uri = format!("GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "a".repeat(70_000));
    for (what, bytes, status) in [
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("a control character", "GET /\x01 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(), 400),
        ("an unknown version", "GET / HTTP/3.7\r\nHost: 127.0.0.1\r\n\r\n".to_owned(), 400),
        ("a folded header", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\n c\r\n\r\n".to_owned(), 400),
        ("too many headers", format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{many}\r\n"), 431),
        ("a long header", format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{long}\r\n"), 431),
        ("a long address", uri, 431),
        ("two lengths", format!("{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), 400),
        ("a signed length", format!("{head}Content-Length: +2\r\n\r\n{{}}"), 400),
        ("a length of hex", format!("{head}Content-Length: 0x2\r\n\r\n{{}}"), 400),
        ("another coding", format!("{head}Transfer-Encoding: gzip\r\n\r\n{{}}"), 400),
        ("a coding that is not last", format!("{head}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), 400),
        ("a space before the colon", format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400),
        ("a coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
    ] {
        let mut wire = wire(stand).await;
        let reply = wire.raw(bytes.as_bytes()).await.unwrap_or_else(|| panic!("no answer to {what}"));
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert_security_headers(&reply, what, "", false);
        assert_eq!(reply.header("connection"), Some("close"), "{what}");
        assert!(wire.more().await.is_none(), "{what}: one answer and no more");
    }
}

/// C058. Breaks when `api/src/server.rs`: `if !path.starts_with('/') {` → `if path.starts_with('?') {`.
#[tokio::test]
async fn methods_that_tunnel_echo_or_pretend_are_dead() {
    let stand = shared().await;
    for (request, status) in [
        ("CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", 400),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        ("TRACE /api/auth/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: secret=1\r\n\r\n", 405),
        ("TRACK /api/auth/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: secret=1\r\n\r\n", 405),
        ("DEBUG /api/auth/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405),
    ] {
        let reply = wire(stand).await.raw(request.as_bytes()).await.unwrap();
        assert_eq!(reply.status, status, "{request}");
        assert!(!reply.body.contains("secret=1"), "nothing is echoed");
    }
    // An upgrade is an offer; it is not taken up.
    let upgrade = "GET /api/auth/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(wire(stand).await.raw(upgrade.as_bytes()).await.unwrap().status, 200);
    let websocket = "GET /api/auth/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(wire(stand).await.raw(websocket.as_bytes()).await.unwrap().status, 200);
    let prior = wire(stand).await.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(prior.is_none_or(|reply| reply.status == 400), "HTTP/2 is not spoken");

    let (client, _) = welcomed(stand).await;
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"] {
        let reply =
            client.send(reqwest::Method::GET, "/api/auth/profile/?_method=DELETE", None, &[(name, "DELETE")]).await;
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.text("status")), (200, "active"), "{name}");
    }
    for accept in ["text/html", "application/xml", "image/*;q=1, */*;q=0", "", "\u{1}"] {
        let reply = wire(stand).await.get(INDEX, &[("Accept", accept)]).await;
        assert!([200, 400].contains(&reply.status), "{accept}");
        assert!(reply.header("content-type").unwrap().starts_with("application/"), "JSON whatever is asked for");
    }
}

/// C051. Breaks when `api/src/command.rs`: `Err(Problem::internal().into())` → `Err(Problem::not_found().into())`.
#[tokio::test]
async fn a_panic_in_the_middle_of_a_command_is_a_plain_problem_and_the_process_lives() {
    let stand = shared().await;
    let points = "login.reserved=panic,refresh.presented=panic,logout.read=panic,revoke.read=panic,profile.read=panic";
    let (mut api, base) = stand.another_api_with(&[("DOORBOOK_FAILPOINTS", points)]).await.unwrap();
    let email = registered(stand).await;
    let (_, tokens) = logged_in(stand, &email).await;
    let token = json!({ "refresh": tokens.text("refresh") }).to_string();
    let bearer = format!("Bearer {}", tokens.text("access"));
    let login = credentials(&email, PASSWORD).to_string();
    let mut wire = Wire::open(&base, &somewhere()).await;
    for round in 0..dose(4, 20) {
        for (method, path, body) in [
            ("POST", LOGIN, login.as_str()),
            ("POST", "/api/auth/token/refresh/", &token),
            ("POST", "/api/auth/logout/", &token),
            ("POST", "/api/auth/logout/all/", ""),
            ("PATCH", "/api/auth/profile/", r#"{"first_name":"Ana"}"#),
        ] {
            wire.address = somewhere();
            let headers = [JSON, ("Authorization", bearer.as_str())];
            let reply = wire.send(method, path, &headers, body.as_bytes()).await.expect("the connection lives");
            if path == LOGIN && round >= 4 {
                // Reservations whose attempt died are held for a while.
                assert!([429, 500].contains(&reply.status), "{reply:?}");
                continue;
            }
            assert_eq!((reply.status, reply.problem().0.as_str()), (500, "internal"), "{path}");
            for told in ["failpoint", ".rs", "panic", "core/", "sqlx", "select"] {
                assert!(!reply.body.contains(told), "{}", reply.body);
            }
        }
    }
    assert!(api.exited().unwrap().is_none(), "it is the same process");
    assert_eq!(wire.get("/health/ready", &[]).await.status, 200);
}
