//! The script that makes the logins, run as the compose file has it run, and the service started with them.

use std::fs;

use doorbook_core::config::{Process, Settings};
use doorbook_core::service::start;
use doorbook_core::store::{self, Db};
use doorbook_dev::Cluster;
use sqlx::{AssertSqlSafe, PgPool};

use crate::common::read;
use crate::compose::{environment, file, secrets};

const DATABASE: &str = "packaged";

/// Settings of a service of the compose file, at this server and with small hashes.
fn settings(service: &str, process: Process, secrets: &str, port: u16) -> Settings {
    let mut environment = environment(&[file("compose.yaml")], service, secrets);
    let here = [
        ("POSTGRES_HOST", "127.0.0.1".to_owned()),
        ("POSTGRES_PORT", port.to_string()),
        ("POSTGRES_DB", DATABASE.to_owned()),
        ("ARGON2_MEMORY_KIB", "19456".to_owned()),
        ("ARGON2_PARALLELISM", "1".to_owned()),
    ];
    environment.extend(here.map(|(name, value)| (name.to_owned(), value)));
    Settings::load(&environment.into_iter().collect(), process).unwrap()
}

async fn denied(db: &Db, sql: &'static str) -> bool {
    let error = sqlx::raw_sql(sql).execute(db).await.unwrap_err();
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501"))
}

#[tokio::test]
async fn the_logins_of_the_compose_file_migrate_and_start_and_may_do_no_more_than_their_roles() {
    let cluster = Cluster::shared().await.unwrap();
    // The roles are the cluster's, and other tests of this process make them too.
    doorbook_dev::Database::fresh(cluster).await.unwrap();
    let folder = secrets("logins");
    let secrets = folder.0.join("secrets").to_string_lossy().into_owned();
    let superuser = PgPool::connect(&cluster.superuser_url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("create database {DATABASE}"))).execute(&superuser).await.unwrap();
    let script = folder.0.join("logins.sql");
    fs::write(&script, read("deploy/postgres/logins.sql").replace("/run/secrets", &secrets)).unwrap();
    // Twice: a second run changes nothing.
    for _ in 0..2 {
        let mut psql = cluster.run().command(cluster.postgres_tool("psql").unwrap());
        let url = cluster.superuser_url(DATABASE);
        let output = psql.args(["--no-psqlrc", "--dbname", &url, "--file"]).arg(&script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    let port = cluster.postgres().port();
    let owner = settings("migrate", Process::Cli, &secrets, port);
    store::migrate(owner.database.migrate_url.expose()).await.unwrap();
    assert_eq!(store::migrations::pending(owner.database.migrate_url.expose()).await.unwrap(), []);
    for (service, process) in [("api", Process::Api), ("worker", Process::Worker)] {
        let settings = settings(service, process, &secrets, port);
        let doorbook = start::start(&settings).await.unwrap_or_else(|error| panic!("{service}: {error}"));
        assert!(denied(&doorbook.db, "delete from events").await, "{service}");
        assert!(denied(&doorbook.db, "create table mine ()").await, "{service}");
        assert!(denied(&doorbook.db, "delete from keys.data_keys").await, "{service}");
        assert!(denied(&doorbook.db, "create role mine").await, "{service}");
    }
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {DATABASE} with (force)"))).execute(&superuser).await.unwrap();
}
