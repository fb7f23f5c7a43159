//! The trail over HTTP, with a worker that seals and follows.

use std::time::Duration;

use doorbook_core::audit::checkpoint::Checkpoint;
use doorbook_core::audit::note::{Note, unhex};
use doorbook_core::audit::tree;
use doorbook_core::config::{Environment, Process, Settings};
use doorbook_core::service::{Doorbook, start};
use doorbook_dev::Stand;
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::*;

pub const EVENTS: &str = "/api/admin/audit/events/";

/// Somebody with a role, logged in.
pub async fn official(stand: &Stand, role: &str) -> doorbook_dev::Client {
    let email = empowered(stand, role).await;
    logged_in(stand, &email).await.0
}

/// Waits until a search finds something.
pub async fn found(client: &doorbook_dev::Client, query: &str) -> Vec<Value> {
    for _ in 0..100 {
        let answer = client.get(&format!("{EVENTS}{query}")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let events = answer.body["events"].as_array().unwrap().clone();
        if !events.is_empty() {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{query} finds nothing");
}

/// C069. Breaks when `api/src/routes/admin/audit.rs`: `name: name.0,` → `name: None,`.
#[tokio::test]
async fn an_admin_finds_what_happened_reads_it_and_is_seen_doing_so() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let admin = official(&stand, "admin").await;
    let email = registered(&stand).await;
    login(&stand, &email, OTHER_PASSWORD).await;
    let [failed] = &found(&admin, "?type=LoginFailed").await[..] else { panic!("one failure") };
    assert_eq!(failed["payload"], json!({ "reason": "wrong_password" }));
    assert_eq!((failed["severity"].as_str(), failed["actor"]["kind"].as_str()), (Some("notice"), Some("stranger")));
    let account = failed["account"].as_str().unwrap();
    let history = found(&admin, &format!("?account={account}&limit=200")).await;
    let registered = history.iter().find(|event| event["type"] == "Registered").unwrap();
    assert_eq!(registered["personal"]["email"], email.as_str());

    let id =
        history.iter().find(|event| event["type"] == "EmailVerificationRequested").unwrap()["id"].as_str().unwrap();
    let read = admin.get(&format!("{EVENTS}{id}/")).await.unwrap();
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.body["caused"][0]["type"], "MailQueued");
    assert_eq!(read.body["deliveries"][0]["template"], "verify");
    found(&admin, "?type=AuditSearched").await;

    let missing = admin.get(&format!("{EVENTS}00000000-0000-7000-8000-000000000000/")).await.unwrap();
    assert_eq!(missing.status, 404);
}

/// C067, C069. Breaks when `core/src/service/access.rs`: `Ok(if plain { Sight::Plain } else { Sight::Masked })` → `Ok(if plain { Sight::Masked } else { Sight::Masked })`.
/// Breaks when `api/src/routes/admin/audit.rs`: `if faults.is_empty() { Ok(()) } else { Err(Problem::validation(faults)) }` → `{ drop(faults); Ok(()) }`.
#[tokio::test]
async fn a_search_that_breaks_a_rule_names_each_field_and_nobody_else_may_search() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (admin, auditor) = (official(&stand, "admin").await, official(&stand, "auditor").await);
    let query =
        "?severity=loud&address=somewhere&network=203.0.113.0/16&email=nobody&from=yesterday&to=2026-13-01T00:00:00Z";
    let refused = admin.get(&format!("{EVENTS}{query}")).await.unwrap();
    assert_eq!(refused.status, 422);
    let mut fields: Vec<String> = faults(&refused).into_iter().map(|(field, _)| field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["address", "email", "from", "network", "severity", "to"]);
    let foreign = admin.get(&format!("{EVENTS}?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")).await.unwrap();
    assert_eq!((foreign.status, &*faults(&foreign)[0].0), (422, "cursor"));
    for (field, longest) in [("email_domain", 253), ("type", 64)] {
        for path in [EVENTS, "/api/admin/audit/export/", "/api/admin/audit/events/stream/"] {
            let long = "0".repeat(longest + 1);
            let format = if path.ends_with("export/") { "format=csv&" } else { "" };
            let refused = admin.get(&format!("{path}?{format}{field}={long}")).await.unwrap();
            assert_eq!(
                (refused.status, faults(&refused).pop().unwrap_or_default().0.as_str()),
                (422, field),
                "{path} {refused:?}"
            );
        }
    }
    for domain in ["nodots", "@example.com", ""] {
        let refused = admin.get(&format!("{EVENTS}?email_domain={domain}")).await.unwrap();
        assert_eq!(
            (refused.status, faults(&refused).pop().unwrap_or_default().0.as_str()),
            (422, "email_domain"),
            "{domain}"
        );
    }

    // Misspelt, a filter would be none.
    for path in [EVENTS, "/api/admin/audit/export/", "/api/admin/audit/events/stream/"] {
        let refused = admin.get(&format!("{path}?acount={id}", id = uuid::Uuid::nil())).await.unwrap();
        assert_eq!(refused.status, 422, "{path} {refused:?}");
        assert_eq!(faults(&refused)[0], ("acount".to_owned(), "unknown_field".to_owned()), "{path}");
    }

    let (anyone, _) = welcomed(&stand).await;
    assert_eq!(anyone.get(EVENTS).await.unwrap().status, 403);
    assert_eq!(client(&stand).get(EVENTS).await.unwrap().status, 401);

    let id = found(&admin, "?type=Registered&limit=1").await[0]["id"].as_str().unwrap().to_owned();
    let mailbox = async |client: &doorbook_dev::Client| {
        let read = client.get(&format!("{EVENTS}{id}/")).await.unwrap();
        read.body["event"]["personal"]["email"].as_str().unwrap().to_owned()
    };
    let (plain, masked) = (mailbox(&admin).await, mailbox(&auditor).await);
    assert!(!plain.contains('•') && masked.contains("•••@"), "{plain} {masked}");
    let reveal = format!("{EVENTS}{id}/reveal/");
    assert_eq!(auditor.post(&reveal, json!({ "reason": " " })).await.unwrap().status, 422);
    assert_eq!(anyone.post(&reveal, json!({ "reason": "curious" })).await.unwrap().status, 403);
    let revealed = auditor.post(&reveal, json!({ "reason": "case 17" })).await.unwrap();
    assert_eq!((revealed.status, revealed.body["personal"]["email"].as_str()), (200, Some(&*plain)));
}

/// C069. Breaks when `api/src/routes/admin/export.rs`: `format!("'{cell}")` → `cell`.
#[tokio::test]
async fn an_export_holds_what_the_search_finds_and_is_recorded() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (admin, auditor) = (official(&stand, "admin").await, official(&stand, "auditor").await);
    let email = registered(&stand).await;
    found(&admin, &format!("?email={email}")).await;
    let searched = admin.get(&format!("{EVENTS}?type=Registered&limit=200")).await.unwrap();
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    let expected = ids(searched.body["events"].as_array().unwrap());
    assert_eq!(expected.len(), 3);

    let lines = text(&admin, "format=ndjson&type=Registered").await;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ids(&events), expected);
    assert!(lines.contains(&email));
    assert!(!text(&auditor, "format=ndjson&type=Registered").await.contains(&email), "masked for auditors");

    // What a client calls itself is its own choice.
    let spread = "=HYPERLINK(\"http://evil.example\")";
    let login = Some(credentials(&email, PASSWORD));
    client(&stand).send(Method::POST, "/api/auth/login/", login, &[("User-Agent", spread)]).await.unwrap();
    found(&admin, "?type=LoggedIn&limit=1").await;
    let mut csv = String::new();
    for _ in 0..100 {
        csv = text(&admin, "format=csv").await;
        if csv.contains("HYPERLINK") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let head = csv.lines().next().unwrap();
    assert!(
        head.starts_with("position,id,at,type,") && head.ends_with("first_name,last_name,schema_version"),
        "{head}"
    );
    assert!(csv.contains("\"'=HYPERLINK(\"\"http://evil.example\"\")\""), "{csv}");

    let told = found(&admin, "?type=AuditExported").await;
    assert_eq!(told.last().unwrap()["payload"], json!({ "fields": ["type"], "format": "ndjson" }));
    let refused = admin.get("/api/admin/audit/export/?format=pdf").await.unwrap();
    assert_eq!((refused.status, &*faults(&refused)[0].0), (422, "format"));
}

/// The body of an export.
pub async fn text(client: &doorbook_dev::Client, query: &str) -> String {
    let answer = client.get(&format!("/api/admin/audit/export/?{query}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.as_str().unwrap().to_owned()
}

/// A proof over HTTP, as a verifier takes it: hashes from hexadecimal digits.
fn hashes(value: &Value) -> Vec<[u8; 32]> {
    let texts = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
    texts.iter().map(|text| unhex(text.as_str().unwrap()).unwrap().try_into().unwrap()).collect()
}

/// Signs as a worker does, when it is told to.
async fn signer(stand: &Stand) -> Doorbook {
    let environment: Environment = stand.environment().iter().map(|(name, value)| (name.as_str(), value)).collect();
    start::start(&Settings::load(&environment, Process::Worker).unwrap()).await.unwrap()
}

/// Breaks when `core/src/service/audit/proofs.rs`: `checkpoints::leaf_hashes(&self.db, position - 1, 1)` → `checkpoints::leaf_hashes(&self.db, position, 1)`.
#[tokio::test]
async fn proofs_over_the_api_hold_with_nothing_but_the_public_key() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let auditor = official(&stand, "auditor").await;
    let event = found(&auditor, "?type=Registered").await[0]["id"].as_str().unwrap().to_owned();
    let proof = format!("{EVENTS}{event}/proof/");
    assert_eq!(auditor.get(&proof).await.unwrap().status, 409, "nothing is signed in the first minute");
    let signer = signer(&stand).await;
    let signers = signer.checkpoint_signers(None).await.unwrap();
    let key = signers[0].verifier();
    let mut sizes = Vec::new();
    for _ in 0..2 {
        while let Some(size) = signer.sign_now(&signers).await.unwrap() {
            sizes.push(size);
        }
        registered(&stand).await;
        found(&auditor, "?type=CheckpointSigned").await;
    }
    assert!(sizes.len() >= 2, "{sizes:?}");

    let listed = auditor.get("/api/admin/audit/checkpoints/").await.unwrap();
    assert_eq!(listed.body["checkpoints"].as_array().unwrap().len(), sizes.len());
    assert_eq!(listed.body["keys"][0]["verifier"], key.to_string());
    let proof = auditor.get(&proof).await.unwrap();
    assert_eq!(proof.status, 200, "{proof:?}");
    let proof = proof.body;
    let note: Note = proof["checkpoint"]["note"].as_str().unwrap().parse().unwrap();
    assert!(note.is_signed_by(&[key]));
    let stated = Checkpoint::parse(note.text());
    let (root, size) = (hashes(&proof["checkpoint"]["root"])[0], proof["checkpoint"]["size"].as_u64().unwrap());
    assert_eq!(stated.map(|stated| (stated.size, stated.root)), Some((size, root)));
    let position = proof["position"].as_u64().unwrap();
    let (leaf, path) = (hashes(&proof["leaf_hash"])[0], hashes(&proof["path"]));
    assert!(tree::includes(&root, size, position - 1, &leaf, &path));

    let (from, to) = (sizes[0], sizes[sizes.len() - 1]);
    let proof = auditor.get(&format!("/api/admin/audit/checkpoints/{to}/consistency/?from={from}")).await.unwrap().body;
    let root = |end: &str| hashes(&proof[end]["root"])[0];
    let [from, to] = [from, to].map(|size| u64::try_from(size).unwrap());
    assert!(tree::is_consistent((from, &root("from")), (to, &root("to")), &hashes(&proof["path"])));
    assert_eq!(auditor.get("/api/admin/audit/checkpoints/999999/consistency/?from=1").await.unwrap().status, 404);
}

/// C069. Breaks when `core/src/service/audit/overview.rs`: `ROLLED_UP { count.rolled_up } else { count.events };` → `ROLLED_UP { count.rolled_up } else { 1 };`.
#[tokio::test]
async fn an_overview_counts_what_happened_and_names_who_attacks_and_who_is_attacked() {
    let stand = Stand::start(doorbook_dev::Cluster::shared().await.unwrap()).await.unwrap();
    let auditor = empowered(&stand, "auditor").await;
    let (reader, _) = logged_in(&stand, &auditor).await;
    let victim = registered(&stand).await;
    let other = registered(&stand).await;
    for (email, address, times) in [(&victim, "198.51.100.7", 3), (&other, "198.51.100.8", 1)] {
        for _ in 0..times {
            let body = credentials(email, "not the password");
            let refused = stand.client().from_address(address).post("/api/auth/login/", body).await.unwrap();
            assert_eq!(refused.status, 401);
        }
    }
    let overview = async || {
        let answer = reader.get("/api/admin/overview/?span=24h").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let sum = |overview: &Value, name: &str| {
        let series = overview["series"].as_array().unwrap().iter().find(|series| series["type"] == name).unwrap();
        let counts: Vec<_> = series["counts"].as_array().unwrap().iter().map(|count| count.as_i64().unwrap()).collect();
        assert_eq!(counts.len(), 24, "{name}");
        counts.iter().sum::<i64>()
    };
    let mut seen = overview().await;
    for _ in 0..200 {
        if sum(&seen, "LoginFailed") == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = overview().await;
    }
    assert_eq!((sum(&seen, "LoginFailed"), sum(&seen, "Registered")), (4, 3), "{seen}");
    let attempts: Vec<_> =
        seen["addresses"].as_array().unwrap().iter().map(|it| (&it["address"], &it["attempts"])).collect();
    assert_eq!(attempts, [(&json!("198.51.100.7"), &json!(3)), (&json!("198.51.100.8"), &json!(1))]);
    let targets: Vec<_> =
        seen["accounts"].as_array().unwrap().iter().map(|it| it["attempts"].as_i64().unwrap()).collect();
    assert_eq!(targets, [3, 1]);
    let refused = reader.get("/api/admin/overview/?span=1y").await.unwrap();
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("span")));
}
