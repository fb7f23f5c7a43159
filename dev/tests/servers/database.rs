//! Databases for tests.

use doorbook_dev::{Cluster, Database, Role};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::common::options;

async fn run(database: &Database, role: Role, statement: &'static str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(&database.url_for(role)).await?;
    sqlx::raw_sql(statement).execute(&mut connection).await.map(drop)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(String::from)
}

#[tokio::test]
async fn each_test_gets_a_migrated_database_of_its_own_with_the_rights_of_a_deployment() {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    let cluster = Cluster::start(options()).await.unwrap();
    let (one, other) = tokio::join!(Database::fresh(&cluster), Database::fresh(&cluster));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.name(), other.name());

    let beat = "insert into heartbeats values ('worker-1', 'worker', 'ok', 'ok', now())";
    run(&one, Role::Worker, beat).await.unwrap();
    for (role, statement) in [
        (Role::Api, beat),
        (Role::Api, "delete from events"),
        (Role::Worker, "create table note (body text)"),
        (Role::Shredder, "select from jobs"),
        (Role::Auditor, "select from keys.data_keys"),
    ] {
        let refused = run(&one, role, statement).await.unwrap_err();
        assert_eq!(code(&refused).as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{role:?}: {statement}");
    }

    let count = "select count(*) from heartbeats";
    let here: i64 = sqlx::query_scalar(count).fetch_one(&one.pool(Role::Auditor).await.unwrap()).await.unwrap();
    let there: i64 = sqlx::query_scalar(count).fetch_one(&other.pool(Role::Auditor).await.unwrap()).await.unwrap();
    assert_eq!((here, there), (1, 0));

    run(&one, Role::Migrator, "create table more (body text)").await.unwrap();
}

#[tokio::test]
async fn a_fresh_database_is_dropped_with_its_value_even_while_someone_is_connected() {
    let cluster = Cluster::start(options()).await.unwrap();
    let database = Database::fresh(&cluster).await.unwrap();
    let pool = database.pool(Role::Api).await.unwrap();
    let name = database.name().to_owned();
    let mut superuser = PgConnection::connect(&cluster.superuser_url("postgres")).await.unwrap();
    let question = format!("select count(*) from pg_database where datname = '{name}'");
    let mut count = async || -> i64 {
        sqlx::query_scalar(AssertSqlSafe(question.clone())).fetch_one(&mut superuser).await.unwrap()
    };
    assert_eq!(count().await, 1);
    drop(database);
    assert_eq!(count().await, 0);
    drop(pool);
}
