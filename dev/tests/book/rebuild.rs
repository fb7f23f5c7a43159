//! What is derived from the log can be made again from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::store::rebuild::Report;
use doorbook_core::store::{Db, Pooler};
use doorbook_dev::{Role, lives};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::common::*;

/// Derived columns as text, but for the sealed ones, which are sealed with a new nonce each time.
const DERIVED: [(&str, &str); 7] = [
    (
        "accounts",
        "select string_agg(row(account_id, locale, status, roles, email_verified_at, locked_at, created_at,
                password_changed_at, last_login_at)::text, e'\\n' order by account_id) from accounts",
    ),
    (
        "account_emails",
        "select string_agg(row(email_key, account_id, state)::text, e'\\n' order by email_key) from account_emails",
    ),
    (
        "credentials",
        "select string_agg(row(account_id, kind, credential_id, version, updated_at)::text, e'\\n' order by account_id)
         from credentials",
    ),
    (
        "sessions",
        "select string_agg(row(session_id, account_id, session_epoch, device_id, created_at, revoked_at, revoked_reason)::text,
                e'\\n' order by session_id) from sessions",
    ),
    (
        "tokens",
        "select string_agg(row(token_id, account_id, kind, state, created_at)::text, e'\\n' order by token_id) from tokens",
    ),
    (
        "devices",
        "select string_agg(row(device_id, account_id, created_at)::text, e'\\n' order by device_id) from devices",
    ),
    (
        "streams",
        "select string_agg(row(stream_id, kind, subject_id, version, session_epoch, logins)::text, e'\\n' order by stream_id)
         from streams where kind in ('account', 'session')",
    ),
];

/// Takes away, or turns into something else, all that a replay can give back.
const RUIN: [&str; 7] = [
    "delete from accounts",
    "delete from account_emails where state = 'current'",
    "update credentials set credential_id = gen_random_uuid(), version = 99, updated_at = clock_timestamp()",
    "update sessions set session_epoch = 77, device_id = null, origin = null, created_at = clock_timestamp(),
            revoked_at = clock_timestamp(), revoked_reason = 'ruin'",
    // No event names the link of a notice that nobody has answered.
    "update tokens set kind = 'undo', state = 'used', closed_at = clock_timestamp(), created_at = clock_timestamp()
     where kind <> 'not_me'",
    "update devices set created_at = clock_timestamp()",
    "update streams set version = version + 70, session_epoch = 9, logins = 0, subject_id = null where kind in ('account', 'session')",
];

async fn derived(house: &House) -> Vec<(&'static str, String)> {
    let mut tables = Vec::new();
    for (table, sql) in DERIVED {
        let rows: Option<String> = sqlx::query_scalar(sql).fetch_one(&house.owner).await.unwrap();
        tables.push((table, rows.unwrap_or_default()));
    }
    tables
}

/// Lives at once: registrations from one place conflict over its counter.
const WAVE: usize = 20;

/// Many lives, some at once.
async fn campaign(book: &Arc<Doorbook>, house: &House, people: usize) {
    for first in (0..people).step_by(WAVE) {
        lives(book, first, WAVE.min(people - first)).await;
    }
    book.request_reset(&email("user0@example.com"), None, &anywhere()).await.unwrap();
    let link = house.reset_link().await;
    book.confirm_reset(&link, &password(PASSWORD), None, &anywhere()).await.unwrap();
}

async fn lives(book: &Arc<Doorbook>, first: usize, people: usize) {
    at_once(people, |n| {
        let (book, n) = (book.clone(), first + n);
        async move {
            let (address, context) = (format!("user{n}@example.com"), from(&format!("198.18.{}.{}", n / 250, n % 250)));
            register(&book, &address).await.unwrap();
            let first = login_from(&book, &address, PASSWORD, None, &context).await.unwrap();
            let caller = holder(&book, &first).await;
            login_from(
                &book,
                &address,
                PASSWORD,
                first.device.as_ref().map(|device| device.expose().to_owned()),
                &context,
            )
            .await
            .unwrap();
            let acting = context.clone().acting(caller.account);
            match n % 4 {
                0 => book
                    .change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), None, &acting)
                    .await
                    .unwrap(),
                1 => book.logout_all(caller, None, &acting).await.unwrap(),
                2 => book.request_reset(&email(&address), None, &context).await.unwrap(),
                _ => {
                    let disable = Order::new(Intervention::Disable, "a test");
                    book.command_account(caller.account, &disable, &Context::operator(Uuid::nil())).await.unwrap();
                }
            }
        }
    })
    .await;
}

fn rate(report: &Report, started: Instant) -> f64 {
    f64::from(u32::try_from(report.events).unwrap()) / started.elapsed().as_secs_f64()
}

/// C082. Breaks when `core/src/store/rebuild/repair.rs`: `self.devices.write(&mut *db).await?;` → `let _ = Devices::write;`.
/// Release: the bar names a rate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_derived_is_made_again_from_nothing_and_no_effect_happens_again() {
    let house = house().await;
    let book = house.book().await;
    let people = dose(24, 1_000);
    campaign(&book, &house, people).await;
    house.quiet().await;
    house.assert_whole().await;
    let (before, effects) =
        (derived(&house).await, "select (select count(*) from jobs) + (select count(*) from deliveries)");
    let effects_before = house.number(effects).await;
    for sql in RUIN {
        house.alter(sql).await;
    }
    let started = Instant::now();
    let report = book.rebuild(&Db::from(house.owner.clone()), &Context::operator(Uuid::nil())).await.unwrap();
    let ruined = rate(&report, started);
    println!("figure: {} events of {people} ruined accounts rebuilt, {ruined:.0} events/s", report.events);
    assert_eq!((report.found(), report.rebuilt), (0, u64::try_from(people).unwrap()), "{:?}", report.differences);
    let started = Instant::now();
    let report = book.rebuild(&Db::from(house.owner.clone()), &Context::operator(Uuid::nil())).await.unwrap();
    let whole = rate(&report, started);
    println!("figure: {} events of {people} whole accounts compared, {whole:.0} events/s", report.events);
    assert_eq!((report.found(), report.rebuilt), (0, 0), "{:?}", report.differences);
    if dose(false, true) {
        assert!(ruined >= 5_000.0 && whole >= 5_000.0, "{ruined:.0} and {whole:.0} events/s");
    }
    for (was, is) in before.into_iter().zip(derived(&house).await) {
        assert_eq!(was, is);
    }
    house.assert_whole().await;
    assert_eq!(house.number(effects).await, effects_before);
    assert_eq!(house.events("ProjectionRebuilt").await, 2);
    let caller = holder(&book, &patient_login(&book, "user0@example.com", PASSWORD).await.unwrap()).await;
    assert_eq!(book.profile(caller.account).await.unwrap().email, "user0@example.com");
}

/// C082. Breaks when `core/src/store/rebuild.rs`: `if before.found() > known && case.is_whole() {` → `if before.found() > known {`.
#[tokio::test]
async fn nothing_is_made_of_events_that_this_release_cannot_read_or_whose_key_is_missing() {
    let house = house().await;
    let book = house.book().await;
    for name in ["ana@example.com", "bea@example.com"] {
        register(&book, name).await.unwrap();
    }
    let rebuild = async || book.rebuild(&Db::from(house.owner.clone()), &Context::operator(Uuid::nil())).await.unwrap();
    assert_eq!(rebuild().await.found(), 0);
    // A later release has closed the first account, in words of its own; then came this one again.
    house
        .alter(
            "with first as (update streams set version = version + 1
                            where stream_id = (select account_id from accounts order by account_id limit 1) returning stream_id, version)
             insert into events (event_id, retention_class, stream_id, version, type, payload, subject_id, actor_kind)
             select overlay(uuid7_floor(clock_timestamp())::text placing '8' || right(gen_random_uuid()::text, 16) from 20 for 17)::uuid,
                    'keep', stream_id, version, 'AccountSuspended', '{}', stream_id, 'operator' from first;
             update accounts set status = 'disabled' where account_id = (select account_id from accounts order by account_id limit 1)",
        )
        .await;
    // The key of the second one has not been restored yet.
    house
        .alter("delete from keys.data_keys where account_id = (select max(account_id::text)::uuid from accounts)")
        .await;
    let before = derived(&house).await;
    let report = rebuild().await;
    assert!(report.found() >= 2 && report.rebuilt == 0, "{:?}", report.differences);
    assert_eq!(derived(&house).await, before);
}

/// A log of years, and what is derived from it.
/// C082.
/// Release: the bar names a rate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo full -- rebuild::a_long_log_is_derived_anew_as_fast_as_a_short_one"]
async fn a_long_log_is_derived_anew_as_fast_as_a_short_one() {
    const LIFE: i64 = 100;
    let mut rates = Vec::new();
    for people in [dose(20, 1_000), dose(60, 10_000)] {
        let house = house().await;
        let book = house.book().await;
        for first in (0..people).step_by(WAVE) {
            at_once(WAVE, |n| {
                let (book, n) = (book.clone(), first + n);
                async move {
                    let from = from(&format!("198.18.{}.{}", n / 250, n % 250));
                    register_from(&book, &format!("user{n}@example.com"), &from).await.unwrap();
                }
            })
            .await;
        }
        let secret = String::from_utf8(secrets().secret_key.to_vec()).unwrap();
        lives::bring(&house.owner, &secret, LIFE * i64::try_from(people).unwrap()).await.unwrap();
        for sql in RUIN {
            house.alter(sql).await;
        }
        house.alter("vacuum analyze").await;
        let owner = Db::new(&house.database.url_for(Role::Migrator), 2, Pooler::None).unwrap();
        let started = Instant::now();
        let report = book.rebuild(&owner, &Context::operator(Uuid::nil())).await.unwrap();
        rates.push(rate(&report, started));
        println!(
            "figure: {} events of {people} ruined accounts rebuilt, {:.0} events/s",
            report.events,
            rates[rates.len() - 1]
        );
        assert_eq!((report.found(), report.rebuilt), (0, u64::try_from(people).unwrap()), "{:?}", report.differences);
        house.assert_whole().await;
    }
    if dose(false, true) {
        assert!(rates[1] * 1.5 >= rates[0], "{rates:.0?} events/s");
        assert!(rates.iter().all(|rate| *rate >= 20_000.0), "{rates:.0?} events/s");
    }
}

/// C082. Breaks when `core/src/store/rebuild.rs`: `hold(&mut held, ids).await?;` → `let _ = hold;`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_under_load_takes_nothing_back_and_makes_nobody_fail() {
    let house = house().await;
    let book = house.book().await;
    let people = dose(8, 40);
    for n in 0..people {
        register(&book, &format!("user{n}@example.com")).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    // Before the first login of all there is nothing to ruin, and a fast machine has done every round by then.
    let under_way = Arc::new(Barrier::new(people + 1));
    let clients: Vec<_> = (0..people)
        .map(|n| {
            let (book, done, address) = (book.clone(), done.clone(), format!("user{n}@example.com"));
            let under_way = under_way.clone();
            tokio::spawn(async move {
                let mut visits = 0;
                while !done.load(Ordering::Relaxed) {
                    let tokens = patient_login(&book, &address, PASSWORD).await.unwrap();
                    let caller = holder(&book, &tokens).await;
                    let context = anywhere().acting(caller.account);
                    // So often as an account may an hour.
                    if visits < 60 {
                        book.logout_all(caller, None, &context).await.unwrap();
                    } else {
                        book.logout(tokens.refresh.expose(), &context).await.unwrap();
                    }
                    visits += 1;
                    if visits == 1 {
                        under_way.wait().await;
                    }
                    // A rebuild reads the whole log: it shall grow with the rounds, not with the machine.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                visits
            })
        })
        .collect();
    under_way.wait().await;
    for round in 0..dose(20, 100) {
        // What does not differ is not held: a column that nobody decides on, and that no login mends, gives the rebuild something to
        // do every other time.
        let ruined = if round % 2 == 1 { people } else { 0 };
        if ruined > 0 {
            house.alter("update accounts set locale = 'es'").await;
        }
        let report = book.rebuild(&Db::from(house.owner.clone()), &Context::operator(Uuid::nil())).await.unwrap();
        assert_eq!(report.found(), 0, "{:?}", report.differences);
        assert_eq!(report.rebuilt, u64::try_from(ruined).unwrap(), "round {round}");
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    house.quiet().await;
    house.assert_whole().await;
}
