//! The account as its owner reads and edits it, and writes that are repeated with the same key.

use doorbook_dev::{Answer, Client, Stand};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::*;
use crate::insider::Insider;

const PROFILE: &str = "/api/auth/profile/";

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[])).await
}

async fn with_key(client: &Client, method: Method, path: &str, body: Value, key: &str) -> Answer {
    client.send(method, path, Some(body), &[("Idempotency-Key", key)]).await.unwrap()
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_leaves_the_rest() {
    let stand = shared().await;
    let (client, _) = welcomed(stand).await;
    let before = client.get(PROFILE).await.unwrap().body;
    assert_eq!((&before["first_name"], &before["locale"], &before["roles"]), (&json!(""), &json!("en"), &json!([])));
    let patched = client.patch(PROFILE, json!({ "first_name": " Ana  María ", "locale": "es" })).await.unwrap();
    assert_eq!(patched.status, 200, "{patched:?}");
    let mut expected = before.clone();
    expected["first_name"] = json!("Ana  María");
    expected["locale"] = json!("es");
    assert_eq!(patched.body, expected);
    let patched = client.patch(PROFILE, json!({ "last_name": "Lima" })).await.unwrap();
    expected["last_name"] = json!("Lima");
    assert_eq!(patched.body, expected);
    assert_eq!(client.patch(PROFILE, json!({})).await.unwrap().body, expected, "nothing named, nothing changed");
    assert_eq!(client.get(PROFILE).await.unwrap().body, expected);
    let email = before["email"].as_str().unwrap();
    assert_eq!(Insider::of(stand).await.events(email, "ProfileUpdated").await, 2);
}

#[tokio::test]
async fn nothing_but_names_and_locale_can_be_patched() {
    let stand = shared().await;
    let (client, _) = welcomed(stand).await;
    let before = client.get(PROFILE).await.unwrap().body;
    for field in
        ["id", "email", "email_verified", "roles", "role", "status", "is_admin", "created_at", "password", "secret"]
    {
        let refused = client.patch(PROFILE, json!({ field: "x", "first_name": "Eve" })).await.unwrap();
        assert_eq!(refused.status, 422, "{field}");
        assert_eq!(faults(&refused), [(field.to_owned(), "unknown_field".to_owned())]);
    }
    for (field, value, code) in [
        ("first_name", json!("x".repeat(151)), "invalid"),
        ("first_name", json!("a\nb"), "invalid"),
        ("last_name", json!("a\u{202e}b"), "invalid"),
        ("last_name", json!(7), "invalid_type"),
        ("first_name", json!(null), "invalid_type"),
        ("locale", json!("xx"), "unknown_locale"),
        ("locale", json!(""), "unknown_locale"),
    ] {
        let refused = client.patch(PROFILE, json!({ field: value })).await.unwrap();
        assert_eq!((refused.status, faults(&refused)), (422, vec![(field.to_owned(), code.to_owned())]), "{field}");
    }
    let accepted = client.patch(PROFILE, json!({ "last_name": "é".repeat(150) })).await.unwrap();
    assert_eq!(accepted.status, 200, "150 characters are counted as such");
    let mut expected = before;
    expected["last_name"] = json!("é".repeat(150));
    assert_eq!(client.get(PROFILE).await.unwrap().body, expected);
}

#[tokio::test]
async fn what_is_repeated_with_the_same_key_has_happened_once() {
    let stand = shared().await;
    let insider = Insider::of(stand).await;
    let (email, newcomer) = (someone(), client(stand));
    let body = registration(&email, PASSWORD);
    for _ in 0..3 {
        let answer = with_key(&newcomer, Method::POST, "/api/auth/register/", body.clone(), "one").await;
        assert_eq!((answer.status, answer.text("email")), (201, email.as_str()));
    }
    assert_eq!(insider.mails(&email, "verify").await, 1);
    assert_eq!(insider.mails(&email, "registration_unverified").await, 0, "the repetition is no second attempt");

    let (client, _) = logged_in(stand, &email).await;
    let rename = |name: &str| json!({ "first_name": name });
    let patches = (0..8).map(|_| {
        let (client, body) = (client.clone(), rename("Ana"));
        async move { with_key(&client, Method::PATCH, PROFILE, body, "two").await }
    });
    assert_eq!(statuses(patches).await, [200; 8], "at once, too");
    assert_eq!(insider.events(&email, "ProfileUpdated").await, 1);
    let other = with_key(&client, Method::PATCH, PROFILE, rename("Eva"), "two").await;
    assert_eq!(faults(&other), [("Idempotency-Key".to_owned(), "idempotency_key_reused".to_owned())]);
    assert_eq!(client.get(PROFILE).await.unwrap().text("first_name"), "Ana");
    let again = with_key(&client, Method::PATCH, PROFILE, rename("Eva"), "three").await;
    assert_eq!((again.status, again.text("first_name")), (200, "Eva"));

    let (stranger, _) = welcomed(stand).await;
    let separate = with_key(&stranger, Method::PATCH, PROFILE, rename("Zoe"), "two").await;
    assert_eq!((separate.status, separate.text("first_name")), (200, "Zoe"), "another caller's key is another key");
    for key in ["", &"k".repeat(256), "a b", "é"] {
        let refused = with_key(&client, Method::PATCH, PROFILE, rename("Ida"), key).await;
        let fields: Vec<_> = faults(&refused).into_iter().map(|(field, _)| field).collect();
        assert_eq!((refused.status, fields), (422, vec!["Idempotency-Key".to_owned()]), "{key:?}: {refused:?}");
    }
    let (one, other) = (("Idempotency-Key", "seven"), ("Idempotency-Key", "eight"));
    let twice = client.send(Method::PATCH, PROFILE, Some(rename("Ida")), &[one, other]).await.unwrap();
    assert_eq!((twice.status, faults(&twice)[0].0.as_str()), (422, "Idempotency-Key"), "{twice:?}");
    assert_eq!(client.get(PROFILE).await.unwrap().text("first_name"), "Eva", "nothing of these has happened");
    let longest = with_key(&client, Method::PATCH, PROFILE, rename("Ida"), &"k".repeat(255)).await;
    assert_eq!((longest.status, longest.text("first_name")), (200, "Ida"));
}

/// Breaks when `api/src/auth.rs`: `if let (Refusal::Unauthenticated, Some((route, key))) = (&refused, repeated_write(request))` → `if let (Refusal::NotFound, Some((route, key))) = (&refused, repeated_write(request))`.
#[tokio::test]
async fn who_ended_the_session_and_never_got_the_answer_learns_that_it_is_over() {
    let (client, path) = (welcomed(shared().await).await.0, "/api/auth/logout/all/");
    assert_eq!(with_key(&client, Method::POST, path, json!({}), "nine").await.status, 204);
    for _ in 0..2 {
        let repeated = with_key(&client, Method::POST, path, json!({}), "nine").await;
        assert_eq!(repeated.status, 409, "{repeated:?}");
    }
    for (path, key) in [(path, "ten"), ("/api/auth/password/change/", "nine")] {
        assert_eq!(with_key(&client, Method::POST, path, json!({}), key).await.status, 401, "{path} {key}");
    }
    let (other, _) = welcomed(shared().await).await;
    assert_eq!(with_key(&other, Method::POST, path, json!({}), "nine").await.status, 204, "keys are each caller's own");
}

#[tokio::test]
async fn a_changed_password_is_in_force_at_once_and_ends_the_other_sessions() {
    let stand = shared().await;
    let email = registered(stand).await;
    let ((client, kept), (_, other)) = (logged_in(stand, &email).await, logged_in(stand, &email).await);
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new, "new_password_confirm": new });
    let path = "/api/auth/password/change/";
    let wrong = client.post(path, change(OTHER_PASSWORD, "copper meadow 11")).await.unwrap();
    assert_eq!(faults(&wrong), [("current_password".to_owned(), "password_incorrect".to_owned())]);
    let weak = client.post(path, change(PASSWORD, "letmein1")).await.unwrap();
    assert_eq!(faults(&weak), [("new_password".to_owned(), "password_too_common".to_owned())]);
    assert_eq!(client.post(path, change(PASSWORD, OTHER_PASSWORD)).await.unwrap().status, 204);
    assert_eq!(login(stand, &email, PASSWORD).await.status, 401, "the old one is dead");
    assert_eq!(login(stand, &email, OTHER_PASSWORD).await.status, 200);
    assert_eq!(refresh(&client, other.text("refresh")).await.status, 401, "the other session is over");
    assert_eq!(refresh(&client, kept.text("refresh")).await.status, 200, "this one stays");
}
