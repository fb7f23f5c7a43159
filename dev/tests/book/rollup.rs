//! What strangers can make the log grow by is bounded: failed logins at addresses without an account are rolled up, and what is about an
//! account is written whatever else is going on.

use std::sync::Arc;

use doorbook_core::alert::Rule as AlertRule;
use doorbook_core::failpoint::Gate;
use doorbook_core::service::audit::{COUNTED, ROLLED_UP, Span};
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::value::EventId;
use serde_json::Value;
use uuid::Uuid;

use crate::common::*;
use crate::erasure::worker;

const ANA: &str = "ana@example.com";
const NOBODY: &str = "nobody@example.com";

impl House {
    /// The minutes of the next hour have so many rows already.
    async fn spend(&self, rows: u32) {
        self.alter(format!(
            "insert into attempt_minutes select date_trunc('minute', clock_timestamp()) + n * interval '1 minute', {rows}
             from generate_series(0, 60) n"
        ))
        .await;
    }

    /// What was counted so far was counted so long ago that it is over.
    async fn minutes_pass(&self) {
        self.alter("update attempt_tallies set minute = minute - interval '2 minutes'").await;
    }

    /// As many more are counted, each from a network of its own. All are at one address: a place is sealed for it, by the service alone.
    async fn count_from_elsewhere(&self, others: usize) {
        self.alter(format!(
            "insert into attempt_tallies (minute, network, member, attempts, blocks, origin, pii_key_id)
             select t.minute, sha256(('n' || n)::bytea), t.member, 1, 0, t.origin, t.pii_key_id
             from (select * from attempt_tallies limit 1) t, generate_series(1, {others}) n"
        ))
        .await;
    }

    async fn counted(&self) -> i64 {
        self.number("select coalesce(sum(attempts), 0)::bigint from attempt_tallies").await
    }

    /// Payloads of all roll-ups.
    async fn roll_ups(&self) -> Vec<Value> {
        let all = "select payload from events where type = 'LoginAttemptsSuppressed' order by event_id";
        sqlx::query_scalar(all).fetch_all(&self.owner).await.unwrap()
    }
}

fn sum(roll_ups: &[Value], field: &str) -> u64 {
    roll_ups.iter().map(|it| it[field].as_u64().unwrap()).sum()
}

/// Fails once at each of these addresses of nobody, each time from a client of its own in one of four networks.
async fn spray(books: &[Arc<Doorbook>], numbers: std::ops::Range<usize>) {
    let answers =
        together(
            numbers.map(|n| {
                let book = Arc::clone(&books[n % books.len()]);
                let context = from(&format!("198.51.{}.{}", 100 + n % 4, n % 250));
                async move {
                    word(&login_from(&book, &format!("nobody{n}@example.com"), OTHER_PASSWORD, None, &context).await)
                }
            }),
        )
        .await;
    assert!(answers.iter().all(|answer| *answer == "wrong"), "{answers:?}");
}

fn system() -> Context {
    Context::system(Uuid::from_u128(7))
}

/// Rolls up all that is over; how many events tell of it.
async fn roll_up(worker: &Doorbook) -> usize {
    let mut told = 0;
    loop {
        match worker.roll_up_attempts(&system()).await {
            Ok(0) => return told,
            Ok(events) => told += events,
            other => assert_eq!(word(&other), "conflict"),
        }
    }
}

/// Breaks when `core/src/store/project/attempts.rs`: `where m.recorded + {rows} <= {most} returning 1` → `where {most} > 0 returning 1`.
#[tokio::test(flavor = "multi_thread")]
async fn a_minute_has_so_many_rows_for_nobody_s_logins_however_many_processes_write_them() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    house.spend(590).await;
    let tried = dose(60, 600);
    spray(&books, 0..tried).await;
    let over = "select count(*) from attempt_minutes where recorded > 600";
    assert_eq!(house.number(over).await, 0);
    let written = house.events("LoginFailed").await;
    let taken = house.number("select sum(recorded - 590)::bigint from attempt_minutes").await;
    assert_eq!(written, taken, "each row was taken from its minute");
    assert!(written >= 10, "{written}");
    assert_eq!(written + house.counted().await, i64::try_from(tried).unwrap(), "none is lost, none counted twice");
    house.assert_whole().await;
}

/// Breaks when `core/src/attempt/rollup.rs`: `(false, true) => Telling::Singly { takes: None },` → `(false, true) => Telling::RolledUp,`.
#[tokio::test]
async fn what_is_about_an_account_is_written_whatever_others_do_and_every_answer_is_the_same() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    house.spend(600).await;
    for address in [ANA, NOBODY] {
        for _ in 0..5 {
            assert_eq!(word(&login(&book, address, OTHER_PASSWORD).await), "wrong");
        }
        assert_eq!(word(&login(&book, address, PASSWORD).await), "blocked", "what is counted for the block is exact");
    }
    for (name, expected) in [("LoginFailed", 5), ("LoginBlocked", 1)] {
        assert_eq!(house.events(name).await, expected, "{name}");
    }
    let others = "select count(*) from events where type like 'Login%' and subject_id is null";
    assert_eq!(house.number(others).await, 0);
    let counted: (i64, i64) =
        sqlx::query_as("select attempts, blocks from attempt_tallies").fetch_one(&house.owner).await.unwrap();
    assert_eq!(counted, (5, 1));
    // Both blocks ordered the same look, and one of them tells somebody.
    let looks: Vec<Uuid> = sqlx::query_scalar("select ref from jobs where kind = 'guesses' order by created_at")
        .fetch_all(&house.owner)
        .await
        .unwrap();
    assert_eq!(looks.len(), 2);
    let worker = worker(&house).await;
    for look in looks {
        worker.tell_of_guesses(EventId(look), Uuid::nil()).await.unwrap();
    }
    assert_eq!(house.number("select count(*) from deliveries where template = 'login_blocked'").await, 1);
    assert_eq!(house.mail(&book, "login_blocked").await.to, ANA);
    house.assert_whole().await;
}

/// Breaks when `core/src/store/project/attempts.rs`: `where t.rows = {rows} and t.attempts = {attempts} and {{after}}` → `where t.rows <= {rows} and t.attempts >= 0 and {attempts} > 0 and {{after}}`.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_is_told_once_whoever_dies_or_counts_on_meanwhile() {
    let house = house().await;
    let books = [house.book().await];
    house.spend(600).await;
    let workers = [worker(&house).await, worker(&house).await];
    assert_eq!(roll_up(&workers[0]).await, 0);
    spray(&books, 0..30).await;
    assert_eq!(roll_up(&workers[0]).await, 0, "the minute is not over");
    house.minutes_pass().await;
    // Dies before the statement.
    let (gate, mut hold) = Gate::new(&["attempts.rolling_up"]);
    let (worker, context) = (Arc::clone(&workers[0]), system());
    let task =
        tokio::spawn(gate.around(async move { worker.roll_up_attempts(&context).await.map_err(|it| it.to_string()) }));
    assert_eq!(hold.arrived().await, Some("attempts.rolling_up"));
    task.abort();
    assert_eq!(hold.arrived().await, None);
    assert_eq!((house.roll_ups().await.len(), house.counted().await), (0, 30));
    // Somebody counts on between the read and the statement.
    let (gate, mut hold) = Gate::new(&["attempts.rolling_up"]);
    let (worker, context) = (Arc::clone(&workers[0]), system());
    let task =
        tokio::spawn(gate.around(async move { worker.roll_up_attempts(&context).await.map_err(|it| it.to_string()) }));
    assert_eq!(hold.arrived().await, Some("attempts.rolling_up"));
    house.alter("update attempt_tallies set attempts = attempts + 1").await;
    hold.pass();
    assert!(task.await.unwrap().is_err(), "it is decided anew");
    assert_eq!((house.roll_ups().await.len(), house.counted().await), (0, 60));
    // Both at once.
    let told: usize = at_once(2, |n| {
        let worker = Arc::clone(&workers[n]);
        async move { roll_up(&worker).await }
    })
    .await
    .iter()
    .sum();
    let roll_ups = house.roll_ups().await;
    assert_eq!((told, roll_ups.len()), (4, 4), "one a network: {roll_ups:?}");
    for (field, expected) in [("attempts", 60), ("identifiers", 30), ("networks", 4), ("blocks", 0)] {
        assert_eq!(sum(&roll_ups, field), expected, "{field}");
    }
    assert_eq!(house.counted().await, 0);
    house.assert_whole().await;
}

/// A house in whose full minute so many addresses were guessed at beside some named ones.
async fn crowded(others: usize) -> House {
    let house = house().await;
    let book = house.book().await;
    house.spend(600).await;
    spray(&[book], 0..4).await;
    house.count_from_elsewhere(others).await;
    house
}

/// Breaks when `core/src/service/rollup.rs`: `const BATCHES: [i64; 3] = [100_000, 20_000, 4_000];` → `const BATCHES: [i64; 3] = [20_000, 20_000, 4_000];`.
#[tokio::test]
async fn a_minute_has_a_hundred_and_one_roll_ups_however_many_addresses_were_guessed_at() {
    let others = dose(30_000, 99_000);
    let house = crowded(others).await;
    let counted = house.counted().await;
    house.minutes_pass().await;
    let begun = std::time::Instant::now();
    assert_eq!(roll_up(&*worker(&house).await).await, 101);
    println!("figure: {others} addresses told in {} ms", begun.elapsed().as_millis());
    let told = house.roll_ups().await;
    assert_eq!(sum(&told, "attempts"), u64::try_from(counted).unwrap(), "none is lost");
    assert_eq!(house.counted().await, 0);
}

/// Breaks when `core/src/service/rollup.rs`: `const BATCHES: [i64; 3] = [100_000, 20_000, 4_000];` → `const BATCHES: [i64; 3] = [100_000; 3];`.
#[tokio::test]
async fn a_minute_that_one_statement_has_no_time_for_is_told_by_several() {
    let house = crowded(21_000).await;
    // As Postgres says it when a statement took too long.
    house
        .alter(
            "create function slow() returns trigger language plpgsql as $$ begin
                 if (select count(*) from gone) > 20000 then raise exception 'too slow' using errcode = '57014'; end if;
                 return null;
             end $$;
             create trigger slow after delete on attempt_tallies referencing old table as gone
             for each statement execute function slow()",
        )
        .await;
    let counted = house.counted().await;
    house.minutes_pass().await;
    let told = roll_up(&*worker(&house).await).await;
    assert!((102..=202).contains(&told), "{told}");
    assert_eq!(sum(&house.roll_ups().await, "attempts"), u64::try_from(counted).unwrap(), "none is lost");
}

/// Breaks when `core/src/service/rollup.rs`: `batch.seal_last(id, &Personal { address, ..Personal::default() }, key)?;` → `let _ = (id, &address);`.
#[tokio::test]
async fn a_roll_up_is_found_by_its_network_counted_in_the_overview_and_heard_by_the_alerts() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let tokens = login(&book, ANA, PASSWORD).await.unwrap();
    house.spend(600).await;
    for n in 0..25 {
        let context = from(&format!("198.51.100.{n}"));
        let answer = login_from(&book, &format!("nobody{n}@example.com"), PASSWORD, None, &context).await;
        assert_eq!(word(&answer), "wrong");
    }
    let clear = "select count(*) from attempt_tallies t where to_jsonb(t)::text like '%198.51%' or to_jsonb(t)::text like '%3139382e3531%'";
    assert_eq!(house.number(clear).await, 0, "where they came from is not counted in clear");
    house.minutes_pass().await;
    let worker = worker(&house).await;
    assert_eq!(roll_up(&worker).await, 1);
    house.seal().await;
    while worker.follow_search().await.unwrap() > 0 {}
    let mut raised = Vec::new();
    loop {
        let step = worker.follow_alerts().await.unwrap();
        raised.extend(step.raised);
        if step.positions == 0 {
            break;
        }
    }
    assert_eq!(raised, [AlertRule::NetworkSpraying]);
    let caller = holder(&book, &tokens).await;
    let overview = book.overview(caller, Span::Day, &anywhere()).await.unwrap();
    let series = overview.series.iter().find(|series| series.name == ROLLED_UP).unwrap();
    assert_eq!(series.counts.iter().sum::<i64>(), 25);
    assert_eq!(overview.series.len(), COUNTED.len());
    let sealed = "select pii_key_id = (select key_id from keys.data_keys where stranger_day is not null) from events where type = 'LoginAttemptsSuppressed'";
    assert!(sqlx::query_scalar::<_, bool>(sealed).fetch_one(&house.owner).await.unwrap(), "with the day's key");
    let filter =
        doorbook_core::service::audit::Filter { network: Some("198.51.100.9".parse().unwrap()), ..Default::default() };
    let found = book.search_trail(caller, &filter, None, 10, &anywhere()).await.unwrap();
    assert!(found.entries.iter().any(|entry| entry.name == ROLLED_UP), "{:?}", found.entries);
}

/// Breaks when `core/src/service/register.rs`: `self.note_exceeded(&bucket, TAKEN_ATTEMPTS, &context.origin).await;` → `let _ = (&bucket, &context.origin);`.
#[tokio::test]
async fn an_owner_s_history_has_three_attempts_at_the_address_an_hour_and_the_log_says_that_there_were_more() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    for n in 0..20 {
        register_from(&book, ANA, &from(&format!("198.51.{n}.1"))).await.unwrap();
    }
    assert_eq!(house.events("RegistrationAttemptedForTakenEmail").await, 3);
    assert_eq!(house.events("LimitExceeded").await, 1);
    house.age_limits(3_601).await;
    register_from(&book, ANA, &anywhere()).await.unwrap();
    assert_eq!(house.events("RegistrationAttemptedForTakenEmail").await, 4);
    house.assert_whole().await;
}

/// Breaks when `core/src/store/jobs.rs`: `from attempt_minutes where minute < now() - interval '1 hour'` → `from attempt_minutes where minute < now() - interval '1 year'`.
#[tokio::test]
async fn a_minute_that_is_long_over_is_forgotten() {
    let house = house().await;
    house.spend(1).await;
    house.alter("update attempt_minutes set minute = minute - interval '62 minutes'").await;
    let worker = worker(&house).await;
    doorbook_core::store::jobs::purge(&worker.db, 10_000).await.unwrap();
    assert!(house.number("select count(*) from attempt_minutes").await <= 60);
}
