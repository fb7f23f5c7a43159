//! Connections between one statement and the next.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorbook_core::store::wake::Wakes;
use doorbook_core::store::{Db, Patience, Pooler, query};
use doorbook_dev::{Database, Role};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::common::{cluster, stand};
use crate::way::Way;

/// A database, and so many connections to it that go a way of their own.
async fn on_a_way(connections: u32) -> (Database, Arc<Way>, Db) {
    let database = Database::fresh(cluster().await).await.unwrap();
    let way = Way::later(0);
    let port = way.to(cluster().await.postgres().port()).await;
    let db = Db::new(&database.url_at(port, Role::Worker), connections, Pooler::None).unwrap();
    (database, way, db)
}

/// Breaks when `core/src/store/db/connections.rs`: `self.home.keep(connection, self.opened);` → `drop(connection);`.
#[tokio::test]
async fn a_statement_asks_postgres_once_and_a_connection_that_is_given_back_is_not_asked_whether_it_is_well() {
    const STATEMENTS: u64 = 20;
    let (_database, way, db) = on_a_way(1).await;
    // Prepared once a connection.
    query::now(&db).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let before = way.asked.load(Ordering::Relaxed);
    for _ in 0..STATEMENTS {
        query::now(&db).await.unwrap();
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(way.asked.load(Ordering::Relaxed) - before, STATEMENTS);
}

/// C103. Breaks when `core/src/store/db/connections.rs`: `=> self.home.distrust(),` → `=> {}`.
#[tokio::test]
async fn one_connection_that_is_found_dead_costs_one_request_and_those_beside_it_none() {
    let (stand, access) = stand().await;
    let client = stand.client().with_token(&access);
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let count = async |sql| sqlx::query_scalar::<_, i64>(sql).fetch_one(&owner).await.unwrap();
    let open = "select count(*) from pg_stat_activity where usename = 'dev_api' and datname = current_database()";
    while count(open).await < 4 {
        let mut reads = JoinSet::new();
        for _ in 0..16 {
            let client = client.clone();
            reads.spawn(async move { client.get("/api/auth/profile/").await.unwrap().status });
        }
        assert!(reads.join_all().await.iter().all(|status| *status == 200));
    }
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where usename = 'dev_api' and datname = current_database()";
    let superuser = sqlx::PgPool::connect(&cluster().await.superuser_url(stand.database.name())).await.unwrap();
    let ended: i64 = sqlx::query_scalar(end).fetch_one(&superuser).await.unwrap();
    assert!(ended >= 4, "{ended}");
    let mut refused = 0;
    while client.get("/api/auth/profile/").await.unwrap().status != 200 {
        refused += 1;
    }
    assert!(refused <= 1, "{refused} of {ended}");
}

/// Breaks when `core/src/store/db/connections.rs`: `if let Some((mut connection, _)) = self.next() {` → `if let Some((mut connection, _)) = None::<(PoolConnection<Postgres>, Instant)> {`.
#[tokio::test]
async fn a_listener_that_comes_back_finds_room_though_every_connection_is_kept() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let db = Db::new(&database.url_for(Role::Worker), 2, Pooler::None).unwrap();
    let slow = || sqlx::query("select pg_sleep(0.3)").execute(&db);
    tokio::try_join!(slow(), slow()).unwrap();
    assert_eq!(db.connections(), (2, 2, 2));
    let listening = Wakes::listen(&db, None).await.unwrap();
    assert!(listening.is_some() && query::now(&db).await.is_ok());
}

/// A network that has forgotten a connection swallows what is sent on it, for minutes or for ever; a new one gets through.
/// C105. Breaks when `core/src/store/db/connections.rs`: `self.examine(ANSWER_TIMEOUT);` → `let _ = ANSWER_TIMEOUT;`.
#[tokio::test]
async fn a_connection_whose_request_is_given_up_while_nothing_is_heard_on_it_makes_room_for_another() {
    const CONNECTIONS: u32 = 2;
    let (_database, way, db) = on_a_way(CONNECTIONS).await;
    let slow = || sqlx::query("select pg_sleep(0.3)").execute(&db);
    tokio::try_join!(slow(), slow()).unwrap();
    assert_eq!(way.taken.load(Ordering::Relaxed), u64::from(CONNECTIONS));

    way.swallowed.store(u64::from(CONNECTIONS), Ordering::Relaxed);
    for _ in 0..CONNECTIONS {
        let given_up = timeout(Duration::from_millis(100), query::now(&db)).await;
        assert!(given_up.is_err(), "nothing is heard");
    }
    let began = Instant::now();
    while query::now(&db).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "no place for another connection");
    }
}

/// C105. Breaks when `core/src/store/db/connections.rs`: `let entry = if goes_on {` → `let entry = if true {`.
#[tokio::test]
async fn a_request_that_has_begun_goes_before_those_that_begin() {
    const STEP: Duration = Duration::from_millis(100);
    let database = Database::fresh(cluster().await).await.unwrap();
    let db = Db::new(&database.url_for(Role::Worker), 1, Pooler::None).unwrap();
    let served = Mutex::new(Vec::new());
    let taken = async { sqlx::query("select pg_sleep(0.8)").execute(&db).await.unwrap() };
    let begins = async |name: &'static str, after: Duration| {
        sleep(after).await;
        Patience::of_request().around(query::now(&db)).await.unwrap();
        served.lock().unwrap().push(name);
    };
    let goes_on = Patience::of_request().around(async {
        query::now(&db).await.unwrap();
        // Somebody else has the connection by now, and two wait for it.
        sleep(4 * STEP).await;
        query::now(&db).await.unwrap();
        served.lock().unwrap().push("goes on");
    });
    let later = async {
        sleep(STEP).await;
        taken.await
    };
    tokio::join!(goes_on, later, begins("first", 2 * STEP), begins("second", 3 * STEP));
    assert_eq!(*served.lock().unwrap(), ["first", "goes on", "second"]);
}
