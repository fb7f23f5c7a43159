//! No process serves when its statements would not get their own answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbook_core::store::{Db, MigrateError, Pooler, PoolerError, migrate};
use doorbook_dev::pgbouncer::STATEMENT_MODE;
use doorbook_dev::{Database, Launch, Role, Stand, free_port};
use tokio::time::sleep;

use crate::common::{cluster, pooler_port};
use crate::way::Way;

/// Breaks when `core/src/store/self_test.rs`: `if own { Ok(()) }` → `if own || true { Ok(()) }`.
#[tokio::test]
async fn a_pooler_that_the_settings_do_not_tell_of_is_found() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let (pooled, direct) = (database.url_at(pooler_port().await, Role::Worker), database.url_for(Role::Worker));
    let found = Db::open(&pooled, 2, Pooler::None).await.unwrap_err();
    assert!(matches!(found, PoolerError::Shared), "{found}");
    assert!(!found.is_temporary() && found.to_string().contains("DATABASE_POOLER"), "{found}");
    for (url, pooler) in [(&pooled, Pooler::Transaction), (&direct, Pooler::Transaction), (&direct, Pooler::None)] {
        Db::open(url, 1, pooler).await.unwrap();
    }
}

#[tokio::test]
async fn a_pooler_in_statement_mode_is_refused() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let url = database.url_of(pooler_port().await, Role::Worker, STATEMENT_MODE);
    let refused = Db::open(&url, 2, Pooler::Transaction).await.unwrap_err();
    assert!(matches!(refused, PoolerError::Crossed(_)), "{refused}");
    assert!(!refused.is_temporary() && refused.to_string().contains("DATABASE_POOLER"), "{refused}");
}

#[tokio::test]
async fn the_api_does_not_start_behind_a_pooler_it_knows_nothing_of() {
    let stand = Stand::start_pooled(cluster().await, &[]).await.unwrap();
    let mut environment = stand.environment().to_vec();
    environment.push(("DATABASE_POOLER".to_owned(), "none".to_owned()));
    for bind in ["API_BIND", "API_OPS_BIND"] {
        environment.push((bind.to_owned(), format!("127.0.0.1:{}", free_port().unwrap())));
    }
    let launch = Launch::workspace("doorbook-api").await.unwrap().envs(environment);
    let mut api = launch.start(&Arc::clone(cluster().await.run())).unwrap();
    assert_eq!(api.ended(Duration::from_secs(30)).await.unwrap().code(), Some(2));
    let log = api.log().unwrap();
    assert!(log.contains("set DATABASE_POOLER=transaction"), "{log}");
}

#[tokio::test]
async fn migrations_refuse_a_pooler_and_wait_for_each_other() {
    let database = Database::fresh(cluster().await).await.unwrap();
    let pooled = database.url_at(pooler_port().await, Role::Migrator);
    assert!(matches!(migrate(&pooled).await.unwrap_err(), MigrateError::Pooler));
    let direct = database.url_for(Role::Migrator);
    let (one, other, third) = tokio::join!(migrate(&direct), migrate(&direct), migrate(&direct));
    one.and(other).and(third).unwrap();
}

/// Breaks when `core/src/store/db.rs`: `timeout(self.patience, begun).await` → `timeout(ACQUIRE_TIMEOUT, begun).await`.
/// Breaks when `core/src/store/migrations.rs`: `const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);` → `const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);`.
#[tokio::test]
async fn migrations_wait_for_a_postgres_that_is_slow_to_let_them_in() {
    let database = Database::fresh(cluster().await).await.unwrap();
    // A connection takes four answers: 2.8 s, longer than any request or process waits for one.
    let way = Way::later(700);
    let port = way.to(cluster().await.postgres().port()).await;
    // The fourth has its turn when the transaction of the third has begun.
    let (watched, url) = (Arc::clone(&way), database.url_at(port, Role::Migrator));
    let quick_again = tokio::spawn(async move {
        while watched.taken.load(Ordering::Relaxed) < 4 {
            sleep(Duration::from_millis(10)).await;
        }
        watched.later.store(0, Ordering::Relaxed);
    });
    migrate(&url).await.unwrap();
    quick_again.await.unwrap();
}
