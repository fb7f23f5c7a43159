//! What admins do about a mail, over HTTP: have it sent anew, or call it off.

use std::time::Duration;

use doorbook_dev::sink::{Fault, Stage};
use doorbook_dev::{Answer, Client, Stand};
use serde_json::json;

use crate::common::*;
use crate::deliveries::{DELIVERIES, newest, story, until, with_role};
use crate::insider::Insider;

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
    stand.start_worker().await.unwrap();
    until(&admin, &id, "sent").await;
    for refused in [order(&admin, &id, "cancel").await, order(&admin, &id, "cancel").await] {
        assert_conflict(&refused, "outcome");
    }
    // Nor has any other mail: in vain, it would be trouble for the two that follow.
    nothing_unsent(&insider).await;
    stand.sink.close().await;
    let (hastened, called_off) = (deferred(&stand, &insider, &admin).await, deferred(&stand, &insider, &admin).await);
    // Nothing but an order hastens them now.
    rest(&insider).await;
    let id = called_off;
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
    let id = hastened;
    let hastened = order(&admin, &id, "resend").await;
    assert_eq!((hastened.status, hastened.text("id")), (202, id.as_str()), "{hastened:?}");
    stand.sink.open().await.unwrap();
    until(&admin, again.text("id"), "sent").await;
    let sent = until(&admin, &id, "sent").await;
    let story = story(&sent);
    // The server is away until here: it may have been tried once more.
    assert_eq!((story[0], story[1], story.last()), ("MailQueued", "MailDeferred", Some(&"MailSent")), "{story:?}");
    let ordered = sent["events"].as_array().unwrap().iter().rfind(|event| event["type"] == "MailQueued").unwrap();
    assert_eq!(ordered["payload"], json!({ "template": "verify", "words": "asked by phone" }));
}

/// A mail to somebody new that the server was not there to take.
async fn deferred(stand: &Stand, insider: &Insider, admin: &Client) -> String {
    let email = registered(stand).await;
    let account = insider.account(&email).await.to_string();
    let id = newest(admin, &account, "verify").await["id"].as_str().unwrap().to_owned();
    until(admin, &id, "deferred").await;
    // Its own next try would be trouble for the next mail, which were then held until the server is open.
    rest(insider).await;
    id
}

/// Lets all that is due rest for an hour, and forgets that the mail server had trouble.
async fn rest(insider: &Insider) {
    let rest = "update jobs set run_at = now() + interval '1 hour' where state = 'due';
                delete from held_mails; delete from mail_destinations";
    sqlx::raw_sql(rest).execute(&insider.owner).await.unwrap();
}

async fn nothing_unsent(insider: &Insider) {
    for _ in 0..900 {
        let unsent: i64 = sqlx::query_scalar("select count(*) from deliveries where state in ('queued', 'deferred')")
            .fetch_one(&insider.owner)
            .await
            .unwrap();
        if unsent == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a mail waits, though the server takes mails")
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
    for _ in 0..3_000 {
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
