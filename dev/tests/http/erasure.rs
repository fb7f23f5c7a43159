//! Leaving and erasing over HTTP.

use doorbook_dev::{Answer, Client};
use reqwest::Method;
use serde_json::json;

use crate::common::*;
use crate::insider::Insider;

async fn leave(client: &Client, password: &str) -> Answer {
    client.send(Method::DELETE, "/api/auth/profile/", Some(json!({ "password": password })), &[]).await.unwrap()
}

/// Breaks when `api/src/routes/profile.rs`: `asked.doorbook.request_deletion(signed.0, &password, header.as_ref(), &context).await` → `Ok::<_, doorbook_core::service::Refusal>(doorbook_core::clock::Timestamp::from_seconds(0))`.
#[tokio::test]
async fn an_owner_leaves_with_the_password_and_stays_with_the_mailed_token() {
    let stand = stand(&[("ACCOUNT_DELETION_GRACE_DAYS", "3")]).await;
    let insider = Insider::of(&stand).await;
    let email = registered(&stand).await;
    let (client, tokens) = logged_in(&stand, &email).await;
    let wrong = leave(&client, OTHER_PASSWORD).await;
    assert_eq!((wrong.status, faults(&wrong)), (422, vec![("password".into(), "password_incorrect".into())]));
    assert_eq!(client.get("/api/auth/profile/").await.unwrap().status, 200);
    let accepted = leave(&client, PASSWORD).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let in_three_days = "select count(*) from accounts where status = 'leaving'
                         and erase_at between now() + interval '71 hours' and now() + interval '73 hours'";
    assert_eq!(sqlx::query_scalar::<_, i64>(in_three_days).fetch_one(&insider.owner).await.unwrap(), 1);
    assert_eq!(client.get("/api/auth/profile/").await.unwrap().status, 401);
    assert_eq!(refresh(&client, tokens.text("refresh")).await.status, 401);
    let (refused, unknown) = (login(&stand, &email, PASSWORD).await, login(&stand, &someone(), PASSWORD).await);
    assert_eq!((refused.status, refused.text("detail")), (unknown.status, unknown.text("detail")));
    let token = insider.mailed(&email, "cancel").await;
    let cancel = async |token: &str| {
        let body = json!({ "token": token });
        client.at(&stand.base).post("/api/auth/profile/deletion/cancel/", body).await.unwrap().status
    };
    assert_eq!(cancel(&token.replace("dbc_", "dbv_")).await, 422);
    assert_eq!((cancel(&token).await, cancel(&token).await), (204, 422));
    assert_eq!(login(&stand, &email, PASSWORD).await.status, 200);
}

/// C067. Breaks when `core/src/service/admin/order.rs`: `Self::Disable | Self::ForceReset | Self::GrantRole(_) | Self::RevokeRole(_) | Self::Erase => true,` → `Self::Disable | Self::ForceReset | Self::GrantRole(_) | Self::RevokeRole(_) => true, Self::Erase => false,`.
#[tokio::test]
async fn an_admin_erases_with_a_fresh_password_and_a_reason_and_gets_the_same_receipt_each_time() {
    let stand = stand(&[("KEY_BACKUP_DAYS", "10")]).await;
    let insider = Insider::of(&stand).await;
    let admin = empowered(&stand, "admin").await;
    let (admin_client, _) = logged_in(&stand, &admin).await;
    let email = registered(&stand).await;
    let (client, _) = logged_in(&stand, &email).await;
    let id = insider.account(&email).await;
    let erase = async |id: uuid::Uuid| {
        let path = format!("/api/admin/accounts/{id}/erase/");
        admin_client.post(&path, json!({ "reason": "case 17" })).await.unwrap()
    };
    insider.age_sessions(601.0).await;
    assert_eq!(erase(id).await.text("type"), "/problems/step-up-required");
    assert_eq!(admin_client.post("/api/admin/step-up/", json!({ "password": PASSWORD })).await.unwrap().status, 204);
    let nobody = erase(uuid::Uuid::nil()).await;
    let own = erase(insider.account(&admin).await).await;
    assert_eq!((nobody.status, own.status), (404, 409), "{own:?}");
    let first = erase(id).await;
    assert_eq!(first.status, 200, "{first:?}");
    let receipt = first.text("receipt");
    assert!(
        receipt.starts_with("doorbook erasure/v1\nlog doorbook/") && receipt.contains(&format!("\naccount {id}\n"))
    );
    assert!(receipt.contains(&format!("\nkey-backups-until {}\n", first.text("key_backups_until"))), "{receipt}");
    assert_eq!(erase(id).await.body, first.body);
    assert_eq!(client.get("/api/auth/profile/").await.unwrap().status, 401);
    let path = format!("/api/admin/accounts/{id}/");
    let account = admin_client.get(&path).await.unwrap().body["account"].clone();
    assert_eq!((&account["status"], &account["email"]), (&json!("erased"), &json!(null)));
    let listed = admin_client.get("/api/admin/accounts/?status=erased").await.unwrap();
    assert_eq!(listed.body["accounts"].as_array().unwrap().len(), 1);
    let enable = admin_client.post(&format!("{path}enable/"), json!({ "reason": "a test" })).await.unwrap();
    assert_eq!(enable.status, 404, "nothing brings it back");
    registered_as(&stand, &email, PASSWORD).await;
    assert_eq!(login(&stand, &email, PASSWORD).await.status, 200);
    assert_ne!(insider.account(&email).await, id);
}
