//! A dump restored into a fresh cluster goes on where the first one stood.

use std::collections::BTreeSet;
use std::process::Command;

use doorbook_core::store::jobs::{self, Dispatch, Outcome};
use doorbook_core::store::project::outbox::Priority;
use doorbook_core::store::{Db, log};
use doorbook_dev::{Cluster, Database, Options, Role, ensure_binaries};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::common::*;

/// Transactions that the first cluster is ahead of a new one, whose ids begin anew.
const AHEAD: u32 = 2_000;
/// Jobs with the queue at once.
const WINDOW: i64 = 1_000;

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn sealed(db: &PgPool) -> Vec<(i64, Uuid, String, Vec<u8>)> {
    sqlx::query_as(
        "select s.position, e.event_id, e.type, s.leaf_hash from event_seals s join events e using (event_id) order by position",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

async fn due(db: &Db, batch: i64) -> Vec<Dispatch> {
    jobs::dispatch(db, &Priority::ALL, batch, WINDOW).await.unwrap().jobs
}

/// Runs half of the due jobs to their end; ids of those done.
async fn work_off_half(db: &Db) -> BTreeSet<Uuid> {
    let mut done = BTreeSet::new();
    for dispatch in due(db, 3).await {
        let job = jobs::claim(db, dispatch.job_id, dispatch.dispatch_no).await.unwrap().unwrap();
        assert!(jobs::settle(db, &job, &Outcome::Done).await.unwrap());
        done.insert(job.job_id.0);
    }
    done
}

/// C079. Breaks when `core/src/store/epoch.rs`: `// Two processes that start together agree through the primary key; the loser reads the winner's row.` → `if true { return Ok(1); }`.
#[tokio::test]
async fn a_restored_dump_is_complete_and_its_log_goes_on() {
    let house = house().await;
    let book = house.book().await;
    for n in 0..6 {
        register(&book, &format!("user{n}@example.com")).await.unwrap();
    }
    let session = login(&book, "user0@example.com", PASSWORD).await.unwrap();
    let worker = house.worker();
    house.seal().await;
    let done = work_off_half(&worker).await;
    assert_eq!(done.len(), 3);
    house
        .alter(format!("do $$ begin for i in 1..{AHEAD} loop perform pg_current_xact_id(); commit; end loop; end $$"))
        .await;
    // Not sealed yet when the dump is taken.
    register(&book, "late@example.com").await.unwrap();
    let before = sealed(&house.owner).await;
    let events = house.number("select count(*) from events").await;

    let fresh =
        Cluster::start(Options::temporary(ensure_binaries().await.unwrap().join("doorbook-dev"))).await.unwrap();
    let restored = restore_into(&fresh, &house).await;
    let book = restored.book().await;
    assert_eq!(restored.number("select max(epoch)::bigint from epochs").await, 2, "another cluster, another epoch");
    assert_eq!(restored.number("select count(*) from events").await, events);
    assert_eq!(sealed(&restored.owner).await, before);

    register(&book, "new@example.com").await.unwrap();
    let worker = restored.worker();
    restored.seal().await;
    let after = sealed(&restored.owner).await;
    assert_eq!(after[..before.len()], before[..]);
    let positions: Vec<i64> = after.iter().map(|(position, ..)| *position).collect();
    assert_eq!(positions, (1..=i64::try_from(after.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(restored.number("select count(*) from events").await, positions.last().copied().unwrap());
    let order =
        "select count(*) from event_seals a join event_seals b on b.position = a.position + 1 where b.epoch < a.epoch";
    assert_eq!(restored.number(order).await, 0);
    assert_eq!(restored.number("select count(*) from event_seals where epoch = 2").await, 3);
    let page = log::sealed_after(&worker, 0, 1_000).await.unwrap();
    assert_eq!(page.len(), after.len());

    let again: BTreeSet<Uuid> = due(&worker, 100).await.iter().map(|dispatch| dispatch.job_id.0).collect();
    assert!(again.is_disjoint(&done), "what was sent is not sent again");
    assert_eq!(again.len(), 8 - done.len());

    let caller = book.authenticate(&session.access).await.expect("a session outlives the restore");
    assert_eq!(book.profile(caller.account).await.unwrap().email, "user0@example.com");
    book.refresh(session.refresh.expose(), &anywhere()).await.unwrap();
    login(&book, "user1@example.com", PASSWORD).await.unwrap();
    restored.assert_whole().await;
}

/// A database that was restored by its owner from the dump of another's.
async fn restore_into(fresh: &Cluster, from: &House) -> House {
    // Makes roles and logins, as whoever sets up a new cluster does first.
    let database = Database::fresh(fresh).await.unwrap();
    let superuser = PgPool::connect(&fresh.superuser_url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {0} with (force)", database.name())))
        .execute(&superuser)
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("create database {} owner dev_migrator", database.name())))
        .execute(&superuser)
        .await
        .unwrap();
    let dump = fresh.run().folder().join("dump.sql");
    let dumper = cluster().await;
    run(dumper
        .run()
        .command(dumper.postgres_tool("pg_dump").unwrap())
        .args(["--dbname", &from.database.url_for(Role::Migrator), "--file"])
        .arg(&dump));
    run(fresh
        .run()
        .command(fresh.postgres_tool("psql").unwrap())
        .args([
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--quiet",
            "--dbname",
            &database.url_for(Role::Migrator),
            "--file",
        ])
        .arg(&dump));
    let owner = database.pool(Role::Migrator).await.unwrap();
    House { database, owner }
}
