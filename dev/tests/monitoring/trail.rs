//! The trail: each kind of event says when, who, whom, from where and in which request.

use std::collections::BTreeMap;

use doorbook_dev::{Answer, Role};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::*;

const OTHER_PASSWORD: &str = "amber lighthouse 42";

/// Kind, who acted, and whether the event names the account, the session and the client it came from.
const KINDS: [(&str, &str, &str); 27] = [
    ("Registered", "stranger", "account origin"),
    ("RegistrationAttemptedForTakenEmail", "stranger", "account origin"),
    ("EmailVerificationRequested", "stranger", "account origin"),
    ("EmailVerified", "account", "account origin"),
    ("LoggedIn", "account", "account session origin"),
    ("LoginFailed", "stranger", "account origin"),
    ("LoginBlocked", "stranger", "account origin"),
    ("LimitExceeded", "stranger", "origin"),
    ("PasswordChanged", "account", "account session origin"),
    ("PasswordResetRequested", "stranger", "account origin"),
    ("PasswordResetRequestedForUnknown", "stranger", "origin"),
    ("PasswordReset", "account", "account origin"),
    ("ProfileUpdated", "account", "account session origin"),
    ("EmailChangeRequested", "account", "account session origin"),
    ("EmailChanged", "account", "account origin"),
    ("RoleGranted", "operator", "account"),
    ("RoleRevoked", "operator", "account"),
    ("AccountDisabled", "operator", "account"),
    ("AccountEnabled", "operator", "account"),
    ("AllSessionsRevoked", "operator", "account"),
    ("LoggedOut", "account", "account session origin"),
    ("SessionRevoked", "account", "account session origin"),
    ("RefreshTokenReused", "stranger", "account session origin"),
    ("AuthorizationDenied", "account", "account session origin"),
    ("SettingsLoaded", "system", ""),
    ("MailQueued", "stranger", "account"),
    ("MailSent", "system", "account"),
];

/// Type, kind and id of the actor, subject, session, trace, whether personal data is sealed, whether the time is right.
type Row = (String, String, Option<Uuid>, Option<Uuid>, Option<Uuid>, Option<Uuid>, bool, bool);

async fn post(house: &House, access: &str, path: &str, body: Value) -> Answer {
    house.client().with_token(access).post(path, body).await.unwrap()
}

/// Does everything once.
async fn live(house: &House) {
    let email = house.registered().await;
    let verify = house.mailed(&email, "dbv_").await;
    let post = async |access: &str, path: &str, body: Value| {
        let answer = post(house, access, path, body).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer
    };
    post("", "/api/auth/email/verify/", json!({ "token": verify })).await;
    post("", "/api/auth/register/", json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD }))
        .await;
    let first = house.login(&email, PASSWORD).await;
    let second = house.login(&email, PASSWORD).await;
    let access = first.text("access");
    let profile = house.client().with_token(access).patch("/api/auth/profile/", json!({ "first_name": "Ana" })).await;
    assert_eq!(profile.unwrap().status, 200);
    let path = format!("/api/auth/sessions/{}/", second.text("session_id"));
    assert!(house.client().with_token(access).delete(&path).await.unwrap().status < 300);
    let theirs = house.login(&house.registered().await, PASSWORD).await;
    let path = format!("/api/auth/sessions/{}/", theirs.text("session_id"));
    for _ in 0..3 {
        assert_eq!(house.client().with_token(access).delete(&path).await.unwrap().status, 404);
    }
    let change =
        json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    post(access, "/api/auth/password/change/", change).await;
    let next = format!("new-{email}");
    post(access, "/api/auth/email/change/", json!({ "password": OTHER_PASSWORD, "new_email": next })).await;
    let confirm = house.mailed(&next, "dbe_").await;
    post("", "/api/auth/email/change/confirm/", json!({ "token": confirm })).await;
    let email = next;
    for known in [email.as_str(), "nobody@example.com"] {
        post("", "/api/auth/password/reset/", json!({ "email": known })).await;
    }
    let reset = house.mailed(&email, "dbp_").await;
    let body = json!({ "token": reset, "new_password": PASSWORD, "new_password_confirm": PASSWORD });
    post("", "/api/auth/password/reset/confirm/", body).await;
    let reused = house.login(&email, PASSWORD).await;
    let spent = json!({ "refresh": reused.text("refresh") });
    post("", "/api/auth/token/refresh/", spent.clone()).await;
    assert_eq!(house.client().post("/api/auth/token/refresh/", spent).await.unwrap().status, 401);
    let last = house.login(&email, PASSWORD).await;
    post(last.text("access"), "/api/auth/logout/", json!({ "refresh": last.text("refresh") })).await;
    for arguments in [
        ["role", "grant", &email, "auditor", "--reason", "a test"].as_slice(),
        &["role", "revoke", &email, "auditor", "--reason", "a test"],
        &["revoke-sessions", &email, "--reason", "a test"],
        &["disable", &email, "--reason", "a test"],
        &["enable", &email, "--reason", "a test"],
    ] {
        house.stand.doorbook(&[&["account"], arguments].concat()).await.unwrap();
    }
    for _ in 0..2 {
        house.login(&email, "a wrong password").await;
    }
    let crowd = house.client();
    for _ in 0..4 {
        let email = someone();
        let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
        crowd.post("/api/auth/register/", body).await.unwrap();
    }
}

/// C090. Breaks when `core/src/service/append.rs`: `actor: self.context.actor,` → `actor: crate::event::Actor::System,`.
#[tokio::test]
async fn each_kind_of_event_says_when_who_whom_from_where_and_in_which_request() {
    let house = house(&[("MAX_LOGIN_ATTEMPTS", "2"), ("REFRESH_GRACE_SECONDS", "0")]).await;
    live(&house).await;
    let owner = house.stand.database.pool(Role::Migrator).await.unwrap();
    let sent = "select count(*) from events where type = 'MailSent'";
    until("a mail is in the trail", async || sqlx::query_scalar::<_, i64>(sent).fetch_one(&owner).await.unwrap() > 0)
        .await;
    let rows: Vec<Row> = sqlx::query_as(
        "select type, actor_kind, actor_id, subject_id, session_id, trace_id, pii is not null,
                recorded_at between now() - interval '10 minutes' and now() from events order by event_id",
    )
    .fetch_all(&owner)
    .await
    .unwrap();
    let denied = rows.iter().filter(|row| row.0 == "AuthorizationDenied").count();
    assert_eq!(denied, 1, "whoever is refused again and again makes the log grow by one event an hour");
    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    for row in rows {
        found.entry(row.0.clone()).or_insert(row);
    }
    let mut wrong = Vec::new();
    for (kind, actor, says) in KINDS {
        let Some((_, kind_of_actor, actor_id, subject, session, trace, origin, recent)) = found.get(kind) else {
            wrong.push(format!("{kind} is missing"));
            continue;
        };
        let of_request = actor != "operator";
        let holds = kind_of_actor == actor
            && *recent
            && (actor != "account" || actor_id == subject)
            && (!says.contains("account") || subject.is_some())
            && (!says.contains("session") || session.is_some())
            && (!says.contains("origin") || *origin)
            && (!of_request || trace.is_some_and(|trace| !trace.is_nil()));
        if !holds {
            wrong.push(format!("{kind}: {:?}", found[kind]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// C090. Breaks when `core/src/service/notes.rs`: `            if query::loaded_settings(&self.db, process).await?.as_ref() == Some(hash) {` → `            if query::loaded_settings(&self.db, process).await?.as_ref() != Some(hash) {`.
#[tokio::test]
async fn the_log_is_told_of_settings_when_they_differ_from_the_last_ones_and_of_no_secret() {
    let house = house(&[]).await;
    let owner = house.stand.database.pool(Role::Migrator).await.unwrap();
    let loaded = async || {
        let hashes = "select payload->>'process' || ' ' || (payload->>'hash') from events
                      where type = 'SettingsLoaded' order by event_id";
        sqlx::query_scalar::<_, String>(hashes).fetch_all(&owner).await.unwrap()
    };
    let starts = async |settings: &[(&str, &str)]| {
        let (mut api, _) = house.stand.another_api_with(settings).await.unwrap();
        api.terminate().unwrap();
        loaded().await
    };
    let first = loaded().await;
    assert_eq!(first.len(), 2, "one of the api, one of the worker: {first:?}");
    assert_eq!(starts(&[]).await, first, "the same settings at another address");
    let secret = ("JWT_SECRET_KEY_FALLBACKS", "Lw4mR9tK2vX7bN5cJ8hG3fD6sA1qP0zYeU");
    let longer = ("PASSWORD_MIN_LENGTH", "12");
    assert_eq!(starts(&[longer]).await.len(), 3);
    assert_eq!(starts(&[longer]).await.len(), 3);
    let [with, other] = [secret.1, "Zw4mR9tK2vX7bN5cJ8hG3fD6sA1qP0zYeU"].map(|key| [longer, (secret.0, key)]);
    assert_eq!(starts(&with).await.len(), 4, "that there is a secret is told");
    assert_eq!(starts(&other).await.len(), 4, "not which one");
    let last = starts(&[]).await;
    assert_eq!((last.len(), &last[4]), (5, first.iter().find(|line| line.starts_with("api ")).unwrap()));
}
