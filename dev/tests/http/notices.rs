//! What an owner should hear about: in the trail each is one event, however often it is tried, and nothing else looks like it.

use serde_json::json;
use sqlx::types::Json;

use crate::common::*;
use crate::insider::Insider;

/// What is told of the life below, mails apart.
const EXPECTED: [&str; 28] = [
    "Registered",
    "LoggedIn",
    "LoggedIn from a known device",
    "LoggedIn",
    "LoggedIn",
    "LoginFailed",
    "LoginFailed",
    "LoginFailed",
    "LoggedIn",
    "RefreshTokenReused",
    "SessionRevoked",
    "LoginFailed",
    "LoginFailed",
    "LoginFailed",
    "LoginFailed",
    "LoginFailed",
    "LoginBlocked",
    "PasswordResetRequested",
    "PasswordReset",
    "EmailVerified",
    "LoggedIn",
    "PasswordChanged",
    "LoginFailed",
    "EmailChangeRequested",
    "EmailChanged",
    "RoleGranted",
    "RoleRevoked",
    "AccountFrozenByOwner",
];

/// Which of it is mailed, in order: the event, and the mail. Of a block the worker finds out whom to tell, and there is none here.
const MAILED: [(&str, &str); 13] = [
    ("EmailVerificationRequested", "verify"),
    ("LoggedIn", "login_new_place"),
    ("LoggedIn", "login_after_failures"),
    ("RefreshTokenReused", "token_reused"),
    ("PasswordResetRequested", "reset"),
    ("PasswordReset", "password_reset_done"),
    ("PasswordChanged", "password_changed"),
    ("EmailChangeRequested", "email_change_confirm"),
    ("EmailChanged", "email_change_notice"),
    ("EmailChanged", "email_changed"),
    ("RoleGranted", "role_granted"),
    ("RoleRevoked", "role_revoked"),
    ("AccountFrozenByOwner", "reset_frozen"),
];

/// The mails that were ordered for an account, with the events that they tell of.
async fn mailed(insider: &Insider, email: &str) -> Vec<(String, String)> {
    let ordered = "select e.type, d.template from deliveries d join events e using (event_id)
                   where d.account_id = $1 order by d.created_at, d.template";
    let account = insider.account(email).await;
    sqlx::query_as(ordered).bind(account).fetch_all(&insider.owner).await.unwrap()
}

/// What has happened to an account, the oldest first.
async fn told(insider: &Insider, email: &str) -> Vec<String> {
    let events: Vec<(String, Json<serde_json::Value>)> = sqlx::query_as(
        "select type, payload from events where subject_id = $1 and type not like 'Mail%' and type <> 'EmailVerificationRequested'
         order by seq",
    )
    .bind(insider.account(email).await)
    .fetch_all(&insider.owner)
    .await
    .unwrap();
    let from = |payload: &serde_json::Value| if payload["device_known"] == true { " from a known device" } else { "" };
    events.into_iter().map(|(name, payload)| name + from(&payload)).collect()
}

/// C096. Breaks when `core/src/service/login.rs`: `device_known: guess.known_device.is_some(),` → `device_known: true,`.
#[tokio::test]
async fn what_an_owner_should_hear_about_is_one_event_each_and_in_its_order() {
    let stand = stand(&[("REFRESH_GRACE_SECONDS", "0"), ("MAX_LOGIN_ATTEMPTS", "5")]).await;
    let insider = Insider::of(&stand).await;
    let mut email = registered(&stand).await;
    let visitor = client(&stand);
    let post = async |path: &str, body: serde_json::Value| {
        let answer = visitor.post(path, body).await.unwrap();
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer
    };

    // A new device, and the same one again.
    let remembered = json!({ "email": email, "password": PASSWORD, "remember_device": true });
    let device = post("/api/auth/login/", remembered).await.text("device_token").to_owned();
    post("/api/auth/login/", json!({ "email": email, "password": PASSWORD, "device_token": device })).await;
    // A place where nobody was before, twice.
    let abroad = stand.client().from_address("198.51.100.7");
    for _ in 0..2 {
        assert_eq!(abroad.post("/api/auth/login/", credentials(&email, PASSWORD)).await.unwrap().status, 200);
    }
    // A success after three failures.
    for _ in 0..3 {
        assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, 401);
    }
    let (owner, tokens) = logged_in(&stand, &email).await;
    // A spent token comes back, and again: its session is over the first time.
    assert_eq!(refresh(&visitor, tokens.text("refresh")).await.status, 200);
    for _ in 0..2 {
        assert_eq!(refresh(&visitor, tokens.text("refresh")).await.status, 401);
    }
    assert_eq!(owner.get("/api/auth/profile/").await.unwrap().status, 401);
    // A block, at which others knock too.
    for expected in [401, 401, 401, 401, 401, 429, 429] {
        assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, expected);
    }
    // A reset; its link opens once.
    post("/api/auth/password/reset/", json!({ "email": email })).await;
    let reset = insider.mailed(&email, "reset").await;
    let chosen = json!({ "token": reset, "new_password": PASSWORD, "new_password_confirm": PASSWORD });
    post("/api/auth/password/reset/confirm/", chosen.clone()).await;
    assert_eq!(visitor.post("/api/auth/password/reset/confirm/", chosen).await.unwrap().status, 422);
    // Another password, then a wrong one in the hands of somebody at the same desk; another address.
    let (owner, _) = logged_in(&stand, &email).await;
    let change =
        json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    assert_eq!(owner.post("/api/auth/password/change/", change.clone()).await.unwrap().status, 204);
    assert_eq!(owner.post("/api/auth/password/change/", change).await.unwrap().status, 422);
    let next = someone();
    let change = json!({ "password": OTHER_PASSWORD, "new_email": next });
    assert_eq!(owner.post("/api/auth/email/change/", change).await.unwrap().status, 202);
    let confirm = insider.mailed(&email, "change").await;
    post("/api/auth/email/change/confirm/", json!({ "token": confirm })).await;
    email = next;
    // A role, given twice and taken back.
    for what in ["grant", "grant", "revoke"] {
        stand.doorbook(&["account", "role", what, &email, "auditor", "--reason", "a test"]).await.unwrap();
    }
    // That was not the owner.
    let link = insider.mailed(&email, "not_me").await;
    post("/api/auth/not-me/", json!({ "token": link })).await;

    assert_eq!(told(&insider, &email).await, EXPECTED);
    let expected: Vec<_> = MAILED.map(|(event, mail)| (event.to_owned(), mail.to_owned())).into();
    assert_eq!(mailed(&insider, &email).await, expected);
}

/// Link scanners read what they find in mails: nothing but a POST closes the account.
/// C041. Breaks when `api/src/routes/email.rs`: `path = "/api/auth/not-me/", method = "post"` → `path = "/api/auth/not-me/", method = "get"`.
#[tokio::test]
async fn the_link_of_a_notice_closes_the_account_by_a_post_once() {
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let email = registered(&stand).await;
    let (owner, tokens) = logged_in(&stand, &email).await;
    let change =
        json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    assert_eq!(owner.post("/api/auth/password/change/", change).await.unwrap().status, 204);
    let token = insider.mailed(&email, "not_me").await;
    let visitor = client(&stand);
    let read = visitor.get(&format!("/api/auth/not-me/?token={token}")).await.unwrap();
    assert_eq!((read.status, insider.events(&email, "AccountFrozenByOwner").await), (405, 0));
    assert_eq!(owner.get("/api/auth/profile/").await.unwrap().status, 200);
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(visitor.post("/api/auth/not-me/", json!({ "token": token })).await.unwrap());
    }
    assert_eq!((answers[0].status, answers[1].status), (204, 422));
    let other = visitor.post("/api/auth/email/verify/", json!({ "token": "dbv_nonsense" })).await.unwrap();
    assert_eq!(answers[1].text("detail"), other.text("detail"), "a used link is told as any other is");
    assert_eq!(owner.get("/api/auth/profile/").await.unwrap().status, 401);
    assert_eq!(refresh(&visitor, tokens.text("refresh")).await.status, 401);
    let (refused, unknown) = (login(&stand, &email, OTHER_PASSWORD).await, login(&stand, &someone(), PASSWORD).await);
    assert_eq!((refused.status, refused.text("detail")), (unknown.status, unknown.text("detail")));
    let reset = insider.mailed(&email, "reset").await;
    let chosen = json!({ "token": reset, "new_password": PASSWORD, "new_password_confirm": PASSWORD });
    assert_eq!(visitor.post("/api/auth/password/reset/confirm/", chosen).await.unwrap().status, 204);
    assert_eq!(login(&stand, &email, PASSWORD).await.status, 200);
}
