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

/// A log of its own with an admin who reads it.
struct Trail {
    events: i64,
    from: Timestamp,
    api: Doorbook,
    caller: Caller,
    context: Context,
    _house: House,
}

/// Full, sealed and taken into the search view.
async fn trail(events: i64) -> Trail {
    let house = house().await;
    let api = house.api().await;
    let (caller, context) = admin(&api).await;
    append_life(&house.superuser, events).await;
    let begun = Instant::now();
    house.seal().await;
    let (sealed, begun) = (begun.elapsed(), Instant::now());
    while house.book.follow_search().await.unwrap() > 0 {}
    let followed = begun.elapsed();
    sqlx::query("vacuum analyze").execute(&house.superuser).await.unwrap();
    println!("figure: {events} events: sealed in {sealed:.1?}, followed in {followed:.1?}");
    let from = api.clock.now().minus(Duration::from_hours(1));
    Trail { events, from, api, caller, context, _house: house }
}

/// How long a first page of 50 takes.
async fn page(trail: &Trail, search: &str, filter: &Filter) -> Duration {
    let begun = Instant::now();
    let page = trail.api.search_trail(trail.caller, filter, None, 50, &trail.context).await.unwrap();
    let took = begun.elapsed();
    assert!(page.entries.iter().all(|entry| filter.account.is_none_or(|account| entry.account == Some(account.0))));
    assert!(!page.entries.is_empty(), "{search}");
    took
}

/// Median and 99 of 100.
fn spread(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// C068. Breaks when `core/src/service/audit/search.rs`: `self.account.map(|account| account.0)),` → `self.account.map(|_| Uuid::nil())),`.
/// Release: the bar names a time. The two trails are read in turn, so that what else the machine does happens to both.
#[tokio::test]
async fn a_page_takes_as_long_in_a_large_trail_as_in_a_small_one() {
    let (small, large) = (trail(dose(2_000, 100_000)).await, trail(dose(6_000, 10_000_000)).await);
    let mut times: Vec<(&'static str, [Vec<Duration>; 2])> = Vec::new();
    for round in 0..dose(10, 500) {
        let number = round * 10 % ACCOUNTS;
        for (index, (search, filter)) in searches(number, small.from).into_iter().enumerate() {
            let took = [page(&small, search, &filter).await, page(&large, search, &filter).await];
            if times.len() <= index {
                times.push((search, [Vec::new(), Vec::new()]));
            }
            times[index].1.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    let mut slow = Vec::new();
    for (search, [in_small, in_large]) in &mut times {
        let ((p50_small, p99_small), (p50_large, p99_large)) = (spread(in_small), spread(in_large));
        println!(
            "figure: {search}: p50 {p50_small:.1?} of {} events, {p50_large:.1?} of {}; p99 {p99_small:.1?} and {p99_large:.1?}, ratio {:.2}",
            small.events,
            large.events,
            p99_large.as_secs_f64() / p99_small.as_secs_f64()
        );
        // A quarter of a millisecond is what a busy machine adds to anything.
        let bound = p99_small.mul_f64(1.5) + Duration::from_micros(250);
        if p99_large > bound.min(Duration::from_millis(100)) {
            slow.push((*search, p99_small, p99_large));
        }
    }
    assert!(dose(0, 1) == 0 || slow.is_empty(), "{slow:?}");
}

/// C079. Breaks when `worker/src/sealer.rs`: `const IDLE_PAUSE: Duration = Duration::from_millis(100);` → `const IDLE_PAUSE: Duration = Duration::from_secs(30);`.
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
