//! What the tests of this package share.

use std::time::{Duration, Instant};

use doorbook_core::store::migrations::MIGRATOR;
use doorbook_dev::Cluster;
use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr as _};
use tokio::time::sleep;

/// Time for what should take seconds on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_secs(30);

/// Little by default, as the release bar asks when `DOORBOOK_DOSE` is `full`.
pub fn dose<T>(small: T, full: T) -> T {
    if std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full") { full } else { small }
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The status that this address answers with; `None` when nobody answers.
pub async fn status(url: &str) -> Option<u16> {
    let http = doorbook_dev::loopback().timeout(Duration::from_secs(5)).build().unwrap();
    http.get(url).send().await.ok().map(|answer| answer.status().as_u16())
}

pub async fn superuser(cluster: &Cluster, database: &str) -> PgPool {
    PgPool::connect(&cluster.superuser_url(database)).await.unwrap()
}

pub async fn run(db: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A migration of a release that is still to come.
pub fn migration(version: i64, name: &'static str, sql: &str) -> Migration {
    let outside = sql.contains("concurrently");
    let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
    Migration::new(version, name.into(), MigrationType::Simple, sql, outside)
}

/// This build's migrations and those of a release after it.
pub fn followed_by(next: Vec<Migration>) -> Vec<Migration> {
    MIGRATOR.iter().cloned().chain(next).collect()
}
