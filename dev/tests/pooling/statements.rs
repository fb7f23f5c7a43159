//! Many clients, few servers: everybody gets their own answers, and nothing of a client stays with a server.

use doorbook_core::store::{Db, StoreError, jobs, query};
use doorbook_dev::pgbouncer::SERVERS;
use doorbook_dev::{Database, Role};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};
use tokio::task::JoinSet;

use crate::common::{cluster, pooled, pooler_port};

const CLIENTS: u32 = 8;
const STATEMENTS: i32 = 300;

/// One statement of a kind that depends on `number`; its answer must be its own.
async fn ask(db: &Db, client: u32, number: i32) -> Result<(), StoreError> {
    let mark = format!("{client}:{number}");
    match number % 7 {
        0 => {
            let sent = sqlx::query_scalar::<_, i64>("select $1::int8 * 1000 + $2::int8 from pg_sleep(0.001)");
            let sent = sent.bind(i64::from(client)).bind(i64::from(number));
            assert_eq!(sent.fetch_one(db).await?, i64::from(client) * 1000 + i64::from(number));
        }
        1 => {
            let sent = sqlx::query_scalar::<_, String>("select 'mark ' || $1::text").bind(&mark);
            assert_eq!(sent.fetch_one(db).await?, format!("mark {mark}"));
        }
        2 => {
            let rows = sqlx::query_scalar::<_, i32>("select generate_series(1, $1)").bind(number % 50).fetch_all(db);
            assert_eq!(rows.await?, (1..=number % 50).collect::<Vec<_>>());
        }
        3 => {
            let sent = sqlx::query("select 1 where $1::text = 'nobody'").bind(&mark);
            assert!(sent.fetch_optional(db).await?.is_none());
        }
        4 => {
            let sent = sqlx::query_scalar::<_, i32>("select $1::int4 / ($1::int4 - $1::int4)").bind(number);
            match sent.fetch_one(db).await.unwrap_err() {
                sqlx::Error::Database(error) => assert_eq!(error.code().as_deref(), Some("22012"), "{error}"),
                other => return Err(other.into()),
            }
        }
        5 => drop(jobs::heartbeat(db, &mark, "up", "up").await?),
        _ => drop(query::now(db).await?),
    }
    Ok(())
}

/// The same, also on a machine so busy that no server is to be had in time.
async fn ask_patiently(db: &Db, client: u32, number: i32) {
    loop {
        match ask(db, client, number).await {
            Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)) => {}
            other => return other.unwrap(),
        }
    }
}

/// C111. Breaks when `core/src/store/db/unnamed.rs`: `const NAMED: bool = false;` → `const NAMED: bool = true;`.
#[tokio::test]
async fn eight_clients_of_four_servers_get_their_own_answers_and_leave_nothing_prepared() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let db = pooled(&database, 2).await;
        clients.spawn(async move {
            for number in 0..STATEMENTS {
                ask_patiently(&db, client, number).await;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }

    let db = pooled(&database, SERVERS).await;
    let beats: i64 = sqlx::query_scalar("select count(*) from heartbeats").fetch_one(&db).await.unwrap();
    let sent: i64 = (0..STATEMENTS).filter(|number| number % 7 == 5).map(|_| i64::from(CLIENTS)).sum();
    assert_eq!(beats, sent);
    let mut all = Vec::new();
    for _ in 0..SERVERS {
        all.push(db.begin().await.unwrap());
    }
    for tx in &mut all {
        let left = sqlx::query_scalar::<_, i64>("select count(*) from pg_prepared_statements");
        assert_eq!(left.fetch_one(tx).await.unwrap(), 0);
    }
}

/// Breaks when `core/src/store/db.rs`: `format!("; set local {setting}")` → `format!("; set {setting}")`.
#[tokio::test]
async fn every_transaction_has_its_timeouts_and_no_server_keeps_them() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let db = pooled(&database, 1).await;
    let asked = "select concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'),
                     current_setting('idle_in_transaction_session_timeout'), current_setting('plan_cache_mode'), current_setting('jit'))";
    let inside: String = sqlx::query_scalar(asked).fetch_one(&db).await.unwrap();
    assert_eq!(inside, "3s 1s 5s force_generic_plan off");
    // Another client of the same login gets the same server.
    let options: PgConnectOptions = database.url_at(pooler_port().await, Role::Worker).parse().unwrap();
    let mut other = PgConnection::connect_with(&options.extra_float_digits(None)).await.unwrap();
    let outside: String = sqlx::raw_sql(asked).fetch_one(&mut other).await.unwrap().get(0);
    assert_eq!(outside, "0 0 0 auto on");
}

#[tokio::test]
async fn what_fails_is_undone_and_its_connection_goes_on() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let db = pooled(&database, 1).await;
    let refused = sqlx::query(
        "insert into heartbeats (process, kind, redis, mail, at) values ('x', 'worker', 'up', 'up', now()), ('x', 'worker', 'up', 'up', now())",
    );
    assert!(matches!(StoreError::from(refused.execute(&db).await.unwrap_err()), StoreError::Conflict));
    let beats: i64 = sqlx::query_scalar("select count(*) from heartbeats").fetch_one(&db).await.unwrap();
    assert_eq!(beats, 0);
}

/// Breaks when `core/src/store/db.rs`: `lease.close_politely();` → `let _ = lease;`.
#[tokio::test]
async fn a_caller_that_goes_away_keeps_no_server() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let db = pooled(&database, SERVERS).await;
    for _ in 0..SERVERS {
        let slow = sqlx::query("select pg_sleep(60)").execute(&db);
        tokio::time::timeout(std::time::Duration::from_millis(200), slow).await.unwrap_err();
        drop(db.begin().await.unwrap());
    }
    assert!(query::now(&db).await.is_ok());
}
