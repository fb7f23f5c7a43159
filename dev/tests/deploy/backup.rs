//! The recipe for backups in `docs/OPERATIONS.md`, run as it stands there.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use doorbook_core::store::{Db, Pooler, seal};
use doorbook_dev::{Cluster, Database, Role, ensure_binaries, free_port, lives, stand};
use sqlx::{AssertSqlSafe, PgPool};

use crate::common::{Folder, recipe, run_recipe};

const DOCUMENT: &str = "docs/OPERATIONS.md";
/// From the beginning of a restore to an api that is ready. Source: bar 6.
const BACK_WITHIN: Duration = Duration::from_mins(1);
const SECRET_KEY: &str = "k7Qw9zXc2Vb5Nm8Lp3Jh6Gf4Ds1Aq0We7Rt2Yu5Io8Pk3Ml6Nb9";
/// A password as Django keeps it.
const ENCODED: &str = "pbkdf2_sha256$1000$pinch0fsalt$IhdnMlOfIG1rYazzF4rANYVev73rUcQGXYKgZmxen3A=";
const EMAIL: &str = "ana@example.com";

/// What the commands are run with, at this database.
fn environment(database: &Database, path: &str) -> Vec<(String, String)> {
    let pairs = [
        ("PATH", path.to_owned()),
        ("DEBUG", "True".to_owned()),
        ("SECRET_KEY", SECRET_KEY.to_owned()),
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
    let owner = database.pool(Role::Migrator).await.unwrap();
    let (worker, mut moved) = (Db::new(&database.url_for(Role::Worker), 1, Pooler::None).unwrap(), Instant::now());
    let unsealed = "select (select count(*) from events) - (select count(*) from event_seals)";
    loop {
        if seal::seal_batch(&worker).await.unwrap() > 0 {
            moved = Instant::now();
        } else if number(&owner, unsealed).await == 0 {
            // Asked only now: it reads both tables whole.
            return;
        }
        assert!(moved.elapsed() < Duration::from_secs(30), "events are never sealed");
    }
}

/// `PATH` of the recipes: the tools of Postgres, our own, and the system's.
async fn path(cluster: &Cluster) -> String {
    let (tool, binaries) = (cluster.postgres_tool("pg_dump").unwrap(), ensure_binaries().await.unwrap());
    let path = [tool.parent().unwrap().to_owned(), binaries.to_path_buf(), "/usr/bin".into(), "/bin".into()];
    std::env::join_paths(path).unwrap().into_string().unwrap()
}

/// A database without anything, whose owner is the migrator, as the recipe begins.
async fn empty(cluster: &Cluster) -> Database {
    let database = Database::fresh(cluster).await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url("postgres")).await.unwrap();
    for statement in ["drop database {} with (force)", "create database {} owner dev_migrator"] {
        let statement = statement.replace("{}", database.name());
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&superuser).await.unwrap();
    }
    database
}

/// The copy goes into a database of the same server; the restore test of `book` has another cluster and its epoch.
/// Breaks when `docs/OPERATIONS.md`: `--single-transaction doorbook-keys.dump` → `--single-transaction --schema-only doorbook-keys.dump`.
#[tokio::test]
async fn a_backup_with_the_keys_apart_is_restored_and_verified_by_the_documented_recipe() {
    let cluster = Cluster::shared().await.unwrap();
    let database = Database::fresh(cluster).await.unwrap();
    let path = path(cluster).await;
    let before = environment(&database, &path);
    let create = ["account", "create", EMAIL, "--password-stdin"];
    stand::doorbook(cluster.run(), &before, &create, "violet harbour 73\n").await.unwrap();
    seal_all(&database).await;

    let folder = Folder::new("backup");
    run("backup", &folder, &before);
    let restored = empty(cluster).await;
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

/// Breaks when `docs/OPERATIONS.md`: `--single-transaction doorbook.dump` → `--single-transaction --schema-only doorbook.dump`.
#[tokio::test]
async fn a_large_log_is_restored_in_its_time_again_and_again() {
    let is_full = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    let (accounts, events, times) = if is_full { (100_000, 900_000, 3) } else { (100, 900, 1) };
    let cluster = Cluster::shared().await.unwrap();
    let database = Database::fresh(cluster).await.unwrap();
    let path = path(cluster).await;
    let before = environment(&database, &path);
    let folder = Folder::new("large-accounts");
    let mut csv = "id,email,password,first_name,last_name,is_active,is_staff,date_joined\n".to_owned();
    for id in 1..=accounts {
        writeln!(csv, "{id},user{id}@example.com,{ENCODED},Ana,Lima,true,false,2020-01-02 03:04:05+00").unwrap();
    }
    let file = folder.0.join("accounts.csv");
    std::fs::write(&file, csv).unwrap();
    let import = ["import", "django", "--csv", file.to_str().unwrap()];
    stand::doorbook(cluster.run(), &before, &import, "").await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
    lives::bring(&superuser, SECRET_KEY, events).await.unwrap();
    seal_all(&database).await;
    let count = "select count(*) from event_seals";
    let sealed = number(&superuser, count).await;
    for time in 1..=times {
        let folder = Folder::new(&format!("large-backup-{time}"));
        let begun = Instant::now();
        run("backup", &folder, &before);
        let saved = begun.elapsed();
        let restored = empty(cluster).await;
        let after = environment(&restored, &path);
        let begun = Instant::now();
        run("restore", &folder, &after);
        let base = format!("http://127.0.0.1:{}", free_port().unwrap());
        let ops = format!("127.0.0.1:{}", free_port().unwrap());
        let binds = [("API_BIND", base["http://".len()..].to_owned()), ("API_OPS_BIND", ops)];
        let binds = binds.map(|(name, value)| (name.to_owned(), value));
        let environment: Vec<_> = after.iter().cloned().chain(binds).collect();
        let api = stand::launch("doorbook-api", &environment, cluster.run(), &base).await.unwrap();
        let back = begun.elapsed();
        drop(api);
        let begun = Instant::now();
        run("verify", &folder, &after);
        let [saved, back, verified] = [saved, back, begun.elapsed()].map(|time| time.as_secs_f64());
        println!(
            "figure: {sealed} events saved in {saved:.0} s, an api ready {back:.0} s after the beginning of their restoring, verified in {verified:.0} s"
        );
        assert_eq!(number(&restored.pool(Role::Migrator).await.unwrap(), count).await, sealed);
        if is_full {
            assert!(back <= BACK_WITHIN.as_secs_f64(), "{back:.0} s");
        }
    }
}
