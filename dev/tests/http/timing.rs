//! Times that must not tell who has an account. One connection, the kinds of requests in turn.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbook_dev::Stand;
use doorbook_dev::auc::{Comparison, Rule};
use serde_json::{Value, json};

use crate::common::*;
use crate::insider::Insider;
use crate::wire::Wire;

const LOGIN: &str = "/api/auth/login/";

/// Requests of one kind to one account, below the hundred failures in a row that lock it.
const PER_ACCOUNT: usize = 50;

/// Requests before the first one that counts: connections, plans and caches are warm then.
const WARM_UP: usize = 5;

/// Password hashes that cost what the bar's fast profile asks for, in the full dose; limits out of the way.
async fn timed_stand() -> Stand {
    stand(&[
        ("ARGON2_MEMORY_KIB", dose("4096", "19456")),
        ("ARGON2_TIME_COST", "2"),
        ("MAX_LOGIN_ATTEMPTS", "10000"),
        ("MAX_RESET_ATTEMPTS", "10000"),
        ("LOGIN_ADDRESS_MAX_FAILURES", "1000000"),
    ])
    .await
}

/// One kind of request: a name for it, and the body of each.
struct Kind {
    name: &'static str,
    body: Box<dyn Fn(usize) -> Value>,
}

fn kind(name: &'static str, body: impl Fn(usize) -> Value + 'static) -> Kind {
    Kind { name, body: Box::new(body) }
}

/// Each kind's times, taken in turn on one connection; every request comes from a client address of its own.
async fn times(stand: &Stand, path: &str, kinds: &[Kind], status: u16) -> Vec<Vec<Duration>> {
    let mut wire = Wire::open(&stand.base, "").await;
    let mut times = vec![Vec::new(); kinds.len()];
    for round in 0..WARM_UP + dose(60, 1_000) {
        for turn in 0..kinds.len() {
            // Who comes first changes: what one request leaves behind must not meet always the same kind.
            let kind = (round + turn) % kinds.len();
            let body = (kinds[kind].body)(round);
            wire.address = somewhere();
            let started = Instant::now();
            let reply = wire.post(path, &body).await;
            let took = started.elapsed();
            assert_eq!(reply.status, status, "{}: {reply:?}", kinds[kind].name);
            if round >= WARM_UP {
                times[kind].push(took);
            }
        }
    }
    times
}

/// Fails unless the times of all kinds look alike. The bar allows the full measurement one repetition.
async fn look_alike(stand: &Stand, path: &str, kinds: &[Kind], status: u16) {
    let rule = dose(Rule::COARSE, Rule::FULL);
    let mut told_apart = Vec::new();
    for _ in 0..dose(1, 2) {
        let times = times(stand, path, kinds, status).await;
        told_apart.clear();
        for (first, second) in (0..kinds.len()).flat_map(|one| (0..one).map(move |other| (other, one))) {
            let comparison = Comparison::of(&times[first], &times[second]);
            let line = format!("{path}: {} against {}: {comparison}", kinds[first].name, kinds[second].name);
            println!("figure: {line}");
            if !comparison.keeps(&rule) {
                told_apart.push(line);
            }
        }
        if told_apart.is_empty() {
            return;
        }
    }
    panic!("{told_apart:#?}");
}

/// Enough of them for all requests of one kind.
async fn people(stand: &Stand) -> Vec<String> {
    let mut people = Vec::new();
    for _ in 0..=(WARM_UP + dose(60, 1_000)) * dose(1, 2) / PER_ACCOUNT {
        people.push(registered(stand).await);
    }
    people
}

fn strangers(count: usize) -> Vec<String> {
    (0..count).map(|_| someone()).collect()
}

fn logins(emails: Vec<String>, password: &'static str) -> impl Fn(usize) -> Value {
    move |round| credentials(&emails[round % emails.len()], password)
}

/// C002. Breaks when `core/src/service/login.rs`: `let verified = match self.hasher.verify(secret, &login.password).await {` → `if secret.is_none() { return Err(Refusal::InvalidCredentials); } let verified = match self.hasher.verify(secret, &login.password).await {`.
/// Release: small differences hide in the noise of a slow build.
#[tokio::test]
async fn a_refused_login_takes_the_same_time_for_every_reason() {
    let stand = timed_stand().await;
    let (wrong, disabled) = (people(&stand).await, people(&stand).await);
    for email in &disabled {
        stand.doorbook(&["account", "disable", email, "--reason", "a test"]).await.unwrap();
    }
    let unknown = strangers(wrong.len());
    let kinds = [
        kind("unknown", logins(unknown, PASSWORD)),
        kind("wrong", logins(wrong, OTHER_PASSWORD)),
        kind("disabled", logins(disabled, PASSWORD)),
    ];
    look_alike(&stand, LOGIN, &kinds, 401).await;
}

/// C002. Breaks when `core/src/service/rollup.rs`: `            Telling::RolledUp => {` → `            Telling::RolledUp => { tokio::time::sleep(Duration::from_millis(20)).await;`.
/// Release: small differences hide in the noise of a slow build.
#[tokio::test]
async fn a_refused_login_takes_the_same_time_when_those_of_nobody_are_rolled_up() {
    let stand = timed_stand().await;
    let full =
        "insert into attempt_minutes select date_trunc('minute', clock_timestamp()) + n * interval '1 minute', 600
                from generate_series(0, 120) n";
    sqlx::query(full).execute(&Insider::of(&stand).await.owner).await.unwrap();
    let wrong = people(&stand).await;
    let unknown = strangers(wrong.len());
    let kinds = [kind("unknown", logins(unknown, PASSWORD)), kind("wrong", logins(wrong, OTHER_PASSWORD))];
    look_alike(&stand, LOGIN, &kinds, 401).await;
}

/// C004. Breaks when `core/src/service/password.rs`: `other => {` → `other => { tokio::time::sleep(std::time::Duration::from_millis(20)).await;`.
/// Release: small differences hide in the noise of a slow build.
#[tokio::test]
async fn a_reset_request_takes_the_same_time_with_and_without_an_account() {
    let stand = timed_stand().await;
    let known = people(&stand).await;
    let unknown = strangers(known.len());
    let ask = |emails: Vec<String>| move |round: usize| json!({ "email": emails[round % emails.len()] });
    let kinds = [kind("known", ask(known)), kind("unknown", ask(unknown))];
    look_alike(&stand, "/api/auth/password/reset/", &kinds, 202).await;
}

/// C015. Breaks when `core/src/service/login.rs`: `let bucket = login_bucket(&login.email, known_device, epoch);` → `let bucket = login_bucket(&login.email, known_device, epoch); if owner.is_none() { tokio::time::sleep(std::time::Duration::from_millis(5)).await; }`.
/// Release: small differences hide in the noise of a slow build.
#[tokio::test]
async fn a_blocked_login_takes_the_same_time_whatever_the_password() {
    let stand = stand(&[("ARGON2_MEMORY_KIB", "4096"), ("LOGIN_ADDRESS_MAX_FAILURES", "1000000")]).await;
    let (known, unknown) = (registered(&stand).await, someone());
    for email in [&known, &unknown] {
        for _ in 0..5 {
            assert_eq!(login(&stand, email, OTHER_PASSWORD).await.status, 401);
        }
    }
    let kinds = [
        kind("right", logins(vec![known.clone()], PASSWORD)),
        kind("wrong", logins(vec![known], OTHER_PASSWORD)),
        kind("unknown", logins(vec![unknown], PASSWORD)),
    ];
    look_alike(&stand, LOGIN, &kinds, 429).await;
}

/// C045. Breaks when `core/src/service/verify.rs`: `let row = tokens::by_id(&self.db, TokenId(presented.id)).await?;` → `let row = tokens::by_id(&self.db, TokenId(presented.id)).await?; if row.is_none() { tokio::time::sleep(std::time::Duration::from_millis(5)).await; }`.
/// Release: small differences hide in the noise of a slow build.
#[tokio::test]
async fn a_token_with_a_right_id_is_refused_as_fast_as_a_random_one() {
    let stand = timed_stand().await;
    let email = registered(&stand).await;
    client(&stand).post("/api/auth/password/reset/", json!({ "email": email })).await.unwrap();
    let token = Insider::of(&stand).await.mailed(&email, "reset").await;
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("dbp_").unwrap()).unwrap();
    let body = |bytes: &[u8]| {
        let token = format!("dbp_{}", URL_SAFE_NO_PAD.encode(bytes));
        json!({ "token": token, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD })
    };
    let (near, far) = (bytes.clone(), bytes);
    let kinds = [
        kind("right id", move |round| {
            let mut bytes = near.clone();
            bytes[30] ^= 1 + u8::try_from(round % 255).unwrap();
            body(&bytes)
        }),
        kind("random id", move |round| {
            let mut bytes = far.clone();
            bytes[15] ^= 1 + u8::try_from(round % 255).unwrap();
            body(&bytes)
        }),
    ];
    look_alike(&stand, "/api/auth/password/reset/confirm/", &kinds, 422).await;
}
