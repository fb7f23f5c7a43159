//! Fields that nobody may set by naming them.

use serde_json::{Value, json};

use crate::common::*;
use crate::insider::Insider;

/// What attackers add to bodies, each with a value that would do harm.
pub fn surplus() -> Vec<(&'static str, Value)> {
    let id = "00000000-0000-7000-8000-000000000001";
    vec![
        ("is_admin", json!(true)),
        ("is_staff", json!(true)),
        ("is_superuser", json!(true)),
        ("is_active", json!(true)),
        ("role", json!("admin")),
        ("roles", json!(["admin"])),
        ("permissions", json!(["*"])),
        ("groups", json!([1])),
        ("email_verified", json!(true)),
        ("email_verified_at", json!("2020-01-01T00:00:00Z")),
        ("status", json!("active")),
        ("id", json!(id)),
        ("account_id", json!(id)),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("last_login_at", Value::Null),
        ("password_hash", json!("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAA")),
        ("session_epoch", json!(0)),
        ("locked_at", Value::Null),
        ("__proto__", json!({ "is_admin": true })),
        ("constructor", json!({ "prototype": { "is_admin": true } })),
    ]
}

/// C057. Breaks when `api/src/routes/profile.rs`: `#[serde(deny_unknown_fields)]\npub struct ProfileBody {` → `pub struct ProfileBody {`.
#[tokio::test]
async fn a_field_that_is_not_the_clients_to_set_is_refused_and_changes_nothing() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let email = registered(&stand).await;
    let (signed, _) = logged_in(&stand, &email).await;
    let before = signed.get("/api/auth/profile/").await.unwrap().body;
    let happened = insider.happened(&email).await;
    let mut bodies = 0;
    for (name, value) in surplus() {
        let fresh = someone();
        let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
        for (method, path, mut body) in [
            (reqwest::Method::POST, "/api/auth/register/", registration(&fresh, PASSWORD)),
            (reqwest::Method::PATCH, "/api/auth/profile/", json!({ "first_name": "Ana" })),
            (reqwest::Method::POST, "/api/auth/password/change/", change),
            (reqwest::Method::POST, "/api/auth/password/reset/", json!({ "email": email })),
            (reqwest::Method::POST, "/api/auth/email/change/", json!({ "password": PASSWORD, "new_email": fresh })),
        ] {
            body[name] = value.clone();
            let from = signed.from_address(&somewhere());
            let answer = from.send(method, path, Some(body), &[]).await.unwrap();
            let expected = vec![(name.to_owned(), "unknown_field".to_owned())];
            assert_eq!((answer.status, faults(&answer)), (422, expected), "{path} {name}");
            bodies += 1;
        }
        assert_eq!(login(&stand, &fresh, PASSWORD).await.status, 401, "no account was made");
    }
    assert!(bodies >= 80, "{bodies}");
    assert_eq!(signed.get("/api/auth/profile/").await.unwrap().body, before);
    assert_eq!(insider.happened(&email).await, happened, "no event about the account");
}
