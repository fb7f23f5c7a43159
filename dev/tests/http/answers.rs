//! Answers that must not tell who has an account, and limits that tell nothing but when to come back.

use std::collections::BTreeSet;

use doorbook_dev::Stand;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::common::*;
use crate::insider::Insider;
use crate::wire::{Reply, Wire};

const LOGIN: &str = "/api/auth/login/";
const RESET: &str = "/api/auth/password/reset/";
const REGISTER: &str = "/api/auth/register/";

/// A hash that Django made of a password that nobody here types.
const DJANGO_HASH: &str = "pbkdf2_sha256$1000$hDO6CqeT2zpHSAiRs1SWlG$1i/QAnmKeq8BCnbt57uxcQnk+8gLq3UakjiZ3TrXsAg=";

async fn open() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[])).await
}

async fn verified(stand: &Stand, insider: &Insider) -> String {
    let email = registered(stand).await;
    let token = insider.mailed(&email, "verify").await;
    let answer = client(stand).post("/api/auth/email/verify/", json!({ "token": token })).await.unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    email
}

async fn disable(stand: &Stand, email: &str) {
    stand.doorbook(&["account", "disable", email, "--reason", "a test"]).await.unwrap();
}

/// C001. Breaks when `core/src/service/login.rs`: `Err(failure) => return Err(self.settle_failure(&guess, owner_id, failure, context).await),` → `Err(LoginFailure::AccountDisabled) => return Err(Refusal::NotFound), Err(failure) => return Err(self.settle_failure(&guess, owner_id, failure, context).await),`.
#[tokio::test]
async fn a_refused_login_looks_the_same_for_every_reason() {
    let stand = stand(&[("REGISTRATION_MODE", "verified"), ("MAX_LOGIN_ATTEMPTS", "1000")]).await;
    let insider = Insider::of(&stand).await;
    let (wrong, disabled, legacy) =
        (verified(&stand, &insider).await, verified(&stand, &insider).await, verified(&stand, &insider).await);
    let unverified = registered(&stand).await;
    disable(&stand, &disabled).await;
    insider.import_hash(&legacy, DJANGO_HASH).await;
    let welcome = login(&stand, &wrong, PASSWORD).await;
    assert_eq!(welcome.status, 200, "the account behind the wrong password is in order: {welcome:?}");

    let mut shown = BTreeSet::new();
    for _ in 0..dose(3, 50) {
        for (email, password) in [
            (someone(), PASSWORD),
            (wrong.clone(), OTHER_PASSWORD),
            (disabled.clone(), PASSWORD),
            (unverified.clone(), PASSWORD),
            (legacy.clone(), OTHER_PASSWORD),
        ] {
            let reply = wire(&stand).await.post(LOGIN, &credentials(&email, password)).await;
            assert_eq!(reply.problem().0, "invalid-credentials");
            shown.insert(reply.shown());
        }
    }
    assert_eq!(shown.len(), 1, "{shown:#?}");
}

/// C003. Breaks when `core/src/service/password.rs`: `forgotten);\n                return Ok(batch.commit(self).await?);` → `forgotten);\n                return Err(Refusal::Busy);`.
#[tokio::test]
async fn a_reset_request_looks_the_same_for_everyone_whatever_is_down() {
    let stand = open().await;
    let nowhere = [("REDIS_URL", "redis://127.0.0.1:1/0"), ("EMAIL_PORT", "1")];
    let (_alone, alone) = stand.another_api_with(&nowhere).await.unwrap();
    let insider = Insider::of(stand).await;
    for base in [stand.base.as_str(), alone.as_str()] {
        let (known, disabled) = (registered(stand).await, registered(stand).await);
        disable(stand, &disabled).await;
        let mut shown = BTreeSet::new();
        // The fourth of each is over the identifier's limit.
        for _ in 0..4 {
            for email in [known.clone(), disabled.clone(), someone(), "nobody@example.org".to_owned()] {
                let reply = Wire::open(base, &somewhere()).await.post(RESET, &json!({ "email": email })).await;
                assert_eq!(reply.status, 202, "{reply:?}");
                shown.insert(reply.shown());
            }
        }
        assert_eq!(shown.len(), 1, "{shown:#?}");
        assert_eq!(insider.mails(&known, "reset").await, 3);
        assert_eq!(insider.mails(&disabled, "reset").await, 0);
    }
}

/// C005. Breaks when `core/src/service/register.rs`: `Some(owner) => self.attempt_for_taken(registration, &owner, key, context).await,` → `Some(_) => Err(Refusal::EmailTaken),`.
#[tokio::test]
async fn a_taken_address_is_registered_like_a_free_one_and_only_its_owner_is_told() {
    let stand = open().await;
    let insider = Insider::of(stand).await;
    for is_verified in [false, true] {
        let email = someone();
        let body = registration(&email, PASSWORD);
        let free = wire(stand).await.post(REGISTER, &body).await;
        assert_eq!(free.status, 201, "{free:?}");
        if is_verified {
            let token = insider.mailed(&email, "verify").await;
            client(stand).post("/api/auth/email/verify/", json!({ "token": token })).await.unwrap();
        }
        let account = insider.account(&email).await;
        let taken = wire(stand).await.post(REGISTER, &registration(&email, OTHER_PASSWORD)).await;
        assert_eq!(free.shown(), taken.shown());
        let upper = wire(stand).await.post(REGISTER, &registration(&email.to_uppercase(), PASSWORD)).await;
        assert_eq!(free.shown(), upper.shown().replace(&email.to_uppercase(), &email));

        assert_eq!(insider.account(&email).await, account, "still the same account");
        assert_eq!(login(stand, &email, OTHER_PASSWORD).await.status, 401, "and still the first password");
        let (told, other) = ("registration_attempt", "registration_unverified");
        let (told, other) = if is_verified { (told, other) } else { (other, told) };
        assert_eq!(insider.mails(&email, "verify").await, 1);
        assert_eq!(insider.mails(&email, told).await, 2, "one for each attempt");
        assert_eq!(insider.mails(&email, other).await, 0);
    }
}

/// What a blocked client sees, with the seconds to wait apart.
fn blocked(reply: &Reply) -> (String, u64) {
    assert_eq!(reply.status, 429, "{reply:?}");
    let seconds: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    assert_eq!(reply.json()["retry_after_seconds"], seconds, "header and body agree");
    (reply.shown().replace(&seconds.to_string(), "N"), seconds)
}

async fn fail_five_times(stand: &Stand, email: &str) {
    for _ in 0..5 {
        assert_eq!(login(stand, email, OTHER_PASSWORD).await.status, 401);
    }
}

/// C015. Breaks when `core/src/service/login.rs`: `Admission::Blocked { until } => Err(Refusal::Blocked { retry_after: wait(until, now) }),` → `Admission::Blocked { .. } => Ok(()),`.
#[tokio::test]
async fn a_block_is_the_same_for_known_and_unknown_and_for_every_password() {
    let stand = open().await;
    let (known, unknown) = (registered(stand).await, someone());
    let mut shown = BTreeSet::new();
    for email in [&known, &unknown] {
        fail_five_times(stand, email).await;
        for password in [PASSWORD, OTHER_PASSWORD] {
            let (text, seconds) = blocked(&wire(stand).await.post(LOGIN, &credentials(email, password)).await);
            assert!((898..=900).contains(&seconds), "{seconds}");
            shown.insert(text);
        }
    }
    assert_eq!(shown.len(), 1, "{shown:#?}");
}

/// C018. Breaks when `api/src/problem.rs`: `headers.insert(header::RETRY_AFTER, seconds.into());` → `headers.insert(header::RETRY_AFTER, (seconds + 5).into());`.
#[tokio::test]
async fn limits_count_exactly_and_say_truly_when_to_come_back() {
    let stand = open().await;
    let mut one_place = wire(stand).await;
    for _ in 0..3 {
        assert_eq!(one_place.post(REGISTER, &registration(&someone(), PASSWORD)).await.status, 201);
    }
    let (_, seconds) = blocked(&one_place.post(REGISTER, &registration(&someone(), PASSWORD)).await);
    assert!((3_598..=3_600).contains(&seconds), "{seconds}");
    let refused = one_place.post(REGISTER, &registration(&someone(), PASSWORD)).await;
    assert_eq!(refused.problem().0, "limit-exceeded");
    assert_eq!(try_registering(stand, &someone(), PASSWORD).await.status, 201, "another place is not affected");

    let email = registered(stand).await;
    let mut asking = wire(stand).await;
    for _ in 0..30 {
        assert_eq!(asking.post(RESET, &json!({ "email": email })).await.status, 202);
    }
    assert_eq!(Insider::of(stand).await.mails(&email, "reset").await, 3, "three an hour for one identifier");
    let (_, seconds) = blocked(&asking.post(RESET, &json!({ "email": someone() })).await);
    assert!((3_590..=3_600).contains(&seconds), "{seconds}");
}

/// C018. Breaks when `core/src/service/start.rs`: `block: limits.login.block }` → `block: std::time::Duration::from_secs(900) }`.
#[tokio::test]
async fn windows_and_limits_come_from_the_settings() {
    let stand = stand(&[
        ("MAX_LOGIN_ATTEMPTS", "2"),
        ("LOGIN_BLOCK_DURATION_MINUTES", "1"),
        ("MAX_REGISTRATION_ATTEMPTS", "1"),
        ("REGISTRATION_RATE_WINDOW_HOURS", "2"),
        ("MAX_RESET_ATTEMPTS", "1"),
    ])
    .await;
    let email = registered(&stand).await;
    for status in [401, 401, 429] {
        assert_eq!(login(&stand, &email, OTHER_PASSWORD).await.status, status);
    }
    let (_, seconds) = blocked(&wire(&stand).await.post(LOGIN, &credentials(&email, PASSWORD)).await);
    assert!((58..=60).contains(&seconds), "{seconds}");
    if is_full_dose() {
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        assert_eq!(login(&stand, &email, PASSWORD).await.status, 200, "the block ends when it was said to");
    }
    let mut one_place = wire(&stand).await;
    assert_eq!(one_place.post(REGISTER, &registration(&someone(), PASSWORD)).await.status, 201);
    let (_, seconds) = blocked(&one_place.post(REGISTER, &registration(&someone(), PASSWORD)).await);
    assert!((7_198..=7_200).contains(&seconds), "{seconds}");
    for _ in 0..2 {
        assert_eq!(wire(&stand).await.post(RESET, &json!({ "email": email })).await.status, 202);
    }
    assert_eq!(Insider::of(&stand).await.mails(&email, "reset").await, 1);
}
