//! Who is let in: hosts, origins, schemes and client addresses.

use std::fmt::Write as _;

use doorbook_dev::Stand;
use tokio::sync::OnceCell;

use crate::common::*;
use crate::insider::Insider;
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

/// Origins that resemble a listed one, or nothing at all.
const FOREIGN: &str = r"
    null
    *
    https://
    https://app.example.com/
    https://app.example.com:443
    http://app.example.com
    https://app.example.com.evil.example
    https://evilapp.example.com
    https://evil.app.example.com
    https://app.example.comevil
    https://app.example.co
    https://example.com
    https://app.example.org
    HTTPS://APP.EXAMPLE.COM
    https://APP.example.com
    https://app.example.com:8443
    https://app.example.com:80
    https://admin.example.com
    https://admin.example.com:8444
    https://admin.example.com:84430
    http://admin.example.com:8443
    https://app.example.com, https://evil.example
    https://app.example.com evil
    https://user@app.example.com
    https://app.example.com@evil.example
    https://evil.example#app.example.com
    https://evil.example/?https://app.example.com
    https://app_example.com
    https://app-example.com
    https://appXexample.com
    ws://app.example.com
    wss://app.example.com
    file://
    data:
    about:blank
    chrome-extension://app.example.com
    app.example.com
    //app.example.com
    https:app.example.com
    https://app.example.com.
    https://app..example.com
    https://[::1]
    https://127.0.0.1
    http://localhost:3000
    https://xn--pp-example.com
    https://app.example.com%00.evil.example
    https://app.example.com%60.evil.example
    https://app.example.com{.evil.example
    https://app.example.com&.evil.example
    https://app.example.com;
    https://app.example.com\.evil.example
    https://evil.example
    https://auth.example.com
";

/// Hosts that are not listed, however they are written.
const STRANGE: &str = r"
    evil.example
    example.com
    sub.auth.example.com
    xauth.example.com
    auth.example.com.evil.example
    auth.example.com.
    evilwild.example.org
    .wild.example.org
    a..wild.example.org
    wild.example.org.
    auth.example.com:
    auth.example.com:x
    auth.example.com:+80
    auth.example.com:65536
    auth.example.com:80:80
    auth.example.com:-1
    auth.example.com: 80
    auth.example.com:8000evil
    user@auth.example.com
    auth.example.com@evil.example
    auth.example.com/x
    auth.example.com evil.example
    auth.example.com,evil.example
    *
    auth.example.com#evil
    auth.example.com?evil
    auth.example.com\evil
    [::2]
    ::1
    [::1
    [auth.example.com]
    127.1
    127.0.0.2
    0
";

/// C050. Breaks when `api/src/middleware/cors.rs`: `self.0.iter().find(|allowed| *allowed == origin).cloned()` → `self.0.iter().any(|allowed| origin.as_bytes().starts_with(allowed.as_bytes())).then(|| origin.clone())`.
#[tokio::test]
async fn only_listed_origins_are_granted_anything() {
    let stand = shared().await;
    let mut wire = wire(stand).await;
    let mut refused: Vec<String> = FOREIGN.lines().map(|line| line.trim().to_owned()).collect();
    refused.extend((0..6).map(|index| format!("https://{}.example", "a".repeat(1 << index))));
    assert!(refused.len() >= 60, "{}", refused.len());
    for origin in &refused {
        for (method, path, extra) in [
            ("GET", INDEX, &[][..]),
            ("OPTIONS", LOGIN, &[("Access-Control-Request-Method", "POST")]),
            ("GET", "/api/nothing/", &[]),
        ] {
            let headers = [&[("Origin", origin.as_str())], extra].concat();
            let reply = wire.send(method, path, &headers, b"").await.unwrap();
            let granted: Vec<_> = reply.headers.iter().filter(|(name, _)| name.starts_with("access-control")).collect();
            assert!(granted.is_empty(), "{origin}: {granted:?}");
            assert_eq!(reply.header("vary"), Some("Origin"));
            if method == "OPTIONS" {
                assert_eq!((reply.status, reply.problem().0.as_str()), (403, "origin-not-allowed"), "{origin}");
            } else {
                assert_eq!(reply.status, if path == INDEX { 200 } else { 404 }, "{origin}");
            }
        }
    }
    let doubled = wire.get(INDEX, &[("Origin", ORIGIN), ("Origin", ORIGIN)]).await;
    assert_eq!(doubled.header("access-control-allow-origin"), None);
    for origin in [ORIGIN, "https://admin.example.com:8443"] {
        let preflight = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        let reply = wire.send("OPTIONS", LOGIN, &preflight, b"").await.unwrap();
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some(origin)));
        let allowed = "Authorization, Content-Type, Idempotency-Key, X-CSRF-Token, traceparent";
        assert_eq!(reply.header("access-control-allow-headers"), Some(allowed));
        assert_eq!(reply.header("access-control-max-age"), Some("600"));
        let reply = wire.get("/api/auth/profile/", &[("Origin", origin)]).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, Some(origin)));
        let exposed = Some("Retry-After, traceparent, Location");
        assert_eq!(reply.header("access-control-expose-headers"), exposed, "errors too");
    }
}

/// C053. Breaks when `api/src/middleware/host.rs`: `headers.get_all(header::HOST).iter();` → `headers.get_all(header::HOST).iter().take(1);`.
#[tokio::test]
async fn only_allowed_hosts_are_served() {
    let stand = shared().await;
    for (target, hosts) in [
        (INDEX, &["auth.example.com"][..]),
        (INDEX, &["AUTH.Example.com:8000"]),
        (INDEX, &["wild.example.org"]),
        (INDEX, &["a.b.wild.example.org:1"]),
        (INDEX, &["[::1]:8000"]),
        ("http://auth.example.com/api/auth/", &["auth.example.com"]),
        ("/health", &["10.0.0.1"]),
        ("/health/live", &[]),
    ] {
        assert_eq!(asked(stand, target, hosts).await.status, 200, "{target} {hosts:?}");
    }
    let (twice, both) = (["auth.example.com"; 2], ["auth.example.com", "evil.example"]);
    let turned = ["evil.example", "auth.example.com"];
    let mut refused: Vec<(&str, Vec<&str>)> = STRANGE.lines().map(|host| (INDEX, vec![host.trim()])).collect();
    refused.extend([&[][..], &twice, &both, &turned].map(|hosts| (INDEX, hosts.to_vec())));
    refused.extend([
        ("http://evil.example/api/auth/", vec!["auth.example.com"]),
        ("http://auth.example.com/api/auth/", vec!["evil.example"]),
        ("http://auth.example.com@evil.example/api/auth/", vec!["auth.example.com"]),
        ("http://auth.example.com:81/api/auth/", vec!["auth.example.com"]),
        ("/healthy", vec!["evil.example"]),
    ]);
    assert!(refused.len() >= 40, "{}", refused.len());
    for (target, hosts) in refused {
        let reply = asked(stand, target, &hosts).await;
        assert_eq!((reply.status, reply.problem().0.as_str()), (400, "bad-host"), "{target} {hosts:?}");
    }
    let forwarded =
        [("X-Forwarded-Host", "auth.example.com"), ("Host", "evil.example"), ("X-Original-Host", "127.0.0.1")];
    assert_eq!(wire(stand).await.get(INDEX, &forwarded).await.status, 400);
}

async fn asked(stand: &Stand, target: &str, hosts: &[&str]) -> Reply {
    let hosts = hosts.iter().map(|host| ["Host: ", host, "\r\n"].concat()).collect::<Vec<_>>().concat();
    wire(stand).await.raw(format!("GET {target} HTTP/1.1\r\n{hosts}\r\n").as_bytes()).await.expect("an answer")
}

/// C060. Breaks when `api/src/middleware/https.rs`: `!credentials.iter().any(|name| request.headers().contains_key(name))` → `credentials.len() == 3`.
#[tokio::test]
async fn plain_http_is_sent_to_https_or_refused_and_never_loops() {
    let stand = shared().await;
    let strict = [("SECURE_SSL_REDIRECT", "True")];
    let (_api, base) = stand.another_api_with(&strict).await.unwrap();
    let mut wire = Wire::open(&base, &somewhere()).await;
    let host = ("Host", "auth.example.com:8000");
    for method in ["GET", "HEAD"] {
        let reply = wire.send(method, "/api/auth/?a=b", &[host], b"").await.unwrap();
        assert_eq!((reply.status, reply.header("location")), (308, Some("https://auth.example.com/api/auth/?a=b")));
        assert_eq!(reply.header("strict-transport-security"), None);
    }
    let inward = wire.get("//evil.example/", &[host]).await;
    assert_eq!(inward.header("location"), Some("https://auth.example.com//evil.example/"));
    for (method, extra) in [
        ("POST", JSON),
        ("PATCH", JSON),
        ("DELETE", JSON),
        ("OPTIONS", JSON),
        ("GET", ("Authorization", "Bearer x")),
        ("GET", ("Cookie", "a=b")),
        ("HEAD", ("Cookie", "a=b")),
        ("GET", ("Proxy-Authorization", "Basic x")),
    ] {
        let reply = wire.send(method, "/api/auth/profile/", &[host, extra], b"").await.unwrap();
        assert_eq!((reply.status, reply.header("location")), (403, None), "{method} {extra:?}");
    }
    for proto in ["https", "HTTPS", "http, https"] {
        let reply = wire.get(INDEX, &[host, ("X-Forwarded-Proto", proto)]).await;
        assert_eq!(reply.status, 200, "{proto}: no loop");
    }
    for proto in ["http", "https, http", "ftp", "", "httpss", "on"] {
        assert_eq!(wire.get(INDEX, &[host, ("X-Forwarded-Proto", proto)]).await.status, 308, "{proto}");
    }
    for claim in
        [("Forwarded", "proto=https"), ("X-Forwarded-Ssl", "on"), ("Front-End-Https", "on"), ("X-Scheme", "https")]
    {
        assert_eq!(wire.get(INDEX, &[host, claim]).await.status, 308, "{claim:?} is no claim");
    }
    let alone = [("SECURE_SSL_REDIRECT", "True"), ("TRUSTED_PROXIES", "")];
    let (mut api, base) = stand.another_api_with(&alone).await.unwrap();
    let mut wire = Wire::open(&base, &somewhere()).await;
    for _ in 0..20 {
        let reply = wire.get(INDEX, &[host, HTTPS]).await;
        assert_eq!((reply.status, reply.problem().0.as_str()), (403, "untrusted-proxy"), "never a redirect to itself");
    }
    assert_eq!(wire.get("/health/ready", &[HTTPS]).await.status, 200);
    assert_eq!(wire.get(INDEX, &[host]).await.status, 308);
    let log = api.log().unwrap();
    assert_eq!(log.matches("TRUSTED_PROXIES").count(), 1, "one line says what to do: {log}");
    api.kill().await.unwrap();
}

/// Headers by which some service, somewhere, has believed a client about its address.
fn forged(number: usize) -> Vec<(&'static str, String)> {
    let long = "9".repeat(10_000);
    let values = [
        "203.0.113.9",
        "a",
        "",
        "203.0.113.9, 203.0.113.9",
        "127.0.0.1",
        "::1",
        "203.0.113.9:80",
        "[2001:db8::9]",
        "999.1.1.1",
        "unknown",
        "203.0.113.9,",
        ",203.0.113.9",
        "for=203.0.113.9;proto=https",
        "\u{1}",
        &long,
    ];
    let names = [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "CF-Connecting-IP",
        "True-Client-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
    ];
    let value = values[number % values.len()];
    // Every name alone with every value, then all at once, then one of them twice.
    match number / values.len() {
        one if one < names.len() => vec![(names[one], value.to_owned())],
        _ if number.is_multiple_of(2) => {
            names.iter().filter(|_| value.len() < 100).map(|name| (*name, value.to_owned())).collect()
        }
        _ => vec![(names[0], value.to_owned()), (names[0], "203.0.113.9".to_owned())],
    }
}

/// C014. Breaks when `api/src/middleware/client.rs`: `let address = if trusted {` → `let address = if trusted || headers.len() > 3 {`.
#[tokio::test]
async fn a_stranger_cannot_choose_its_address_whatever_headers_it_sends() {
    let stand = stand(&[("TRUSTED_PROXIES", "")]).await;
    let insider = Insider::of(&stand).await;
    let rounds = dose(30, 120);
    let step = 120 / rounds;
    // The limit of registrations by address is hit at the same count as without any such header.
    for (number, status) in [201, 201, 201, 429].into_iter().enumerate() {
        let body = registration(&someone(), PASSWORD).to_string();
        assert_eq!(forging(&stand, number, "/api/auth/register/", &body).await.status, status);
    }
    let (other, base) =
        stand.another_api_with(&[("MAX_REGISTRATION_ATTEMPTS", "1000"), ("MAX_LOGIN_ATTEMPTS", "1000")]).await.unwrap();
    let email = someone();
    let made = client(&stand).at(&base).post("/api/auth/register/", registration(&email, PASSWORD)).await.unwrap();
    assert_eq!(made.status, 201);
    let body = credentials(&email, OTHER_PASSWORD).to_string();
    let mut failed = 0;
    for number in (0..120).step_by(step) {
        let reply = forging_at(&base, number, LOGIN, &body).await;
        // A control character makes no request at all.
        assert!([400, 401].contains(&reply.status), "{number}: {reply:?}");
        failed += i64::from(reply.status == 401);
        // A hundred failures in a row would lock the account.
        if number % 60 == 59 {
            let login = client(&stand).at(&base).post(LOGIN, credentials(&email, PASSWORD)).await.unwrap();
            assert_eq!(login.status, 200, "{login:?}");
        }
    }
    assert!(failed >= i64::try_from(rounds).unwrap() * 9 / 10, "{failed} of {rounds}");
    assert_eq!(insider.events(&email, "LoginFailed").await, failed);
    let welcome = client(&stand).at(&base).post(LOGIN, credentials(&email, PASSWORD)).await.unwrap();
    let signed = client(&stand).at(&base).with_token(welcome.text("access"));
    let events = signed.get("/api/auth/events/?limit=100").await.unwrap();
    let named = |event: &&serde_json::Value| {
        ["LoginFailed", "LoggedIn", "Registered"].contains(&event["type"].as_str().unwrap())
    };
    let named: Vec<_> = events.body["events"].as_array().unwrap().iter().filter(named).collect();
    assert!(named.len() > 20, "{events:?}");
    for event in named {
        assert_eq!(event["address"], "127.0.0.1", "{event}");
    }
    for log in [other.log().unwrap(), stand.api.log().unwrap()] {
        assert!(!log.contains("203.0.113.9") && !log.contains("2001:db8::9"), "no log names the forged address");
    }
}

async fn forging(stand: &Stand, number: usize, path: &str, body: &str) -> Reply {
    forging_at(&stand.base, number, path, body).await
}

async fn forging_at(base: &str, number: usize, path: &str, body: &str) -> Reply {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
    for (name, value) in forged(number) {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    Wire::open(base, "").await.raw(head.as_bytes()).await.expect("an answer")
}
