//! What every answer carries, and who is let in, over real sockets.

use crate::support::{Answer, Server, behind_proxy, config};
use doorbook_api::config::HttpConfig;
use tokio::io::AsyncWriteExt;

const LOGIN: &str = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// One request for each kind of outcome, with the status it must have.
const OUTCOMES: [(&str, &str, u16); 16] = [
    ("GET /api/seen/", "", 200),
    ("HEAD /api/seen/", "", 200),
    ("GET /health", "", 200),
    ("GET /api/openapi.json", "", 200),
    ("GET /api/private/", "", 401),
    ("GET /api/items/1x/", "", 404),
    ("GET /nothing/here", "", 404),
    ("DELETE /api/seen/", "", 405),
    ("TRACE /api/seen/", "", 405),
    ("OPTIONS /api/seen/", "", 405),
    ("POST /api/login/", "", 415),
    ("POST /api/login/", LOGIN, 422),
    ("GET /api/blocked/", "", 429),
    ("GET /api/panic/", "", 500),
    ("GET /health/ready", "", 503),
    ("GET /api/never/", "", 503),
];

#[tokio::test]
async fn every_outcome_carries_the_security_headers() {
    let server = Server::start(config()).await;
    let refused_host = server.send("GET /api/seen/ HTTP/1.1\r\nHost: evil.com\r\n\r\n").await;
    let mut answers = vec![("bad host", refused_host)];
    for (line, headers, status) in OUTCOMES {
        let answer = server.request(line, headers).await;
        assert_eq!(answer.status, status, "{line}");
        answers.push((line, answer));
    }
    for (line, answer) in answers {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("x-xss-protection", "1; mode=block"),
            ("cache-control", "no-store"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{line}");
        }
        for absent in ["server", "strict-transport-security", "access-control-allow-origin", "x-powered-by"] {
            assert_eq!(answer.header(absent), None, "{line}");
        }
        assert!(answer.header("traceparent").is_some(), "{line}");
        if answer.status >= 400 {
            assert!(!answer.problem().is_empty());
        }
    }
}

#[tokio::test]
async fn problems_say_what_their_status_asks_for() {
    let server = Server::start(config()).await;
    let unauthorized = server.request("GET /api/private/", "").await;
    assert_eq!(unauthorized.header("www-authenticate"), Some("Bearer"));
    let private = server.request("GET /api/private/", "Authorization: Bearer good\r\n").await;
    assert_eq!((private.status, private.body.as_str()), (200, "\"alice\""));
    let method = server.request("PUT /api/seen/", "").await;
    assert_eq!((method.problem().as_str(), method.header("allow")), ("method-not-allowed", Some("GET, HEAD")));
    let method = server.request("GET /api/login", "").await;
    assert_eq!(method.header("allow"), Some("POST"));
    let method = server.request("POST /api/items/7/", "").await;
    assert_eq!(method.header("allow"), Some("GET, HEAD"));
    let method = server.request("POST /api/openapi.json", "").await;
    assert_eq!(method.header("allow"), Some("GET, HEAD"));
    let blocked = server.request("GET /api/blocked/", "").await;
    assert_eq!((blocked.problem().as_str(), blocked.header("retry-after")), ("blocked", Some("900")));
    assert_eq!(blocked.json()["retry_after_seconds"], 900);
    let absent = server.request("GET /no/such?token=marker", "").await;
    assert_eq!(absent.json()["instance"], "/no/such");
    assert!(!absent.body.contains("marker"));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_connection_lives() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    for _ in 0..5 {
        stream.write_all(b"GET /api/panic/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let answer = Answer::read(&mut stream).await.expect("an answer");
        assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));
        assert!(!answer.body.contains("secret") && !answer.body.contains(".rs"));
        stream.write_all(b"GET /api/seen/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn a_path_answers_alike_with_and_without_its_slash() {
    let server = Server::start(HttpConfig { docs: true, ..config() }).await;
    for path in ["/api/auth", "/health", "/health/live", "/api/openapi.json", "/docs", "/api/items/7"] {
        let (bare, slashed) =
            (server.request(&format!("GET {path}"), "").await, server.request(&format!("GET {path}/?a=b"), "").await);
        assert_eq!((bare.status, slashed.status), (200, 200), "{path}");
        assert_eq!(bare.body, slashed.body, "{path}");
    }
    for path in ["/api/auth//", "//api/auth/", "/api//auth/", "/api/auth/x", "/api/auth/style.css", "/API/auth/", "/"] {
        assert_eq!(server.request(&format!("GET {path}"), "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn finders_of_a_hole_are_told_whom_to_write_to_when_there_is_someone() {
    const FILE: &str = "GET /.well-known/security.txt";
    let contact = Some("mailto:security@example.com".to_owned());
    let answer = Server::start(HttpConfig { security_contact: contact, ..config() }).await.request(FILE, "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(answer.body.starts_with("Contact: mailto:security@example.com\nExpires: 2"), "{}", answer.body);
    assert_eq!(Server::start(config()).await.request(FILE, "").await.status, 404);
}

#[tokio::test]
async fn the_index_and_the_document_describe_the_service() {
    let server = Server::start(HttpConfig { docs: true, ..config() }).await;
    let index = server.request("GET /api/auth/", "").await.json();
    assert_eq!((&index["name"], &index["links"]["login"]), (&"Doorbook".into(), &"/api/auth/login/".into()));
    let document = server.request("GET /api/openapi.json", "").await;
    assert_eq!(document.header("content-type"), Some("application/json; charset=utf-8"));
    let document = document.json();
    assert!(document["paths"]["/api/items/{id}/"]["get"]["responses"]["404"].is_object());
    assert!(document["paths"]["/health"]["get"]["responses"].get("403").is_none());
    let docs = server.request("GET /docs/", "").await;
    assert!(docs.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'sha256-")));
    assert_eq!(docs.header("x-frame-options"), Some("DENY"));
    let private = &document["paths"]["/api/private/"]["get"];
    assert!(private["security"][0]["bearer"].is_array() && private["responses"]["401"].is_object());
    let without = Server::start(config()).await;
    assert_eq!(without.request("GET /docs/", "").await.problem(), "not-found");
}

#[tokio::test]
async fn only_one_allowed_host_is_served_and_health_asks_for_none() {
    let server = Server::start(config()).await;
    for (target, hosts, status) in [
        ("/api/seen/", "Host: localhost:8000\r\n", 200),
        ("/api/seen/", "Host: a.example.com\r\n", 200),
        ("http://localhost/api/seen/", "Host: localhost\r\n", 200),
        ("/api/seen/", "", 400),
        ("/api/seen/", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("/api/seen/", "Host: localhost\r\nHost: evil.com\r\n", 400),
        ("/api/seen/", "Host: evil.com\r\nX-Forwarded-Host: localhost\r\n", 400),
        ("http://evil.com/api/seen/", "Host: localhost\r\n", 400),
        ("http://localhost/api/seen/", "Host: evil.com\r\n", 400),
        ("http://localhost@evil.com/api/seen/", "Host: localhost\r\n", 400),
        ("/health", "Host: 10.0.0.1:8000\r\n", 200),
        ("/health/live", "", 200),
        ("/healthy", "Host: evil.com\r\n", 400),
    ] {
        let answer = server.send(format!("GET {target} HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(answer.status, status, "{target} {hosts}");
        if status == 400 {
            assert_eq!(answer.problem(), "bad-host", "{target} {hosts}");
        }
    }
    assert_eq!(server.send("GET /api/seen/ HTTP/1.0\r\n\r\n").await.status, 400);
    assert_eq!(server.send("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n").await.status, 400);
    assert_eq!(server.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn a_forged_forwarding_header_changes_nothing_unless_the_peer_is_trusted() {
    let forged = "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\
                  CF-Connecting-IP: 203.0.113.9\r\n";
    let open = Server::start(config()).await;
    assert_eq!(open.request("GET /api/seen/", forged).await.json()["address"], "127.0.0.1");
    let proxied = Server::start(behind_proxy()).await;
    assert_eq!(proxied.request("GET /api/seen/", forged).await.json()["address"], "203.0.113.9");
    for garbage in ["a", "", "203.0.113.9, a", &"9".repeat(10_000)] {
        let answer = proxied.request("GET /api/seen/", &format!("X-Forwarded-For: {garbage}\r\n")).await;
        assert_eq!((answer.status, &answer.json()["address"]), (200, &"127.0.0.1".into()), "{garbage}");
    }
}

#[tokio::test]
async fn plain_http_is_redirected_only_when_that_is_harmless() {
    let server = Server::start(HttpConfig { ssl_redirect: true, ..behind_proxy() }).await;
    let redirect = server.request("GET /api/seen/?a=b", "").await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("https://localhost/api/seen/?a=b")));
    let redirect = server.send("HEAD //evil.com/ HTTP/1.1\r\nHost: a.example.com:8000\r\n\r\n").await;
    assert_eq!(redirect.header("location"), Some("https://a.example.com//evil.com/"));
    for (line, headers) in [
        ("POST /api/login/", LOGIN),
        ("OPTIONS /api/seen/", ""),
        ("GET /api/seen/", "Authorization: Bearer a\r\n"),
        ("GET /api/seen/", "Cookie: a=b\r\n"),
    ] {
        let answer = server.request(line, headers).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "https-required"), "{line}");
    }
    assert_eq!(server.request("GET /health", "").await.status, 200);
    let secure = server.request("GET /api/seen/", "X-Forwarded-Proto: https\r\n").await;
    assert_eq!(secure.status, 200);
    let hsts = Some("max-age=31536000; includeSubDomains; preload");
    assert_eq!(secure.header("strict-transport-security"), hsts);
    assert_eq!(
        server.request("GET /no", "X-Forwarded-Proto: https\r\n").await.header("strict-transport-security"),
        hsts
    );
}

#[tokio::test]
async fn https_claimed_by_a_stranger_is_refused_and_never_redirected() {
    for ssl_redirect in [true, false] {
        let server = Server::start(HttpConfig { ssl_redirect, ..config() }).await;
        let answer = server.request("GET /api/seen/", "X-Forwarded-Proto: https\r\n").await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "untrusted-proxy"));
        assert_eq!(answer.header("strict-transport-security"), None);
        assert_eq!(server.request("GET /health", "X-Forwarded-Proto: https\r\n").await.status, 200);
    }
}

#[tokio::test]
async fn cross_origin_calls_are_granted_to_listed_origins_alone() {
    let server = Server::start(config()).await;
    let good = "Origin: https://app.example.com\r\n";
    let preflight = "Access-Control-Request-Method: POST\r\n";
    let answer = server.request("OPTIONS /api/login/", &format!("{good}{preflight}")).await;
    assert_eq!((answer.status, answer.header("access-control-max-age")), (204, Some("600")));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("Authorization, Content-Type, Idempotency-Key, X-CSRF-Token, traceparent")
    );
    for line in ["GET /api/seen/", "GET /api/blocked/", "GET /nothing", "GET /api/panic/"] {
        let answer = server.request(line, good).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"), "{line}");
        let exposed = Some("Retry-After, traceparent, Location");
        assert_eq!(answer.header("access-control-expose-headers"), exposed, "{line}");
    }
    let empty = Server::start(HttpConfig { cors_allowed_origins: Vec::new(), ..config() }).await;
    for (server, origin) in
        [(&server, "https://evil.com"), (&server, "null"), (&empty, "https://app.example.com"), (&empty, "null")]
    {
        let refused = format!("Origin: {origin}\r\n");
        let answer = server.request("OPTIONS /api/login/", &format!("{refused}{preflight}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "origin-not-allowed"), "{origin}");
        let simple = server.request("GET /api/seen/", &refused).await;
        assert_eq!(simple.status, 200);
        for answer in [answer, simple] {
            let granted: Vec<_> =
                answer.headers.iter().filter(|(name, _)| name.starts_with("access-control")).collect();
            assert!(granted.is_empty(), "{granted:?}");
        }
    }
}

#[tokio::test]
async fn the_callers_trace_id_is_kept() {
    let server = Server::start(config()).await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    let answer = server.request("GET /api/seen/", &format!("traceparent: 00-{id}-b7ad6b7169203331-01\r\n")).await;
    assert_eq!(answer.json()["trace_id"], id);
    let returned = answer.header("traceparent").unwrap();
    assert!(returned.starts_with(&format!("00-{id}-")) && !returned.contains("b7ad6b7169203331"), "{returned}");
    let answer = server.request("GET /api/seen/", "traceparent: garbage\r\n").await;
    assert_ne!(answer.json()["trace_id"], id);
}
