//! Input over HTTP: read strictly, refused by name, on every route that the service documents.

use doorbook_dev::Stand;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::*;
use crate::wire::{Reply, Wire};

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[])).await
}

async fn document(stand: &Stand) -> Value {
    client(stand).get("/api/openapi.json").await.unwrap().body
}

/// Path as one can ask for it, and the methods that are documented for it.
fn paths(document: &Value) -> Vec<(String, Vec<String>)> {
    let paths = document["paths"].as_object().unwrap().iter().map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        (addressed(path), methods)
    });
    paths.collect()
}

/// A path with ids that are nobody's.
fn addressed(path: &str) -> String {
    ["{id}", "{session}", "{size}"]
        .iter()
        .fold(path.to_owned(), |path, id| path.replace(id, "00000000-0000-7000-8000-000000000000"))
}

/// An admin's `Authorization`: he may do whatever takes a body.
async fn admitted(stand: &Stand) -> String {
    let (_, tokens) = logged_in(stand, &empowered(stand, "admin").await).await;
    format!("Bearer {}", tokens.text("access"))
}

/// Every operation that takes a body: method, path, the body's schema.
fn writes(document: &Value) -> Vec<(String, String, Value)> {
    let mut writes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = schema.as_str().and_then(|name| name.rsplit('/').next()) else { continue };
            writes.push((method.to_uppercase(), addressed(path), document["components"]["schemas"][name].clone()));
        }
    }
    writes
}

struct Writer {
    wire: Wire,
    bearer: String,
    method: String,
    path: String,
}

impl Writer {
    async fn send(&mut self, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let headers = [&[("Authorization", self.bearer.as_str())], headers].concat();
        self.wire.send(&self.method, &self.path, &headers, body).await.unwrap()
    }

    /// Refused for one field by one rule.
    async fn refused(&mut self, body: &str, field: &str, code: &str) {
        let reply = self.send(&[JSON], body.as_bytes()).await;
        let (kind, fields) = reply.problem();
        let expected = vec![(field.to_owned(), code.to_owned())];
        assert_eq!((reply.status, kind.as_str(), fields), (422, "validation", expected), "{} {body}", self.path);
    }
}

#[tokio::test]
async fn every_body_is_read_strictly_and_every_refusal_names_its_field() {
    let stand = shared().await;
    let bearer = admitted(stand).await;
    let operations = writes(&document(stand).await);
    assert!(operations.len() >= 13, "{}", operations.len());
    for (method, path, schema) in operations {
        let mut writer = Writer { wire: wire(stand).await, bearer: bearer.clone(), method, path };
        let properties = schema["properties"].as_object().unwrap();
        let (name, _) = properties.iter().find(|(_, property)| property["type"] == "string").unwrap();
        let [comma, surrogate] = [format!("{{\"{name}\":\"x\",}}"), format!("{{\"{name}\":\"\\ud800\"}}")];
        let latin = [b"{\"", name.as_bytes(), b"\":\"\xff\"}"].concat();
        let texts = ["{", "", " ", "{}x", "{'a':1}", "\u{feff}{}", "nul", &comma, &surrogate].map(str::as_bytes);
        for text in texts.into_iter().chain([latin.as_slice()]) {
            let reply = writer.send(&[JSON], text).await;
            let shown = String::from_utf8_lossy(text);
            assert_eq!((reply.status, reply.problem().0.as_str()), (400, "malformed-json"), "{} {shown}", writer.path);
        }
        for text in ["[]", "\"text\"", "null", "1"] {
            writer.refused(text, "", "invalid_type").await;
        }
        writer.refused(r#"{"is_admin":true}"#, "is_admin", "unknown_field").await;
        writer.refused(r#"{"Email":"x"}"#, "Email", "unknown_field").await;
        for (name, property) in properties {
            let (good, wrong) = match property["type"].as_str() {
                Some("boolean") => ("true", "\"true\""),
                Some(_) => ("\"x\"", "1"),
                // One of a few words, by reference: a role.
                None => ("\"auditor\"", "1"),
            };
            writer.refused(&format!("{{\"{name}\":{wrong}}}"), name, "invalid_type").await;
            writer.refused(&format!("{{\"{name}\":null}}"), name, "invalid_type").await;
            writer.refused(&format!("{{\"{name}\":[{good}]}}"), name, "invalid_type").await;
            writer.refused(&format!("{{\"{name}\":{good},\"{name}\":{good}}}"), name, "duplicate_field").await;
        }
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !required.is_empty() {
            let reply = writer.send(&[JSON], b"{}").await;
            let (_, fields) = reply.problem();
            assert!(required.contains(&fields[0].0.as_str()) && fields[0].1 == "required", "{fields:?}");
        }
    }
}

/// C058, C061. Breaks when `api/src/body.rs`: `|| !content_type.to_str().is_ok_and(is_json)` → `|| content_type.is_empty()`.
#[tokio::test]
async fn only_json_of_a_bounded_size_is_read() {
    let stand = shared().await;
    let bearer = admitted(stand).await;
    for (method, path, _) in writes(&document(stand).await) {
        let mut writer = Writer { wire: wire(stand).await, bearer: bearer.clone(), method, path };
        for headers in [
            &[][..],
            &[("Content-Type", "text/plain")],
            &[("Content-Type", "application/x-www-form-urlencoded")],
            &[("Content-Type", "multipart/form-data; boundary=x")],
            &[("Content-Type", "application/json; charset=utf-16")],
            &[("Content-Type", "application/json, text/plain")],
            &[JSON, JSON],
            &[JSON, ("Content-Encoding", "gzip")],
        ] {
            let reply = writer.send(headers, b"{}").await;
            assert_eq!((reply.status, reply.problem().0.as_str()), (415, "unsupported-media-type"), "{headers:?}");
        }
        let reply = writer.send(&[JSON], &vec![b' '; 64 * 1024 + 1]).await;
        assert_eq!((reply.status, reply.problem().0.as_str()), (413, "payload-too-large"), "{}", writer.path);
    }
}

#[tokio::test]
async fn a_refused_registration_names_each_field_and_its_rule_at_once() {
    let stand = shared().await;
    let client = client(stand);
    let good = registration("q@example.com", PASSWORD);
    for (field, value, code) in [
        ("email", json!("no address"), "invalid"),
        ("email", json!("a@b"), "invalid"),
        ("email", json!(" a@example.com"), "invalid"),
        ("email", json!("a@example.com\r\nBcc: b@example.com"), "invalid"),
        ("email", json!(format!("{}@example.com", "a".repeat(65))), "invalid"),
        ("email", json!("\"a b\"@example.com"), "invalid"),
        ("first_name", json!("x".repeat(151)), "invalid"),
        ("last_name", json!("a\u{0}b"), "invalid"),
        ("locale", json!("tlh"), "unknown_locale"),
        ("password_confirm", json!(OTHER_PASSWORD), "password_mismatch"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = client.post("/api/auth/register/", body).await.unwrap();
        assert_eq!((answer.status, faults(&answer)), (422, vec![(field.to_owned(), code.to_owned())]), "{answer:?}");
        assert!(!answer.body["errors"][0]["message"].as_str().unwrap().is_empty());
    }
    let all =
        json!({ "email": "x", "password": PASSWORD, "password_confirm": "y", "first_name": "\u{7}", "locale": "" });
    let answer = client.post("/api/auth/register/", all).await.unwrap();
    let fields: Vec<_> = faults(&answer).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["email", "password_confirm", "first_name", "locale"], "{answer:?}");
}

/// C058. Breaks when `api/src/problem.rs`: `return Self::method_not_allowed(allow.cloned().unwrap_or(HeaderValue::from_static("GET, HEAD")));` → `return Self::not_found();`.
#[tokio::test]
async fn only_documented_methods_are_answered() {
    let stand = shared().await;
    let mut wire = wire(stand).await;
    for (path, methods) in paths(&document(stand).await) {
        let has_get = methods.contains(&"GET".to_owned());
        let mut allowed = methods.clone();
        allowed.extend(has_get.then(|| "HEAD".to_owned()));
        allowed.sort();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            let reply = wire.send(method, &path, &[], b"").await.unwrap();
            if allowed.contains(&method.to_owned()) {
                assert_ne!(reply.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            assert_eq!(reply.header("allow"), Some(allowed.join(", ").as_str()), "{method} {path}");
            if method != "HEAD" {
                assert_eq!(reply.problem().0, "method-not-allowed");
            }
        }
        if has_get {
            let (get, head) = (wire.get(&path, &[]).await, wire.send("HEAD", &path, &[], b"").await.unwrap());
            assert_eq!(head.body, "");
            assert_eq!((get.status, get.header("content-type")), (head.status, head.header("content-type")), "{path}");
        }
        let overridden = [("X-HTTP-Method-Override", "DELETE"), ("X-Method-Override", "DELETE")];
        let reply = wire.send("PUT", &path, &overridden, b"").await.unwrap();
        assert_eq!(reply.status, 405, "{path}");
    }
}

#[tokio::test]
async fn a_path_answers_alike_with_and_without_its_slash() {
    let stand = shared().await;
    let mut wire = wire(stand).await;
    for (path, methods) in paths(&document(stand).await) {
        let bare = path.trim_end_matches('/');
        for method in methods {
            // Bodies are left out: what is asked here is which route answers.
            let (with, without) = (
                wire.send(&method, &format!("{bare}/"), &[], b"").await.unwrap(),
                wire.send(&method, bare, &[], b"").await.unwrap(),
            );
            // The problem repeats the path, so the lengths differ by one.
            let shown = |reply: &Reply| {
                let lines = reply.shown().replace(&format!("\"{bare}/\""), &format!("\"{bare}\""));
                let lines = lines.lines().filter(|line| !line.starts_with("content-length"));
                lines.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(shown(&with), shown(&without), "{method} {path}");
            let twice = wire.send(&method, &format!("{bare}//"), &[], b"").await.unwrap();
            assert_eq!(twice.status, 404, "{method} {bare}//");
        }
    }
}

#[tokio::test]
async fn the_documentation_is_there_in_development_and_can_be_switched_off() {
    let stand = shared().await;
    let page = wire(stand).await.get("/docs/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.contains("/api/auth/login/"), "it shows this service's routes");
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'sha256-")));
    let (_api, base) = stand.another_api_with(&[("DOCS_ENABLED", "False")]).await.unwrap();
    let page = Wire::open(&base, &somewhere()).await.get("/docs/", &[]).await;
    assert_eq!((page.status, page.problem().0.as_str()), (404, "not-found"));
}

#[tokio::test]
async fn the_served_document_is_the_checked_in_one() {
    let stand = shared().await;
    let served = document(stand).await;
    let checked_in = include_str!("../../../openapi/doorbook.v1.yaml");
    for (path, operations) in served["paths"].as_object().unwrap() {
        assert!(checked_in.contains(&format!("  \"{path}\":\n")), "{path}");
        for operation in operations.as_object().unwrap().values() {
            assert!(checked_in.contains(&format!("operationId: {}\n", operation["operationId"])), "{operation}");
        }
    }
}
