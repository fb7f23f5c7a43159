//! Where mailed links lead, whatever the request that asked for them said of hosts.

use std::time::Duration;

use doorbook_dev::stand::FRONTEND_URL;
use doorbook_dev::{Cluster, Stand};
use serde_json::json;

use crate::common::*;
use crate::wire::Wire;

/// Time for all mails to arrive.
const WITHIN: Duration = Duration::from_secs(30);

/// Headers that somewhere, in some service, have moved a link. `HOST` stands for the right one.
const FORGED: [&[(&str, &str)]; 38] = [
    &[],
    &[("Host", "evil.example")],
    &[("Host", "evil.example:80")],
    &[("Host", "HOST.evil.example")],
    &[("Host", "evil.example@HOST")],
    &[("Host", "HOST@evil.example")],
    &[("Host", "HOST/evil.example")],
    &[("Host", "HOST#evil.example")],
    &[("Host", "localhost:1")],
    &[("Host", "LOCALHOST")],
    &[("Host", "[::1]:9")],
    &[("Host", "")],
    &[("Host", "HOST"), ("Host", "evil.example")],
    &[("Host", "evil.example"), ("Host", "HOST")],
    &[("X-Forwarded-Host", "evil.example")],
    &[("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https")],
    &[("X-Forwarded-Host", "HOST, evil.example")],
    &[("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Host", "HOST")],
    &[("X-Forwarded-Server", "evil.example")],
    &[("X-Forwarded-Proto", "https")],
    &[("X-Forwarded-Proto", "javascript")],
    &[("X-Forwarded-Proto", "ftp")],
    &[("X-Forwarded-Scheme", "https")],
    &[("X-Forwarded-Port", "666")],
    &[("X-Forwarded-Prefix", "/evil.example")],
    &[("X-Forwarded-Path", "//evil.example")],
    &[("X-Forwarded-Ssl", "on")],
    &[("Forwarded", "host=evil.example;proto=https")],
    &[("Forwarded", "for=203.0.113.9;host=\"evil.example:666\";proto=http")],
    &[("X-Host", "evil.example")],
    &[("X-HTTP-Host-Override", "evil.example")],
    &[("X-Original-Host", "evil.example")],
    &[("X-Original-URL", "//evil.example/api/auth/password/reset/")],
    &[("X-Rewrite-URL", "http://evil.example/")],
    &[("Origin", "https://evil.example")],
    &[("Referer", "https://evil.example/reset-password")],
    &[("Front-End-Https", "on"), ("X-Url-Scheme", "https")],
    &[("Via", "1.1 evil.example"), ("Client-IP", "203.0.113.9"), ("True-Client-IP", "203.0.113.9")],
];

/// Hosts in the request line.
const TARGETS: [&str; 2] = ["http://evil.example", "http://HOST"];

/// Sends one request as it is described; its status.
async fn status(base: &str, target: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let host = base.strip_prefix("http://").unwrap();
    let filled: Vec<_> = headers.iter().map(|(name, value)| (*name, value.replace("HOST", host))).collect();
    let mut headers: Vec<_> = filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("Content-Type", "application/json"));
    let target = format!("{}{path}", target.replace("HOST", host));
    let mut wire = Wire::open(base, &somewhere()).await;
    wire.send("POST", &target, &headers, body.as_bytes()).await.unwrap().status
}

/// C043. Breaks when `worker/src/settings.rs`: `Url::parse(&settings.http.frontend_url)?` → `Url::parse("http://elsewhere.example/")?`.
#[tokio::test]
async fn every_mailed_link_leads_to_the_frontend_whatever_the_request_says() {
    // Where nobody is a trusted proxy, all requests come from one address.
    let limits = [("MAX_REGISTRATION_ATTEMPTS", "1000"), ("MAX_RESET_ATTEMPTS", "1000")];
    let stand = Stand::start_with(Cluster::shared().await.unwrap(), &limits).await.unwrap();
    let (_distrustful, distrustful) = stand.another_api_with(&[("TRUSTED_PROXIES", "")]).await.unwrap();
    let sets = FORGED.iter().map(|headers| ("", *headers)).chain(TARGETS.iter().map(|target| (*target, &[][..])));
    let (mut written, mut refused) = (Vec::new(), Vec::new());
    for (number, (target, headers)) in sets.enumerate() {
        // Behind a trusted proxy and before any.
        let bases = dose(vec![[&stand.base, &distrustful][number % 2]], vec![&stand.base, &distrustful]);
        for base in bases {
            let email = someone();
            let body = registration(&email, PASSWORD).to_string();
            match status(base, target, "/api/auth/register/", headers, &body).await {
                201 => {
                    let body = json!({ "email": email }).to_string();
                    let asked = status(base, target, "/api/auth/password/reset/", headers, &body).await;
                    assert_eq!(asked, 202, "{headers:?}");
                    written.push((email, headers));
                }
                400 | 403 => refused.push(email),
                other => panic!("{target} {headers:?}: {other}"),
            }
        }
    }
    assert!(written.len() >= 25, "{} of the requests pass", written.len());
    for (email, headers) in &written {
        for (page, subject) in [("verify-email", "Confirm"), ("reset-password", "password")] {
            let wanted = |mail: &doorbook_dev::Mail| mail.is_to(email) && mail.subject.contains(subject);
            let mail = stand.sink.wait_for(wanted, WITHIN).await.unwrap();
            let start = format!("{FRONTEND_URL}/{page}?token=db");
            let link = mail.link().expect("a link").to_string();
            assert!(link.starts_with(&start), "{headers:?}: {link}");
            let elsewhere = mail.text.matches("://").count() - mail.text.matches(FRONTEND_URL).count();
            assert_eq!(elsewhere, 0, "{headers:?}: {}", mail.text);
            // A token is drawn by chance and may spell anything.
            let (_, token) = link.split_once("token=").expect("a link with a token");
            let told = mail.text.replace(token, "");
            assert!(!told.contains("evil") && !told.contains("666"), "{headers:?}: {}", mail.text);
        }
    }
    let stray: Vec<_> =
        stand.sink.mails().into_iter().filter(|mail| refused.iter().any(|email| mail.is_to(email))).collect();
    assert!(stray.is_empty(), "a refused request sends nothing: {stray:?}");
}
