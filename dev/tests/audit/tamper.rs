//! Whoever may do everything in the database changes the log: each change is found and named.

use std::time::{Duration, Instant};

use doorbook_core::audit::checkpoint::Checkpoint;
use doorbook_core::audit::note::{Signer, hex};
use doorbook_core::audit::tree::Frontier;
use doorbook_core::store::{Db, past};

use crate::common::*;

/// Where most of the changes are made.
const AT: i64 = 42;

fn at(fault: &str, position: i64, event: uuid::Uuid) -> Found {
    (fault.to_owned(), Some(position), None, Some(event))
}

/// Copies of what is changed, to begin each case anew.
const TABLES: [&str; 3] = ["events", "event_seals", "checkpoints"];

async fn save(house: &House) {
    for table in TABLES {
        house.tamper(&format!("create table saved_{table} as select * from {table}")).await;
    }
}

async fn restore(house: &House) {
    for table in TABLES {
        let again = format!("insert into {table} overriding system value select * from saved_{table}");
        house.tamper(&format!("delete from {table}; {again}")).await;
    }
}

/// C080. Breaks when `core/src/audit/walk.rs`: `Some(Ok(found)) if found == hash => {}` → `Some(Ok(_)) => {}`.
#[tokio::test]
async fn every_column_of_an_event_that_is_changed_is_found_at_its_position() {
    let house = House::with_log(120).await;
    assert_eq!(house.verify(&[]).await, []);
    save(&house).await;
    let event = house.event(AT).await;
    for change in [
        "payload = payload || '{\"events\": 7}'",
        // The same by RFC 8785.
        "payload = jsonb_set(payload, '{events}', (payload->>'events' || '.0')::jsonb)",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "actor_kind = 'operator'",
        "actor_id = gen_random_uuid()",
        "type = 'KeyRotated'",
        "pii = sha256('other'), pii_key_id = coalesce(pii_key_id, gen_random_uuid())",
        "pii_key_id = gen_random_uuid(), pii = coalesce(pii, 'a')",
        "subject_id = gen_random_uuid()",
        "trace_id = null",
        "session_id = gen_random_uuid()",
        "version = 2",
        "tenant_id = gen_random_uuid()",
    ] {
        house.tamper(&format!("update events set {change} where event_id = '{event}'")).await;
        assert_eq!(house.verify(&[]).await, [at("changed", AT, event)], "{change}");
        restore(&house).await;
    }
    assert_eq!(house.verify(&[]).await, []);
}

/// C080. Breaks when `core/src/audit/walk.rs`: `None => self.findings.add(Finding::at(Fault::Deleted, position, Some(event_id), "the event is gone")),` → `None => {}`.
#[tokio::test]
async fn a_deleted_event_many_of_them_and_one_put_in_beside_the_order_are_found() {
    let house = House::with_log(120).await;
    save(&house).await;
    let event = house.event(AT).await;
    house.tamper(&format!("delete from events where event_id = '{event}'")).await;
    assert_eq!(house.verify(&[]).await, [at("deleted", AT, event)]);
    house.tamper(&format!("delete from event_seals where event_id = '{event}'")).await;
    assert_eq!(house.verify(&[]).await, [("missing".to_owned(), Some(AT), Some(AT), None)]);
    restore(&house).await;

    let sealed = "select event_id from event_seals where position between 20 and 99";
    house.tamper(&format!("delete from events where event_id in ({sealed})")).await;
    let found = house.verify(&[]).await;
    assert_eq!(found.len(), 80);
    assert_eq!(found[79], at("deleted", 99, house.event(99).await));
    restore(&house).await;

    // Beside the order; of a transaction, a time and a start of the cluster that are still to come.
    let id = "overlay(uuid7_floor(recorded_at)::text placing '999' from 34 for 3)::uuid";
    for (at, xid, epoch) in [
        ("recorded_at", "xid", "epoch"),
        ("clock_timestamp()", "'9000000000000000000'", "epoch"),
        ("clock_timestamp() + interval '10 years'", "pg_current_xact_id()", "epoch"),
        ("clock_timestamp()", "pg_current_xact_id()", "epoch + 1"),
    ] {
        house
            .tamper(&format!(
                "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind, recorded_at, seq, xid, epoch)
                 overriding system value
                 select {id}, 'keep', gen_random_uuid(), 1, type, payload, actor_kind, {at}, 0, {xid}, {epoch}
                 from events where event_id = '{event}'"
            ))
            .await;
        let found = house.verify(&[]).await;
        assert_eq!(found.len(), 1, "{at}, {xid}, {epoch}: {found:?}");
        assert!(found[0].0 == "inserted" && found[0].3.is_some(), "{found:?}");
        restore(&house).await;
    }
}

/// C080. Breaks when `core/src/store/audit.rs`: `where s.event_id = e.event_id and s.retention_class = e.retention_class` → `where s.event_id = e.event_id`.
#[tokio::test]
async fn an_event_that_borrows_the_id_of_a_sealed_one_is_found_and_not_taken_for_sealed() {
    let house = House::with_log(120).await;
    let (sealed, stream) = (house.event(AT).await, uuid::Uuid::max());
    house
        .tamper(&format!(
            "insert into streams (stream_id, kind, version) values ('{stream}', 'operator', 1);
             insert into events (event_id, retention_class, stream_id, version, type, payload, subject_id, actor_kind, recorded_at, seq, xid, epoch)
             overriding system value
             select event_id, case retention_class when 'keep' then 'expire' else 'keep' end, '{stream}', 1, 'RoleGranted', payload,
                    subject_id, actor_kind, recorded_at, 0, xid, 0
             from events where event_id = '{sealed}'"
        ))
        .await;
    let found = house.verify(&[]).await;
    assert!(found.len() == 1 && found[0].0 == "inserted" && found[0].3 == Some(sealed), "{found:?}");
    let db = Db::from(house.superuser.clone());
    assert!(past::of_streams(&db, &[stream], 10).await.unwrap().is_empty(), "the seal is not its own");
}

/// C080. Breaks when `core/src/store/audit.rs`: `s where s.log_id <> 1 or s.position < 1` → `s where false`.
#[tokio::test]
async fn an_event_whose_seal_stands_beside_the_positions_that_are_walked_is_found() {
    let house = House::with_log(120).await;
    house.tamper("alter table event_seals drop constraint event_seals_position_check").await;
    save(&house).await;
    let sealed = house.event(AT).await;
    for (log, position) in [(2, 1), (1, 0), (0, 121)] {
        // The event, with a place before all others, so that no sealer takes it.
        let id = uuid::Uuid::from_u128(sealed.as_u128() ^ 1);
        house
            .tamper(&format!(
                "insert into events (event_id, retention_class, stream_id, version, type, payload, subject_id, actor_kind, recorded_at, seq, xid, epoch)
                 overriding system value
                 select '{id}', 'keep', stream_id, 1000, 'RoleGranted', payload, subject_id, actor_kind, recorded_at, 0, '0', 0
                 from events where event_id = '{sealed}';
                 insert into event_seals (log_id, position, event_id, retention_class, epoch, xid, seq, leaf_hash)
                 values ({log}, {position}, '{id}', 'keep', 0, '0', 0, sha256('x'))"
            ))
            .await;
        assert_eq!(house.verify(&[]).await, [("inserted".to_owned(), None, None, Some(id))], "{log}, {position}");
        restore(&house).await;
    }
    // And one that has its place, with another seal beside it.
    house
        .tamper(
            "alter table event_seals drop constraint event_seals_event_id_key;
             insert into event_seals (log_id, position, event_id, retention_class, epoch, xid, seq, leaf_hash)
             select 2, position, event_id, retention_class, epoch, xid, seq, leaf_hash from event_seals where position = 42",
        )
        .await;
    assert_eq!(house.verify(&[]).await, [("inserted".to_owned(), None, None, Some(sealed))]);
}

/// C080. Breaks when `cli/src/audit/live.rs`: `for event in audit::hidden(&db).await? {` → `for event in Vec::new() {`.
#[tokio::test]
async fn an_event_whose_stream_is_gone_is_told_to_be_hidden() {
    let house = House::with_log(120).await;
    let event = house.event(AT).await;
    let stream = format!("(select stream_id from events where event_id = '{event}')");
    house.tamper(&format!("update streams set stream_id = gen_random_uuid() where stream_id = {stream}")).await;
    let found = house.verify(&[]).await;
    assert!(
        found.iter().all(|found| found.0 == "hidden") && found.iter().any(|found| found.3 == Some(event)),
        "{found:?}"
    );
}

/// C080. Breaks when `core/src/audit/walk.rs`: `if !pending.told && pending.hash != Some(*leaf) {` → `if false {`.
#[tokio::test]
async fn events_that_are_forged_swapped_or_moved_up_with_their_hashes_made_anew_are_found() {
    let house = House::with_log(120).await;
    save(&house).await;
    let (event, next) = (house.event(AT).await, house.event(AT + 1).await);
    let forge = format!("update events set payload = '{{}}' where event_id = '{event}'");
    house.tamper(&forge).await;
    house.reseal(AT, AT).await;
    assert_eq!(house.verify(&[]).await, [at("forged", AT, event)]);
    restore(&house).await;

    let swap = format!(
        "delete from event_seals where position in ({AT}, {AT} + 1);
         insert into event_seals (position, event_id, retention_class, epoch, xid, seq, leaf_hash)
         select case position when {AT} then {AT} + 1 else {AT} end, event_id, retention_class, epoch, xid, seq, leaf_hash
         from saved_event_seals where position in ({AT}, {AT} + 1)"
    );
    house.tamper(&swap).await;
    assert_eq!(house.verify(&[]).await, [at("changed", AT, next), at("changed", AT + 1, event)]);
    house.reseal(AT, AT + 1).await;
    assert_eq!(house.verify(&[]).await, [at("forged", AT, next), at("forged", AT + 1, event)]);
    restore(&house).await;

    // Left out, and everything behind it moved up.
    let last = house.number("select max(position) from event_seals").await;
    house
        .tamper(&format!(
            "delete from events where event_id = '{event}'; delete from event_seals where position >= {AT};
             insert into event_seals (position, event_id, retention_class, epoch, xid, seq, leaf_hash)
             select position - 1, event_id, retention_class, epoch, xid, seq, leaf_hash
             from saved_event_seals where position > {AT} and position < {last}"
        ))
        .await;
    house.reseal(AT, last - 2).await;
    assert_eq!(house.verify(&[]).await[0].0, "cut");
    house.append(1).await;
    house.seal().await;
    assert_eq!(house.verify(&[]).await[0], at("forged", AT, next));
}

/// C080. Breaks when `core/src/audit/walk.rs`: `if self.broken || self.edge.root() != mark.root {` → `if self.broken {`.
#[tokio::test]
async fn whoever_makes_every_hash_anew_still_lacks_the_signature() {
    let house = House::with_log(120).await;
    save(&house).await;
    let (first, event) = (house.event(1).await, house.event(AT).await);
    house.tamper(&format!("update events set payload = '{{}}' where event_id = '{event}'")).await;
    house.reseal(AT, AT).await;
    // The kept copy as well.
    house
        .tamper("update checkpoints set leaf_hashes = (select string_agg(leaf_hash, '' order by position) from event_seals where position <= size)")
        .await;
    let found = house.verify(&[]).await;
    assert_eq!(found, [("diverged".to_owned(), Some(1), Some(120), Some(first))]);
    // And the root in the row; the note is what was signed.
    let mut edge = Frontier::default();
    for leaf in doorbook_core::store::checkpoints::leaf_hashes(&house.book.db, 0, 120).await.unwrap() {
        edge.push(leaf, |_, _| ());
    }
    house.tamper(&format!("update checkpoints set root = '\\x{}'", hex(&edge.root()))).await;
    assert_eq!(house.verify(&[]).await[0].0, "untrusted");
    // And the note, with a key of his own.
    let origin: String = sqlx::query_scalar("select origin from logs").fetch_one(&house.superuser).await.unwrap();
    let forged = Checkpoint { origin: origin.clone(), size: 120, root: edge.root() };
    let forged = forged.sign(&[Signer::from_seed(&origin, &[7; 32]).unwrap()]).to_string();
    house.tamper(&format!("update checkpoints set note = '{forged}'")).await;
    assert_eq!(house.verify(&[]).await, [("untrusted".to_owned(), Some(120), None, None)]);
    // And he who signs next does not sign it away.
    restore(&house).await;
    house.tamper(&format!("update events set payload = '{{}}' where event_id = '{event}'")).await;
    house.reseal(AT, AT).await;
    house.append(1).await;
    house.seal().await;
    let refused = house.book.sign_now(&house.signers().await).await.unwrap_err().to_string();
    assert!(refused.contains("not the one of its checkpoint"), "{refused}");
}

/// C080. Breaks when `cli/src/audit/live.rs`: `(last, "a checkpoint kept outside")` → `(0, "a checkpoint kept outside")`.
#[tokio::test]
async fn a_cut_end_and_an_old_dump_put_back_show_only_against_a_checkpoint_kept_outside() {
    let house = House::with_log(120).await;
    house.append(80).await;
    house.seal().await;
    let size = house.sign().await;
    let file = house.folder.join("checkpoints");
    let notes: Vec<String> = sqlx::query_scalar("select note || e'\\n' from checkpoints order by size")
        .fetch_all(&house.superuser)
        .await
        .unwrap();
    std::fs::write(&file, notes.concat()).unwrap();
    let outside = ["--checkpoint", file.to_str().unwrap()];
    assert_eq!(house.verify(&outside).await, []);

    let gone = "delete from events where event_id in (select event_id from event_seals where position > 130);
                delete from events where not exists (select from event_seals s where s.event_id = events.event_id);
                delete from event_seals where position > 130";
    house.tamper(gone).await;
    assert_eq!(house.verify(&[]).await, [("cut".to_owned(), Some(131), Some(size), None)]);
    house.tamper("delete from checkpoints where size > 130; update streams set version = 1 where version = 2").await;
    assert_eq!(house.verify(&[]).await, [], "nothing in the database tells of what is gone");
    assert_eq!(house.verify(&outside).await, [("cut".to_owned(), Some(131), Some(size), None)]);

    // It lives on and outgrows what it was.
    house.append(300).await;
    house.seal().await;
    house.sign().await;
    assert_eq!(house.verify(&[]).await, []);
    let found = house.verify(&outside).await;
    assert_eq!((found.len(), found[0].0.as_str()), (1, "diverged"), "{found:?}");
    assert_eq!((found[0].1, found[0].2), (Some(121), Some(size)));

    // A key that was never this log's.
    let other = Signer::from_seed("doorbook/other", &[7; 32]).unwrap().verifier().to_string();
    assert!(house.verify(&["--key", &other]).await.iter().all(|found| found.0 == "untrusted"));
    assert_eq!(house.verify(&["--key", &house.key().await]).await, []);
}

/// C080. Breaks when `core/src/audit/walk.rs`: `Some(Ok(found)) if found == hash => {}` → `Some(Ok(_)) => {}`.
/// Release: the bar names a time.
#[tokio::test]
async fn a_long_log_is_verified_in_its_time() {
    /// Source: bar C080, for a million events by a release build.
    const AT_MOST: Duration = Duration::from_secs(30);
    let events = dose(3_000, 1_000_000);
    let takes = async |house: &House| {
        let begun = Instant::now();
        assert_eq!(house.verify(&[]).await, []);
        begun.elapsed()
    };
    let tenth = takes(&House::with_log(events / 10).await).await;
    let house = House::with_log(events).await;
    let all = takes(&house).await;
    println!("figure: {events} events verified in {} ms, a tenth of them in {}", all.as_millis(), tenth.as_millis());
    if cfg!(not(debug_assertions)) {
        assert!(all < AT_MOST);
        assert!(all < tenth * 15, "an event of a long log takes as long as one of a short log, and half as much again");
    }
    let event = house.event(events - 5).await;
    house.tamper(&format!("update events set payload = '{{}}' where event_id = '{event}'")).await;
    assert_eq!(house.verify(&[]).await, [at("changed", events - 5, event)]);
}
