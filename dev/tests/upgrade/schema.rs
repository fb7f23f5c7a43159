//! Each migration of this build on a database of the one before it, with rows in its tables and people using them.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbook_core::store::migrations::{MIGRATOR, Migrated, migrate, pending};
use doorbook_dev::{Cluster, Database, Role};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::common::*;
use crate::waits::Waits;

/// Everything of a schema that a migration could change, and what is noted of the migrations themselves.
pub async fn fingerprint(db: &PgPool) -> Vec<String> {
    let all = "select format('%s.%s %s %s', table_schema, table_name, column_name, data_type) from information_schema.columns
                   where table_schema in ('public', 'keys')
               union all select pg_get_indexdef(indexrelid) || indisvalid from pg_index
                   join pg_class on pg_class.oid = indrelid where relnamespace in ('public'::regnamespace, 'keys'::regnamespace)
               union all select conname || pg_get_constraintdef(oid) from pg_constraint
               union all select proname || prosrc from pg_proc where pronamespace = 'public'::regnamespace
               union all select relname || relacl::text from pg_class where relacl is not null
               union all select format('%s %s %s %s', version, installed_on, success, checksum) from _sqlx_migrations
               union all select 'floor ' || version from schema_floor order by 1";
    sqlx::query_scalar(AssertSqlSafe(all)).fetch_all(db).await.unwrap()
}

/// Rows of every table, and a hash over the columns that it had before.
async fn contents(db: &PgPool, columns: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    for (table, columns) in columns {
        let sql = format!(
            "select count(*) || ' ' || md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from (select {} from {table}) t",
            columns.join(", ")
        );
        contents.insert(table.clone(), sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(db).await.unwrap());
    }
    contents
}

async fn columns(db: &PgPool) -> BTreeMap<String, Vec<String>> {
    let all = "select table_schema || '.' || table_name, array_agg(quote_ident(column_name) order by ordinal_position)
               from information_schema.columns join pg_class on oid = format('%I.%I', table_schema, table_name)::regclass
               where table_schema in ('public', 'keys') and not relispartition and table_name not in ('_sqlx_migrations', 'heartbeats')
               group by 1";
    sqlx::query_as(all).fetch_all(db).await.unwrap().into_iter().collect()
}

/// A row or more in each of the busiest tables, in words that every schema since the second migration understands.
const SEED: &str = "
    insert into streams (stream_id, kind, subject_id, version)
        select md5('s' || n)::uuid, 'account', md5('a' || n)::uuid, 1 from generate_series(1, 2000) n;
    insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
        select uuid7_floor(now() + n * interval '1 millisecond'), 'keep', md5('s' || n)::uuid, 1, 'Registered', '{}', 'stranger'
        from generate_series(1, 2000) n;
    insert into accounts (account_id, locale, status, created_at)
        select md5('a' || n)::uuid, 'en', 'active', now() from generate_series(1, 2000) n;
    insert into account_emails (email_key, key_id, account_id, state)
        select sha256(n::text::bytea), 'k1', md5('a' || n)::uuid, 'current' from generate_series(1, 2000) n;
    insert into sessions (session_id, account_id, session_epoch, generation, key_id, salt, created_at, rotated_at, last_used_at, absolute_end)
        select md5('z' || n)::uuid, md5('a' || n)::uuid, 0, 1, 'k1', substr(sha256(n::text::bytea), 1, 16), now(), now(), now(), now()
        from generate_series(1, 2000) n;
    insert into keys.service_keys (purpose, key_id, wrapped, wrapped_by, active) values ('email_lookup', 'k1', 'x', 'root', true);
    insert into keys.data_keys (key_id, account_id, wrapped, wrapped_by)
        select md5('d' || n)::uuid, md5('a' || n)::uuid, 'x', 'k1' from generate_series(1, 2000) n;
";

/// Uses every table all the time, changing nothing that is compared.
async fn use_it(db: PgPool, tables: Vec<String>) {
    loop {
        for table in &tables {
            let look = format!("select count(*) from (select 1 from {table} limit 20) rows");
            sqlx::query(AssertSqlSafe(look)).execute(&db).await.unwrap();
        }
        run(&db, "update accounts set locale = locale where account_id = md5('a1')::uuid").await;
        run(&db, "update keys.service_keys set wrapped = wrapped").await;
        sleep(Duration::from_millis(1)).await;
    }
}

/// C110. Breaks when `migrations/0003_key_rotation.sql`: `alter table keys.service_keys add check (not (active and next));` → `alter table keys.service_keys add check (not (active and next)); select pg_sleep(0.6); delete from keys.service_keys;`.
#[tokio::test]
async fn each_migration_keeps_what_is_there_and_lets_nobody_wait() {
    let cluster = Cluster::shared().await.unwrap();
    let template = Database::fresh(cluster).await.unwrap();
    let maintenance = superuser(cluster, "postgres").await;
    // The first two make the schema; there is nobody to wait for them. From there each later one is applied once.
    let count = MIGRATOR.iter().count();
    let all: Vec<_> = (2..count).collect();
    let few: Vec<_> = (2..count).step_by(8).chain([count - 1]).collect();
    for version in dose(few, all) {
        let name = format!("step_{version}");
        run(&maintenance, &format!("create database {name} owner {}", Role::Migrator.login())).await;
        let owner = template.url_of(cluster.postgres().port(), Role::Migrator, &name);
        let earlier = Migrator::with_migrations(MIGRATOR.iter().take(version).cloned().collect());
        earlier.run(&PgPool::connect(&owner).await.unwrap()).await.unwrap();
        let db = superuser(cluster, &name).await;
        run(&db, SEED).await;
        let mut columns = columns(&db).await;
        // A row a purpose, a row a view: migrations add to them.
        for table in ["public.key_guards", "public.followers"] {
            columns.remove(table);
        }
        let before = contents(&db, &columns).await;
        let people: Vec<_> =
            (0..4).map(|_| tokio::spawn(use_it(db.clone(), columns.keys().cloned().collect()))).collect();
        let waits = Waits::watch(cluster, &db).await;
        sleep(Duration::from_millis(200)).await;

        assert_eq!(migrate(&owner).await.unwrap(), Migrated::UpToDate, "{name}");

        assert!(people.iter().all(|person| !person.is_finished()), "{name}: nobody was refused anything");
        people.iter().for_each(JoinHandle::abort);
        assert_eq!(waits.too_long(), [""; 0], "{name}");
        assert_eq!(contents(&db, &columns).await, before, "{name}");
        assert_eq!(pending(&owner).await.unwrap(), [], "{name}");
        db.close().await;
        run(&maintenance, &format!("drop database {name} with (force)")).await;
    }
}
