//! Postgres goes away and comes back.

use std::time::{Duration, Instant};

use doorbook_dev::{Cluster, Options, Stand};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::common::*;
use crate::wire::Wire;

/// Longest time for a refusal. Source: the release bar.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

/// Longest time until the service works again, once Postgres answers. Source: the release bar.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// A request of every kind: reads and writes, with and without a session.
fn requests() -> [(&'static str, &'static str, Value); 9] {
    let reset = json!({ "token": "dbp_x", "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    [
        ("GET", "/api/auth/profile/", Value::Null),
        ("GET", "/api/auth/sessions/", Value::Null),
        ("GET", "/api/auth/events/", Value::Null),
        ("PATCH", "/api/auth/profile/", json!({ "first_name": "Ana" })),
        ("POST", "/api/auth/login/", credentials("q@example.com", PASSWORD)),
        ("POST", "/api/auth/register/", registration("q@example.com", PASSWORD)),
        ("POST", "/api/auth/password/reset/", json!({ "email": "q@example.com" })),
        ("POST", "/api/auth/password/reset/confirm/", reset),
        ("POST", "/api/auth/logout/", json!({ "refresh": format!("dbr_{}", "A".repeat(70)) })),
    ]
}

/// Refused as unavailable, in time, with the time to come back.
async fn refused(base: &str, access: &str, (method, path, body): &(&'static str, &'static str, Value)) {
    let bearer = format!("Bearer {access}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut wire = Wire::open(base, &somewhere()).await;
    let started = Instant::now();
    let reply = wire.send(method, path, &headers, body.as_bytes()).await.expect("an answer");
    let took = started.elapsed();
    assert_eq!((reply.status, reply.problem().0.as_str()), (503, "unavailable"), "{method} {path}: {reply:?}");
    assert!(took <= REFUSED_WITHIN, "{method} {path} took {took:?}");
    let seconds: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{method} {path}: {seconds}");
    assert!(!reply.body.to_lowercase().contains("postgres") && !reply.body.contains("sqlx"), "{}", reply.body);
}

async fn outage(stand: &Stand, access: &str) {
    for path in ["/health", "/health/live"] {
        assert_eq!(wire(stand).await.get(path, &[]).await.status, 200, "{path} asks no dependency");
    }
    let ready = ("GET", "/health/ready", Value::Null);
    let requests = requests();
    // At once, as they would come: none may wait behind another.
    let mut running = tokio::task::JoinSet::new();
    for request in requests.into_iter().chain([ready]) {
        let (base, access) = (stand.base.clone(), access.to_owned());
        running.spawn(async move { refused(&base, &access, &request).await });
    }
    running.join_all().await;
}

async fn recovered(stand: &Stand, client: &doorbook_dev::Client) {
    let since = Instant::now();
    loop {
        let (ready, profile) =
            (client.get("/health/ready").await.unwrap(), client.get("/api/auth/profile/").await.unwrap());
        if (ready.status, profile.status) == (200, 200) {
            break;
        }
        assert!([200, 503].contains(&profile.status), "{profile:?}");
        assert!(since.elapsed() < RECOVERED_WITHIN, "{ready:?} {profile:?}");
        sleep(Duration::from_millis(50)).await;
    }
    // Every connection of the pool is asked for at once.
    let requests = (0..32).map(|_| {
        let client = client.clone();
        async move { client.get("/api/auth/profile/").await.unwrap() }
    });
    let after = statuses(requests).await;
    assert!(after.iter().all(|status| [200, 503].contains(status)), "{after:?}");
    while welcomed_again(stand).await != 200 {
        assert!(since.elapsed() < RECOVERED_WITHIN, "registering does not work again");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn welcomed_again(stand: &Stand) -> u16 {
    let email = someone();
    match try_registering(stand, &email, PASSWORD).await.status {
        201 => login(stand, &email, PASSWORD).await.status,
        other => other,
    }
}

#[tokio::test]
async fn without_postgres_everything_is_refused_in_time_and_works_again_soon_after() {
    // Its own servers: nobody else's go down. Durable ones: what was committed before is there afterwards.
    let options = Options { durable: true, ..Options::temporary(env!("CARGO_BIN_EXE_doorbook-dev")) };
    let cluster = Cluster::start(options).await.unwrap();
    let stand = Stand::start_api(&cluster, &[("MAX_REGISTRATION_ATTEMPTS", "1000")]).await.unwrap();
    let (client, tokens) = welcomed(&stand).await;
    let access = tokens.text("access");
    let warm = (0..32).map(|_| {
        let client = client.clone();
        async move { client.get("/api/auth/profile/").await.unwrap() }
    });
    assert_eq!(statuses(warm).await, [200; 32]);

    cluster.postgres().stop().await.unwrap();
    outage(&stand, access).await;
    cluster.postgres().start().await.unwrap();
    recovered(&stand, &client).await;

    cluster.postgres().kill().await.unwrap();
    outage(&stand, access).await;
    cluster.postgres().start().await.unwrap();
    recovered(&stand, &client).await;
}
