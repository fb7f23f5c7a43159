//! The log under load: whoever follows it by position misses nothing, whatever writers do.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::job;
use doorbook_core::store::project::outbox::{NewJob, Priority};
use doorbook_core::store::write::Write;
use doorbook_core::store::{Db, Pooler, log, seal};
use doorbook_core::value::JobId;
use doorbook_dev::Role;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::common::*;

const WRITERS: usize = 12;
/// Rollbacks in a hundred transactions.
const ROLLBACKS: u64 = 2;

/// Chance decides how long a transaction lasts, when it gets its id, and whether it is rolled back.
async fn write_until(db: PgPool, stop: Arc<AtomicBool>) -> Vec<Uuid> {
    let mut committed = Vec::new();
    let mut own_stream: Option<Uuid> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut transaction = db.begin().await.unwrap();
        if let Some(stream) = own_stream.filter(|_| chance(2) == 0) {
            // A row lock takes the transaction id long before the first event takes its number.
            let lock = "update streams set logins = logins + 1 where stream_id = $1";
            sqlx::query(lock).bind(stream).execute(&mut *transaction).await.unwrap();
        }
        tokio::time::sleep(Duration::from_micros(chance(20_000))).await;
        let stream = event_id(&mut transaction).await;
        let count = i64::try_from(chance(3)).unwrap() + 1;
        let open = "insert into streams (stream_id, kind, version) values ($1, 'attempts', $2)";
        sqlx::query(open).bind(stream).bind(count).execute(&mut *transaction).await.unwrap();
        let mut events = Vec::new();
        for version in 1..=count {
            let event = event_id(&mut transaction).await;
            insert_event(&mut transaction, event, stream, version).await.unwrap();
            events.push(event);
            tokio::time::sleep(Duration::from_micros(chance(5_000))).await;
        }
        if chance(100) < ROLLBACKS {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            committed.extend(events);
            own_stream = Some(stream);
        }
    }
    committed
}

async fn event_id(db: &mut PgConnection) -> Uuid {
    let now: Timestamp = sqlx::query_scalar("select clock_timestamp()").fetch_one(db).await.unwrap();
    doorbook_core::value::EventId::new(now).0
}

async fn insert_event(db: &mut PgConnection, event: Uuid, stream: Uuid, version: i64) -> sqlx::Result<()> {
    sqlx::query(
        "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
         values ($1, 'expire', $2, $3, 'LimitExceeded', '{\"kind\": \"test\"}', 'stranger')",
    )
    .bind(event)
    .bind(stream)
    .bind(version)
    .execute(db)
    .await
    .map(drop)
}

/// Seals without pause until told to stop.
async fn seal_until(db: Db, stop: Arc<AtomicBool>) -> usize {
    let mut sealed = 0;
    while !stop.load(Ordering::Relaxed) {
        sealed += seal::seal_batch(&db).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    sealed
}

/// What a reader of the log has seen, in its order.
type Journal = Vec<(i64, Uuid)>;

/// Reads on from the end of its journal: `limit` at a time, with a pause between.
async fn follow(db: PgPool, mut journal: Journal, limit: i64, pause: Duration, stop: Arc<AtomicBool>) -> Journal {
    loop {
        let over = stop.load(Ordering::Relaxed);
        let after = journal.last().map_or(0, |(position, _)| *position);
        let page = log::sealed_after(&Db::from(db.clone()), after, limit).await.unwrap();
        if page.is_empty() && over {
            return journal;
        }
        journal.extend(page.iter().map(|event| (event.position, event.event_id.0)));
        if !over {
            tokio::time::sleep(pause).await;
        }
    }
}

/// A reader that ends and begins anew from what it has kept, again and again.
async fn follow_restarted(url: String, every: Duration, stop: Arc<AtomicBool>) -> Journal {
    let mut journal = Journal::new();
    loop {
        let over = stop.load(Ordering::Relaxed);
        let db = PgPool::connect(&url).await.unwrap();
        let done = Arc::new(AtomicBool::new(over));
        let life = tokio::spawn(follow(db.clone(), journal, 37, Duration::from_millis(3), done.clone()));
        if !over {
            tokio::time::sleep(every).await;
        }
        done.store(true, Ordering::Relaxed);
        journal = life.await.unwrap();
        db.close().await;
        if over {
            return journal;
        }
    }
}

fn spawn_followers(house: &House, db: &PgPool, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<Journal>> {
    let speeds = [(1, 0), (100, 20), (1_000, 150)];
    let restarted =
        follow_restarted(house.database.url_for(Role::Auditor), Duration::from_millis(dose(500, 5_000)), stop.clone());
    speeds
        .into_iter()
        .map(|(limit, millis)| {
            tokio::spawn(follow(db.clone(), Journal::new(), limit, Duration::from_millis(millis), stop.clone()))
        })
        .chain([tokio::spawn(restarted)])
        .collect()
}

/// With the sequence alone as the order, readers lose what commits late: here the transaction id is made the same for all.
/// C079. Breaks when `migrations/0001_log.sql`: `xid xid8 not null default pg_current_xact_id(),` → `xid xid8 not null default '3'::xid8,`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_committed_event_is_read_once_in_order_by_everyone() {
    let house = house().await;
    let auditor = house.database.pool(Role::Auditor).await.unwrap();
    let [stop_writing, stop_sealing, stop_reading] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));

    let writer_pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(u32::try_from(WRITERS).unwrap())
        .connect(&house.database.url_for(Role::Worker))
        .await
        .unwrap();
    let writers: Vec<_> =
        (0..WRITERS).map(|_| tokio::spawn(write_until(writer_pool.clone(), stop_writing.clone()))).collect();
    let mut running = Vec::new();
    for _ in 0..2 {
        running.push(tokio::spawn(seal_until(house.worker(), stop_sealing.clone())));
    }
    let followers = spawn_followers(&house, &auditor, &stop_reading);

    tokio::time::sleep(Duration::from_secs(dose(5, 60))).await;
    stop_writing.store(true, Ordering::Relaxed);
    let mut committed = Vec::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    stop_sealing.store(true, Ordering::Relaxed);
    for sealer in running {
        assert!(sealer.await.unwrap() > 0, "both sealers have worked");
    }
    house.seal().await;
    stop_reading.store(true, Ordering::Relaxed);

    let committed: HashSet<Uuid> = committed.into_iter().collect();
    assert!(committed.len() > dose(500, 5_000), "only {} events", committed.len());
    for (n, follower) in followers.into_iter().enumerate() {
        let journal = follower.await.unwrap();
        let positions: Vec<i64> = journal.iter().map(|(position, _)| *position).collect();
        let read: HashSet<Uuid> = journal.iter().map(|(_, event)| *event).collect();
        let skipped = committed.difference(&read).count();
        assert_eq!(skipped, 0, "reader {n} missed {skipped} of {}", committed.len());
        assert_eq!(journal.len(), committed.len(), "reader {n} read something twice or rolled back");
        assert_eq!(positions, (1..=i64::try_from(journal.len()).unwrap()).collect::<Vec<_>>(), "reader {n}");
    }
    house.assert_whole().await;
}

/// C079. Breaks when `core/src/store/seal.rs`: `insert(&mut transaction, position, &settled).await?;` → `insert(&mut transaction, position + 1, &settled).await?;`.
#[tokio::test]
async fn positions_are_dense_whoever_seals() {
    let house = house().await;
    let book = house.book().await;
    let pools = [house.worker(), house.worker()];
    for n in 0..10 {
        register(&book, &format!("user{n}@example.com")).await.unwrap();
        at_once(4, |task| {
            let db = pools[task % 2].clone();
            async move { seal::seal_batch(&db).await.unwrap() }
        })
        .await;
    }
    house.seal().await;
    let events = house.number("select count(*) from events").await;
    assert_eq!(house.number("select count(*) from event_seals").await, events);
    assert_eq!(house.number("select max(position) from event_seals").await, events);
    let lag = seal::lag(&pools[0]).await.unwrap();
    assert_eq!((lag.waiting, lag.overdue), (0, 0));
}

/// Breaks when `core/src/store/seal.rs`: `greatest((select count(*) from waiting where recorded_at < now() - interval '60 seconds'),` → `greatest(0,`.
#[tokio::test]
async fn events_that_nobody_seals_are_overdue_for_as_long_as_nobody_does() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "user0@example.com").await.unwrap();
    assert_eq!(seal::lag(&house.worker()).await.unwrap().overdue, 0);
    // Their ids say that they are of now, as ids of an hour ago say nothing of the last two minutes.
    house
        .alter(
            "alter table events disable trigger events_insert_only;
             update events set recorded_at = recorded_at - interval '1 hour'",
        )
        .await;
    assert_eq!(seal::lag(&house.worker()).await.unwrap().overdue, house.number("select count(*) from events").await);
}

/// C079. Breaks when `core/src/store/seal.rs`: `if count > 0 {` → `if count > 1 {`.
#[tokio::test]
async fn an_event_of_an_open_transaction_waits_and_everything_behind_it_too() {
    let house = house().await;
    let worker = house.database.pool(Role::Worker).await.unwrap();
    let mut early = worker.begin().await.unwrap();
    let (first, second) = (event_id(&mut early).await, event_id(&mut early).await);
    insert_event(&mut early, first, first, 1).await.unwrap();
    let mut late = worker.acquire().await.unwrap();
    insert_event(&mut late, second, second, 1).await.unwrap();
    assert_eq!(
        seal::seal_batch(&house.worker()).await.unwrap(),
        0,
        "what commits late must not come behind a sealed one"
    );
    early.commit().await.unwrap();
    house.seal().await;
    let order = "select count(*) from event_seals where (position, event_id) in ((1, $1), (2, $2))";
    let in_order: i64 = sqlx::query_scalar(order).bind(first).bind(second).fetch_one(&house.owner).await.unwrap();
    assert_eq!(in_order, 2);
    let third = event_id(&mut late).await;
    insert_event(&mut late, third, second, 2).await.unwrap();
    house.seal().await;
    assert_eq!(house.number("select max(position) from event_seals").await, 3, "a single one is sealed too");
}

/// C079. Breaks when `core/src/store/db.rs`: `"jit = off",` → `"jit = on",`.
#[tokio::test]
async fn no_plan_is_compiled_however_long_the_log_grows() {
    let house = house().await;
    // From here on Postgres would compile whatever costs anything, as it does with what reads a long log.
    house
        .alter("do $$ begin execute format('alter database %I set jit_above_cost = 0', current_database()); end $$")
        .await;
    let plan: Vec<String> = sqlx::query_scalar("explain (analyze, timing off) select count(*) from events")
        .fetch_all(&Db::new(&house.database.url_for(Role::Worker), 1, Pooler::None).unwrap())
        .await
        .unwrap();
    assert!(plan.len() > 1 && !plan.iter().any(|line| line.contains("JIT")), "{plan:?}");
}

/// Breaks when `core/src/store/db.rs`: `"max_parallel_workers_per_gather = 0",` → `"max_parallel_workers_per_gather = 2",`.
#[tokio::test]
async fn no_statement_starts_processes_however_long_the_log_grows() {
    let house = house().await;
    // From here on Postgres would share out whatever it may, as it does with what reads a long log.
    for setting in
        ["parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size", "min_parallel_index_scan_size"]
    {
        let alter =
            format!("do $$ begin execute format('alter database %I set {setting} = 0', current_database()); end $$");
        house.alter(&alter).await;
    }
    let plan: Vec<String> = sqlx::query_scalar("explain select count(*) from events")
        .fetch_all(&Db::new(&house.database.url_for(Role::Worker), 1, Pooler::None).unwrap())
        .await
        .unwrap();
    assert!(plan.len() > 1 && !plan.iter().any(|line| line.contains("Gather")), "{plan:?}");
}

/// Breaks when `core/src/store/db.rs`: `"enable_seqscan = off",` → `"enable_seqscan = on",`.
#[tokio::test]
async fn no_plan_made_on_an_empty_table_reads_all_of_it_when_it_has_grown() {
    let house = house().await;
    house.alter("vacuum analyze counters").await;
    let plan: Vec<String> = sqlx::query_scalar("explain select * from counters where bucket = any('{}'::bytea[])")
        .fetch_all(&Db::new(&house.database.url_for(Role::Api), 1, Pooler::None).unwrap())
        .await
        .unwrap();
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{plan:?}");
}

/// Looks at the statement as Postgres holds it for the sealer. Were the cursor's values in its plan, Postgres would judge by the epoch, which is
/// the same for all, and believe that hardly any event lies behind: of a million that wait it then sorts all for each batch.
///
/// Breaks when `core/src/store/db.rs`: `"plan_cache_mode = 'force_generic_plan'",` → `"plan_cache_mode = 'force_custom_plan'",`.
#[tokio::test]
async fn a_batch_is_read_from_where_the_last_ended_however_much_waits_behind_it() {
    let house = house().await;
    doorbook_dev::aged::append_life(&house.owner, 20_000, 100).await.unwrap();
    let sealer = Db::new(&house.database.url_for(Role::Worker), 1, Pooler::None).unwrap();
    // Whoever holds a transaction open elsewhere in the cluster holds the sealer back.
    while seal::seal_batch(&sealer).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.alter("vacuum analyze events").await;
    let read: Vec<(String, i32, String, i64)> = sqlx::query_as(
        "select s.name, e.epoch, e.xid::text, e.seq from pg_prepared_statements s, (select * from event_seals order by position desc limit 1) e
         where s.statement like $1",
    )
    .bind("%pg_snapshot_xmin%")
    .fetch_all(&sealer)
    .await
    .unwrap();
    let [(name, epoch, xid, seq)] = &read[..] else { panic!("the sealer's own statement is not found: {read:?}") };
    let explain = format!("explain (analyze, timing off) execute {name}({epoch}, '{xid}', {seq}, {})", seal::BATCH);
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&sealer).await.unwrap();
    assert!(
        plan.iter().any(|line| line.contains("Index Cond: (ROW(epoch, xid, seq) > ROW($1")),
        "planned anew: {plan:#?}"
    );
    assert!(!plan.iter().any(|line| line.contains("Sort  (")), "all that waits is sorted: {plan:#?}");
}

/// Breaks when `core/src/store/write.rs`: `" and (select count(*) from {name}) >= 0"` → `", (select count(*) from {name}) >= 0"`.
#[tokio::test]
async fn a_command_may_have_more_steps_than_a_statement_has_columns() {
    let house = house().await;
    let db = Db::from(house.database.pool(Role::Api).await.unwrap());
    let now: Timestamp = sqlx::query_scalar("select clock_timestamp()").fetch_one(&db).await.unwrap();
    let mut write = Write::new();
    for _ in 0..1_700 {
        let id = JobId::new(now);
        write.insert_job(&NewJob {
            id,
            kind: job::MAIL,
            reference: id.0,
            priority: Priority::Chore,
            run_at: now,
            trace: id.0,
            span: None,
        });
    }
    write.run(&db).await.unwrap();
    assert_eq!(house.number("select count(*) from jobs").await, 1_700);
}
