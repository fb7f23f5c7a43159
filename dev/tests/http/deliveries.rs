//! Mails as auditors and admins account for them, over HTTP.

use std::time::Duration;

use doorbook_dev::sink::{Fault, Stage};
use doorbook_dev::{Answer, Client, Stand};
use serde_json::{Value, json};

use crate::common::*;
use crate::insider::Insider;

/// Whether a mail is among those that are asked for.
type Test<'a> = &'a dyn Fn(&Value) -> bool;

pub const DELIVERIES: &str = "/api/admin/deliveries/";

pub async fn with_role(stand: &Stand, role: &str) -> Client {
    logged_in(stand, &empowered(stand, role).await).await.0
}

pub fn listed(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["deliveries"].as_array().unwrap().clone()
}

pub fn ids(mails: &[Value]) -> Vec<String> {
    mails.iter().map(|mail| mail["id"].as_str().unwrap().to_owned()).collect()
}

/// The newest mail of this template that was ordered for an account.
pub async fn newest(client: &Client, account: &str, template: &str) -> Value {
    let path = format!("{DELIVERIES}?account={account}&template={template}&limit=1");
    listed(&client.get(&path).await.unwrap()).pop().unwrap_or_else(|| panic!("no {template}"))
}

/// One mail with its story, once it is in this state.
pub async fn until(client: &Client, id: &str, state: &str) -> Value {
    // A worker takes its time to start on a busy machine.
    for _ in 0..900 {
        let read = client.get(&format!("{DELIVERIES}{id}/")).await.unwrap();
        assert_eq!(read.status, 200, "{read:?}");
        if read.body["delivery"]["state"] == state {
            return read.body;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{id} is not {state}")
}

pub fn story(read: &Value) -> Vec<&str> {
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
    assert_eq!(all.len(), 7, "three registrations, the role, three resets");
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
