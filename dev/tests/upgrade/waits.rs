//! Who waits for a table, and for how long.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use doorbook_dev::Cluster;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::common::*;

/// Longest wait for a lock. Source: bar 6.
const LOCK_WAIT_MAX_MS: i64 = 200;

/// Waits for the locks of tables. Postgres itself tells of every one that is too long, in its log.
pub struct Waits {
    log: PathBuf,
    begin: usize,
    /// The database whose tables are meant, as Postgres names it in its log.
    of: String,
    longest_ms: Arc<AtomicI64>,
    sampling: JoinHandle<()>,
}

impl Waits {
    pub async fn watch(cluster: &Cluster, database: &PgPool) -> Self {
        let superuser = superuser(cluster, "postgres").await;
        let patience = format!("alter system set deadlock_timeout = '{LOCK_WAIT_MAX_MS}ms'");
        for sql in [patience.as_str(), "alter system set log_lock_waits = on", "select pg_reload_conf()"] {
            run(&superuser, sql).await;
        }
        let log = cluster.run().folder().join("postgres.log");
        let begin = std::fs::read_to_string(&log).unwrap().len();
        let oid: i64 = sqlx::query_scalar("select oid::bigint from pg_database where datname = current_database()")
            .fetch_one(database)
            .await
            .unwrap();
        let longest_ms = Arc::new(AtomicI64::new(0));
        let sampling = tokio::spawn(sample(database.clone(), Arc::clone(&longest_ms)));
        Self { log, begin, of: format!(" of database {oid} "), longest_ms, sampling }
    }

    /// The lines about waits that were too long.
    pub fn too_long(self) -> Vec<String> {
        self.sampling.abort();
        println!("figure: longest wait for a table that was seen {} ms", self.longest_ms.load(Ordering::Relaxed));
        let log = std::fs::read_to_string(&self.log).unwrap();
        let is_wait = |line: &&str| {
            line.contains("still waiting for") && line.contains(" on relation ") && line.contains(&self.of)
        };
        log[self.begin..].lines().filter(is_wait).map(str::to_owned).collect()
    }
}

/// Looks every 10 ms at who waits for a table of this database, and for how long already.
async fn sample(db: PgPool, longest_ms: Arc<AtomicI64>) {
    let waiting = "select coalesce(max(extract(epoch from clock_timestamp() - waitstart) * 1000), 0)::bigint from pg_locks
                   where locktype = 'relation' and database = (select oid from pg_database where datname = current_database())";
    loop {
        let ms: i64 = sqlx::query_scalar(waiting).fetch_one(&db).await.unwrap();
        longest_ms.fetch_max(ms, Ordering::Relaxed);
        sleep(Duration::from_millis(10)).await;
    }
}
