//! Alerts over HTTP: who reads them, and who may say that he has looked into one.

use std::time::{Duration, Instant};

use doorbook_dev::{Client, Cluster, Role, Stand};
use serde_json::{Value, json};

use crate::common::*;
use crate::deliveries::{DELIVERIES, ids as mail_ids, listed, story, until as mail_until, with_role};

/// Time for what a worker does within a second on a machine with nothing else to do.
const SOON: Duration = Duration::from_secs(30);

async fn alerts(reader: &Client, query: &str) -> Vec<Value> {
    let answer = reader.get(&format!("/api/admin/alerts/{query}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["alerts"].as_array().unwrap().clone()
}

/// Waits until so many have been raised.
async fn until(reader: &Client, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let found = alerts(reader, "").await;
        if found.len() >= count {
            return found;
        }
        assert!(begun.elapsed() < SOON, "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn ids(alerts: &[Value]) -> Vec<String> {
    alerts.iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect()
}

/// Breaks when `core/src/service/alert_list.rs`: `if [alert.account, alert.actor].contains(&Some(caller.account)) {` → `if alert.actor == Some(caller.account) {`.
#[tokio::test]
async fn an_alert_is_listed_until_somebody_it_is_not_about_has_looked_into_it() {
    let stand = Stand::start_with(Cluster::shared().await.unwrap(), &[]).await.unwrap();
    let (first, second) = (empowered(&stand, "admin").await, empowered(&stand, "admin").await);
    let auditor = empowered(&stand, "auditor").await;
    let (first, second) = (logged_in(&stand, &first).await.0, logged_in(&stand, &second).await.0);
    let auditor = logged_in(&stand, &auditor).await.0;
    let all = until(&auditor, 2).await;
    assert_eq!((all.len(), ids(&all)), (2, ids(&alerts(&first, "").await)));
    for alert in &all {
        assert_eq!((&alert["rule"], &alert["severity"]), (&json!("admin_granted"), &json!("warning")));
        assert_eq!((&alert["acknowledged"], &alert["count"]), (&Value::Null, &json!(1)));
    }
    // The newest first; pages; filters.
    let newest = alerts(&auditor, "?limit=1").await;
    assert_eq!(ids(&newest), ids(&all[..1]));
    let page = auditor.get("/api/admin/alerts/?limit=1").await.unwrap();
    let next = page.body["next"].as_str().unwrap();
    assert_eq!(ids(&alerts(&auditor, &format!("?limit=1&before={next}")).await), ids(&all[1..]));
    for (query, count) in [
        ("?rule=admin_granted&severity=warning&acknowledged=false", 2),
        ("?rule=token_reuse", 0),
        ("?severity=critical", 0),
        ("?acknowledged=true", 0),
    ] {
        assert_eq!(alerts(&auditor, query).await.len(), count, "{query}");
    }
    let refused = auditor.get("/api/admin/alerts/?rule=weather&severity=bad").await.unwrap();
    assert_eq!((refused.status, refused.body["errors"].as_array().unwrap().len()), (422, 2));

    // The second admin's came last: he may not, the first may, once.
    let path = format!("/api/admin/alerts/{}/acknowledge/", ids(&all)[0]);
    let note = |reason: &str| json!({ "reason": reason });
    assert_eq!(second.post(&path, note("it was me")).await.unwrap().status, 403);
    assert_eq!(first.post(&path, note(" ")).await.unwrap().status, 422);
    assert_eq!(first.post(&path, note("meant to be")).await.unwrap().status, 204);
    assert_eq!(auditor.post(&path, note("too late")).await.unwrap().status, 204);
    let taken = alerts(&second, "?acknowledged=true").await;
    assert_eq!((ids(&taken), &taken[0]["acknowledged"]["reason"]), (ids(&all[..1]), &json!("meant to be")));
    assert_eq!(ids(&alerts(&second, "?acknowledged=false").await), ids(&all[1..]));
    assert_eq!(auditor.get("/api/admin/overview/").await.unwrap().body["open_alerts"], 1);
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let told = "select count(*) from events where type = 'SecurityAlertAcknowledged' and actor_kind = 'account' and session_id is not null
                and subject_id is null and pii is not null and version = 2";
    assert_eq!(sqlx::query_scalar::<_, i64>(told).fetch_one(&owner).await.unwrap(), 1);
}

/// Breaks when `core/src/service/admin/mail_orders.rs`: `Need::Alert(alert) => (alert.to.recipient(id), None),` → `Need::Alert(alert) => (alert.to.recipient(row.delivery_id), None),`.
/// Breaks when `core/src/service/admin/mail_orders.rs`: `template == ALERT_TEMPLATE` → `template.is_empty()`.
#[tokio::test]
async fn what_operators_are_told_is_listed_without_an_account_and_no_admin_calls_it_off() {
    let secret = format!("whsec_{}", "QUJD".repeat(8));
    let settings = [
        ("ALERT_EMAILS", "ops@example.org"),
        // Nobody is there.
        ("ALERT_WEBHOOK_URL", "https://localhost:1/hook?key=canary"),
        ("ALERT_WEBHOOK_SECRET", secret.as_str()),
    ];
    let stand = Stand::start_with(Cluster::shared().await.unwrap(), &settings).await.unwrap();
    let (admin, auditor) = (with_role(&stand, "admin").await, with_role(&stand, "auditor").await);
    let alert = ids(&until(&auditor, 1).await).remove(0);
    let told = listed(&admin.get(&format!("{DELIVERIES}?template=security_alert")).await.unwrap());
    let of = |mails: &[Value], audience: &str| mails.iter().find(|mail| mail["audience"] == audience).unwrap().clone();
    let (mail, webhook) = (of(&told, "operator"), of(&told, "webhook"));
    for one in [&mail, &webhook] {
        assert_eq!((&one["account"], &one["event"]), (&Value::Null, &json!(alert)));
    }
    assert_eq!((&mail["to"], &webhook["to"]), (&json!("ops@example.org"), &Value::Null));
    assert_eq!(webhook["message_id"], json!(alert));
    let masked = listed(&auditor.get(&format!("{DELIVERIES}?template=security_alert")).await.unwrap());
    assert_eq!((masked.len(), mail_ids(&masked)), (2, mail_ids(&told)));
    assert!(of(&masked, "operator")["to"].as_str().is_some_and(|to| to != "ops@example.org"), "{masked:?}");

    let order = async |id: &str, what: &str| {
        let path = format!("{DELIVERIES}{id}/{what}/");
        admin.post(&path, json!({ "reason": "asked by phone" })).await.unwrap()
    };
    let id = mail["id"].as_str().unwrap();
    mail_until(&admin, id, "sent").await;
    let again = order(id, "resend").await;
    assert_eq!(again.status, 202, "{again:?}");
    let sent = mail_until(&admin, again.text("id"), "sent").await;
    assert_eq!((&sent["delivery"]["to"], &sent["delivery"]["repeats"]), (&json!("ops@example.org"), &json!(id)));
    assert_eq!(stand.sink.mails().iter().filter(|mail| mail.is_to("ops@example.org")).count(), 2);

    let id = webhook["id"].as_str().unwrap();
    let waiting = mail_until(&admin, id, "deferred").await;
    let answer = waiting["delivery"]["server_answer"].as_str().unwrap();
    assert!(answer.starts_with("ALERT_WEBHOOK_URL") && !answer.contains("canary"), "{answer}");
    // The alert is about this very admin.
    assert_eq!(order(id, "cancel").await.status, 403);
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let denied = "select count(*) from events where type = 'AuthorizationDenied' and payload ->> 'action' = 'cancel'";
    assert_eq!(sqlx::query_scalar::<_, i64>(denied).fetch_one(&owner).await.unwrap(), 1);
    stand.doorbook(&["mail", "cancel", id, "--reason", "the address is wrong"]).await.unwrap();
    assert_eq!(story(&mail_until(&admin, id, "suppressed").await).last(), Some(&"MailSuppressed"));
    let again = order(id, "resend").await;
    assert!(again.status == 202 && again.text("id") != id, "{again:?}");
    let repeated = mail_until(&admin, again.text("id"), "deferred").await;
    assert_eq!(
        (&repeated["delivery"]["audience"], &repeated["delivery"]["message_id"]),
        (&json!("webhook"), &json!(alert))
    );
}
