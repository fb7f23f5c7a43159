//! What time has ended: dead at once, recorded as soon as a worker is there.

use std::time::{Duration, Instant};

use doorbook_dev::Mail;
use serde_json::json;

use crate::common::*;

/// Events are appended after a worker is there again. Source: bar C098.
const RECORDED_WITHIN: Duration = Duration::from_mins(1);

/// Registers, logs in, asks for a new address and for a reset: three tokens and a session. The refresh token.
async fn settle_in(house: &House, number: usize) -> String {
    house.register(number).await;
    let tokens = house.log_in(number).await;
    let client = house.client(number).with_token(tokens.text("access"));
    let change = json!({ "password": PASSWORD, "new_email": format!("n{number}@example.com") });
    let changed = client.post("/api/auth/email/change/", change).await.unwrap();
    assert_eq!(changed.status, 202, "{changed:?}");
    let reset = json!({ "email": format!("p{number}@example.com") });
    house.post(number, "/api/auth/password/reset/", reset, 202).await;
    tokens.text("refresh").to_owned()
}

fn token(mails: &[Mail], address: &str, page: &str) -> String {
    let to = |mail: &&Mail| mail.is_to(address) && mail.link().is_some_and(|link| link.path() == page);
    mails.iter().find(to).unwrap().token().unwrap()
}

/// C098. Breaks when `core/src/store/query/tokens.rs`: `self.state == "open" && self.expires_at > self.now` → `self.state == "open"`.
#[tokio::test]
async fn what_has_expired_is_dead_without_a_worker_and_recorded_once_by_two() {
    let house = house().await;
    let people = dose(20, 250);
    let mut worker = house.worker().await;
    let mut refresh_tokens = Vec::new();
    for number in 0..people {
        refresh_tokens.push(settle_in(&house, number).await);
    }
    house.until_settled(SOON).await;
    worker.program.kill().await.unwrap();
    house.execute("update tokens set expires_at = clock_timestamp() where state = 'open'").await;
    house.execute("update sessions set absolute_end = clock_timestamp()").await;

    let mails = house.stand.sink.mails();
    for (number, refresh_token) in refresh_tokens.iter().enumerate() {
        let (old, new) = (format!("p{number}@example.com"), format!("n{number}@example.com"));
        let verify = json!({ "token": token(&mails, &old, "/verify-email") });
        house.post(number, "/api/auth/email/verify/", verify, 422).await;
        let reset = json!({
            "token": token(&mails, &old, "/reset-password"),
            "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD,
        });
        house.post(number, "/api/auth/password/reset/confirm/", reset, 422).await;
        let change = json!({ "token": token(&mails, &new, "/confirm-email") });
        house.post(number, "/api/auth/email/change/confirm/", change, 422).await;
        house.post(number, "/api/auth/token/refresh/", json!({ "refresh": refresh_token }), 401).await;
    }
    assert_eq!(house.number("select count(*) from events where type like '%Expired'").await, 0);

    let started = Instant::now();
    let _workers = (house.worker().await, house.worker().await);
    let all = 4 * i64::try_from(people).unwrap();
    house.until(RECORDED_WITHIN, "select count(*) from events where type like '%Expired'", all).await;
    assert!(started.elapsed() < RECORDED_WITHIN);
    for kind in ["EmailVerificationExpired", "PasswordResetExpired", "EmailChangeExpired", "SessionExpired"] {
        let (events, subjects): (i64, i64) =
            sqlx::query_as("select count(*), count(distinct subject_id) from events where type = $1")
                .bind(kind)
                .fetch_one(&house.owner)
                .await
                .unwrap();
        assert_eq!((events * 4, subjects * 4), (all, all), "{kind}");
    }
    assert_eq!(house.number("select count(*) from tokens where state = 'open'").await, 0);
    assert_eq!(house.number("select count(*) from sessions where revoked_at is null").await, 0);
}
