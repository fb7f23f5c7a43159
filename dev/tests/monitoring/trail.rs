//! The trail: each kind of event says when, who, whom, from where and in which request.

use std::collections::{BTreeMap, BTreeSet};

use doorbook_core::limit::CONSECUTIVE_FAILURES_MAX;
use doorbook_dev::sink::{Fault, Stage};
use doorbook_dev::{Answer, Role};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::common::*;

const OTHER_PASSWORD: &str = "amber lighthouse 42";

/// Kind, who acted, and whether the event names the account, the session and the client it came from.
const KINDS: [(&str, &str, &str); 55] = [
    ("Registered", "stranger", "account origin"),
    ("RegistrationAttemptedForTakenEmail", "stranger", "account origin"),
    ("EmailVerificationRequested", "stranger", "account origin"),
    ("EmailVerified", "account", "account origin"),
    ("LoggedIn", "account", "account session origin"),
    ("LoginFailed", "stranger", "account origin"),
    ("LoginBlocked", "stranger", "account origin"),
    ("LimitExceeded", "stranger", "origin"),
    ("LoginAttemptsSuppressed", "system", "origin"),
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
    ("AccountViewed", "account", "account session origin"),
    ("AuditSearched", "account", "session origin"),
    ("AuditExported", "account", "session origin"),
    ("AuditStreamOpened", "account", "session origin"),
    ("PersonalDataRevealed", "account", "account session origin"),
    ("PasswordResetForced", "account", "account session origin"),
    ("MailQueued", "stranger", "account"),
    ("MailSent", "system", "account"),
    ("MailDeferred", "system", "account"),
    ("MailFailed", "system", "account"),
    ("MailSuppressed", "system", ""),
    ("PasswordRehashed", "account", "account origin"),
    ("AccountLocked", "stranger", "account origin"),
    ("AccountUnlocked", "account", "account origin"),
    ("EmailChangeUndone", "account", "account origin"),
    ("EmailVerificationExpired", "system", "account"),
    ("PasswordResetExpired", "system", "account"),
    ("EmailChangeExpired", "system", "account"),
    ("SessionExpired", "system", "account session"),
    ("AccountImported", "operator", "account"),
    ("KeyRotated", "operator", ""),
    ("ProjectionRebuilt", "operator", ""),
    ("AccountFrozenByOwner", "account", "account origin"),
    ("DeletionRequested", "account", "account session origin"),
    ("DeletionCancelled", "account", "account origin"),
    ("AccountErased", "operator", "account"),
    ("DataKeyShredded", "operator", "account"),
    ("SecurityAlertRaised", "system", ""),
    ("SecurityAlertAcknowledged", "account", "session origin"),
];

/// One example of every kind that this release can write.
const GOLDEN: &str = include_str!("../../../core/tests/golden/events.json");

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

/// What goes wrong with an account and its mails, and is put right.
async fn suffer(house: &House) {
    let email = house.registered().await;
    // Another process has other limits and parameters of hashing.
    let other = [("MAX_LOGIN_ATTEMPTS", "1000"), ("ARGON2_TIME_COST", "2")];
    let (_other, base) = house.stand.another_api_with(&other).await.unwrap();
    let client = house.client().at(&base);
    let mut statuses = Vec::new();
    for number in 0..=CONSECUTIVE_FAILURES_MAX {
        let password = if number == 0 { PASSWORD } else { "a wrong password" };
        let body = json!({ "email": email, "password": password });
        statuses.push(client.post("/api/auth/login/", body).await.unwrap().status);
    }
    assert!(statuses[0] == 200 && statuses[1..].iter().all(|status| *status == 401), "{statuses:?}");
    post(house, "", "/api/auth/password/reset/", json!({ "email": email })).await;
    let reset = house.mailed(&email, "dbp_").await;
    let body = json!({ "token": reset, "new_password": PASSWORD, "new_password_confirm": PASSWORD });
    assert_eq!(post(house, "", "/api/auth/password/reset/confirm/", body).await.status, 204);
    let login = house.login(&email, PASSWORD).await;
    let next = format!("new-{email}");
    let change = json!({ "password": PASSWORD, "new_email": next });
    assert_eq!(post(house, login.text("access"), "/api/auth/email/change/", change).await.status, 202);
    for (to, prefix, path) in
        [(&next, "dbe_", "/api/auth/email/change/confirm/"), (&email, "dbu_", "/api/auth/email/change/undo/")]
    {
        let token = house.mailed(to, prefix).await;
        assert!(post(house, "", path, json!({ "token": token })).await.status < 300, "{path}");
    }
    for answer in [451, 550] {
        house.stand.sink.fail(Stage::Recipient, Fault::Reply(answer));
        house.registered().await;
    }
}

/// What an admin looks at and does.
async fn administer(house: &House, owner: &PgPool) {
    let (chief, email) = (house.registered().await, house.registered().await);
    house.stand.doorbook(&["account", "role", "grant", &chief, "admin", "--reason", "a test"]).await.unwrap();
    let login = house.login(&chief, PASSWORD).await;
    let client = house.client().with_token(login.text("access"));
    let found = client.get(&format!("/api/admin/accounts/?email={email}")).await.unwrap();
    let account = format!("/api/admin/accounts/{}/", found.body["accounts"][0]["id"].as_str().unwrap());
    assert_eq!(client.get(&account).await.unwrap().status, 200);
    let reason = json!({ "reason": "a test" });
    assert_eq!(client.post(&format!("{account}force-reset/"), reason.clone()).await.unwrap().status, 204);
    assert_eq!(client.get("/api/admin/audit/events/").await.unwrap().status, 200);
    assert_eq!(client.get("/api/admin/audit/export/?format=csv").await.unwrap().status, 200);
    // A stream has no end to wait for.
    let stream = client.send(Method::HEAD, "/api/admin/audit/events/stream/", None, &[]).await.unwrap();
    assert_eq!(stream.status, 200);
    let sealed = "select p.event_id from event_seals p join events e on e.event_id = p.event_id where e.subject_id is not null limit 1";
    let event: Uuid = sqlx::query_scalar(sealed).fetch_one(owner).await.unwrap();
    let reveal = format!("/api/admin/audit/events/{event}/reveal/");
    assert_eq!(client.post(&reveal, reason.clone()).await.unwrap().status, 200);
    // Not the one about himself.
    until("the alert is listed", async || {
        let alerts = client.get("/api/admin/alerts/?rule=token_reuse").await.unwrap().body["alerts"].take();
        let Some(alert) = alerts[0]["id"].as_str() else { return false };
        let acknowledge = format!("/api/admin/alerts/{alert}/acknowledge/");
        assert_eq!(client.post(&acknowledge, reason.clone()).await.unwrap().status, 204);
        true
    })
    .await;
}

/// What operators do besides.
async fn operate(house: &mut House, owner: &PgPool) {
    let folder = Folder::new();
    let head = "id,email,password,first_name,last_name,is_active,is_staff,date_joined\n";
    let row = "7,brought@example.com,pbkdf2_sha256$1000$pinch0fsalt$IhdnMlOfIG1rYazzF4rANYVev73rUcQGXYKgZmxen3A=,\
               Ana,Lima,true,false,2020-01-02 03:04:05+00\n";
    std::fs::write(folder.path("users.csv"), format!("{head}{row}")).unwrap();
    for arguments in [["import", "django", "--csv", &folder.path("users.csv")].as_slice(), &["projections", "rebuild"]]
    {
        house.stand.doorbook(arguments).await.unwrap();
    }
    let rotate = ["keys", "rotate", "email-lookup"];
    assert!(house.stand.doorbook(&rotate).await.is_err(), "the first run has to wait until every process has heard");
    let wait = "update keys.service_keys set changed_at = changed_at - interval '2 minutes'";
    sqlx::query(wait).execute(owner).await.unwrap();
    house.stand.doorbook(&rotate).await.unwrap();
    // The wait was none: the processes learn of the key by starting anew.
    for program in [&mut house.stand.api, house.stand.worker.as_mut().unwrap()] {
        program.kill().await.unwrap();
    }
    house.stand.restart_api().await.unwrap();
    house.stand.start_worker().await.unwrap();
}

/// Is told of a new password, and says that it was somebody else.
async fn answer(house: &House) {
    let email = house.registered().await;
    let login = house.login(&email, PASSWORD).await;
    let change =
        json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    assert_eq!(post(house, login.text("access"), "/api/auth/password/change/", change).await.status, 204);
    let token = house.mailed(&email, "dbn_").await;
    assert_eq!(post(house, "", "/api/auth/not-me/", json!({ "token": token })).await.status, 204);
}

/// Asks to be deleted, stays, and is erased by an operator.
async fn leave(house: &House) {
    let email = house.registered().await;
    let login = house.login(&email, PASSWORD).await;
    let client = house.client().with_token(login.text("access"));
    let password = Some(json!({ "password": PASSWORD }));
    let left = client.send(reqwest::Method::DELETE, "/api/auth/profile/", password, &[]).await.unwrap();
    assert_eq!(left.status, 202, "{left:?}");
    let token = house.mailed(&email, "dbc_").await;
    let cancel = post(house, "", "/api/auth/profile/deletion/cancel/", json!({ "token": token })).await;
    assert_eq!(cancel.status, 204, "{cancel:?}");
    house.stand.doorbook(&["account", "erase", &email, "--reason", "a test"]).await.unwrap();
}

/// Fails at an address of nobody in a minute that has no room for it any more, and that is over.
async fn flood(house: &House, owner: &PgPool) {
    let full = "insert into attempt_minutes
                select date_trunc('minute', clock_timestamp()) + n * interval '1 minute', 600 from generate_series(0, 1) n
                on conflict (minute) do update set recorded = 600";
    sqlx::query(full).execute(owner).await.unwrap();
    let body = json!({ "email": someone(), "password": PASSWORD });
    assert_eq!(house.client().post("/api/auth/login/", body).await.unwrap().status, 401);
    let over = "update attempt_tallies set minute = minute - interval '2 minutes'";
    assert_eq!(sqlx::query(over).execute(owner).await.unwrap().rows_affected(), 1);
}

/// Three tokens and a session, whose time is over at once.
async fn expire(house: &House, owner: &PgPool) {
    let email = house.registered().await;
    let login = house.login(&email, PASSWORD).await;
    let change = json!({ "password": PASSWORD, "new_email": format!("late-{email}") });
    assert_eq!(post(house, login.text("access"), "/api/auth/email/change/", change).await.status, 202);
    assert_eq!(post(house, "", "/api/auth/password/reset/", json!({ "email": email })).await.status, 202);
    for statement in [
        "update tokens set expires_at = clock_timestamp() where state = 'open'",
        "update sessions set absolute_end = clock_timestamp() where revoked_at is null",
    ] {
        sqlx::query(statement).execute(owner).await.unwrap();
    }
}

/// C090. Breaks when `core/src/service/append.rs`: `actor: self.context.actor,` → `actor: crate::event::Actor::System,`.
#[tokio::test]
async fn each_kind_of_event_says_when_who_whom_from_where_and_in_which_request() {
    let mut house = house(&[("MAX_LOGIN_ATTEMPTS", "2"), ("REFRESH_GRACE_SECONDS", "0")]).await;
    let owner = house.stand.database.pool(Role::Migrator).await.unwrap();
    operate(&mut house, &owner).await;
    live(&house).await;
    suffer(&house).await;
    administer(&house, &owner).await;
    answer(&house).await;
    leave(&house).await;
    flood(&house, &owner).await;
    expire(&house, &owner).await;
    let last = "select count(distinct type) from events where type like '%Expired' or type like 'Mail%'
                or type in ('SecurityAlertRaised', 'LoginAttemptsSuppressed')";
    until("what the worker writes is in the trail", async || {
        sqlx::query_scalar::<_, i64>(last).fetch_one(&owner).await.unwrap() >= 11
    })
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
    let written: Vec<Value> = serde_json::from_str(GOLDEN).unwrap();
    // A checkpoint is signed after a minute, a month goes after a year: the tests of `audit` are about both.
    let names = written.iter().map(|event| event["name"].as_str().unwrap());
    let written: BTreeSet<_> = names.filter(|name| !["CheckpointSigned", "EventsRetired"].contains(name)).collect();
    assert_eq!(KINDS.iter().map(|(kind, ..)| *kind).collect::<BTreeSet<_>>(), written, "no kind is left out");
    let mut wrong = Vec::new();
    for (kind, actor, says) in KINDS {
        let Some((_, kind_of_actor, actor_id, subject, session, trace, origin, recent)) = found.get(kind) else {
            wrong.push(format!("{kind} is missing"));
            continue;
        };
        // What is done to, or read of, an account that is somebody else's.
        let of_officials = [
            "AccountViewed",
            "AuditSearched",
            "AuditExported",
            "AuditStreamOpened",
            "PersonalDataRevealed",
            "PasswordResetForced",
            "SecurityAlertAcknowledged",
        ];
        // What time has ended, no request has.
        let of_request = actor != "operator" && !kind.ends_with("Expired");
        let holds = kind_of_actor == actor
            && *recent
            && (actor != "account" || actor_id == subject || of_officials.contains(&kind))
            && (!says.contains("account") || subject.is_some())
            && (!says.contains("session") || session.is_some())
            && (!says.contains("origin") || *origin)
            && (!of_request || trace.is_some_and(|trace| !trace.is_nil()));
        if !holds {
            wrong.push(format!("{kind}: {:?}", found[kind]));
        }
    }
    println!("figure: {} of {} kinds", KINDS.len() - wrong.len(), KINDS.len());
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
