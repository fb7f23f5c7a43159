//! What the tests of this package share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use doorbook_dev::{Answer, Client, Cluster, Program, Stand};
use serde_json::{Value, json};

use crate::wire::Wire;

pub const PASSWORD: &str = "violet harbour 73";
pub const OTHER_PASSWORD: &str = "amber lighthouse 42";

/// Known to the tests, so that they can forge what only these keys make.
pub const SECRET_KEY: &str = "mR4xT9kV2sQ7wZ1nB6jH3fD8gL5pC0yUaE9iOtX4rK7vM2qW6zN1bJ5hF8dS3lGx";
pub const JWT_SECRET_KEY: &str = "Qw8nE3rT6yU1iO4pA9sD2fG7hJ5kL0zXcV";

/// How often a test does the same: little by default, as the release bar asks when `DOORBOOK_DOSE` is `full`.
pub fn dose<T>(small: T, full: T) -> T {
    if is_full_dose() { full } else { small }
}

pub fn is_full_dose() -> bool {
    std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full")
}

/// An api process on a database of its own, without a worker.
pub async fn stand(settings: &[(&str, &str)]) -> Stand {
    let keys = [("SECRET_KEY", SECRET_KEY), ("JWT_SECRET_KEY", JWT_SECRET_KEY)];
    Stand::start_api(Cluster::shared().await.unwrap(), &[&keys, settings].concat()).await.unwrap()
}

/// Waits until a process has ended.
pub async fn ended(program: &mut Program) -> std::process::ExitStatus {
    program.ended(Duration::from_secs(30)).await.unwrap()
}

fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A client address that no one else has: limits of one test are not used up by another.
pub fn somewhere() -> String {
    let [_, b, c, d] = number().to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// An e-mail address that no one else has, and that resembles no password here.
pub fn someone() -> String {
    format!("q{}@example.com", number())
}

/// A client with an address of its own.
pub fn client(stand: &Stand) -> Client {
    stand.client().from_address(&somewhere())
}

/// A connection with a client address of its own.
pub async fn wire(stand: &Stand) -> Wire {
    Wire::open(&stand.base, &somewhere()).await
}

pub fn registration(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password, "password_confirm": password })
}

pub fn credentials(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

/// Registers, whatever comes of it.
pub async fn try_registering(stand: &Stand, email: &str, password: &str) -> Answer {
    client(stand).post("/api/auth/register/", registration(email, password)).await.unwrap()
}

/// A new account with `PASSWORD`; its address.
pub async fn registered(stand: &Stand) -> String {
    let email = someone();
    registered_as(stand, &email, PASSWORD).await;
    email
}

pub async fn registered_as(stand: &Stand, email: &str, password: &str) {
    let answer = try_registering(stand, email, password).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

pub async fn login(stand: &Stand, email: &str, password: &str) -> Answer {
    client(stand).post("/api/auth/login/", credentials(email, password)).await.unwrap()
}

/// A client that is logged in with a new session, and the session's tokens.
pub async fn logged_in(stand: &Stand, email: &str) -> (Client, Answer) {
    let answer = login(stand, email, PASSWORD).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (client(stand).with_token(answer.text("access")), answer)
}

/// Registers and logs in.
pub async fn welcomed(stand: &Stand) -> (Client, Answer) {
    let email = registered(stand).await;
    logged_in(stand, &email).await
}

/// The address of a new account that an operator has given a role.
pub async fn empowered(stand: &Stand, role: &str) -> String {
    let email = registered(stand).await;
    stand.doorbook(&["account", "role", "grant", &email, role, "--reason", "a test"]).await.unwrap();
    email
}

pub async fn refresh(client: &Client, token: &str) -> Answer {
    client.post("/api/auth/token/refresh/", json!({ "refresh": token })).await.unwrap()
}

/// Statuses of answers to requests made at once.
pub async fn statuses(requests: impl IntoIterator<Item = impl Future<Output = Answer> + Send + 'static>) -> Vec<u16> {
    let running: Vec<_> = requests.into_iter().map(tokio::spawn).collect();
    let mut statuses = Vec::new();
    for request in running {
        statuses.push(request.await.unwrap().status);
    }
    statuses
}

/// Fields and codes of a refusal.
pub fn faults(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    errors.map(|error| (text(&error["field"]), text(&error["code"]))).collect()
}
