//! Cookie mode: what a browser keeps for a page, and what a page of another site can do with it.

use doorbook_dev::Stand;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::*;
use crate::insider::Insider;
use crate::wire::{Reply, Wire};

const LOGIN: &str = "/api/auth/login/";
const REFRESH: &str = "/api/auth/token/refresh/";
const LOGOUT: &str = "/api/auth/logout/";
const CSRF: &str = "/api/auth/csrf/";
const PAGE: &str = "https://app.example.com";
const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[("CORS_ALLOWED_ORIGINS", PAGE)])).await
}

/// A browser with one session: its cookie and what the page knows.
#[derive(Clone)]
struct Browser {
    cookie: String,
    csrf: String,
    access: String,
}

impl Browser {
    /// What an answer has set and said.
    fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{reply:?}");
        let set = reply.header("set-cookie").expect("a cookie");
        let (pair, attributes) = set.split_once(';').expect("attributes");
        assert!(pair.starts_with("__Host-doorbook-refresh=dbr_"), "{set}");
        let mut attributes: Vec<_> = attributes.split(';').map(str::trim).collect();
        attributes.sort_unstable();
        let age = attributes.iter().position(|part| part.starts_with("Max-Age=")).map(|at| attributes.remove(at));
        let seconds: u64 = age.and_then(|age| age.strip_prefix("Max-Age=")).unwrap().parse().unwrap();
        assert!((600_000..=604_800).contains(&seconds), "as long as the session: {set}");
        assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"], "{set}");
        assert!(set.len() < 4_096);
        let body = reply.json();
        assert_eq!(body.get("refresh"), None, "the token is in the cookie alone");
        assert!(!reply.body.contains("dbr_"), "{reply:?}");
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        Self { cookie: pair.to_owned(), csrf: text("csrf"), access: text("access") }
    }

    async fn login(stand: &Stand, email: &str) -> Self {
        let body = json!({ "email": email, "password": PASSWORD, "transport": "cookie" }).to_string();
        let headers = [JSON, ("Origin", PAGE)];
        Self::of(&wire(stand).await.send("POST", LOGIN, &headers, body.as_bytes()).await.unwrap())
    }

    /// A request as this browser makes it for the page.
    async fn own(&self, stand: &Stand, path: &str) -> Reply {
        let headers = [JSON, ("Origin", PAGE), ("Cookie", &self.cookie), ("X-CSRF-Token", &self.csrf)];
        wire(stand).await.send("POST", path, &headers, b"{}").await.unwrap()
    }

    async fn is_in(&self, stand: &Stand) -> bool {
        client(stand).with_token(&self.access).get("/api/auth/profile/").await.unwrap().status == 200
    }
}

/// C061. Breaks when `api/src/cookie.rs`: `"; HttpOnly"` → `""`.
#[tokio::test]
async fn a_browser_keeps_the_refresh_token_in_a_cookie_and_nowhere_else() {
    let stand = shared().await;
    let email = registered(stand).await;
    let first = Browser::login(stand, &email).await;
    assert!(first.is_in(stand).await);
    let second = Browser::of(&first.own(stand, REFRESH).await);
    assert_ne!(first.cookie, second.cookie, "it rotates");
    assert_eq!(first.csrf, second.csrf, "one for the session");

    let mut wire = wire(stand).await;
    let renewed = wire.get(CSRF, &[("Cookie", &second.cookie), ("Origin", PAGE)]).await;
    assert_eq!((renewed.status, renewed.json()), (200, json!({ "csrf": second.csrf })));
    assert_eq!(renewed.header("access-control-allow-credentials"), Some("true"));
    // A page of this very host sends no Origin when it reads.
    assert_eq!(wire.get(CSRF, &[("Cookie", &second.cookie)]).await.status, 200);

    let out = second.own(stand, LOGOUT).await;
    assert_eq!(out.status, 204, "{out:?}");
    assert_eq!(out.header("clear-site-data"), Some("\"cache\", \"cookies\", \"storage\""));
    let cleared = "__Host-doorbook-refresh=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict";
    assert_eq!(out.header("set-cookie"), Some(cleared));
    assert!(!second.is_in(stand).await, "both tokens are dead at once");
    assert_eq!(second.own(stand, REFRESH).await.status, 401);
    assert_eq!(wire.get(CSRF, &[("Cookie", &second.cookie)]).await.status, 401);
    assert_eq!(second.own(stand, LOGOUT).await.status, 204, "repeating it changes nothing");
}

#[tokio::test]
async fn a_page_of_the_services_own_host_needs_no_listing_and_a_login_without_cookie_gets_none() {
    let stand = stand(&[]).await;
    let email = registered(&stand).await;
    let own = stand.base.clone();
    let body = json!({ "email": email, "password": PASSWORD, "transport": "cookie" }).to_string();
    let mut wire = wire(&stand).await;
    let reply = wire.send("POST", LOGIN, &[JSON, ("Origin", &own)], body.as_bytes()).await.unwrap();
    let browser = Browser::of(&reply);
    let headers = [JSON, ("Origin", own.as_str()), ("Cookie", &browser.cookie), ("X-CSRF-Token", &browser.csrf)];
    Browser::of(&wire.send("POST", REFRESH, &headers, b"{}").await.unwrap());
    for transport in [None, Some("body")] {
        let mut body = credentials(&email, PASSWORD);
        if let Some(transport) = transport {
            body["transport"] = json!(transport);
        }
        let reply = wire.post(LOGIN, &body).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (200, None));
        assert!(reply.json()["refresh"].as_str().unwrap().starts_with("dbr_") && reply.json().get("csrf").is_none());
    }
}

/// Whoever comes with a cookie must prove which page it is; `None` leaves a header out.
struct Shape {
    what: &'static str,
    origin: Option<&'static str>,
    csrf: Option<String>,
    content_type: Option<&'static str>,
    body: &'static str,
}

/// What pages of other sites can make a browser send, and what is no better.
fn shapes(own: &Browser, other: &Browser) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let origins = [
        ("another site", Some("https://evil.example")),
        ("a sibling host", Some("https://evil.example.com")),
        ("a longer name", Some("https://app.example.com.evil.example")),
        ("plain http", Some("http://app.example.com")),
        ("another port", Some("https://app.example.com:8443")),
        ("a sandboxed frame", Some("null")),
        ("no origin", None),
    ];
    for (what, origin) in origins {
        for csrf in [None, Some(own.csrf.clone())] {
            shapes.push(Shape { what, origin, csrf, content_type: Some("application/json"), body: "{}" });
        }
        for content_type in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/plain; application/json",
        ] {
            shapes.push(Shape { what, origin, csrf: None, content_type: Some(content_type), body: "{}" });
        }
        shapes.push(Shape { what, origin, csrf: None, content_type: None, body: "" });
    }
    let cut = own.csrf[..own.csrf.len() - 1].to_owned();
    let turned = format!("{cut}{}", if own.csrf.ends_with('A') { 'B' } else { 'A' });
    for (what, csrf) in [
        ("no token", None),
        ("an empty token", Some(String::new())),
        ("another session's token", Some(other.csrf.clone())),
        ("a cut token", Some(cut)),
        ("a changed token", Some(turned)),
        ("the refresh token itself", Some(own.cookie.split_once('=').unwrap().1.to_owned())),
        ("a doubled token", Some(format!("{0}, {0}", own.csrf))),
        ("the access token", Some(own.access.chars().take(190).collect())),
    ] {
        shapes.push(Shape { what, origin: Some(PAGE), csrf, content_type: Some("application/json"), body: "{}" });
    }
    shapes
}

/// C061. Breaks when `api/src/cookie.rs`: `if !matches!(self.origin, CallerOrigin::Own | CallerOrigin::Listed) {` → `if self.origin == CallerOrigin::None {`.
#[tokio::test]
async fn no_other_page_can_use_the_cookie() {
    let stand = shared().await;
    let insider = Insider::of(stand).await;
    let email = registered(stand).await;
    let (own, other) = (Browser::login(stand, &email).await, Browser::login(stand, &email).await);
    let shapes = shapes(&own, &other);
    assert!(shapes.len() >= 55, "{}", shapes.len());
    let before = insider.happened(&email).await;
    for shape in &shapes {
        for path in [REFRESH, LOGOUT] {
            let mut headers = vec![("Cookie", own.cookie.as_str())];
            headers.extend(shape.origin.map(|origin| ("Origin", origin)));
            headers.extend(shape.csrf.as_deref().map(|csrf| ("X-CSRF-Token", csrf)));
            headers.extend(shape.content_type.map(|content_type| ("Content-Type", content_type)));
            let reply = wire(stand).await.send("POST", path, &headers, shape.body.as_bytes()).await.unwrap();
            let json = shape.content_type == Some("application/json");
            let expected = if json { 403 } else { 415 };
            assert_eq!(reply.status, expected, "{}: {path}: {reply:?}", shape.what);
            assert_eq!((reply.header("set-cookie"), reply.header("clear-site-data")), (None, None), "{}", shape.what);
        }
        for path in [REFRESH, LOGOUT, "/api/auth/logout/all/"] {
            let reply = wire(stand).await.get(path, &[("Cookie", &own.cookie), ("Origin", PAGE)]).await;
            assert_eq!(reply.status, 405, "reading changes nothing");
        }
    }
    assert_eq!(insider.happened(&email).await, before, "nothing has happened");
    assert!(own.is_in(stand).await);
    Browser::of(&own.own(stand, REFRESH).await);
}

/// C061. Breaks when `core/src/service/csrf.rs`: `if matches { Ok(()) } else { Err(Refusal::Forged) }` → `let _ = matches; Ok(())`.
#[tokio::test]
async fn a_token_of_another_session_proves_nothing() {
    let stand = shared().await;
    let (mine, theirs) = (registered(stand).await, registered(stand).await);
    let (mine, theirs) = (Browser::login(stand, &mine).await, Browser::login(stand, &theirs).await);
    let mixed = Browser { csrf: theirs.csrf.clone(), ..mine.clone() };
    for path in [REFRESH, LOGOUT] {
        let reply = mixed.own(stand, path).await;
        assert_eq!((reply.status, reply.problem().0.as_str()), (403, "csrf"), "{path}");
    }
    assert!(mine.is_in(stand).await && theirs.is_in(stand).await);
    Browser::of(&mine.own(stand, REFRESH).await);
}

/// Breaks when `api/src/routes/token.rs`: `if body.0.refresh.is_none() && mode.has_lost_cookie() {` → `if false {`.
#[tokio::test]
async fn who_logs_out_again_is_told_that_it_is_done_and_whose_cookie_is_gone_to_log_in() {
    let stand = shared().await;
    let browser = Browser::login(stand, &registered(stand).await).await;
    assert_eq!(browser.own(stand, LOGOUT).await.status, 204);
    let gone = Browser { cookie: String::new(), ..browser };
    let again = gone.own(stand, LOGOUT).await;
    assert_eq!((again.status, again.header("set-cookie"), again.header("clear-site-data")), (204, None, None));
    assert_eq!(gone.own(stand, REFRESH).await.status, 401);
    let foreign = [JSON, ("Origin", "https://evil.example"), ("X-CSRF-Token", &gone.csrf)];
    let reply = wire(stand).await.send("POST", LOGOUT, &foreign, b"{}").await.unwrap();
    assert_eq!((reply.status, reply.problem().0.as_str()), (403, "origin-not-allowed"));
}

#[tokio::test]
async fn a_foreign_page_cannot_log_a_browser_in_and_a_forged_cookie_is_nothing() {
    let stand = shared().await;
    let email = registered(stand).await;
    let mut wire = wire(stand).await;
    let body = json!({ "email": email, "password": PASSWORD, "transport": "cookie" }).to_string();
    let foreign = ("Origin", "https://evil.example");
    let reply = wire.send("POST", LOGIN, &[JSON, foreign], body.as_bytes()).await.unwrap();
    assert_eq!((reply.status, reply.problem().0.as_str()), (403, "origin-not-allowed"));
    let browser = Browser::login(stand, &email).await;
    let read = wire.get(CSRF, &[("Cookie", &browser.cookie), foreign]).await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (403, None));
    for cookie in [
        String::new(),
        "__Host-doorbook-refresh=".to_owned(),
        browser.cookie.replace("__Host-", ""),
        browser.cookie.replace("__Host-", "__host-"),
        format!("{0}; {0}", browser.cookie),
        format!("{}x", browser.cookie),
        format!("__Host-doorbook-refresh={}", "x".repeat(5_000)),
    ] {
        let read = wire.get(CSRF, &[("Cookie", &cookie)]).await;
        assert_eq!(read.status, 401, "{cookie}");
        let spent = Browser { cookie, ..browser.clone() }.own(stand, REFRESH).await;
        assert_eq!(spent.status, 401, "{spent:?}");
    }
    let unknown: Value = json!({ "email": email, "password": PASSWORD, "transport": "header" });
    let reply = wire.post(LOGIN, &unknown).await;
    assert_eq!((reply.status, reply.problem().1[0].0.as_str()), (422, "transport"));
    Browser::of(&browser.own(stand, REFRESH).await);
}

#[tokio::test]
async fn a_cookie_that_was_copied_ends_the_session_like_any_refresh_token() {
    let stand = stand(&[("CORS_ALLOWED_ORIGINS", PAGE), ("REFRESH_GRACE_SECONDS", "0")]).await;
    let email = registered(&stand).await;
    let first = Browser::login(&stand, &email).await;
    let second = Browser::of(&first.own(&stand, REFRESH).await);
    let mut wire = Wire::open(&stand.base, &somewhere()).await;
    let read = wire.get(CSRF, &[("Cookie", &first.cookie)]).await;
    assert_eq!(read.status, 401, "reading with a spent token is refused");
    assert!(second.is_in(&stand).await, "and changes nothing");
    assert_eq!(first.own(&stand, REFRESH).await.status, 401);
    assert!(!second.is_in(&stand).await, "presenting it does");
}
