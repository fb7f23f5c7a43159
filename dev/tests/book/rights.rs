//! What each role may not do to the log, and how its partitions are made.

use doorbook_dev::Role;
use sqlx::{AssertSqlSafe, PgPool};

use crate::common::*;

/// Runs one statement and returns what Postgres says against it, with its code; `None` when it was done.
async fn refusal(db: &PgPool, sql: &str) -> Option<(String, String)> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await;
    let error = done.err()?;
    let error = error.as_database_error().expect(sql);
    Some((error.code().unwrap().into_owned(), error.message().to_owned()))
}

/// Asserts that the role lacks the right itself: a trigger that refuses as well is no excuse.
async fn assert_denied(db: &PgPool, role: Role, sql: &str) {
    let (code, message) = refusal(db, sql).await.unwrap_or_else(|| panic!("{role:?} may: {sql}"));
    assert_eq!(code, "42501", "{role:?}: {sql}: {message}");
    assert!(
        message.starts_with("permission denied") || message.starts_with("must be owner"),
        "{role:?}: {sql}: {message}"
    );
}

/// A house with sealed events, and the leaves of its log's partitions.
async fn written() -> (House, Vec<String>) {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    house.seal().await;
    let leaves =
        sqlx::query_scalar("select relid::regclass::text from pg_partition_tree('events') where isleaf order by 1")
            .fetch_all(&house.owner)
            .await
            .unwrap();
    (house, leaves)
}

const SERVICES: [Role; 4] = [Role::Api, Role::Worker, Role::Auditor, Role::Shredder];

/// C084. Breaks when `core/src/store/roles.sql`: `grant insert on streams to doorbook_api` → `grant update on events to doorbook_api; grant insert, update on streams to doorbook_api`.
#[tokio::test]
async fn no_service_may_change_the_log() {
    let (house, leaves) = written().await;
    for role in SERVICES {
        let db = house.database.pool(role).await.unwrap();
        for sql in [
            "update events set payload = '{}'",
            "delete from events",
            "truncate events",
            "update event_seals set leaf_hash = leaf_hash",
            "delete from event_seals",
            "truncate event_seals",
            "update logs set origin = 'mine'",
            "delete from log_nodes",
            "update checkpoints set note = ''",
            "delete from checkpoints",
            "truncate checkpoints",
            "delete from checkpoint_keys",
            "delete from checkpoint_sink",
            "update epochs set began_at = now()",
            "delete from epochs",
            "delete from streams",
            "update streams set stream_id = gen_random_uuid()",
            "update streams set kind = 'session'",
            "update streams set subject_id = null",
            "truncate streams",
            "alter table events disable trigger all",
            "alter table event_seals disable trigger all",
            "drop table events",
        ] {
            assert_denied(&db, role, sql).await;
        }
        for leaf in &leaves {
            for sql in ["select 1 from @", "update @ set payload = '{}'", "delete from @", "truncate @", "drop table @"]
            {
                assert_denied(&db, role, &sql.replace('@', leaf)).await;
            }
            assert_denied(&db, role, &format!("alter table events_keep detach partition {leaf}")).await;
        }
    }
}

/// C084. Breaks when `core/src/store/roles.sql`: `grant insert (event_id, retention_class, log_id,` → `grant insert on events to doorbook_api; grant insert (event_id, retention_class, log_id,`.
#[tokio::test]
async fn nobody_writes_what_only_the_server_knows() {
    let (house, _) = written().await;
    let columns = "event_id, retention_class, stream_id, version, type, payload, actor_kind";
    let values = "gen_random_uuid(), 'keep', gen_random_uuid(), 1, 'LoggedOut', '{}', 'system'";
    for role in SERVICES {
        let db = house.database.pool(role).await.unwrap();
        for (column, value) in [("xid", "'1'::xid8"), ("epoch", "1"), ("recorded_at", "now()"), ("seq", "1")] {
            let sql =
                format!("insert into events ({columns}, {column}) overriding system value values ({values}, {value})");
            assert_denied(&db, role, &sql).await;
        }
        if role == Role::Auditor {
            assert_denied(&db, role, &format!("insert into events ({columns}) values ({values})")).await;
        }
        if role != Role::Worker {
            let seal = "insert into event_seals (position, event_id, retention_class, epoch, xid, seq, leaf_hash)
                        values (99, gen_random_uuid(), 'keep', 1, '1', 1, sha256(''))";
            assert_denied(&db, role, seal).await;
        }
    }
}

/// C084. Breaks when `core/src/store/roles.sql`: `revoke all on schema public from public;` → `grant create on schema public to public;`.
#[tokio::test]
async fn no_service_may_make_objects_or_roles() {
    let house = house().await;
    for role in SERVICES {
        let db = house.database.pool(role).await.unwrap();
        for sql in [
            "create table public.mine (id int)",
            "create table keys.mine (id int)",
            "create function public.log_epoch() returns int language sql as 'select 1'",
            "create schema mine",
            "create extension pg_trgm",
            "create role mine",
            "alter role dev_api superuser",
            "set session_replication_role = replica",
            "copy (select 1) to program 'true'",
        ] {
            let (code, message) = refusal(&db, sql).await.unwrap_or_else(|| panic!("{role:?} may: {sql}"));
            assert_eq!(code, "42501", "{role:?}: {sql}: {message}");
        }
        let attributes =
            "select (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)::int::bigint
                          from pg_roles where rolname = current_user";
        assert_eq!(sqlx::query_scalar::<_, i64>(attributes).fetch_one(&db).await.unwrap(), 0, "{role:?}");
    }
}

/// C084. Breaks when `core/src/store/roles.sql`: `grant usage on schema keys to doorbook_api, doorbook_worker, doorbook_shredder;` → `grant usage on schema keys to doorbook_api, doorbook_worker, doorbook_shredder, doorbook_auditor; grant select on all tables in schema keys to doorbook_auditor;`.
#[tokio::test]
async fn each_service_reads_and_writes_only_the_keys_and_secrets_it_needs() {
    let (house, _) = written().await;
    let denied = [
        (Role::Auditor, "select 1 from keys.service_keys"),
        (Role::Auditor, "select 1 from keys.data_keys"),
        (Role::Auditor, "select 1 from credentials"),
        (Role::Auditor, "select 1 from tokens"),
        (Role::Auditor, "select 1 from sessions"),
        (Role::Auditor, "select 1 from devices"),
        (Role::Auditor, "select profile from accounts"),
        (Role::Auditor, "update accounts set roles = '{admin}'"),
        (Role::Shredder, "select 1 from keys.service_keys"),
        (Role::Shredder, "insert into keys.data_keys (key_id) values (gen_random_uuid())"),
        (Role::Shredder, "update keys.data_keys set wrapped = ''"),
        (Role::Shredder, "select 1 from credentials"),
        (Role::Shredder, "select 1 from accounts"),
        (Role::Api, "update keys.service_keys set active = false"),
        (Role::Api, "delete from keys.service_keys"),
        (Role::Api, "update keys.data_keys set wrapped = ''"),
        (Role::Api, "delete from keys.data_keys"),
        (Role::Api, "select make_event_partitions(30)"),
        (Role::Api, "select shred_stranger_keys(30)"),
        (Role::Shredder, "select shred_stranger_keys(30)"),
        (Role::Api, "delete from accounts"),
        (Role::Api, "delete from credentials"),
        (Role::Api, "update _sqlx_migrations set success = false"),
        (Role::Worker, "update keys.service_keys set active = false"),
        (Role::Worker, "delete from keys.service_keys"),
        (Role::Worker, "update keys.data_keys set wrapped = ''"),
        (Role::Worker, "delete from keys.data_keys"),
        (Role::Worker, "insert into keys.data_keys (key_id) values (gen_random_uuid())"),
        (Role::Auditor, "select make_event_partitions(30)"),
        (Role::Shredder, "select make_event_partitions(30)"),
    ];
    for (role, sql) in denied {
        assert_denied(&house.database.pool(role).await.unwrap(), role, sql).await;
    }
    for (role, sql) in [
        (Role::Api, "select 1 from keys.data_keys"),
        (Role::Auditor, "select payload, pii from events join event_seals using (event_id)"),
        (Role::Auditor, "select status, roles from accounts"),
        (Role::Shredder, "delete from keys.data_keys"),
        (Role::Worker, "select make_event_partitions(24)"),
        (Role::Worker, "select shred_stranger_keys(30)"),
    ] {
        assert_eq!(refusal(&house.database.pool(role).await.unwrap(), sql).await, None, "{role:?}: {sql}");
    }
}

/// C084. Breaks when `migrations/0001_log.sql`: `create trigger event_seals_insert_only before update or delete on event_seals` → `create trigger event_seals_insert_only before delete on event_seals`.
#[tokio::test]
async fn even_the_superuser_is_refused_by_a_trigger() {
    let (house, leaves) = written().await;
    let superuser = PgPool::connect(&cluster().await.superuser_url(house.database.name())).await.unwrap();
    let mut changes: Vec<String> = [
        "update events set payload = '{}'",
        "delete from events",
        "truncate events",
        "truncate events_keep",
        "truncate events_expire",
        "update event_seals set leaf_hash = leaf_hash",
        "delete from event_seals",
        "truncate event_seals",
        "update logs set origin = 'mine'",
        "delete from logs",
        "truncate log_nodes",
        "truncate checkpoints",
        "truncate checkpoint_keys",
    ]
    .map(str::to_owned)
    .into();
    changes.extend(leaves.iter().map(|leaf| format!("truncate {leaf}")));
    // Row triggers fire where rows are: the partitions of this month.
    for class in ["keep", "expire"] {
        let name = format!("select min(tableoid::regclass::text) from events where retention_class = '{class}'");
        let leaf: String = sqlx::query_scalar(AssertSqlSafe(name)).fetch_one(&house.owner).await.unwrap();
        changes.push(format!("update {leaf} set payload = '{{}}'"));
        changes.push(format!("delete from {leaf}"));
    }
    for sql in changes {
        let (code, message) = refusal(&superuser, &sql).await.unwrap_or_else(|| panic!("done: {sql}"));
        assert_eq!(code, "42501", "{sql}: {message}");
        assert!(message.contains("insert-only"), "{sql}: {message}");
    }
}

/// Breaks when `migrations/0001_log.sql`: `while month <= date_trunc('month', now(), 'UTC') + make_interval(months => months) loop` → `while month < date_trunc('month', now(), 'UTC') + make_interval(months => months) loop`.
#[tokio::test]
async fn two_years_of_partitions_are_ready_and_making_them_again_makes_none() {
    let house = house().await;
    let worker = house.database.pool(Role::Worker).await.unwrap();
    let make = async |months: i32| -> i32 {
        sqlx::query_scalar("select make_event_partitions($1)").bind(months).fetch_one(&worker).await.unwrap()
    };
    let leaves = "select count(*) from pg_partition_tree('events') where isleaf";
    assert_eq!(house.number(leaves).await, 2 * (1 + 1 + 24), "both classes: the past, this month and 24 ahead");
    assert_eq!(make(24).await, 0);
    assert_eq!(make(26).await, 4);
    assert_eq!(make(26).await, 0);
    assert_eq!(house.number(leaves).await, 2 * (1 + 1 + 26));
    let unguarded = "select count(*) from pg_partition_tree('events') p where isleaf and (
        not exists (select 1 from pg_trigger t where t.tgrelid = p.relid and t.tgname = 'no_truncate')
        or not exists (select 1 from pg_trigger t where t.tgrelid = p.relid and t.tgname = 'events_insert_only')
        or not exists (select 1 from pg_index i where i.indrelid = p.relid and i.indisunique and i.indnkeyatts = 2
                       and pg_get_indexdef(i.indexrelid) like '%(stream_id, version)'))";
    assert_eq!(house.number(unguarded).await, 0, "a new partition is as protected as the first");
    let future = "select count(*) from (values (0), (12), (24), (26)) m(ahead), (values ('keep'), ('expire')) c(class)
        where to_regclass(format('events_%s_%s', class,
            to_char(now() at time zone 'UTC' + make_interval(months => ahead), 'YYYYMM'))) is null";
    assert_eq!(house.number(future).await, 0);
}

/// Breaks when `migrations/0001_log.sql`: `for values from (minvalue) to (%L)` → `for values from (''00000000-0000-7000-8000-000000000000'') to (%L)`.
#[tokio::test]
async fn an_old_event_of_an_importer_goes_to_the_open_ended_past() {
    let house = house().await;
    let api = house.database.pool(Role::Api).await.unwrap();
    let insert = "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                  select id, class, gen_random_uuid(), 1, 'LoggedOut', '{}', 'operator'
                  from (values (uuid7_floor('2009-02-13')), ('00000000-0000-0000-0000-000000000001'::uuid)) i(id),
                       (values ('keep'), ('expire')) c(class)";
    assert_eq!(refusal(&api, insert).await, None);
    let past = "select count(*) from events where tableoid::regclass::text like 'events_%_past'";
    assert_eq!(house.number(past).await, 4);
    let beyond = "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                  values (uuid7_floor(now() + interval '3 years'), 'keep', gen_random_uuid(), 1, 'LoggedOut', '{}', 'operator')";
    let (code, _) = refusal(&api, beyond).await.expect("there is no default partition");
    assert_eq!(code, "23514");
}
