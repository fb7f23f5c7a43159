//! The migrations of a newer release are applied while processes of this one serve.

use std::time::Duration;

use doorbook_core::store::migrations::{MigrateError, Migrated, apply, level};
use doorbook_dev::{Cluster, Role, Stand};
use sqlx::migrate::Migration;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::sleep;

use crate::common::*;
use crate::load::Load;
use crate::waits::Waits;

/// Requests a second.
const RATE: u32 = 50;

/// One of each kind that `docs/OPERATIONS.md` allows, on the tables that are used most.
fn next_release() -> Vec<Migration> {
    let level = level();
    followed_by(vec![
        migration(level + 1, "column", "alter table sessions add column label text"),
        migration(level + 2, "default", "alter table accounts add column tier text not null default 'free'"),
        migration(level + 3, "index", "create index concurrently if not exists accounts_tier on accounts (tier)"),
        migration(level + 4, "rule", "alter table accounts add constraint tier check (tier <> '') not valid"),
        migration(level + 5, "proof", "alter table accounts validate constraint tier"),
        migration(level + 6, "table", "create table labels (label text primary key)"),
        migration(level + 7, "floor", &format!("update schema_floor set version = {level}")),
    ])
}

/// Somebody whose transactions are open for long: whoever waits behind a change that waits for them waits as long.
async fn stand_in_the_way(db: PgPool) {
    loop {
        let mut transaction = db.begin().await.unwrap();
        let look = "select count(*) from sessions, accounts where false";
        sqlx::query(AssertSqlSafe(look)).execute(&mut *transaction).await.unwrap();
        sleep(Duration::from_millis(1500)).await;
        transaction.commit().await.unwrap();
        sleep(Duration::from_millis(1000)).await;
    }
}

/// C110. Breaks when `core/src/store/migrations.rs`: `const LOCKS_BRIEFLY: &str = "set lock_timeout = '100ms'";` → `const LOCKS_BRIEFLY: &str = "set lock_timeout = 0";`.
#[tokio::test]
async fn a_newer_release_migrates_under_load_and_processes_of_this_one_serve_on() {
    let cluster = Cluster::shared().await.unwrap();
    let [api_ops, worker_ops] = [(); 2].map(|()| format!("127.0.0.1:{}", doorbook_dev::free_port().unwrap()));
    let settings = [
        ("API_OPS_BIND", api_ops.as_str()),
        ("WORKER_OPS_BIND", worker_ops.as_str()),
        ("MAX_REGISTRATION_ATTEMPTS", "1000"),
    ];
    let mut stand = Stand::start_with(cluster, &settings).await.unwrap();
    let owner = stand.database.url_for(Role::Migrator);
    let db = superuser(cluster, stand.database.name()).await;
    stand.worker.as_mut().unwrap().wait_ready(&format!("http://{worker_ops}"), SOON).await.unwrap();
    let load = Load::begin(&stand.base, RATE).await;
    let waits = Waits::watch(cluster, &db).await;
    let in_the_way = tokio::spawn(stand_in_the_way(db.clone()));
    sleep(Duration::from_millis(300)).await;

    assert_eq!(apply(&owner, &next_release()).await.unwrap(), Migrated::UpToDate);

    in_the_way.abort();
    for ops in [&api_ops, &worker_ops] {
        assert_eq!(status(&format!("http://{ops}/health/ready")).await, Some(200), "it goes on");
    }
    // One of this release that starts only now, and what its operators ask.
    let (mut late, late_base) = stand.another_api().await.unwrap();
    let newer = stand.doorbook(&["migrate"]).await.unwrap();
    assert!(newer.contains("Nothing was changed"), "{newer}");
    let checked = stand.doorbook(&["migrate", "--check"]).await.unwrap();
    assert_eq!(checked.lines().count(), 7, "{checked}");
    sleep(Duration::from_secs(1)).await;
    let sent = load.end().await;
    sent.assert_whole();
    println!("figure: {} requests, 0 failed, the slowest {} ms", sent.requests, sent.slowest.as_millis());
    assert_eq!(waits.too_long(), [""; 0]);
    assert_eq!(status(&format!("{late_base}/health/ready")).await, Some(200));
    late.kill().await.unwrap();
    for email in sent.registered {
        stand.sink.wait_for(|mail| mail.is_to(&email), SOON).await.unwrap();
    }
}

/// C110. Breaks when `core/src/service/health.rs`: `if level() < condition.floor {` → `if level() < 0 {`.
#[tokio::test]
async fn processes_stop_serving_once_the_schema_serves_newer_releases_only() {
    let cluster = Cluster::shared().await.unwrap();
    let mut stand = Stand::start_with(cluster, &[]).await.unwrap();
    let owner = stand.database.url_for(Role::Migrator);
    let db = superuser(cluster, stand.database.name()).await;
    // One that is still on its way up would wait for a schema that it knows, and not end.
    until("the worker is at work", async || {
        sqlx::query_scalar::<_, bool>("select exists (select from heartbeats where kind = 'worker')")
            .fetch_one(&db)
            .await
            .unwrap()
    })
    .await;
    let contract = format!("update schema_floor set version = {}", level() + 1);
    let next = [migration(level() + 1, "stop_using", "select 1"), migration(level() + 2, "contract", &contract)];

    apply(&owner, &followed_by(next[..1].to_vec())).await.unwrap();
    assert_eq!(status(&format!("{}/health/ready", stand.base)).await, Some(200));
    apply(&owner, &followed_by(next.to_vec())).await.unwrap();

    assert_eq!(status(&format!("{}/health/ready", stand.base)).await, Some(503));
    assert_eq!(status(&format!("{}/health/live", stand.base)).await, Some(200), "it need not be killed");
    let ended = stand.worker.as_mut().unwrap().ended(SOON).await.unwrap();
    assert!(!ended.success(), "the worker stops: {ended}");
    stand.start_worker().await.unwrap();
    until("the worker says why it does nothing", async || {
        stand.worker.as_ref().unwrap().log().unwrap().contains("serves newer releases only")
    })
    .await;
    for arguments in [&["migrate"][..], &["migrate", "--check"]] {
        let refused = stand.doorbook(arguments).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("{:04} was applied by a newer release", level() + 1)), "{refused}");
    }
}

/// C110. Breaks when `core/src/store/migrations.rs`: `let is_pending = |version| pending.iter().any(|pending| pending.version == version);` → `let is_pending = |_: i64| true;`.
#[tokio::test]
async fn migrating_once_more_changes_nothing() {
    let cluster = Cluster::shared().await.unwrap();
    let database = doorbook_dev::Database::fresh(cluster).await.unwrap();
    let (owner, db) = (database.url_for(Role::Migrator), superuser(cluster, database.name()).await);
    apply(&owner, &next_release()).await.unwrap();
    let before = crate::schema::fingerprint(&db).await;
    assert_eq!(apply(&owner, &next_release()).await.unwrap(), Migrated::UpToDate);
    assert_eq!(crate::schema::fingerprint(&db).await, before);
}

/// C110. Breaks when `core/src/store/migrations.rs`: `Some((_, checksum, true)) if checksum.as_slice() != &*migration.checksum => Lack::OtherText,` → `Some((_, checksum, true)) if checksum.is_empty() => Lack::OtherText,`.
#[tokio::test]
async fn a_migration_that_was_edited_after_it_was_applied_is_refused_by_name() {
    let cluster = Cluster::shared().await.unwrap();
    let database = doorbook_dev::Database::fresh(cluster).await.unwrap();
    let (owner, db) = (database.url_for(Role::Migrator), superuser(cluster, database.name()).await);
    let before = crate::schema::fingerprint(&db).await;
    let mut edited = next_release();
    let text = format!("{} -- one word more", edited[1].sql.as_str());
    edited[1] = migration(edited[1].version, "state", &text);
    let refused = apply(&owner, &edited).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("migration 0002 state was applied with another text"), "{refused}");
    assert_eq!(crate::schema::fingerprint(&db).await, before, "nothing of what comes after it is applied");
}

/// Breaks when `core/src/store/migrations.rs`: `if is_foreign(owner).await? {` → `if false {`.
#[tokio::test]
async fn the_database_of_a_django_service_is_left_as_it_is() {
    let cluster = Cluster::shared().await.unwrap();
    let template = doorbook_dev::Database::fresh(cluster).await.unwrap();
    let name = "django_s_own";
    let create = format!("create database {name} owner {}", Role::Migrator.login());
    run(&superuser(cluster, "postgres").await, &create).await;
    let db = superuser(cluster, name).await;
    run(&db, "create table django_migrations (id bigint primary key)").await;
    let owner = template.url_of(cluster.postgres().port(), Role::Migrator, name);
    let refused = apply(&owner, &next_release()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Foreign), "{refused}");
    let tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'";
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&db).await.unwrap(), 1);
}

/// Breaks when `core/src/store/migrations.rs`: `drop_half_built_indexes(owner).await?;` → `// Kept.`.
#[tokio::test]
async fn an_index_whose_making_was_cut_off_is_made_anew() {
    let cluster = Cluster::shared().await.unwrap();
    let database = doorbook_dev::Database::fresh(cluster).await.unwrap();
    let (owner, db) = (database.url_for(Role::Migrator), superuser(cluster, database.name()).await);
    let mut reader = db.begin().await.unwrap();
    let snapshot = "set transaction isolation level repeatable read; select 1 from accounts";
    sqlx::raw_sql(AssertSqlSafe(snapshot)).execute(&mut *reader).await.unwrap();
    let mut hasty = db.acquire().await.unwrap();
    sqlx::raw_sql("set statement_timeout = '300ms'").execute(&mut *hasty).await.unwrap();
    let cut_off = sqlx::raw_sql("create index concurrently accounts_locale on accounts (locale)").execute(&mut *hasty);
    cut_off.await.unwrap_err();
    reader.rollback().await.unwrap();
    let is_valid = "select indisvalid from pg_index where indexrelid = 'accounts_locale'::regclass";
    assert!(!sqlx::query_scalar::<_, bool>(is_valid).fetch_one(&db).await.unwrap(), "as a kill leaves it");

    let sql = "create index concurrently if not exists accounts_locale on accounts (locale)";
    apply(&owner, &followed_by(vec![migration(level() + 1, "index", sql)])).await.unwrap();
    assert!(sqlx::query_scalar::<_, bool>(is_valid).fetch_one(&db).await.unwrap());
}
