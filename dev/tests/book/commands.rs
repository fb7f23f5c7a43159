//! Commands against each other and against death: each happens as a whole or not at all, and all of them in some order.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::failpoint::Gate;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::idempotent::IdempotencyHeader;
use doorbook_core::service::profile::ProfileChange;
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::value::{Locale, PersonName};
use sqlx::{AssertSqlSafe, PgPool};

use crate::actor::{Actor, KEYED, OTHERS};
use crate::common::*;

const ANA: &str = "ana@example.com";

/// C083. Breaks when `core/src/service/mod.rs`: `const CONFLICTS_MAX: u32 = 20;` → `const CONFLICTS_MAX: u32 = 1;`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_registrations_of_one_address_make_one_account() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    let outcomes = at_once(100, |n| {
        let book = books[n % 2].clone();
        async move { register(&book, ANA).await }
    })
    .await;
    let refused: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
    assert!(refused.is_empty(), "{} of 100 were refused: {refused:?}", refused.len());
    assert_eq!(house.number("select count(*) from accounts").await, 1);
    assert_eq!(house.number("select count(*) from account_emails").await, 1);
    assert_eq!(house.number("select count(*) from events where type = 'Registered'").await, 1);
    let tried = "select count(*) from events where type = 'RegistrationAttemptedForTakenEmail'";
    assert_eq!(house.number(tried).await, 3, "the others are told by one event");
    assert_eq!(house.events("LimitExceeded").await, 1);
    assert_eq!(house.number("select count(*) from deliveries").await, 1 + 3);
    house.assert_whole().await;
}

/// One of several things that may happen to an account.
async fn some_command(book: &Doorbook, caller: Caller, n: usize) -> Result<(), Refusal> {
    let context = anywhere().acting(caller.account);
    match n % 5 {
        0 => {
            let change = ProfileChange {
                first_name: Some(PersonName::parse(&format!("Ana {n}")).unwrap()),
                last_name: None,
                locale: Some(if n.is_multiple_of(2) { Locale::En } else { Locale::Es }),
            };
            book.update_profile(caller, &change, None, &context).await.map(drop)
        }
        1 => book.request_reset(&email(ANA), None, &from(&format!("198.18.0.{n}"))).await,
        2 => book.resend_verification(&email(ANA), None, &from(&format!("198.18.0.{n}"))).await,
        3 => login(book, ANA, PASSWORD).await.map(drop),
        _ => {
            let new = email(&format!("ana{n}@new.example"));
            book.request_email_change(caller, &password(PASSWORD), &new, None, &context).await
        }
    }
}

/// C083. Breaks when `core/src/store/write.rs`: `(select count(*) from {name}) = {rows} then true` → `(select count(*) from {name}) >= 0 then true`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_commands_on_one_account_happen_one_after_the_other() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let session = login(&books[0], ANA, PASSWORD).await.unwrap();
    let caller = books[0].authenticate(&session.access).await.unwrap();
    let outcomes = at_once(100, |n| {
        let book = books[n % 2].clone();
        async move { some_command(&book, caller, n).await }
    })
    .await;
    // Five guesses of one identifier are verified at a time; the surplus is told so.
    let odd: Vec<_> = outcomes.iter().filter(|outcome| !matches!(outcome, Ok(()) | Err(Refusal::Busy))).collect();
    assert!(odd.is_empty(), "{} of 100: {odd:?}", odd.len());
    let profiles = house.number("select count(*) from events where type = 'ProfileUpdated'").await;
    assert!(profiles >= 19, "{profiles} of 20 changes: two equal ones in a row are none");
    house.assert_whole().await;
}

/// C083. Breaks when `core/src/service/password.rs`: `if !still_proven(proven, &owner) {` → `if false {`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_changes_proven_by_one_password_one_happens() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let mut callers = Vec::new();
    for _ in 0..4 {
        let session = login(&books[0], ANA, PASSWORD).await.unwrap();
        callers.push(books[0].authenticate(&session.access).await.unwrap());
    }
    let outcomes = at_once(4, |n| {
        let (book, caller) = (books[n % 2].clone(), callers[n]);
        let context = anywhere().acting(caller.account);
        async move {
            let new = password(&format!("granite meadow {n}5"));
            book.change_password(caller, &password(PASSWORD), &new, None, &context).await
        }
    })
    .await;
    let won: Vec<_> = (0..4).filter(|n| outcomes[*n].is_ok()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    // The others proved a password that is none any more, or were too late to prove it.
    let lost = |outcome: &&Result<(), Refusal>| matches!(outcome, Err(Refusal::Unauthenticated | Refusal::Invalid(_)));
    assert_eq!(outcomes.iter().filter(lost).count(), 3, "{outcomes:?}");
    login(&books[1], ANA, &format!("granite meadow {}5", won[0])).await.unwrap();
    house.assert_whole().await;
}

/// Lets somebody act until before the statement behind so many others. True when there is none, and all was done.
async fn acts_through(actor: &Arc<Actor>, header: Option<&IdempotencyHeader>, statements: usize) -> bool {
    let (gate, mut hold) = Gate::new(&["db.statement"]);
    let (actor, header) = (Arc::clone(actor), header.cloned());
    let running = tokio::spawn(gate.around(async move { actor.act(header.as_ref()).await }));
    let mut done = 0;
    while done < statements && hold.arrived().await.is_some() {
        hold.pass();
        done += 1;
    }
    let is_whole = hold.arrived().await.is_none();
    if is_whole {
        running.await.unwrap().unwrap();
    } else {
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled(), "it was stopped");
    }
    is_whole
}

/// Every command dies before each of its statements in turn, the first as the last, and once not at all.
/// C086. Breaks when `core/src/service/append.rs`: `let now = self.into_write().run(&doorbook.db).await?;` → `let mut this = self; let mut events = Write::new(); events.events(std::mem::take(&mut this.events)); events.run(&doorbook.db).await?; let now = this.into_write().run(&doorbook.db).await?;`.
#[tokio::test]
async fn a_command_that_dies_between_two_of_its_statements_leaves_all_or_nothing() {
    let house = house().await;
    let book = house.book().await;
    let (mut number, mut places) = (0, 0);
    for name in KEYED.into_iter().chain(OTHERS) {
        for survives in 0.. {
            number += 1;
            let actor = Arc::new(Actor::new(&house, &book, name, number).await);
            if acts_through(&actor, None, survives).await {
                println!("figure: {name}: dies before each of its {survives} statements");
                assert!(survives > 0, "{name} has statements");
                places += survives;
                break;
            }
            house.assert_whole().await;
        }
    }
    println!("figure: {} commands died at {places} places", KEYED.len() + OTHERS.len());
}

/// C086. Breaks when `core/src/service/sessions.rs`: `batch.write.put_idempotency(once, 204, Some(caller.session));` → `let _ = once;`.
#[tokio::test]
async fn a_command_that_dies_leaves_its_key_with_its_effect_or_neither_and_happens_once_when_it_is_repeated() {
    let house = house().await;
    let book = house.book().await;
    let counts = async || {
        let keys = house.number("select count(*) from idempotency").await;
        (keys, house.number("select count(*) from events").await)
    };
    let mut number = 0;
    for name in KEYED {
        let mut effects = Vec::new();
        for survives in 0.. {
            number += 1;
            let actor = Arc::new(Actor::new(&house, &book, name, number).await);
            let header = IdempotencyHeader { key: format!("key{number}"), route: name.into(), body: String::new() };
            let before = counts().await;
            let is_whole = acts_through(&actor, Some(&header), survives).await;
            let left = counts().await;
            assert!(left == before || (left.0 == before.0 + 1 && left.1 > before.1), "{name}: {before:?} {left:?}");
            for _ in 0..2 {
                // What ends its own session is answered so when it is repeated.
                let repeated = actor.act(Some(&header)).await;
                assert!(matches!(repeated, Ok(()) | Err(Refusal::IdempotencySessionOver)), "{name}: {repeated:?}");
            }
            let after = counts().await;
            assert_eq!(after.0, before.0 + 1, "{name}");
            effects.push(after.1 - before.1);
            if is_whole {
                break;
            }
        }
        assert!(effects.iter().all(|events| *events == effects[0]), "{name}: {effects:?} events");
        println!("figure: {name}: once, though it died before each of its {} statements", effects.len() - 1);
    }
    house.assert_whole().await;
}

async fn some_flow(book: Arc<Doorbook>, n: u64) {
    let (address, context) = (format!("user{}@example.com", n / 3), from(&format!("198.18.{}.{}", n / 256, n % 256)));
    // How far it comes is up to who kills it; what it leaves behind is what is looked at.
    let _ = register(&book, &address).await;
    let _ = book.request_reset(&email(&address), None, &context).await;
    let Ok(session) = login(&book, &address, PASSWORD).await else { return };
    let Ok(caller) = book.authenticate(&session.access).await else { return };
    let acting = context.acting(caller.account);
    let new = email(&format!("new{n}@example.com"));
    let _ = book.request_email_change(caller, &password(PASSWORD), &new, None, &acting).await;
    let _ = book.change_password(caller, &password(PASSWORD), &password(PASSWORD), None, &acting).await;
    let _ = book.logout(session.refresh.expose(), &acting).await;
    if n % 3 == 2 {
        let erase = Order::new(Intervention::Erase, "test");
        let _ = book.command_account(caller.account, &erase, &Context::operator(uuid::Uuid::nil())).await;
    }
}

/// A process that dies takes its tasks and its connections with it: tasks are aborted at any instant, and what the server is just
/// doing for them is rolled back.
/// C086. Breaks when `core/src/service/append.rs`: `let now = self.into_write().run(&doorbook.db).await?;` → `let mut this = self; let mut events = Write::new(); events.events(std::mem::take(&mut this.events)); events.run(&doorbook.db).await?; let now = this.into_write().run(&doorbook.db).await?;`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_killed_leaves_all_or_nothing() {
    /// Flows that die together.
    const TOGETHER: u64 = 4;
    let house = house().await;
    let books = [house.book().await, house.book().await];
    let busy = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = '{}' and usename = 'dev_api' and state = 'active'",
        house.database.name()
    );
    let superuser = PgPool::connect(&cluster().await.superuser_url("postgres")).await.unwrap();
    let (mut cut, mut finished) = (0, 0);
    for round in 0..dose(50, 500) {
        let flow = |n| tokio::spawn(some_flow(books[usize::try_from(n % 2).unwrap()].clone(), round * TOGETHER + n));
        let flows: Vec<_> = (0..TOGETHER).map(flow).collect();
        tokio::time::sleep(Duration::from_micros(chance(60_000))).await;
        cut += sqlx::query_scalar::<_, i64>(AssertSqlSafe(busy.clone())).fetch_one(&superuser).await.unwrap();
        for flow in flows {
            flow.abort();
            finished += u64::from(flow.await.is_ok());
        }
    }
    println!("figure: {cut} statements were cut off, {finished} flows came to their end");
    assert!(cut > 0, "some statements were cut off");
    assert!(house.number("select count(*) from accounts").await > 0, "some came far enough");
    house.quiet().await;
    house.assert_whole().await;
}
