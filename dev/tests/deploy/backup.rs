//! The recipe for backups in `docs/OPERATIONS.md`, run as it stands there.

use std::time::{Duration, Instant};

use doorbook_core::store::{Db, seal};
use doorbook_dev::{Cluster, Database, Role, ensure_binaries, stand};
use sqlx::{AssertSqlSafe, PgPool};

use crate::common::{Folder, recipe, run_recipe};

const DOCUMENT: &str = "docs/OPERATIONS.md";
const EMAIL: &str = "ana@example.com";

/// What the commands are run with, at this database.
fn environment(database: &Database, path: &str) -> Vec<(String, String)> {
    let pairs = [
        ("PATH", path.to_owned()),
        ("DEBUG", "True".to_owned()),
        ("SECRET_KEY", "k7Qw9zXc2Vb5Nm8Lp3Jh6Gf4Ds1Aq0We7Rt2Yu5Io8Pk3Ml6Nb9".to_owned()),
        ("JWT_SECRET_KEY", "vJ-3xT_9qLw7Zr5NkB1mYh8PdGf2sCa6Eo4Ui0tXyRQ".to_owned()),
        ("DEFAULT_FROM_EMAIL", "doorbook@example.com".to_owned()),
        ("FRONTEND_URL", "https://app.example.com".to_owned()),
        ("ARGON2_MEMORY_KIB", "64".to_owned()),
        ("ARGON2_TIME_COST", "1".to_owned()),
        ("ARGON2_PARALLELISM", "1".to_owned()),
        ("DATABASE_URL", database.url_for(Role::Api)),
        ("WORKER_DATABASE_URL", database.url_for(Role::Worker)),
        ("DATABASE_MIGRATE_URL", database.url_for(Role::Migrator)),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn run(name: &str, folder: &Folder, environment: &[(String, String)]) {
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    run_recipe(&recipe(DOCUMENT, name), &folder.0, &environment);
}

async fn number(db: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

/// Other tests' transactions hold the sealer back as well.
async fn seal_all(database: &Database) {
    let (worker, begun) = (database.pool(Role::Worker).await.unwrap(), Instant::now());
    let unsealed = "select (select count(*) from events) - (select count(*) from event_seals)";
    while number(&worker, unsealed).await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "events are never sealed");
        seal::seal_batch(&Db::from(worker.clone())).await.unwrap();
    }
}

/// The copy goes into a database of the same server; the restore test of `book` has another cluster and its epoch.
#[tokio::test]
async fn a_backup_with_the_keys_apart_is_restored_and_verified_by_the_documented_recipe() {
    let cluster = Cluster::shared().await.unwrap();
    let database = Database::fresh(cluster).await.unwrap();
    let (tool, binaries) = (cluster.postgres_tool("pg_dump").unwrap(), ensure_binaries().await.unwrap());
    let path = [tool.parent().unwrap().to_owned(), binaries.to_path_buf(), "/usr/bin".into(), "/bin".into()];
    let path = std::env::join_paths(path).unwrap().into_string().unwrap();
    let before = environment(&database, &path);
    let create = ["account", "create", EMAIL, "--password-stdin"];
    stand::doorbook(cluster.run(), &before, &create, "violet harbour 73\n").await.unwrap();
    seal_all(&database).await;

    let folder = Folder::new("backup");
    run("backup", &folder, &before);
    let restored = Database::fresh(cluster).await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url("postgres")).await.unwrap();
    for statement in ["drop database {} with (force)", "create database {} owner dev_migrator"] {
        let statement = statement.replace("{}", restored.name());
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&superuser).await.unwrap();
    }
    let after = environment(&restored, &path);
    run("restore", &folder, &after);
    run("verify", &folder, &after);

    let listed = stand::doorbook(cluster.run(), &after, &["account", "list"], "").await.unwrap();
    assert!(listed.contains(EMAIL), "personal data opens with the restored keys: {listed}");
    // The verification can fail: a seal is lost, and the recipe says so.
    let owner = restored.pool(Role::Migrator).await.unwrap();
    sqlx::raw_sql("alter table event_seals disable trigger all; delete from event_seals where position = 1")
        .execute(&owner)
        .await
        .unwrap();
    let verified = std::panic::catch_unwind(|| run("verify", &folder, &after));
    assert!(verified.is_err(), "a log with a hole passes for a whole one");
}
