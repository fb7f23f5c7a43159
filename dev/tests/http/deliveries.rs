//! Mails as auditors and admins account for them, over HTTP.

use std::time::Duration;

use doorbook_dev::sink::{Fault, Stage};
use doorbook_dev::{Answer, Client, Stand};
use serde_json::{Value, json};

use crate::common::*;
use crate::insider::Insider;

/// Whether a mail is among those that are asked for.
type Test<'a> = &'a dyn Fn(&Value) -> bool;

const DELIVERIES: &str = "/api/admin/deliveries/";

async fn with_role(stand: &Stand, role: &str) -> Client {
    logged_in(stand, &empowered(stand, role).await).await.0
}

fn listed(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["deliveries"].as_array().unwrap().clone()
}

fn ids(mails: &[Value]) -> Vec<String> {
    mails.iter().map(|mail| mail["id"].as_str().unwrap().to_owned()).collect()
}

/// The newest mail of this template that was ordered for an account.
async fn newest(client: &Client, account: &str, template: &str) -> Value {
    let path = format!("{DELIVERIES}?account={account}&template={template}&limit=1");
    listed(&client.get(&path).await.unwrap()).pop().unwrap_or_else(|| panic!("no {template}"))
}

/// One mail with its story, once it is in this state.
async fn until(client: &Client, id: &str, state: &str) -> Value {
    for _ in 0..200 {
        let read = client.get(&format!("{DELIVERIES}{id}/")).await.unwrap();
        assert_eq!(read.status, 200, "{read:?}");
        if read.body["delivery"]["state"] == state {
            return read.body;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{id} is not {state}")
}

fn story(read: &Value) -> Vec<&str> {
    read["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn mails_are_listed_page_by_page_and_found_by_account_state_and_template() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let admin = with_role(&stand, "admin").await;
    let (ana, ben) = (registered(&stand).await, registered(&stand).await);
    for email in [&ana, &ben, &ana] {
        let asked = client(&stand).post("/api/auth/password/reset/", json!({ "email": email })).await.unwrap();
        assert_eq!(asked.status, 202);
    }
    let account = insider.account(&ana).await;
    sqlx::query("update deliveries set state = 'failed' where account_id = $1 and template = 'reset'")
        .bind(account)
        .execute(&insider.owner)
        .await
        .unwrap();
    let all = listed(&admin.get(DELIVERIES).await.unwrap());
    assert_eq!(all.len(), 6, "three registrations, three resets");
    let newest_first = ids(&all);
    assert!(newest_first.is_sorted_by(|newer, older| newer > older));
    let walk = async |query: &str, limit: u32| {
        let (mut walked, mut before) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("{DELIVERIES}?limit={limit}{query}{before}")).await.unwrap();
            walked.extend(listed(&page));
            let Some(next) = page.body["next"].as_str() else { return walked };
            before = format!("&before={next}");
        }
    };
    let of_ana = format!("&account={account}");
    let cases: [(&str, Test<'_>); 9] = [
        ("", &|_| true),
        (&of_ana, &|mail| mail["account"] == account.to_string()),
        ("&state=failed", &|mail| mail["state"] == "failed"),
        ("&state=queued", &|mail| mail["state"] == "queued"),
        ("&state=sent", &|_| false),
        ("&template=reset", &|mail| mail["template"] == "reset"),
        ("&state=failed&template=reset", &|mail| mail["state"] == "failed"),
        ("&state=sent&template=reset", &|_| false),
        ("&template=res", &|_| false),
    ];
    for (query, is_asked_for) in cases {
        let expected: Vec<_> = all.iter().filter(|mail| is_asked_for(mail)).cloned().collect();
        for limit in [1, 2, 100] {
            assert_eq!(ids(&walk(query, limit).await), ids(&expected), "{query} by {limit}");
        }
    }
    let both = walk(&format!("{of_ana}&state=queued&template=verify"), 100).await;
    assert_eq!((both.len(), &both[0]["to"]), (1, &json!(ana)));
    for (query, field) in [
        ("state=x", "state"),
        ("account=x", "account"),
        ("before=x", "before"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
    ] {
        let refused = admin.get(&format!("{DELIVERIES}?{query}")).await.unwrap();
        assert_eq!((refused.status, faults(&refused)[0].0.as_str()), (422, field), "{query}");
    }
    // Each search of somebody's once, however many pages were read and however often.
    let searches: i64 = sqlx::query_scalar(
        "select count(*) from events where type = 'AuditSearched' and payload->'fields'->>0 = 'deliveries' and subject_id = $1",
    )
    .bind(account)
    .fetch_one(&insider.owner)
    .await
    .unwrap();
    assert_eq!(searches, 2);
}

/// Breaks when `core/src/service/admin/mails.rs`: `next_try_at: row.run_at.filter(|_| waits),` → `next_try_at: row.run_at,`.
#[tokio::test]
async fn a_mail_tells_its_whole_story_from_the_event_that_promised_it_to_the_server_s_last_word() {
    let mut stand = stand(&[]).await;
    let (insider, admin) = (Insider::of(&stand).await, with_role(&stand, "admin").await);
    let email = registered(&stand).await;
    let account = insider.account(&email).await.to_string();
    let queued = newest(&admin, &account, "verify").await;
    let id = queued["id"].as_str().unwrap();
    assert_eq!(
        (&queued["state"], &queued["attempts"], &queued["being_sent"]),
        (&json!("queued"), &json!(0), &json!(false))
    );
    assert_eq!((&queued["next_try_at"], &queued["to"]), (&queued["queued_at"], &json!(email)));
    stand.sink.fail(Stage::Greeting, Fault::Reply(421));
    for _ in 0..10 {
        stand.sink.fail(Stage::Recipient, Fault::Reply(451));
    }
    stand.start_worker().await.unwrap();
    let deferred = until(&admin, id, "deferred").await;
    let mail = &deferred["delivery"];
    assert!(mail["server_answer"].as_str().is_some_and(|answer| answer.contains("as asked by the test")), "{mail}");
    assert!(mail["next_try_at"].as_str() > mail["queued_at"].as_str(), "{mail}");
    assert_eq!(mail["settled_at"], Value::Null);
    // The server recovers.
    stand.sink.forget_faults();
    sqlx::query("update jobs set run_at = now() where state = 'due'").execute(&insider.owner).await.unwrap();
    let sent = until(&admin, id, "sent").await;
    let mail = &sent["delivery"];
    assert_eq!((story(&sent), &mail["attempts"]), (vec!["MailQueued", "MailDeferred", "MailSent"], &json!(2)));
    assert_eq!((&mail["next_try_at"], mail["settled_at"].is_string()), (&Value::Null, true));
    let arrived = stand.sink.wait_for(|mail| mail.is_to(&email), Duration::from_secs(10)).await.unwrap();
    let raw = String::from_utf8_lossy(&arrived.raw).into_owned();
    assert!(raw.contains(mail["message_id"].as_str().unwrap()), "{mail} {raw}");
    let events = sent["events"].as_array().unwrap();
    assert!(events.is_sorted_by(|earlier, later| earlier["at"].as_str() <= later["at"].as_str()));
    let actors: Vec<_> = events.iter().map(|event| event["actor"]["kind"].as_str().unwrap()).collect();
    assert_eq!(actors, ["stranger", "system", "system"]);
    // Neither what it says nor its link.
    let token = arrived.token().unwrap();
    for text in [sent.to_string(), queued.to_string()] {
        assert!(!text.contains(&token) && !text.contains("verify-email"), "{text}");
    }
    let promised: String = sqlx::query_scalar("select type from events where event_id = $1::text::uuid")
        .bind(mail["event"].as_str())
        .fetch_one(&insider.owner)
        .await
        .unwrap();
    assert_eq!(promised, "EmailVerificationRequested");
    let nobody = admin.get(&format!("{DELIVERIES}{}/", uuid::Uuid::nil())).await.unwrap();
    assert_eq!((nobody.status, nobody.text("type")), (404, "/problems/not-found"));
}

/// C069. Breaks when `core/src/service/admin/mails.rs`: `Sight::Masked => to.and_then(|to| Email::parse(&to).ok()).map(|to| to.masked()),` → `Sight::Masked => to,`.
#[tokio::test]
async fn an_auditor_sees_the_mailbox_of_a_mail_masked() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (admin, auditor) = (with_role(&stand, "admin").await, with_role(&stand, "auditor").await);
    let email = registered(&stand).await;
    let (owner, _) = logged_in(&stand, &email).await;
    let change = json!({ "password": PASSWORD, "new_email": "other@elsewhere.example" });
    assert_eq!(owner.post("/api/auth/email/change/", change).await.unwrap().status, 202);
    let account = insider.account(&email).await.to_string();
    let mail = newest(&admin, &account, "email_change_confirm").await;
    assert_eq!(mail["to"], "other@elsewhere.example", "it goes to the new one");
    for path in [format!("{DELIVERIES}?account={account}"), format!("{DELIVERIES}{}/", mail["id"].as_str().unwrap())] {
        let (plain, masked) = (admin.get(&path).await.unwrap(), auditor.get(&path).await.unwrap());
        assert_eq!((plain.status, masked.status), (200, 200), "{plain:?} {masked:?}");
        let (plain, masked) = (plain.body.to_string(), masked.body.to_string());
        assert!(plain.contains("other@") && !masked.contains("other@"), "{masked}");
        assert!(!masked.contains(&email) && masked.contains("o•••@elsewhere.example"), "{masked}");
    }
    assert_eq!(newest(&auditor, &account, "verify").await["to"], "q•••@example.com");
    let read = "select count(*) from events where type = 'AuditSearched' and payload->'fields' = '[\"delivery\"]'";
    let looks: i64 = sqlx::query_scalar(read).fetch_one(&insider.owner).await.unwrap();
    assert_eq!(looks, 2, "one for each who looked");
    // With its owner's key goes what tells where it went.
    let erased = json!({ "reason": "a test" });
    let erase = admin.post(&format!("/api/admin/accounts/{account}/erase/"), erased).await.unwrap();
    assert_eq!(erase.status, 200, "{erase:?}");
    assert_eq!(listed(&admin.get(&format!("{DELIVERIES}?account={account}")).await.unwrap()), [Value::Null; 0]);
}

/// Gives an order about a mail.
async fn order(client: &Client, id: &str, what: &str) -> Answer {
    client.post(&format!("{DELIVERIES}{id}/{what}/"), json!({ "reason": "asked by phone" })).await.unwrap()
}

/// The order was refused because of how the mail stands.
fn assert_conflict(answer: &Answer, words: &str) {
    assert_eq!((answer.status, answer.text("type")), (409, "/problems/conflict"), "{answer:?}");
    assert!(answer.text("detail").contains(words), "{answer:?}");
}

/// Breaks when `core/src/service/admin/mail_orders.rs`: `repeats: Some(row.delivery_id),` → `repeats: None,`.
#[tokio::test]
async fn a_mail_that_was_sent_is_sent_anew_as_another_one_while_its_link_is_of_use() {
    let mut stand = stand(&[]).await;
    let (insider, admin) = (Insider::of(&stand).await, with_role(&stand, "admin").await);
    stand.start_worker().await.unwrap();
    let email = registered(&stand).await;
    let account = insider.account(&email).await.to_string();
    let first = newest(&admin, &account, "verify").await["id"].as_str().unwrap().to_owned();
    let before = until(&admin, &first, "sent").await;
    let again = order(&admin, &first, "resend").await;
    assert_eq!(again.status, 202, "{again:?}");
    let second = again.text("id").to_owned();
    assert_ne!(second, first);
    let sent = until(&admin, &second, "sent").await;
    // The earlier one's story is as it was, and each names the other.
    let after = until(&admin, &first, "sent").await;
    assert_eq!(after["events"], before["events"]);
    assert_eq!((&after["delivery"]["repeated_by"], &sent["delivery"]["repeats"]), (&json!(second), &json!(first)));
    for field in ["event", "template", "account", "to"] {
        assert_eq!(sent["delivery"][field], before["delivery"][field], "{field}");
    }
    assert_ne!(sent["delivery"]["message_id"], before["delivery"]["message_id"]);
    let queued = &sent["events"][0];
    assert_eq!(
        (&queued["type"], &queued["payload"]),
        (&json!("MailQueued"), &json!({ "template": "verify", "repeats": first, "words": "asked by phone" }))
    );
    let by = admin.get("/api/auth/profile/").await.unwrap().body["id"].clone();
    assert_eq!(queued["actor"], json!({ "kind": "account", "id": by }));
    // Both carry the same link.
    let copies: Vec<_> = stand.sink.mails().into_iter().filter(|mail| mail.is_to(&email)).collect();
    assert_eq!((copies.len(), copies[0].token()), (2, copies[1].token()));
    let verify = json!({ "token": copies[1].token() });
    assert_eq!(client(&stand).post("/api/auth/email/verify/", verify).await.unwrap().status, 204);
    // Now it is of none.
    assert_conflict(&order(&admin, &second, "resend").await, "link");
    // A notice has none, and goes to whoever is there.
    let (owner, _) = logged_in(&stand, &email).await;
    let change =
        json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    assert_eq!(owner.post("/api/auth/password/change/", change).await.unwrap().status, 204);
    let notice = newest(&admin, &account, "password_changed").await["id"].as_str().unwrap().to_owned();
    until(&admin, &notice, "sent").await;
    let repeated = order(&admin, &notice, "resend").await;
    until(&admin, repeated.text("id"), "sent").await;
    let reason = json!({ "reason": "a test" });
    let disable = admin.post(&format!("/api/admin/accounts/{account}/disable/"), reason).await.unwrap();
    assert_eq!(disable.status, 204);
    assert_conflict(&order(&admin, &notice, "resend").await, "disabled");
}

/// Breaks when `core/src/store/jobs.rs`: `update jobs set run_at = clock_timestamp()` → `update jobs set run_at = run_at`.
#[tokio::test]
async fn a_mail_that_waits_for_its_next_try_is_hastened_or_called_off() {
    let mut stand = stand(&[]).await;
    let (insider, admin) = (Insider::of(&stand).await, with_role(&stand, "admin").await);
    let auditor = with_role(&stand, "auditor").await;
    let email = registered(&stand).await;
    let account = insider.account(&email).await.to_string();
    let id = newest(&admin, &account, "verify").await["id"].as_str().unwrap().to_owned();
    for what in ["resend", "cancel"] {
        assert_eq!(order(&auditor, &id, what).await.status, 403);
    }
    assert_conflict(&order(&admin, &id, "resend").await, "due already");
    stand.sink.close().await;
    stand.start_worker().await.unwrap();
    until(&admin, &id, "deferred").await;
    sqlx::query("update jobs set run_at = now() + interval '1 hour' where state = 'due'")
        .execute(&insider.owner)
        .await
        .unwrap();
    stand.sink.open().await.unwrap();
    let hastened = order(&admin, &id, "resend").await;
    assert_eq!((hastened.status, hastened.text("id")), (202, id.as_str()), "{hastened:?}");
    let sent = until(&admin, &id, "sent").await;
    assert_eq!(story(&sent), ["MailQueued", "MailDeferred", "MailQueued", "MailSent"]);
    assert_eq!(sent["events"][2]["payload"], json!({ "template": "verify", "words": "asked by phone" }));
    for refused in [order(&admin, &id, "cancel").await, order(&admin, &id, "cancel").await] {
        assert_conflict(&refused, "outcome");
    }
    // The admin's own mail still waits, for an hour.
    let waiting = listed(&admin.get(&format!("{DELIVERIES}?state=deferred&limit=1")).await.unwrap());
    let id = ids(&waiting).remove(0);
    let cancelled = order(&admin, &id, "cancel").await;
    assert_eq!(cancelled.status, 204, "{cancelled:?}");
    let over = until(&admin, &id, "suppressed").await;
    assert_eq!(story(&over), ["MailQueued", "MailDeferred", "MailSuppressed"]);
    let told = &over["events"][2];
    assert_eq!(told["payload"], json!({ "template": "verify", "reason": "cancelled", "words": "asked by phone" }));
    assert_eq!(told["actor"]["kind"], "account");
    assert!(over["delivery"]["server_answer"].is_string(), "what the server said last stays: {over}");
    let job: String = sqlx::query_scalar("select state from jobs where ref = $1::text::uuid")
        .bind(&id)
        .fetch_one(&insider.owner)
        .await
        .unwrap();
    assert_eq!(job, "done");
    // What was called off can be sent after all.
    let again = order(&admin, &id, "resend").await;
    until(&admin, again.text("id"), "sent").await;
}

/// Breaks when `core/src/store/project/outbox.rs`: `and repeated_by is not distinct from {last} and {{after}}` → `and {{after}}`.
#[tokio::test]
async fn of_many_who_have_a_mail_sent_anew_at_once_one_does_and_a_repeated_request_is_answered_alike() {
    let mut stand = stand(&[]).await;
    let (insider, admin) = (Insider::of(&stand).await, with_role(&stand, "admin").await);
    let email = registered(&stand).await;
    let account = insider.account(&email).await.to_string();
    let id = newest(&admin, &account, "verify").await["id"].as_str().unwrap().to_owned();
    assert_eq!(order(&admin, &id, "cancel").await.status, 204);
    let path = format!("{DELIVERIES}{id}/resend/");
    let at_once = dose(8, 50);
    let orders = (0..at_once).map(|_| {
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.post(&path, json!({ "reason": "asked by phone" })).await.unwrap() }
    });
    let mut statuses = statuses(orders).await;
    statuses.sort_unstable();
    let expected: Vec<u16> = std::iter::once(202).chain(std::iter::repeat_n(409, at_once - 1)).collect();
    assert_eq!(statuses, expected);
    let second = newest(&admin, &account, "verify").await["id"].as_str().unwrap().to_owned();
    assert_conflict(&order(&admin, &id, "resend").await, "repeated already");
    assert_eq!(order(&admin, &second, "cancel").await.status, 204);
    // Under one key it happens once, and every answer names the same mail.
    let keyed = async |key: &str, reason: &str| {
        let body = Some(json!({ "reason": reason }));
        admin.send(reqwest::Method::POST, &path, body, &[("Idempotency-Key", key)]).await.unwrap()
    };
    let (one, other) = tokio::join!(keyed("k1", "asked by phone"), keyed("k1", "asked by phone"));
    assert_eq!((one.status, other.status), (202, 202), "{one:?} {other:?}");
    assert_eq!((one.text("id"), one.text("id")), (other.text("id"), keyed("k1", "asked by phone").await.text("id")));
    assert_eq!(keyed("k1", "for another reason").await.status, 422);
    assert_conflict(&keyed("k2", "asked by phone").await, "repeated already");
    assert_eq!(insider.mails(&email, "verify").await, 3);
    stand.start_worker().await.unwrap();
    until(&admin, one.text("id"), "sent").await;
    assert_eq!(stand.sink.mails().iter().filter(|mail| mail.is_to(&email)).count(), 1);
}

/// Breaks when `core/src/store/jobs.rs`: `where job_id = {id} and fence = {fence} and state in ('due', 'dispatched') and {{after}} returning 1` → `where job_id = {id} and state <> 'done' and {{after}} returning 1`.
#[tokio::test]
async fn a_mail_is_called_off_or_sent_and_never_both() {
    let mut stand = stand(&[]).await;
    let (insider, admin) = (Insider::of(&stand).await, with_role(&stand, "admin").await);
    let mut mails = Vec::new();
    for _ in 0..dose(30, 300) {
        let email = registered(&stand).await;
        let account = insider.account(&email).await.to_string();
        mails.push((email, newest(&admin, &account, "verify").await["id"].as_str().unwrap().to_owned()));
    }
    // The first that is sent takes a while: nobody can call it off meanwhile.
    stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_secs(3)));
    stand.start_worker().await.unwrap();
    let mut cancelled = Vec::new();
    for (email, id) in mails.iter().rev() {
        let answer = order(&admin, id, "cancel").await;
        assert!(matches!(answer.status, 204 | 409), "{answer:?}");
        if answer.status == 204 {
            cancelled.push(email.clone());
        }
    }
    for (email, id) in &mails {
        let is_cancelled = cancelled.contains(email);
        let read = until(&admin, id, if is_cancelled { "suppressed" } else { "sent" }).await;
        let copies = stand.sink.mails().iter().filter(|mail| mail.is_to(email)).count();
        assert_eq!(copies, usize::from(!is_cancelled), "{read}");
    }
    println!("figure: {} of {} mails called off while a worker sent the others", cancelled.len(), mails.len());
}

#[tokio::test]
async fn a_mail_that_a_worker_is_at_cannot_be_called_off_or_sent_anew() {
    let mut stand = stand(&[]).await;
    let (insider, admin) = (Insider::of(&stand).await, with_role(&stand, "admin").await);
    let email = registered(&stand).await;
    let account = insider.account(&email).await.to_string();
    let id = newest(&admin, &account, "verify").await["id"].as_str().unwrap().to_owned();
    for _ in 0..4 {
        stand.sink.fail(Stage::Recipient, Fault::Delay(Duration::from_secs(4)));
    }
    stand.start_worker().await.unwrap();
    for _ in 0..200 {
        let read = admin.get(&format!("{DELIVERIES}{id}/")).await.unwrap();
        if read.body["delivery"]["being_sent"] == true {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for what in ["cancel", "resend"] {
        assert_conflict(&order(&admin, &id, what).await, "being sent right now");
    }
    let sent = until(&admin, &id, "sent").await;
    assert_eq!(story(&sent), ["MailQueued", "MailSent"]);
}
