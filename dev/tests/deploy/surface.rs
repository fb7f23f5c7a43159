//! What the api shows to the world in production, with nothing set that need not be.

use doorbook_dev::{Cluster, Stand};
use reqwest::Method;

/// What makes it production on loopback: the mail sink speaks no TLS, and is on this machine.
const PRODUCTION: [(&str, &str); 6] = [
    ("DEBUG", "False"),
    ("FRONTEND_URL", "https://app.example.com"),
    ("ALLOWED_HOSTS", "127.0.0.1"),
    ("ARGON2_MEMORY_KIB", "19456"),
    ("ARGON2_TIME_COST", "2"),
    ("LOG_LEVEL", "trace"),
];
/// What scanners ask for: pages of frameworks, files of developers, ports of operators, doors of tests.
const ASKED_FOR: [&str; 21] = [
    "/docs/",
    "/docs",
    "/swagger/",
    "/redoc",
    "/api/docs/",
    "/api/schema/",
    "/metrics",
    "/health/metrics",
    "/debug/",
    "/debug/pprof/",
    "/__debug__/",
    "/_failpoints",
    "/test/",
    "/static/admin/css/base.css",
    "/.git/HEAD",
    "/.git/config",
    "/.env",
    "/Cargo.toml",
    "/server-status",
    "/actuator/env",
    "/api/auth/users/",
];
const HTTPS: (&str, &str) = ("X-Forwarded-Proto", "https");

/// C066. Breaks when `api/src/main.rs`: `docs: http.docs_enabled,` → `docs: true,`.
#[tokio::test]
async fn in_production_there_is_the_api_and_nothing_beside_it() {
    let stand = Stand::start_api(Cluster::shared().await.unwrap(), &PRODUCTION).await.unwrap();
    let client = stand.client();
    for path in ASKED_FOR {
        for method in [Method::GET, Method::POST] {
            let answer = client.send(method.clone(), path, None, &[HTTPS]).await.unwrap();
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert!(answer.text("type").ends_with("not-found"), "{path}: {answer:?}");
        }
    }
    for method in ["TRACE", "TRACK", "DEBUG", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = client.send(method.clone(), "/api/auth/", None, &[HTTPS]).await.unwrap();
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
    }
    let index = client.send(Method::GET, "/api/auth/", None, &[HTTPS]).await.unwrap();
    assert_eq!(index.status, 200, "{index:?}");
    for header in ["server", "x-powered-by", "via"] {
        assert!(!index.headers.contains_key(header), "{header} names what answers");
    }
}
