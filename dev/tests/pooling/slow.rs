//! A Postgres that is far away or slow: longer than a request waits for a connection, or for all its statements together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use doorbook_dev::{Client, Program, Role, Stand};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::common::{EMAIL, PASSWORD, cluster, stand};
use crate::way::Way;

/// How much later each answer of Postgres comes, in milliseconds. A connection takes five of them, so longer than the 1.4 s that a request waits.
const LATER: u64 = 300;
/// Time until the service is of use.
const USEFUL_WITHIN: Duration = Duration::from_secs(30);

/// Time for a refusal. Source: bar 6.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

/// Another api, far from Postgres.
async fn far_api(stand: &Stand, way: Arc<Way>) -> (Program, String) {
    let port = way.to(cluster().await.postgres().port()).await;
    stand.another_api_with(&[("DATABASE_URL", &stand.database.url_at(port, Role::Api))]).await.unwrap()
}

/// Logs in there; the status.
async fn login(far: &Client) -> u16 {
    far.post("/api/auth/login/", json!({ "email": EMAIL, "password": PASSWORD })).await.unwrap().status
}

/// A client of an api that is as far from Postgres as this way says, and near it as yet: what is prepared and read once a process takes
/// answers of its own, so it has been there twice.
async fn near_as_yet(stand: &Stand, way: &Arc<Way>) -> (Program, Client) {
    let (api, base) = far_api(stand, Arc::clone(way)).await;
    let client = stand.client().at(&base);
    for _ in 0..2 {
        assert_eq!(login(&client).await, 200);
    }
    (api, client)
}

/// Breaks when `core/src/store/db/connections.rs`: `let Some(opening) = self.open_one_more() else` → `let Some(opening) = None::<JoinHandle<sqlx::Result<PoolConnection<Postgres>>>> else`.
#[tokio::test]
async fn connections_that_take_longer_than_a_request_waits_are_opened_all_the_same() {
    let (stand, access) = stand().await;
    let (_api, base) = far_api(&stand, Way::later(LATER)).await;
    let (client, began) = (stand.client().at(&base).with_token(&access), Instant::now());
    loop {
        let mut reads = JoinSet::new();
        for _ in 0..8 {
            let client = client.clone();
            reads.spawn(async move { client.get("/api/auth/profile/").await.unwrap().status });
        }
        let statuses = reads.join_all().await;
        if statuses == [200; 8] {
            break;
        }
        assert!(began.elapsed() < USEFUL_WITHIN, "{statuses:?}");
    }
    println!("figure: eight reads at once succeed {} ms after the start", began.elapsed().as_millis());
}

/// C103. Breaks when `api/src/command.rs`: `    let (running, patience) = (Running::start(), Patience::of_command());` → `    let (running, patience) = (Running::start(), None::<Patience>);`.
#[tokio::test]
async fn a_request_of_several_statements_that_are_each_slow_is_refused_as_soon_as_one_whose_first_is() {
    let (stand, _) = stand().await;
    let way = Way::later(0);
    let (_api, client) = near_as_yet(&stand, &way).await;
    // Each is within a statement's time, and all of them are not within a request's.
    way.later.store(1_200, Ordering::Relaxed);
    let began = Instant::now();
    assert_eq!(login(&client).await, 503);
    assert!(began.elapsed() < REFUSED_WITHIN, "took {:?}", began.elapsed());
    println!("figure: refused after {} ms", began.elapsed().as_millis());
    way.later.store(0, Ordering::Relaxed);
    while login(&client).await != 200 {
        assert!(began.elapsed() < USEFUL_WITHIN, "nobody gets in any more");
    }
}

/// C011. Breaks when `core/src/store/db/patience.rs`: `Self { ends_statements: false, ..` → `Self { ends_statements: true, ..`.
#[tokio::test]
async fn a_right_password_that_a_slow_postgres_had_no_time_for_is_settled_and_counts_as_no_failure() {
    let (stand, _) = stand().await;
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let count = async |sql| sqlx::query_scalar::<_, i64>(sql).fetch_one(&owner).await.unwrap();
    let (held, logins) = (
        "select count(*) from counters where kind = 'login' and state->'held' <> '[]'",
        "select count(*) from events where type = 'LoggedIn'",
    );
    let way = Way::later(0);
    let (_api, client) = near_as_yet(&stand, &way).await;
    // It takes five statements: the third counts the guess, and there is no time for the fifth.
    way.later.store(750, Ordering::Relaxed);
    for before in 3..6 {
        assert_eq!(count(logins).await, before);
        assert_eq!(login(&client).await, 503);
        let told = Instant::now();
        while count(logins).await == before || count(held).await > 0 {
            assert!(told.elapsed() < USEFUL_WITHIN, "a guess is never settled");
            sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(count("select count(*) from events where type in ('LoginFailed', 'LoginBlocked')").await, 0);
}

/// C105. Breaks when `core/src/store/db.rs`: `lease.outlast(self.answers_within);` → `lease.close();`.
#[tokio::test]
async fn a_read_that_a_slow_postgres_had_no_time_for_leaves_its_connection_to_the_next() {
    let (stand, access) = stand().await;
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let open = async || {
        let pids = "select pid from pg_stat_activity where usename = 'dev_api' and datname = current_database()";
        sqlx::query_scalar::<_, i32>(pids).fetch_all(&owner).await.unwrap()
    };
    let way = Way::later(0);
    let (_api, client) = near_as_yet(&stand, &way).await;
    let client = client.with_token(&access);
    let read = async || client.get("/api/auth/sessions/").await.unwrap().status;
    assert_eq!(read().await, 200);
    let before = open().await;
    // Who asks, then what he asked for: the second has the rest of the request's time, and takes more of its own.
    way.later.store(1_400, Ordering::Relaxed);
    assert_eq!(read().await, 503);
    way.later.store(0, Ordering::Relaxed);
    let told = Instant::now();
    while read().await != 200 {
        assert!(told.elapsed() < USEFUL_WITHIN, "nobody reads any more");
    }
    sleep(Duration::from_secs(2)).await;
    let after = open().await;
    assert!(before.iter().all(|pid| after.contains(pid)), "{before:?}, {after:?}");
}
