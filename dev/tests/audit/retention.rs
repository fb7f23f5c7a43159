//! Months that were let go of, and what an insider makes of it.

use std::time::Duration;

use doorbook_core::store::follow;
use doorbook_dev::{Cluster, Role, Stand, aged};
use sqlx::PgPool;

use crate::bundles::verified_twice;
use crate::common::*;

const MONTH: &str = "2025-01";
/// Enough for a checkpoint at once.
const EVENTS: i64 = 1_100;

/// Sealed, signed, written to the sink and followed, as by a worker.
async fn house_with_an_old_month() -> House {
    let house = house().await;
    house.append(20).await;
    aged::old_month(&house.superuser, MONTH, EVENTS).await.unwrap();
    house.append(20).await;
    house.seal().await;
    house.sign().await;
    house.seal().await;
    while house.book.follow_search().await.unwrap() > 0 {}
    while house.book.follow_alerts().await.unwrap().positions > 0 {}
    house.tamper("update checkpoint_sink set written_size = (select max(size) from checkpoints)").await;
    house
}

async fn partition_is_there(superuser: &PgPool) -> bool {
    let sql = "select to_regclass('events_expire_202501') is not null";
    sqlx::query_scalar(sql).fetch_one(superuser).await.unwrap()
}

/// C073. Breaks when `core/src/service/retention.rs`: `if !retention::retired(&self.db).await?.months.contains(&retired) {` → `if false {`.
#[tokio::test]
async fn a_month_that_was_kept_for_long_enough_goes_and_everything_else_is_proven_as_before() {
    let sink = Cluster::shared().await.unwrap().run().folder().join("retention-sink");
    let target = format!("file://{}", sink.display());
    let stand = Stand::start_with(Cluster::shared().await.unwrap(), &[("CHECKPOINT_SINK", &target)]).await.unwrap();
    let superuser =
        PgPool::connect(&Cluster::shared().await.unwrap().superuser_url(stand.database.name())).await.unwrap();
    aged::old_month(&superuser, MONTH, EVENTS).await.unwrap();
    let folder = Cluster::shared().await.unwrap().run().folder().join("retention-files");
    std::fs::create_dir(&folder).unwrap();
    until(&superuser, "select (select count(*) from events) - (select count(*) from event_seals)", 0).await;
    // The last of them make no whole checkpoint.
    let_a_minute_pass(&superuser).await;
    let mut listed = String::new();
    for _ in 0..300 {
        listed = stand.doorbook(&["retention", "list"]).await.unwrap();
        if listed == format!("{MONTH}: {EVENTS} events\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(listed, format!("{MONTH}: {EVENTS} events\n"));
    let done = stand.doorbook(&["retention", "apply", "--folder", folder.to_str().unwrap()]).await.unwrap();
    assert_eq!(done, format!("{MONTH}: {EVENTS} events dropped\n"));
    assert!(!partition_is_there(&superuser).await);
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from events where type = 'PasswordResetRequestedForUnknown')
              + (select count(*) from event_search s where not exists (
                     select 1 from event_seals p join events e on e.event_id = p.event_id where p.position = s.position))",
    )
    .fetch_one(&superuser)
    .await
    .unwrap();
    assert_eq!(left, 0, "neither events nor what they are found by");
    // A worker makes partitions every hour; this one must not come back.
    let worker = stand.database.pool(Role::Worker).await.unwrap();
    sqlx::query("select make_event_partitions(24)").execute(&worker).await.unwrap();
    assert!(!partition_is_there(&superuser).await);

    let verdict = stand.doorbook(&["audit", "verify"]).await.unwrap();
    assert!(verdict.contains(&format!("retention has dropped the {EVENTS} events of {MONTH}")), "{verdict}");
    let keys = stand.doorbook(&["keys"]).await.unwrap();
    let key = keys.split_whitespace().find(|word| word.matches('+').count() >= 2).expect("a public key").to_owned();
    let kept = folder.join(format!("events-{MONTH}.jsonl"));
    let command = ["audit", "verify", "--key", &key, "--bundle", kept.to_str().unwrap()];
    let whole = stand.doorbook(&command).await.unwrap();
    assert!(whole.contains("hold") && !whole.contains("hashes alone"), "{whole}");
    let again = stand.doorbook(&["retention", "apply", "--folder", folder.to_str().unwrap()]).await.unwrap();
    assert!(again.starts_with("no month has been kept"), "{again}");
}

/// C073. Breaks when `cli/src/audit/export.rs`: `if place.is_dropped(retired) {` → `if false {`.
#[tokio::test]
async fn a_bundle_over_a_month_that_is_gone_has_its_hashes_and_holds_for_two_implementations() {
    let house = house_with_an_old_month().await;
    let (key, bundle) = (house.key().await, house.folder.join("bundle"));
    let ran = house.run(&["retention", "apply", "--folder", "."]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = house.run(&["audit", "export", bundle.to_str().unwrap()]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    let (holds, said) = verified_twice(&house, &bundle, &key).await;
    assert!(holds && said.contains(&format!("{EVENTS} events are here by their hashes alone")), "{said}");
    let text = std::fs::read_to_string(&bundle).unwrap();
    let line = text.lines().find(|line| line.contains("\"retired\"")).unwrap();
    let hash = line.split("\"leaf_hash\":\"").nth(1).unwrap();
    let other = line.replace(&hash[..8], "00000000");
    std::fs::write(&bundle, text.replace(line, &other)).unwrap();
    assert!(!verified_twice(&house, &bundle, &key).await.0);
}

/// C080. Breaks when `cli/src/audit/live.rs`: `for event in told.unreadable {` → `for event in told.unreadable.into_iter().take(0) {`.
#[tokio::test]
async fn an_event_that_says_in_words_of_nobody_that_a_month_is_gone_is_named_and_keeps_nobody_from_verifying() {
    let house = House::with_log(40).await;
    // As whoever has the login of an api can write it.
    house
        .tamper(
            "with stream as (insert into streams (stream_id, kind, version) values (gen_random_uuid(), 'operator', 1) returning stream_id)
             insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
             select overlay(uuid7_floor(clock_timestamp())::text placing '8' || right(gen_random_uuid()::text, 16) from 20 for 17)::uuid,
                    'keep', stream_id, 1, 'EventsRetired', '{}', 'system' from stream",
        )
        .await;
    house.seal().await;
    let forged = house.event(house.number("select max(position) from event_seals").await).await;
    assert_eq!(house.verify(&[]).await, [("inserted".to_owned(), None, None, Some(forged))]);
    let changed = house.event(7).await;
    house.tamper(&format!("update events set actor_kind = 'operator' where event_id = '{changed}'")).await;
    let found = house.verify(&[]).await;
    assert!(found.contains(&("changed".to_owned(), Some(7), None, Some(changed))), "{found:?}");
    let exported = house.run(&["audit", "export", house.folder.join("bundle").to_str().unwrap()]).await;
    assert!(!exported.err.contains("EventsRetired"), "{exported:?}");
}

/// C080. Breaks when `cli/src/audit/gone.rs`: `if left == 0 && found.of(month) == told {` → `if found.of(month) == told {`.
#[tokio::test]
async fn nobody_hides_the_deletion_of_an_event_behind_retention() {
    let house = house_with_an_old_month().await;
    // Deleted before its month goes: the month is held back.
    let event = house.event(25).await;
    let delete = format!("delete from events where event_id = '{event}'");
    house.tamper(&format!("create table kept as select * from events where event_id = '{event}'; {delete}")).await;
    let ran = house.run(&["retention", "apply", "--folder", "."]).await;
    assert!(ran.status == 1 && ran.out.contains("gone already"), "{ran:?}");
    assert!(partition_is_there(&house.superuser).await);
    // Called dropped, and counted well, while the others of its month are there.
    house
        .tamper(&format!(
            "insert into streams (stream_id, kind, version) values ('00000000-0000-0000-0000-000000000001', 'operator', 1);
             insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind, trace_id)
             select overlay(uuid7_floor(clock_timestamp())::text placing '1' from 36)::uuid, 'keep', '00000000-0000-0000-0000-000000000001', 1,
                    'EventsRetired', jsonb_build_object('month', '{MONTH}', 'events', 1, 'digest',
                        encode(sha256(int8send(position) || leaf_hash), 'hex')), 'operator', gen_random_uuid()
             from event_seals where event_id = '{event}'"
        ))
        .await;
    house.seal().await;
    house.sign().await;
    house.seal().await;
    assert_eq!(house.verify(&[]).await, [("deleted".to_owned(), Some(25), Some(25), None)]);
}

/// C080. Breaks when `cli/src/audit/gone.rs`: `other.told.month == month.told.month && other.told != month.told` → `false`.
#[tokio::test]
async fn a_month_that_is_told_to_be_dropped_twice_with_other_events_is_found() {
    let house = house_with_an_old_month().await;
    let ran = house.run(&["retention", "apply", "--folder", "."]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    // What an insider needs who has a kept event pass for one of those that went.
    house
        .tamper(&format!(
            "insert into streams (stream_id, kind, version) values ('00000000-0000-0000-0000-000000000001', 'operator', 1);
             insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind, trace_id)
             select overlay(uuid7_floor('2025-02-01T00:00:00Z')::text placing '1' from 36)::uuid, 'keep',
                    '00000000-0000-0000-0000-000000000001', 1, 'EventsRetired',
                    jsonb_build_object('month', '{MONTH}', 'events', 1, 'digest', encode(sha256('x'), 'hex')), 'operator', gen_random_uuid()"
        ))
        .await;
    house.seal().await;
    house.sign().await;
    house.seal().await;
    let found = house.verify(&[]).await;
    assert!(found.iter().any(|found| found.0 == "inserted" && found.1.is_none()), "{found:?}");
}

/// C080. Breaks when `core/src/store/audit.rs`: `self.sealed_class == RetentionClass::Expire.as_str()` → `true`.
#[tokio::test]
async fn what_is_kept_for_ever_goes_with_no_month() {
    let house = house_with_an_old_month().await;
    let ran = house.run(&["retention", "apply", "--folder", "."]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(house.verify(&[]).await, []);
    // The insider makes an event that is kept look like one of the month.
    let kept = house.number("select min(position) from event_seals where retention_class = 'keep'").await;
    let moved = "overlay(event_id::text placing left(uuid7_floor('2025-01-15T00:00:00Z')::text, 13) from 1)::uuid";
    house
        .tamper(&format!(
            "delete from events using event_seals s where s.position = {kept} and s.event_id = events.event_id"
        ))
        .await;
    house.tamper(&format!("update event_seals set event_id = {moved} where position = {kept}")).await;
    let event = house.event(kept).await;
    assert_eq!(house.verify(&[]).await, [("deleted".to_owned(), Some(kept), None, Some(event))]);
}

/// Breaks when `core/src/store/follow.rs`: `        if window.is_retired {` → `        if false && window.is_retired {`.
#[tokio::test]
async fn who_begins_anew_gets_past_more_events_that_are_gone_than_are_looked_at_at_once() {
    let house = house_with_an_old_month().await;
    let ran = house.run(&["retention", "apply", "--folder", "."]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    house.seal().await;
    // As when the key of the search view is changed.
    house.tamper("update followers set position = 0; truncate event_search").await;
    while house.book.follow_search().await.unwrap() > 0 {}
    while house.book.follow_alerts().await.unwrap().positions > 0 {}
    let last = house.number("select max(position) from event_seals").await;
    let (all, behind) = (
        "select count(*) from followers",
        "select count(*) from followers where position < (select max(position) from event_seals) or fault is not null",
    );
    assert_eq!((house.number(all).await, house.number(behind).await), (2, 0), "the last is {last}");
    let read = follow::read_on(&house.book.db, 0, 1_000).await.unwrap();
    let first_live = read.first().unwrap().position;
    let over = follow::read_on(&house.book.db, first_live + 19, 1).await.unwrap();
    assert!(over.first().unwrap().position > first_live + EVENTS, "and so does who only reads");
}

/// Breaks when `core/src/store/follow.rs`: `            ahead.stop = Some(missing(after + 1));` → `            ahead.stop = None;`.
#[tokio::test]
async fn a_thousand_events_that_were_deleted_hold_up_who_follows() {
    let house = house_with_an_old_month().await;
    // Nobody has said that the month is gone.
    house.tamper("update followers set position = 20; update event_seals set retention_class = 'keep' where position = 1000; truncate events_expire_202501").await;
    let error = house.book.follow_search().await.unwrap_err();
    assert!(error.to_string().contains("position 21 is missing"), "{error}");
}
