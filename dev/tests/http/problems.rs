//! What every kind of error looks like to a client, word for word.

use std::fmt::Write as _;

use doorbook_dev::Stand;
use serde_json::json;

use crate::common::*;
use crate::wire::{Reply, Wire};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const LOGIN: &str = "/api/auth/login/";
const REGISTER: &str = "/api/auth/register/";
const PROFILE: &str = "/api/auth/profile/";

/// Headers that say more than every answer's do.
const TELLING: [&str; 6] = ["content-type", "retry-after", "allow", "www-authenticate", "connection", "location"];

/// The catalogue of errors, filled request by request.
struct Catalogue {
    base: String,
    text: String,
}

impl Catalogue {
    /// Sends a request and writes down its answer, which must be a whole problem.
    async fn add(&mut self, what: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut wire = Wire::open(&self.base, &somewhere()).await;
        let reply = wire.send(method, target, headers, body).await.unwrap();
        self.write(what, method, target, &reply);
        reply
    }

    fn write(&mut self, what: &str, method: &str, target: &str, reply: &Reply) {
        reply.problem();
        let mut problem = reply.json();
        problem["trace_id"] = json!("[trace]");
        let mut telling = reply.headers.clone();
        // How long exactly depends on the moment; other tests count.
        if let Some(seconds) = problem.get_mut("retry_after_seconds") {
            *seconds = json!("[seconds]");
            telling
                .iter_mut()
                .filter(|(name, _)| name == "retry-after")
                .for_each(|(_, value)| *value = "[seconds]".into());
        }
        let mut text = format!("# {what}\n{method} {target}\n{}\n", reply.status);
        telling.sort();
        for (name, value) in telling.iter().filter(|(name, _)| TELLING.contains(&name.as_str())) {
            writeln!(text, "{name}: {value}").unwrap();
        }
        text.push_str(&serde_json::to_string_pretty(&problem).unwrap());
        self.text.push_str(&text);
        self.text.push_str("\n\n");
    }
}

async fn of_requests(stand: &Stand, catalogue: &mut Catalogue) {
    let email = registered(stand).await;
    let (_, tokens) = logged_in(stand, &email).await;
    let bearer = format!("Bearer {}", tokens.text("access"));
    let signed = ("Authorization", bearer.as_str());
    let c = catalogue;
    c.add("another host", "GET", "/api/auth/", &[("Host", "evil.example")], b"").await;
    c.add("no path", "OPTIONS", "*", &[], b"").await;
    c.add("malformed JSON", "POST", LOGIN, &[JSON], b"{").await;
    c.add("no token", "GET", PROFILE, &[], b"").await;
    c.add("nothing there", "GET", "/api/nothing/%22%3Cx%3E?token=secret", &[], b"").await;
    let session = "/api/auth/sessions/00000000-0000-7000-8000-000000000000/";
    c.add("somebody else's session", "DELETE", session, &[signed], b"").await;
    c.add("wrong method", "PUT", PROFILE, &[], b"").await;
    c.add("wrong media type", "POST", LOGIN, &[("Content-Type", "text/plain")], b"{}").await;
    c.add("too large", "POST", LOGIN, &[JSON], &vec![b' '; 70_000]).await;
    c.add("field missing", "POST", LOGIN, &[JSON], br#"{"email":"q@example.com"}"#).await;
    c.add("field unknown", "POST", LOGIN, &[JSON], br#"{"is_admin":true}"#).await;
    c.add("field twice", "POST", LOGIN, &[JSON], br#"{"email":"a","email":"b"}"#).await;
    c.add("field of another type", "POST", LOGIN, &[JSON], br#"{"email":1}"#).await;
    c.add("body of another type", "POST", LOGIN, &[JSON], b"[]").await;
    c.add("parameter", "GET", "/api/auth/events/?limit=0", &[signed], b"").await;
    let weak = br#"{"email":"x","password":"123456","password_confirm":"1234567","first_name":"\u0007","locale":"xx"}"#;
    c.add("fields that break rules", "POST", REGISTER, &[JSON], weak).await;
    let weak = registration("q@example.com", "123456").to_string();
    c.add("a password that breaks rules", "POST", REGISTER, &[JSON], weak.as_bytes()).await;
    let key = ("Idempotency-Key", "a b");
    c.add("a bad key", "POST", "/api/auth/logout/all/", &[signed, key], b"").await;
    c.add("a spent link", "POST", "/api/auth/email/verify/", &[JSON], br#"{"token":"dbv_x"}"#).await;
    c.add("a spent refresh token", "POST", "/api/auth/token/refresh/", &[JSON], br#"{"refresh":"dbr_x"}"#).await;
    let wrong = credentials(&email, OTHER_PASSWORD).to_string();
    c.add("a wrong password", "POST", LOGIN, &[JSON], wrong.as_bytes()).await;
    let wrong = json!({ "password": OTHER_PASSWORD, "new_email": "q@example.org" }).to_string();
    c.add("a wrong password, logged in", "POST", "/api/auth/email/change/", &[signed, JSON], wrong.as_bytes()).await;
}

async fn of_limits(stand: &Stand, catalogue: &mut Catalogue) {
    let email = someone();
    for _ in 0..5 {
        login(stand, &email, OTHER_PASSWORD).await;
    }
    let right = credentials(&email, PASSWORD).to_string();
    let mut wire = wire(stand).await;
    let reply = wire.send("POST", LOGIN, &[JSON], right.as_bytes()).await.unwrap();
    catalogue.write("blocked", "POST", LOGIN, &reply);
    for _ in 0..3 {
        wire.post(REGISTER, &registration(&someone(), PASSWORD)).await;
    }
    let reply = wire.post(REGISTER, &registration(&someone(), PASSWORD)).await;
    catalogue.write("over a limit", "POST", REGISTER, &reply);
}

#[tokio::test]
async fn every_kind_of_error_is_a_problem_that_says_what_is_wrong() {
    let stand = stand(&[("CORS_ALLOWED_ORIGINS", "https://app.example.com")]).await;
    let mut catalogue = Catalogue { base: stand.base.clone(), text: String::new() };
    of_requests(&stand, &mut catalogue).await;
    of_limits(&stand, &mut catalogue).await;
    let foreign = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")];
    catalogue.add("a foreign origin", "OPTIONS", LOGIN, &foreign, b"").await;

    let strict = [("SECURE_SSL_REDIRECT", "True"), ("TRUSTED_PROXIES", "")];
    let (_strict, base) = stand.another_api_with(&strict).await.unwrap();
    catalogue.base = base;
    catalogue.add("over plain http", "POST", LOGIN, &[JSON], b"{}").await;
    catalogue.add("https claimed", "GET", "/api/auth/", &[("X-Forwarded-Proto", "https")], b"").await;
    let (_closed, base) = stand.another_api_with(&[("REGISTRATION_MODE", "closed")]).await.unwrap();
    catalogue.base = base;
    let body = registration("q@example.com", PASSWORD).to_string();
    catalogue.add("closed", "POST", REGISTER, &[JSON], body.as_bytes()).await;
    insta::assert_snapshot!(catalogue.text);
}
