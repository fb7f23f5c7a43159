//! No connection is to be had: requests are refused in time, and the process lives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use doorbook_core::store::{Db, Pooler};
use doorbook_dev::pgbouncer::SERVERS;
use doorbook_dev::{Client, Cluster, Options, Role, Stand, ensure_binaries};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::common::{cluster, pooler_port};

/// Longest time for a refusal. Twice what the release bar says (1.5 s), for a machine that is busy with other tests.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// Servers that no other test uses.
async fn own_cluster() -> Cluster {
    let guard = ensure_binaries().await.unwrap().join("doorbook-dev");
    Cluster::start(Options::temporary(guard)).await.unwrap()
}

async fn refused_but_alive(client: &Client) {
    let body = json!({ "email": "ana@example.com", "password": "violet harbour 73" });
    let begun = Instant::now();
    let (login, ready, live) =
        tokio::join!(client.post("/api/auth/login/", body), client.get("/health/ready"), client.get("/health/live"));
    let took = begun.elapsed();
    let (login, ready, live) = (login.unwrap(), ready.unwrap(), live.unwrap());
    assert_eq!((login.status, ready.status, live.status), (503, 503, 200), "{login:?} {ready:?}");
    assert!(login.headers.contains_key("retry-after"), "{login:?}");
    assert!(took <= REFUSED_WITHIN, "{took:?}");
    println!("figure: refused after {} ms", took.as_millis());
}

async fn recovered(client: &Client) {
    let begun = Instant::now();
    while client.get("/health/ready").await.unwrap().status != 200 {
        assert!(begun.elapsed() < RECOVERED_WITHIN, "not ready again");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Ends the sessions of the api; how many there were.
async fn end_sessions(superuser: &mut PgConnection) -> i64 {
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'dev_api'";
    sqlx::query_scalar(end).fetch_one(superuser).await.unwrap()
}

/// Takes every connection that Postgres has left for this URL.
async fn take_all(url: &str) -> Vec<PgConnection> {
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(url).await {
        taken.push(connection);
    }
    taken
}

/// Breaks when `api/src/refusal.rs`: `Self::unavailable(STORE_RETRY_SECONDS)` → `{ let _ = STORE_RETRY_SECONDS; Self::internal() }`.
#[tokio::test]
async fn when_postgres_has_no_connection_left_requests_get_503_and_the_process_lives() {
    let own = own_cluster().await;
    let stand = Stand::start_api(&own, &[]).await.unwrap();
    let client = stand.client();
    let others = stand.database.url_for(Role::Auditor);
    let mut superuser = PgConnection::connect(&own.superuser_url(stand.database.name())).await.unwrap();
    let mut taken = Vec::new();
    // The api opens one anew whenever it gets a chance: until it has none.
    loop {
        let ended = end_sessions(&mut superuser).await;
        taken.extend(take_all(&others).await);
        if ended == 0 {
            break;
        }
    }
    refused_but_alive(&client).await;
    for connection in taken {
        connection.close().await.unwrap();
    }
    recovered(&client).await;
}

/// A full disk, seen by new sessions alone: each may write files of this size, which is less than what it keeps of the catalog.
const FILE_MAX: u64 = 16 << 10;

/// Bytes that a file may have which a session writes that is yet to begin. Told by the owner of the server: root of a container may not.
fn limit_files(folder: &Path, bytes: &str) {
    let file = folder.join("postmaster.pid");
    let (owner, text) = (fs::metadata(&file).unwrap(), fs::read_to_string(&file).unwrap());
    let status = Command::new("prlimit")
        .args(["--pid", text.lines().next().unwrap(), &format!("--fsize={bytes}:")])
        .uid(owner.uid())
        .gid(owner.gid())
        .status();
    assert!(status.unwrap().success());
}

/// Breaks when `core/src/store/mod.rs`: `|| code.starts_with("XX") && is_end_of_session(database.as_ref())` → `|| code.starts_with("XX") && !is_end_of_session(database.as_ref())`.
#[tokio::test]
async fn when_new_sessions_cannot_write_what_they_keep_of_the_catalog_requests_get_503_and_the_process_lives() {
    let own = own_cluster().await;
    let stand = Stand::start_api(&own, &[]).await.unwrap();
    let client = stand.client();
    let mut superuser = PgConnection::connect(&own.superuser_url(stand.database.name())).await.unwrap();
    let place =
        "select current_setting('data_directory'), oid::text from pg_database where datname = current_database()";
    let (folder, database): (String, String) = sqlx::query_as(place).fetch_one(&mut superuser).await.unwrap();
    let folder = PathBuf::from(folder);
    limit_files(&folder, &FILE_MAX.to_string());
    fs::remove_file(folder.join("base").join(database).join("pg_internal.init")).unwrap();
    assert!(end_sessions(&mut superuser).await > 0);
    // The first ones may still meet the end of a session that they were given.
    for _ in 0..5 {
        refused_but_alive(&client).await;
    }
    limit_files(&folder, "unlimited");
    recovered(&client).await;
}

/// Breaks when `api/src/refusal.rs`: `Self::unavailable(STORE_RETRY_SECONDS)` → `{ let _ = STORE_RETRY_SECONDS; Self::internal() }`.
#[tokio::test]
async fn when_the_pooler_has_no_server_left_requests_get_503_and_the_process_lives() {
    let stand = Stand::start_pooled(cluster().await, &[]).await.unwrap();
    let client = stand.client();
    let others = Db::new(&stand.database.url_at(pooler_port().await, Role::Api), SERVERS, Pooler::Transaction).unwrap();
    let mut taken = Vec::new();
    for _ in 0..SERVERS {
        taken.push(others.begin().await.unwrap());
    }
    refused_but_alive(&client).await;
    for tx in taken {
        tx.rollback().await.unwrap();
    }
    recovered(&client).await;
}
