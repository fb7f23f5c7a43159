//! An account's past over HTTP: what it was at a time, what has changed between two, and why its logins were refused.

use std::time::Duration;

use doorbook_dev::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::audit::{EVENTS, found, official, text};
use crate::common::*;
use crate::insider::Insider;

/// What an auditor's question about an account is answered, once `is_there`: events are sealed a moment after they happen.
async fn told(client: &Client, id: &str, question: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..100 {
        let answer = client.get(&format!("/api/admin/audit/accounts/{id}/{question}")).await.unwrap();
        if answer.status == 200 && is_there(&answer.body) {
            return answer.body;
        }
        last = answer.body;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{question} is never answered so: {last}");
}

fn last_is(name: &str) -> impl Fn(&Value) -> bool + '_ {
    move |state| state["last_event"]["type"] == name
}

fn names(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// One change of a difference: value before, value after, names of events.
fn change<'a>(difference: &'a Value, field: &str) -> Option<(Option<&'a str>, Option<&'a str>, Vec<&'a str>)> {
    let change = difference["changes"].as_array().unwrap().iter().find(|change| change["field"] == field)?;
    Some((change["before"].as_str(), change["after"].as_str(), names(&change["events"])))
}

async fn order(admin: &Client, id: &str, what: &str, more: Value) {
    let mut body = json!({ "reason": "a test" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = admin.post(&format!("/api/admin/accounts/{id}/{what}/"), body).await.unwrap();
    assert_eq!(answer.status, 204, "{what}: {answer:?}");
}

/// C069. Breaks when `core/src/service/audit/past.rs`: `.position(|happened| happened.sealed.recorded_at > at)` → `.position(|_| false)`.
#[tokio::test]
async fn an_account_is_told_as_it_was_at_any_time_and_what_has_changed_is_named_with_its_events() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (admin, auditor) = (official(&stand, "admin").await, official(&stand, "auditor").await);
    let email = registered(&stand).await;
    let id = Insider::of(&stand).await.account(&email).await.to_string();
    let (user, first) = logged_in(&stand, &email).await;
    let (_, second) = logged_in(&stand, &email).await;
    let [first, second] = [first, second].map(|tokens| tokens.text("session_id").to_owned());
    let two = |state: &Value| state["sessions"].as_array().is_some_and(|sessions| sessions.len() == 2);
    let earlier = told(&admin, &id, "state/", two).await;
    let from = earlier["at"].as_str().unwrap().to_owned();
    assert_eq!((earlier["status"].as_str(), earlier["email"].as_str()), (Some("active"), Some(&*email)));
    assert_eq!((&earlier["sessions"][0]["id"], &earlier["sessions"][1]["id"]), (&json!(second), &json!(first)));
    assert_eq!(earlier["pending"][0]["what"], "verification");
    assert!(earlier["last_login_at"].is_string() && earlier["erased"] == false, "{earlier}");

    let renamed = json!({ "first_name": "Marisol", "locale": "es" });
    assert_eq!(user.patch("/api/auth/profile/", renamed).await.unwrap().status, 200);
    let passwords =
        json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    assert_eq!(user.post("/api/auth/password/change/", passwords).await.unwrap().status, 204);
    order(&admin, &id, "roles/grant", json!({ "role": "auditor" })).await;
    let middle = told(&admin, &id, "state/", last_is("RoleGranted")).await;
    assert_eq!(
        middle["sessions"][0]["id"],
        json!(first),
        "the one that the password was changed in is spared: {middle}"
    );
    assert_eq!((middle["sessions"].as_array().unwrap().len(), &middle["roles"]), (1, &json!(["auditor"])));
    order(&admin, &id, "roles/revoke", json!({ "role": "auditor" })).await;
    order(&admin, &id, "disable", json!({})).await;
    let later = told(&admin, &id, "state/", last_is("AccountDisabled")).await;
    assert_eq!((&later["status"], later["sessions"].as_array().unwrap().len()), (&json!("disabled"), 0));

    // Whatever happens afterwards: what was, was so.
    let again = told(&admin, &id, &format!("state/?at={from}"), |_| true).await;
    assert_eq!(again, earlier);
    let masked = told(&auditor, &id, &format!("state/?at={from}"), |_| true).await;
    assert_eq!(masked["email"], "q•••@example.com");
    let before = told(&admin, &id, "state/?at=2020-01-01T00:00:00Z", |_| true).await;
    assert_eq!(
        (&before["status"], &before["email"], &before["last_event"]),
        (&json!("absent"), &Value::Null, &Value::Null)
    );

    let between = format!("difference/?from={from}&to={}", later["at"].as_str().unwrap());
    let difference = told(&admin, &id, &between, |_| true).await;
    assert_eq!(change(&difference, "first_name"), Some((Some(""), Some("Marisol"), vec!["ProfileUpdated"])));
    assert_eq!(change(&difference, "locale"), Some((Some("en"), Some("es"), vec!["ProfileUpdated"])));
    assert_eq!(change(&difference, "status"), Some((Some("active"), Some("disabled"), vec!["AccountDisabled"])));
    assert_eq!(change(&difference, "roles"), None, "given and taken back");
    let (_, _, changed) = change(&difference, "password_changed_at").unwrap();
    assert_eq!(changed, ["PasswordChanged"]);
    let ended: Vec<_> =
        difference["changes"].as_array().unwrap().iter().filter(|it| it["field"] == "session").collect();
    let ends = [(&second, "PasswordChanged"), (&first, "AccountDisabled")];
    for (change, (session, name)) in ended.iter().zip(ends) {
        assert_eq!((change["before"].as_str(), names(&change["events"])), (Some(&**session), vec![name]));
    }
    assert_eq!(ended.len(), 2, "{difference}");
}

/// C069. Breaks when `core/src/service/audit/difference.rs`: `changes.extend(erased(later));` → ``.
#[tokio::test]
async fn what_was_erased_is_told_as_erased_and_nothing_else_is_lost() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let admin = official(&stand, "admin").await;
    let insider = Insider::of(&stand).await;
    let email = registered(&stand).await;
    let id = insider.account(&email).await.to_string();
    let (user, _) = logged_in(&stand, &email).await;
    assert_eq!(user.patch("/api/auth/profile/", json!({ "last_name": "Quiroga" })).await.unwrap().status, 200);
    let there = told(&admin, &id, "state/", last_is("ProfileUpdated")).await;
    assert_eq!(there["last_name"], "Quiroga");
    let delete = "delete from keys.data_keys where account_id = $1";
    sqlx::query(delete).bind(insider.account(&email).await).execute(&insider.owner).await.unwrap();
    let gone = told(&admin, &id, "state/", |_| true).await;
    assert_eq!((&gone["erased"], &gone["email"], &gone["last_name"]), (&json!(true), &Value::Null, &Value::Null));
    assert_eq!((&gone["status"], &gone["created_at"]), (&there["status"], &there["created_at"]));
    assert_eq!(
        (&gone["sessions"][0]["address"], &gone["sessions"][0]["id"]),
        (&Value::Null, &there["sessions"][0]["id"])
    );
    let difference = told(&admin, &id, "difference/?from=2020-01-01T00:00:00Z", |_| true).await;
    assert_eq!(change(&difference, "last_name"), Some((None, None, vec!["Registered", "ProfileUpdated"])));
    assert_eq!(change(&difference, "status"), Some((Some("absent"), Some("active"), vec!["Registered"])));
    assert!(!difference.to_string().contains("Quiroga") && !gone.to_string().contains(&email));
}

/// C069. Breaks when `core/src/attempt/reasons.rs`: `self.lift_blocks(fact);` → ``.
#[tokio::test]
async fn a_refused_login_is_told_with_its_rule_what_had_counted_and_what_ended_it() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let (admin, auditor) = (official(&stand, "admin").await, official(&stand, "auditor").await);
    let email = registered(&stand).await;
    let id = Insider::of(&stand).await.account(&email).await.to_string();
    for _ in 0..2 {
        assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 401);
    }
    assert_eq!(login(&stand, &email, PASSWORD).await.status, 200);
    for _ in 0..5 {
        assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 401);
    }
    assert_eq!(login(&stand, &email, PASSWORD).await.status, 429, "whatever the password");
    let refusals = |told: &Value| told["refusals"].as_array().unwrap().clone();
    let of_rule =
        |told: &Value, rule: &str| refusals(told).into_iter().filter(|it| it["rule"] == rule).collect::<Vec<_>>();
    let held = told(&auditor, &id, "refusals/", |told| of_rule(told, "blocked").len() == 1).await;
    assert_eq!(held["limit"], json!({ "failures": 5, "window_seconds": 300, "block_seconds": 900 }));
    let [block] = &of_rule(&held, "blocked")[..] else { panic!("one block: {held}") };
    assert_eq!((names(&block["because"]), &block["ended_at"]), (vec!["LoginFailed"; 5], &Value::Null));
    assert!(block["until"].as_str() > block["event"]["at"].as_str(), "{block}");
    let wrong = of_rule(&held, "wrong_password");
    let counted: Vec<_> = wrong.iter().rev().map(|it| names(&it["because"]).len()).collect();
    assert_eq!(counted, [0, 1, 0, 1, 2, 3, 4], "a login forgets what failed before it");
    assert_eq!((wrong[6]["ended_by"]["type"].as_str(), &wrong[0]["ended_by"]), (Some("LoggedIn"), &Value::Null));
    let state = told(&auditor, &id, "state/", |_| true).await;
    assert_eq!(state["blocked_until"], block["until"]);

    order(&admin, &id, "unlock", json!({})).await;
    let over = |told: &Value| of_rule(told, "blocked")[0]["ended_by"]["type"] == "AccountUnlocked";
    told(&auditor, &id, "refusals/?limit=3", over).await;
    order(&admin, &id, "disable", json!({})).await;
    assert_eq!(login(&stand, &email, PASSWORD).await.status, 401);
    let closed = told(&auditor, &id, "refusals/?limit=1", |told| of_rule(told, "disabled").len() == 1).await;
    assert_eq!(names(&closed["refusals"][0]["because"]), ["AccountDisabled"]);
    // Page by page each once.
    let (mut walked, mut page) = (Vec::new(), closed);
    loop {
        walked.extend(refusals(&page).iter().map(|it| it["event"]["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        page = told(&auditor, &id, &format!("refusals/?limit=2&before={next}"), |_| true).await;
    }
    let all = told(&auditor, &id, "refusals/?limit=100", |_| true).await;
    assert_eq!(walked, refusals(&all).iter().map(|it| it["event"]["id"].clone()).collect::<Vec<_>>());
    assert_eq!(walked.len(), 9);
}

/// C067, C069. Breaks when `core/src/service/audit/past.rs`: `self.note(caller, Some(account), OperatorEvent::AuditSearched { fields }, context).await?;` → ``.
#[tokio::test]
async fn questions_about_the_past_are_refused_by_name_and_stand_in_the_log() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let auditor = official(&stand, "auditor").await;
    let email = registered(&stand).await;
    let id = Insider::of(&stand).await.account(&email).await.to_string();
    told(&auditor, &id, "state/?at=2030-01-01T00:00:00Z", last_is("EmailVerificationRequested")).await;
    let asked = found(&auditor, &format!("?account={id}&type=AuditSearched")).await;
    assert!(asked.iter().any(|event| event["payload"] == json!({ "fields": ["state", "at"] })), "{asked:?}");
    // A page that nobody has come to by the one before is told of, too.
    let later = "refusals/?before=ffffffff-ffff-7fff-bfff-ffffffffffff";
    assert_eq!(auditor.get(&format!("/api/admin/audit/accounts/{id}/{later}")).await.unwrap().status, 200);
    let looks = "select count(*) from events where type = 'AuditSearched' and payload->'fields' = '[\"refusals\"]'";
    let noted: i64 = sqlx::query_scalar(looks).fetch_one(&Insider::of(&stand).await.owner).await.unwrap();
    assert_eq!(noted, 1);
    let path = |question: &str| format!("/api/admin/audit/accounts/{id}/{question}");
    for (question, field) in [
        ("state/?at=yesterday", "at"),
        ("difference/", "from"),
        ("difference/?from=yesterday", "from"),
        ("difference/?from=2026-01-02T00:00:00Z&to=tomorrow", "to"),
        ("difference/?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("refusals/?limit=0", "limit"),
        ("refusals/?before=x", "before"),
    ] {
        let refused = auditor.get(&path(question)).await.unwrap();
        assert_eq!((refused.status, &*faults(&refused)[0].0), (422, field), "{question}: {refused:?}");
    }
    let (anyone, _) = welcomed(&stand).await;
    for question in ["state/", "difference/?from=2026-01-01T00:00:00Z", "refusals/"] {
        assert_eq!(anyone.get(&path(question)).await.unwrap().status, 403, "{question}");
        let nobody = format!("/api/admin/audit/accounts/{}/{question}", uuid::Uuid::nil());
        assert_eq!(auditor.get(&nobody).await.unwrap().status, 404, "{question}");
        assert_eq!(auditor.send(Method::POST, &path(question), None, &[]).await.unwrap().status, 405, "{question}");
    }
    assert_eq!(auditor.get(EVENTS).await.unwrap().status, 200);
}

/// C070. Breaks when `core/src/service/audit/past.rs`: `let state = replay.account;` → `let mut state = replay.account; if let (Some(profile), Some(now)) = (&mut state.profile, crate::store::query::accounts::by_id(&self.db, &self.vault, account).await?) { profile.last_name = now.secret.unwrap_or_default(); }`.
#[tokio::test]
async fn nothing_that_is_told_of_the_past_holds_a_password_a_hash_or_a_token() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let insider = Insider::of(&stand).await;
    let admin = official(&stand, "admin").await;
    let email = registered(&stand).await;
    let id = insider.account(&email).await.to_string();
    let (_, tokens) = logged_in(&stand, &email).await;
    assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 401);
    let hash = insider.stored_hash(&email).await;
    let mut canaries = vec![PASSWORD.to_owned(), OTHER_PASSWORD.to_owned(), insider.mailed(&email, "verify").await];
    canaries.extend([hash.clone(), hash.rsplit('$').next().unwrap().to_owned()]);
    canaries.extend(["access", "refresh"].map(|name| tokens.text(name).to_owned()));
    order(&admin, &id, "force-reset", json!({})).await;
    canaries.push(insider.mailed(&email, "reset").await);
    told(&admin, &id, "state/", last_is("PasswordResetForced")).await;
    let mut answers = Vec::new();
    for question in ["state/", "difference/?from=2020-01-01T00:00:00Z", "refusals/"] {
        answers.push(told(&admin, &id, question, |_| true).await.to_string());
    }
    answers.push(json!(found(&admin, &format!("?account={id}&limit=200")).await).to_string());
    answers.push(text(&admin, &format!("format=ndjson&account={id}")).await);
    for (canary, answer) in canaries.iter().flat_map(|canary| answers.iter().map(move |answer| (canary, answer))) {
        assert!(!answer.contains(canary.as_str()), "{canary} in {answer}");
    }
}
