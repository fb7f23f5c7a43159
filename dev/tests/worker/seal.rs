//! The sealer under load.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio::time::sleep;

use crate::common::*;

/// Age of the oldest event without a position, at worst, on a machine that is busy with a debug build.
const LAG_MAX_MS: i64 = 1_000;

/// Between two readings of the lag by a worker.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// Breaks when `worker/src/sealer.rs`: `const IDLE_PAUSE: Duration = Duration::from_millis(100);` → `const IDLE_PAUSE: Duration = Duration::from_secs(5);`.
#[tokio::test]
async fn two_workers_seal_densely_and_at_once_under_load_and_tell_how_far_they_are_behind() {
    // Of its own: whoever writes elsewhere on the server holds the sealer up.
    let cluster = own_cluster().await;
    let house = house_on(&cluster).await;
    let workers = [house.worker().await, house.worker().await];
    let count = dose(200, 5_000);
    let writing = house.register_all(0..count);
    let watching = async {
        let mut lags = Vec::new();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            sleep(Duration::from_millis(50)).await;
            let lag = "select coalesce(1000 * extract(epoch from clock_timestamp() - min(recorded_at)), 0)::bigint
                       from events e where not exists (select from event_seals s where s.event_id = e.event_id)";
            lags.push(house.number(lag).await);
        }
        lags
    };
    let (_, mut lags) = tokio::join!(writing, watching);
    lags.sort_unstable();
    let p99 = lags[lags.len() * 99 / 100];
    println!("figure: lag of the sealer: p50 {} ms, p99 {p99} ms", lags[lags.len() / 2]);
    assert!(p99 < LAG_MAX_MS, "{p99} ms");

    house.until_settled(SOON).await;
    house.until(SOON, "select (select count(*) from events) - (select count(*) from event_seals)", 0).await;
    let events = house.number("select count(*) from events").await;
    assert_eq!(house.number("select max(position) from event_seals").await, events);
    let mut sealed = 0;
    for worker in &workers {
        sealed += worker.metric("sealed_events_total").await.unwrap();
    }
    assert_eq!(sealed, events);

    // A write that stays open holds every later event up; the workers say so.
    let mut writer =
        sqlx::PgConnection::connect(&house.stand.database.url_for(doorbook_dev::Role::Migrator)).await.unwrap();
    let mut open = writer.begin().await.unwrap();
    sqlx::query("select pg_current_xact_id()").execute(&mut *open).await.unwrap();
    house.register(count).await;
    sleep(LAG_EVERY + Duration::from_secs(1)).await;
    for worker in &workers {
        assert!(worker.metric("seal_waiting_events").await > Some(0));
        assert!(worker.metric("seal_oldest_seconds").await > Some(0));
    }
    open.rollback().await.unwrap();
    sleep(LAG_EVERY + Duration::from_secs(1)).await;
    for worker in &workers {
        assert_eq!(worker.metric("seal_waiting_events").await, Some(0));
        assert_eq!(worker.metric("seal_overdue_events").await, Some(0));
    }
}
