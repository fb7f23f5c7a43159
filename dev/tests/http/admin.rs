//! What auditors and admins see of accounts and do to them, over HTTP.

use std::collections::BTreeSet;

use doorbook_dev::{Answer, Client, Stand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::assignment::surplus;
use crate::common::*;
use crate::insider::Insider;

const ACCOUNTS: &str = "/api/admin/accounts/";

/// An admin's client and its e-mail address.
async fn admin(stand: &Stand) -> (Client, String) {
    let email = empowered(stand, "admin").await;
    (logged_in(stand, &email).await.0, email)
}

/// Gives an order about an account, such as `disable`.
async fn order(client: &Client, id: &str, what: &str, more: Value) -> Answer {
    let mut body = json!({ "reason": "asked by phone" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post(&format!("{ACCOUNTS}{id}/{what}/"), body).await.unwrap()
}

async fn done(client: &Client, id: &str, what: &str) {
    let answer = order(client, id, what, json!({})).await;
    assert_eq!(answer.status, 204, "{what}: {answer:?}");
}

fn listed(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["id"].as_str().unwrap().to_owned())
        .collect()
}

/// C069. Breaks when `core/src/service/access.rs`: `Ok(if plain { Sight::Plain } else { Sight::Masked })` → `Ok(if plain || !plain { Sight::Plain } else { Sight::Masked })`.
#[tokio::test]
async fn an_auditor_sees_addresses_masked_and_no_names_or_places() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, _) = admin(&stand).await;
    let (auditor, _) = logged_in(&stand, &empowered(&stand, "auditor").await).await;
    let email = registered(&stand).await;
    let (user, _) = logged_in(&stand, &email).await;
    user.patch("/api/auth/profile/", json!({ "first_name": "Marisol", "last_name": "Quiroga" })).await.unwrap();
    let path = format!("{ACCOUNTS}{}/", insider.account(&email).await);
    let list = format!("{ACCOUNTS}?email={email}");
    for path in [&path, &list] {
        let (plain, masked) = (admin.get(path).await.unwrap(), auditor.get(path).await.unwrap());
        assert_eq!((plain.status, masked.status), (200, 200), "{plain:?} {masked:?}");
        let (plain, masked) = (plain.body.to_string(), masked.body.to_string());
        for word in [email.as_str(), "Marisol", "Quiroga"] {
            assert!(plain.contains(word) && !masked.contains(word), "{word}: {masked}");
        }
        assert!(masked.contains("q•••@example.com"), "{masked}");
    }
    let (plain, masked) = (admin.get(&path).await.unwrap().body, auditor.get(&path).await.unwrap().body);
    assert!(plain["sessions"][0]["address"].as_str().is_some_and(|address| address.starts_with("10.")), "{plain}");
    assert_eq!((&masked["sessions"][0]["address"], &masked["sessions"][0]["device"]), (&Value::Null, &Value::Null));
    assert_eq!(masked["sessions"][0]["id"], plain["sessions"][0]["id"]);
    assert_eq!(plain["mails"], json!({ "queued": 1, "deferred": 0, "sent": 0, "failed": 0, "suppressed": 0 }));
    assert_eq!(insider.events(&email, "AccountViewed").await, 2, "one for each who looked");
}

/// Breaks when `core/src/store/search.rs`: `found.extend(row.subject_id.filter(|_| row.newest));` → `found.extend(row.subject_id);`.
#[tokio::test]
async fn accounts_are_found_by_the_domain_of_the_address_that_they_have_now() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let insider = Insider::of(&stand).await;
    let (admin, _) = admin(&stand).await;
    let (auditor, _) = logged_in(&stand, &empowered(&stand, "auditor").await).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let email = format!("staff{n}@corp.example");
        registered_as(&stand, &email, PASSWORD).await;
        ids.push(insider.account(&email).await.to_string());
    }
    // An event that names the address again makes no second account.
    let (user, _) = logged_in(&stand, "staff1@corp.example").await;
    assert_eq!(user.patch("/api/auth/profile/", json!({ "first_name": "Ana" })).await.unwrap().status, 200);
    done(&admin, &ids[3], "disable").await;
    let of = async |client: &Client, query: &str| {
        let (mut walked, mut before) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("{ACCOUNTS}?email_domain=Corp.Example{query}{before}")).await.unwrap();
            walked.extend(listed(&page));
            let Some(next) = page.body["next"].as_str() else { return walked };
            before = format!("&before={next}");
        }
    };
    let by_address = [&ids[1], &ids[4], &ids[3], &ids[2], &ids[0]].map(Clone::clone);
    for _ in 0..100 {
        if of(&admin, "").await == by_address {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for query in ["", "&limit=1", "&limit=2", "&limit=5"] {
        assert_eq!(of(&admin, query).await, by_address, "{query}");
        assert_eq!(of(&auditor, query).await, by_address, "{query}");
    }
    assert_eq!(of(&admin, "&status=disabled").await, [ids[3].clone()]);
    assert_eq!(of(&admin, &format!("&id={}", ids[2])).await, [ids[2].clone()]);
    assert_eq!(of(&admin, "&email=nobody@example.com").await, [""; 0]);
    let masked = auditor.get(&format!("{ACCOUNTS}?email_domain=corp.example&limit=1")).await.unwrap();
    assert_eq!(masked.body["accounts"][0]["email"], "s•••@corp.example");
    assert_eq!(of(&admin, "&role=admin").await, [""; 0]);
    for (query, field) in [
        ("email_domain=nodots", "email_domain"),
        ("email_domain=", "email_domain"),
        (&format!("email_domain=corp.example&before={}", uuid::Uuid::nil()), "before"),
    ] {
        let refused = admin.get(&format!("{ACCOUNTS}?{query}")).await.unwrap();
        assert_eq!((refused.status, faults(&refused)[0].0.as_str()), (422, field), "{query}");
    }
    // Its data key gone, an account has no address any more.
    sqlx::query("delete from keys.data_keys where account_id = $1::text::uuid")
        .bind(&ids[0])
        .execute(&insider.owner)
        .await
        .unwrap();
    assert_eq!(of(&admin, "").await, by_address[..4]);
}

#[tokio::test]
async fn accounts_are_listed_page_by_page_and_found_by_id_address_status_and_role() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, admin_email) = admin(&stand).await;
    let mut emails = vec![admin_email.clone()];
    for _ in 0..6 {
        emails.push(registered(&stand).await);
    }
    let mut ids = Vec::new();
    for email in &emails {
        ids.push(insider.account(email).await.to_string());
    }
    done(&admin, &ids[3], "disable").await;
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    let (mut walked, mut path) = (Vec::new(), format!("{ACCOUNTS}?limit=2"));
    loop {
        let page = admin.get(&path).await.unwrap();
        walked.extend(listed(&page));
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("{ACCOUNTS}?limit=2&before={next}");
    }
    assert_eq!(walked, newest_first);
    let upper = emails[2].to_uppercase();
    for (query, expected) in [
        (format!("id={}", ids[1]), vec![&ids[1]]),
        (format!("email={upper}"), vec![&ids[2]]),
        (format!("email={}&id={}", emails[2], ids[1]), vec![]),
        ("email=nobody@example.com".to_owned(), vec![]),
        ("status=disabled".to_owned(), vec![&ids[3]]),
        (format!("status=active&id={}", ids[3]), vec![]),
        ("role=admin".to_owned(), vec![&ids[0]]),
        ("role=admin&status=disabled".to_owned(), vec![]),
        ("role=auditor".to_owned(), vec![]),
    ] {
        let found = listed(&admin.get(&format!("{ACCOUNTS}?{query}")).await.unwrap());
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for (query, field) in [
        ("email=x", "email"),
        ("status=x", "status"),
        ("role=root", "role"),
        ("id=x", "id"),
        ("before=x", "before"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
    ] {
        let refused = admin.get(&format!("{ACCOUNTS}?{query}")).await.unwrap();
        assert_eq!((refused.status, faults(&refused)[0].0.as_str()), (422, field), "{query}");
    }
    let nobody = admin.get(&format!("{ACCOUNTS}{}/", uuid::Uuid::nil())).await.unwrap();
    assert_eq!((nobody.status, nobody.text("type")), (404, "/problems/not-found"));
}

/// C070. Breaks when `core/src/service/admin/view.rs`: `let mails = deliveries::counts(&self.db, account).await?;` → `let mails = deliveries::counts(&self.db, account).await?; sessions.iter_mut().for_each(|session| session.user_agent.clone_from(&loaded.secret));`.
#[tokio::test]
async fn no_answer_to_an_admin_holds_a_password_a_hash_or_a_token() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, _) = admin(&stand).await;
    let email = registered(&stand).await;
    let id = insider.account(&email).await.to_string();
    let (_, tokens) = logged_in(&stand, &email).await;
    let hash = insider.stored_hash(&email).await;
    let mut canaries = vec![PASSWORD.to_owned(), hash.clone(), hash.rsplit('$').next().unwrap().to_owned()];
    canaries.extend(["access", "refresh"].map(|name| tokens.text(name).to_owned()));
    canaries.push(insider.mailed(&email, "verify").await);
    let mut answers = Vec::new();
    let look = async |answers: &mut Vec<String>| {
        for path in [format!("{ACCOUNTS}?email={email}"), format!("{ACCOUNTS}{id}/"), ACCOUNTS.to_owned()] {
            let answer = admin.get(&path).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            answers.push(format!("{} {:?}", answer.body, answer.headers));
        }
    };
    look(&mut answers).await;
    let role = json!({ "role": "auditor" });
    for (what, more) in [
        ("unlock", json!({})),
        ("roles/grant", role.clone()),
        ("roles/revoke", role),
        ("force-reset", json!({})),
        ("sessions/revoke", json!({})),
        ("disable", json!({})),
        ("enable", json!({})),
    ] {
        let answer = order(&admin, &id, what, more).await;
        assert_eq!(answer.status, 204, "{what}: {answer:?}");
        answers.push(format!("{} {:?}", answer.body, answer.headers));
        look(&mut answers).await;
    }
    // The link that was mailed is its owner's alone, and works.
    let link = insider.mailed(&email, "reset").await;
    canaries.push(link.clone());
    for (canary, answer) in canaries.iter().flat_map(|canary| answers.iter().map(move |answer| (canary, answer))) {
        assert!(!answer.contains(canary.as_str()), "{canary} in {answer}");
    }
    let mut set = registration("", OTHER_PASSWORD);
    set = json!({ "token": link, "new_password": set["password"], "new_password_confirm": set["password"] });
    assert_eq!(client(&stand).post("/api/auth/password/reset/confirm/", set).await.unwrap().status, 204);
    assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 200);
    // Nor is there a way to set one: no body takes a password but that of an admin's own step-up.
    let document = stand.client().get("/api/openapi.json").await.unwrap().body;
    for (path, operations) in
        document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/admin/"))
    {
        for operation in operations.as_object().unwrap().values() {
            let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let Some(name) = schema.and_then(|schema| schema.rsplit('/').next()) else { continue };
            let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
            let secret = fields.keys().any(|field| field.contains("password") || field.contains("token"));
            assert_eq!(secret, path == "/api/admin/step-up/", "{path}: {fields:?}");
        }
    }
}

/// C030. Breaks when `core/src/account/event.rs`: `            | Self::PasswordResetForced { .. }` → `            | Self::AccountUnlocked { .. }`.
#[tokio::test]
async fn what_an_admin_ends_is_over_at_once_in_every_process() {
    let stand = stand(&[]).await;
    let (_other, base) = stand.another_api().await.unwrap();
    let insider = Insider::of(&stand).await;
    let (admin, _) = admin(&stand).await;
    for what in ["disable", "force-reset", "sessions/revoke", "sessions/one"] {
        let email = registered(&stand).await;
        let id = insider.account(&email).await.to_string();
        let mut sessions = Vec::new();
        for _ in 0..dose(3, 20) {
            sessions.push(logged_in(&stand, &email).await);
        }
        let spared = if what == "sessions/one" {
            let session = sessions[0].1.text("session_id");
            let path = format!("{ACCOUNTS}{id}/sessions/{session}/");
            let end = async |path: &str| {
                admin.send(Method::DELETE, path, Some(json!({ "reason": "a test" })), &[]).await.unwrap().status
            };
            // Of another account: as though there were none.
            assert_eq!(end(&format!("{ACCOUNTS}{}/sessions/{session}/", uuid::Uuid::nil())).await, 404);
            assert_eq!((end(&path).await, end(&path).await), (204, 404));
            sessions.len() - 1
        } else {
            done(&admin, &id, what).await;
            0
        };
        let mut alive = BTreeSet::new();
        for (n, (client, tokens)) in sessions.iter().enumerate() {
            for base in [&stand.base, &base] {
                let client = client.at(base);
                let access = client.get("/api/auth/profile/").await.unwrap().status;
                let logged = client.get("/api/auth/sessions/").await.unwrap().status;
                assert_eq!(access, logged);
                if access == 200 {
                    alive.insert(n);
                } else {
                    assert_eq!((access, refresh(&client, tokens.text("refresh")).await.status), (401, 401), "{what}");
                }
            }
        }
        assert_eq!(alive.len(), spared, "{what}");
    }
}

/// C057. Breaks when `api/src/routes/admin/step_up.rs`: `#[serde(deny_unknown_fields)]` → ``.
#[tokio::test]
async fn an_order_takes_its_fields_and_no_others() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, _) = admin(&stand).await;
    let email = registered(&stand).await;
    let id = insider.account(&email).await.to_string();
    let before = (insider.happened(&email).await, admin.get(&format!("{ACCOUNTS}{id}/")).await.unwrap().body);
    let mut bodies = 0;
    for (name, value) in surplus() {
        for what in ["disable", "enable", "unlock", "force-reset", "sessions/revoke", "roles/grant", "roles/revoke"] {
            let role = what.starts_with("roles");
            if role && name == "role" {
                continue;
            }
            let mut more = if role { json!({ "role": "admin" }) } else { json!({}) };
            more[name] = value.clone();
            let answer = order(&admin, &id, what, more).await;
            let expected = vec![(name.to_owned(), "unknown_field".to_owned())];
            assert_eq!((answer.status, faults(&answer)), (422, expected), "{what} {name}");
            bodies += 1;
        }
        let mut body = json!({ "password": PASSWORD });
        body[name] = value;
        assert_eq!(admin.post("/api/admin/step-up/", body).await.unwrap().status, 422, "{name}");
    }
    for (reason, code) in [
        (json!(""), "invalid"),
        (json!(" "), "invalid"),
        (json!("a\nb"), "invalid"),
        (json!("x".repeat(501)), "invalid"),
        (json!(1), "invalid_type"),
    ] {
        let answer = order(&admin, &id, "disable", json!({ "reason": reason })).await;
        assert_eq!((answer.status, faults(&answer)), (422, vec![("reason".to_owned(), code.to_owned())]), "{reason}");
    }
    let nameless = admin.post(&format!("{ACCOUNTS}{id}/disable/"), json!({})).await.unwrap();
    assert_eq!(faults(&nameless), [("reason".to_owned(), "required".to_owned())]);
    let root = order(&admin, &id, "roles/grant", json!({ "role": "root" })).await;
    assert_eq!((root.status, faults(&root)[0].0.as_str()), (422, "role"));
    assert!(bodies >= 80, "{bodies}");
    let after = (insider.happened(&email).await, admin.get(&format!("{ACCOUNTS}{id}/")).await.unwrap().body);
    // The look itself was an event.
    assert_eq!((after.0, &after.1), (before.0 + 1, &before.1));
}

/// C087. Breaks when `core/src/service/admin/order.rs`: `batch.write.put_idempotency(key, 204, caller.map(|caller| caller.session));` → ``.
#[tokio::test]
async fn an_order_that_is_repeated_with_its_key_happens_once() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, _) = admin(&stand).await;
    let (email, other) = (registered(&stand).await, registered(&stand).await);
    let give = async |email: &str, what: &str, reason: &str| {
        let path = format!("{ACCOUNTS}{}/{what}/", insider.account(email).await);
        admin.send(Method::POST, &path, Some(json!({ "reason": reason })), &[("Idempotency-Key", "one")]).await.unwrap()
    };
    for _ in 0..3 {
        assert_eq!(give(&email, "sessions/revoke", "stolen").await.status, 204);
    }
    assert_eq!(insider.events(&email, "AllSessionsRevoked").await, 1);
    let mismatch = give(&email, "sessions/revoke", "lost").await;
    assert_eq!((mismatch.status, faults(&mismatch)[0].1.as_str()), (422, "idempotency_key_reused"));
    // Another account or another order is another request.
    assert_eq!(give(&other, "sessions/revoke", "stolen").await.status, 204);
    assert_eq!(give(&email, "enable", "stolen").await.status, 204);
    assert_eq!(
        (insider.events(&email, "AllSessionsRevoked").await, insider.events(&other, "AllSessionsRevoked").await),
        (1, 1)
    );
}

#[tokio::test]
async fn an_old_session_is_asked_for_the_password_and_the_last_admin_is_kept() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, own) = admin(&stand).await;
    let (own_id, id) =
        (insider.account(&own).await.to_string(), insider.account(&registered(&stand).await).await.to_string());
    insider.age_sessions(601.0).await;
    let role = json!({ "role": "auditor" });
    for (what, more) in
        [("disable", json!({})), ("force-reset", json!({})), ("roles/grant", role.clone()), ("roles/revoke", role)]
    {
        let answer = order(&admin, &id, what, more).await;
        assert_eq!((answer.status, answer.text("type")), (403, "/problems/step-up-required"), "{what}: {answer:?}");
    }
    let step_up =
        async |password: &str| admin.post("/api/admin/step-up/", json!({ "password": password })).await.unwrap();
    let wrong = step_up(OTHER_PASSWORD).await;
    assert_eq!((wrong.status, faults(&wrong)), (422, vec![("password".to_owned(), "password_incorrect".to_owned())]));
    assert_eq!(order(&admin, &id, "disable", json!({})).await.status, 403);
    assert_eq!(step_up(PASSWORD).await.status, 204);
    done(&admin, &id, "disable").await;
    for (what, more) in [("disable", json!({})), ("roles/revoke", json!({ "role": "admin" }))] {
        let kept = order(&admin, &own_id, what, more).await;
        assert_eq!((kept.status, kept.text("type")), (409, "/problems/conflict"), "{kept:?}");
    }
    let refused = stand.doorbook(&["account", "disable", &own, "--reason", "a test"]).await.unwrap_err().to_string();
    assert!(refused.contains("no other active admin would be left"), "{refused}");
    let closed = order(&admin, &id, "force-reset", json!({})).await;
    assert_eq!((closed.status, closed.text("detail")), (409, "The account is disabled."));
}
