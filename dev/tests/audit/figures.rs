//! How the trail does as it grows: two sizes in one run, so that the machine is the same for both.

use std::time::{Duration, Instant};

use doorbook_core::account::Role;
use doorbook_core::clock::Timestamp;
use doorbook_core::password::PasswordPlain;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::OperatorAccount;
use doorbook_core::service::audit::Filter;
use doorbook_core::service::login::Login;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::terms::Severity;
use doorbook_core::value::{AccountId, Email, Locale};
use doorbook_dev::aged::{self, subject};
use doorbook_dev::{Cluster, Role as Database, Stand};
use sqlx::PgPool;
use uuid::Uuid;

use crate::common::*;

/// Accounts that the events are about.
const ACCOUNTS: i64 = 1_000;

fn account(number: i64) -> AccountId {
    AccountId(subject(number))
}

async fn append_life(db: &PgPool, events: i64) {
    aged::append_life(db, events, ACCOUNTS).await.unwrap();
}

/// An admin, logged in.
async fn admin(api: &Doorbook) -> (Caller, Context) {
    let (email, text) = (Email::parse("admin@example.com").unwrap(), "violet harbour 73");
    let password = || PasswordPlain::parse(text.to_owned()).unwrap();
    let account = OperatorAccount {
        email: email.clone(),
        password: password(),
        roles: vec![Role::Admin],
        locale: Locale::En,
        reason: "a test".to_owned(),
    };
    let context = Context::operator(Uuid::nil());
    api.create_account(&account, &context).await.unwrap();
    let login = Login { email, password: password(), remember_device: false, device_token: None };
    let tokens = api.login(&login, &context).await.unwrap();
    (api.authenticate(&tokens.access).await.unwrap(), context)
}

fn searches(number: i64, from: Timestamp) -> Vec<(&'static str, Filter)> {
    let account = Some(account(number));
    let name = Some("LoginBlocked".to_owned());
    vec![
        ("everything", Filter::default()),
        ("account", Filter { account, ..Filter::default() }),
        ("type", Filter { name: name.clone(), ..Filter::default() }),
        ("type and account", Filter { account, name, ..Filter::default() }),
        ("severity", Filter { severity: Some(Severity::Warning), ..Filter::default() }),
        ("account since an hour", Filter { account, from: Some(from), ..Filter::default() }),
    ]
}

/// How long 99 of 100 first pages of 50 take, by search.
async fn pages(api: &Doorbook, caller: Caller, context: &Context) -> Vec<(&'static str, Duration)> {
    let from = api.clock.now().minus(Duration::from_hours(1));
    let mut times: Vec<(&'static str, Vec<Duration>)> = Vec::new();
    for round in 0..dose(10, 300) {
        for (search, filter) in searches(round * 10 % ACCOUNTS, from) {
            let begun = Instant::now();
            let page = api.search_trail(caller, &filter, None, 50, context).await.unwrap();
            let took = begun.elapsed();
            assert!(
                page.entries.iter().all(|entry| filter.account.is_none_or(|account| entry.account == Some(account.0)))
            );
            assert!(!page.entries.is_empty(), "{search}");
            match times.iter_mut().find(|(name, _)| *name == search) {
                Some((_, times)) => times.push(took),
                None => times.push((search, vec![took])),
            }
        }
    }
    let p99 = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() * 99 / 100]
    };
    times.into_iter().map(|(search, times)| (search, p99(times))).collect()
}

/// C068. Breaks when `core/src/service/audit/search.rs`: `self.account.map(|account| account.0)),` → `self.account.map(|_| Uuid::nil())),`.
/// Release: the bar names a time.
#[tokio::test]
async fn a_page_takes_as_long_in_a_large_trail_as_in_a_small_one() {
    let house = house().await;
    let api = house.api().await;
    let (caller, context) = admin(&api).await;
    let sizes = [dose(2_000, 100_000), dose(6_000, 10_000_000)];
    let (mut before, mut measured) = (0, Vec::new());
    for size in sizes {
        append_life(&house.superuser, size - before).await;
        before = size;
        let begun = Instant::now();
        house.seal().await;
        let (sealed, begun) = (begun.elapsed(), Instant::now());
        while house.book.follow_search().await.unwrap() > 0 {}
        let followed = begun.elapsed();
        sqlx::query("vacuum analyze").execute(&house.superuser).await.unwrap();
        println!("figure: up to {size} events: sealed in {sealed:.1?}, followed in {followed:.1?}");
        measured.push(pages(&api, caller, &context).await);
    }
    for ((search, small), (_, large)) in measured[0].iter().zip(&measured[1]) {
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        println!(
            "figure: {search}: p99 {small:.1?} of {} events, {large:.1?} of {}, ratio {ratio:.2}",
            sizes[0], sizes[1]
        );
        if dose(0, 1) == 1 {
            assert!(*large <= Duration::from_millis(100), "{search}: {large:?}");
            // A quarter of a millisecond is what a busy machine adds to anything.
            assert!(*large <= small.mul_f64(1.5) + Duration::from_micros(250), "{search}: {small:?} and {large:?}");
        }
    }
}

/// C079. Breaks when `worker/src/sealer.rs`: `const IDLE_PAUSE: Duration = Duration::from_millis(50);` → `const IDLE_PAUSE: Duration = Duration::from_secs(30);`.
/// Release: the bar names a time.
#[tokio::test]
async fn events_get_their_place_a_moment_after_they_were_written() {
    let stand = Stand::start(Cluster::shared().await.unwrap()).await.unwrap();
    let superuser =
        PgPool::connect(&Cluster::shared().await.unwrap().superuser_url(stand.database.name())).await.unwrap();
    let seconds = dose(3, 120);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..seconds * 10 {
        tick.tick().await;
        append_life(&superuser, 50).await;
    }
    let owner = stand.database.pool(Database::Migrator).await.unwrap();
    let waiting =
        "select count(*) from events e where not exists (select 1 from event_seals s where s.event_id = e.event_id)";
    for _ in 0..200 {
        if sqlx::query_scalar::<_, i64>(waiting).fetch_one(&owner).await.unwrap() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (count, p99): (i64, f64) = sqlx::query_as(
        "select count(*), percentile_cont(0.99) within group (order by extract(epoch from s.sealed_at - e.recorded_at)::float8 * 1000)
         from events e join event_seals s on s.event_id = e.event_id where e.actor_kind = 'stranger'",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(count, seconds * 500, "all are sealed");
    println!("figure: {count} events at 500/s: 99 of 100 sealed within {p99:.0} ms");
    assert!(p99 < if dose(0, 1) == 1 { 250.0 } else { 10_000.0 }, "{p99} ms");
}
