//! Idempotency-Key: what is repeated with the same key has happened once.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::failpoint::Gate;
use doorbook_core::service::access::Caller;
use doorbook_core::service::idempotent::IdempotencyHeader;
use doorbook_core::service::profile::ProfileChange;
use doorbook_core::service::register::Registration;
use doorbook_core::service::{Context, Doorbook, Refusal, RootSecrets};
use doorbook_core::value::PersonName;
use zeroize::Zeroizing;

use crate::common::*;

fn header(key: &str, route: &str, body: &str) -> IdempotencyHeader {
    IdempotencyHeader { key: key.into(), route: route.into(), body: body.into() }
}

async fn register_once(book: &Doorbook, address: &str, key: &str, context: &Context) -> Result<(), Refusal> {
    let registration = Registration {
        email: email(address),
        password: password(PASSWORD),
        first_name: PersonName::parse("Ana").unwrap(),
        last_name: PersonName::parse("Lima").unwrap(),
        locale: None,
        idempotency: Some(header(key, "register", address)),
    };
    book.register(registration, context).await
}

async fn reset_once(book: &Doorbook, address: &str, key: &str, context: &Context) -> Result<(), Refusal> {
    book.request_reset(&email(address), Some(&header(key, "reset", address)), context).await
}

fn network(n: usize) -> Context {
    from(&format!("198.{}.{}.{}", 18 + n / 65_536, n / 256 % 256, n % 256))
}

/// C087. Breaks when `core/src/service/sessions.rs`: `batch.write.put_idempotency(once, 204, Some(caller.session));` → `let _ = once;`.
#[tokio::test]
async fn a_session_is_ended_once_and_the_repeated_request_is_answered_alike() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    let here = login(&book, "ana@example.com", PASSWORD).await.unwrap();
    let there = login(&book, "ana@example.com", PASSWORD).await.unwrap();
    let caller = holder(&book, &here).await;
    let (context, header) = (anywhere().acting(caller.account), header("a", "sessions", ""));
    for _ in 0..2 {
        book.revoke_session(caller, there.session, Some(&header), &context).await.unwrap();
    }
    assert_eq!(house.events("SessionRevoked").await, 1);
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `Some(_) => return Ok(true),` → `Some(_) => return Ok(false),`.
/// Breaks when `core/src/service/idempotent.rs`: `command(keys.first().copied())` → `command(None)`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_repeated_with_its_key_happens_once_also_at_the_same_time() {
    let rounds = dose(50, 1_000);
    let house = house().await;
    let books = [house.book().await, house.book().await];
    for n in 0..rounds {
        let address = format!("user{n}@example.com");
        for repeat in 0..2 {
            let outcomes = at_once(4, |task| {
                let (book, address, context) = (books[task % 2].clone(), address.clone(), network(n));
                async move { register_once(&book, &address, "a", &context).await }
            })
            .await;
            assert!(outcomes.iter().all(Result::is_ok), "round {n}, repeat {repeat}: {outcomes:?}");
        }
        let outcomes = at_once(4, |task| {
            let (book, address, context) = (books[task % 2].clone(), address.clone(), network(n));
            async move { reset_once(&book, &address, "a", &context).await }
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "round {n}: {outcomes:?}");
    }
    let rounds = i64::try_from(rounds).unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, rounds);
    let attempts = "select count(*) from events where type = 'RegistrationAttemptedForTakenEmail'";
    assert_eq!(house.number(attempts).await, 0, "a repetition is no second try");
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequested'").await, rounds);
    assert_eq!(house.number("select count(*) from jobs").await, 2 * rounds);
    house.assert_whole().await;
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `Some(replay) if !replay.same_request => return Err(Refusal::IdempotencyMismatch),` → `Some(replay) if !replay.same_request => return Ok(true),`.
#[tokio::test]
async fn a_key_used_for_another_request_is_refused_and_nothing_happens() {
    let house = house().await;
    let book = house.book().await;
    register_once(&book, "ana@example.com", "a", &anywhere()).await.unwrap();
    let other = register_once(&book, "bea@example.com", "a", &anywhere()).await;
    assert!(matches!(other, Err(Refusal::IdempotencyMismatch)));
    assert_eq!(house.number("select count(*) from accounts").await, 1);
    // Another route has keys of its own.
    reset_once(&book, "ana@example.com", "a", &anywhere()).await.unwrap();
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequested'").await, 1);
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `&format!("{route}\0{caller}")` → `&format!("{route}")`.
#[tokio::test]
async fn callers_do_not_share_keys() {
    let house = house().await;
    let book = house.book().await;
    register_once(&book, "ana@example.com", "a", &from("198.51.100.1")).await.unwrap();
    register_once(&book, "bea@example.com", "a", &from("198.51.100.2")).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 2);
    for (address, name) in [("ana@example.com", "Anabel"), ("bea@example.com", "Beatriz")] {
        let session = login(&book, address, PASSWORD).await.unwrap();
        let caller = book.authenticate(&session.access).await.unwrap();
        let change = ProfileChange { first_name: Some(PersonName::parse(name).unwrap()), ..ProfileChange::default() };
        // One address for both, as behind one proxy: it is the account that counts.
        let (context, header) = (anywhere().acting(caller.account), header("b", "profile", name));
        let profile = book.update_profile(caller, &change, Some(&header), &context).await.unwrap();
        assert_eq!(profile.first_name, name);
    }
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `Some(replay) if replay.session_over => return Err(Refusal::IdempotencySessionOver),` → ``.
#[tokio::test]
async fn a_repetition_after_the_end_of_its_session_is_told_so() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    let session = login(&book, "ana@example.com", PASSWORD).await.unwrap();
    let caller = book.authenticate(&session.access).await.unwrap();
    let (context, header) = (anywhere().acting(caller.account), header("a", "change", ""));
    let change = async || {
        book.change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), Some(&header), &context).await
    };
    change().await.unwrap();
    change().await.expect("the old password is not asked for again");
    book.logout(session.refresh.expose(), &anywhere()).await.unwrap();
    assert!(matches!(change().await, Err(Refusal::IdempotencySessionOver)));
    assert_eq!(house.number("select count(*) from events where type = 'PasswordChanged'").await, 1);
}

/// Two services while processes are restarted one after the other: both know both keys, and each has its own first.
async fn old_and_new(house: &House) -> (Arc<Doorbook>, Arc<Doorbook>) {
    let with = |current: u8, other: u8| RootSecrets {
        secret_key: Zeroizing::new(vec![current; 50]),
        secret_key_fallbacks: vec![Zeroizing::new(vec![other; 50])],
        ..secrets()
    };
    (house.book_with(policy(), &with(1, 3)).await, house.book_with(policy(), &with(3, 1)).await)
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `if keys.len() > 1 {` → `if keys.len() > 2 {`.
#[tokio::test]
async fn what_a_process_with_the_other_key_has_done_while_the_password_was_checked_is_not_done_again() {
    let house = house().await;
    let (old, new) = old_and_new(&house).await;
    register(&old, "ana@example.com").await.unwrap();
    let caller = holder(&old, &login(&old, "ana@example.com", PASSWORD).await.unwrap()).await;
    let ask = move |book: Arc<Doorbook>| async move {
        let (header, context) = (header("a", "email/change", "bea"), anywhere().acting(caller.account));
        let address = email("bea@example.com");
        book.request_email_change(caller, &password(PASSWORD), &address, Some(&header), &context).await
    };
    let (gate, mut hold) = Gate::new(&["email_change.proven"]);
    let slow = tokio::spawn(gate.around(ask(new)));
    assert!(hold.arrived().await.is_some());
    ask(old).await.unwrap();
    hold.pass();
    slow.await.unwrap().unwrap();
    assert_eq!(house.number("select count(*) from deliveries where template = 'email_change_confirm'").await, 1);
    house.assert_whole().await;
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `self.roots.keys(Use::Idempotency).map(key).collect()` → `self.roots.keys(Use::Idempotency).take(1).map(key).collect()`.
#[tokio::test]
async fn a_request_is_known_again_after_the_secret_key_was_changed_and_by_processes_that_have_it_first_or_last() {
    let house = house().await;
    let (old, new) = old_and_new(&house).await;
    register(&old, "ana@example.com").await.unwrap();
    for (n, books) in [[&old, &new, &old], [&new, &old, &new]].into_iter().enumerate() {
        for book in books {
            reset_once(book, "ana@example.com", &format!("key {n}"), &anywhere()).await.unwrap();
        }
    }
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequested'").await, 2);
    let other = register_once(&new, "bea@example.com", "a", &anywhere()).await;
    assert!(other.is_ok());
    let mismatch = register_once(&old, "cy@example.com", "a", &anywhere()).await;
    assert!(matches!(mismatch, Err(Refusal::IdempotencyMismatch)));
}

/// What is refused, as soon as it has happened: to what has come in between, its repetition is somebody else's request.
#[derive(Clone, Copy, Debug)]
enum Once {
    Change,
    Reset,
}

impl Once {
    async fn run(self, book: &Doorbook, caller: Caller, link: &str) -> Result<(), Refusal> {
        let (header, acting) = (header("a", "once", ""), anywhere().acting(caller.account));
        let (current, new) = (password(PASSWORD), password(OTHER_PASSWORD));
        match self {
            Self::Change => book.change_password(caller, &current, &new, Some(&header), &acting).await,
            Self::Reset => book.confirm_reset(link, &new, Some(&header), &anywhere()).await,
        }
    }
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `Ok(true) => Ok(None),` → `Ok(true) => Err(refusal),`.
#[tokio::test]
async fn what_comes_between_the_look_at_the_key_and_the_look_at_the_state_may_be_the_same_request() {
    for once in [Once::Change, Once::Reset] {
        let house = house().await;
        let book = house.book().await;
        register(&book, "ana@example.com").await.unwrap();
        let caller = holder(&book, &login(&book, "ana@example.com", PASSWORD).await.unwrap()).await;
        reset_once(&book, "ana@example.com", "b", &anywhere()).await.unwrap();
        let link = house.link(&book, "reset").await;
        let (gate, mut hold) = Gate::new(&["command.begun"]);
        let (slow_book, slow_link) = (book.clone(), link.clone());
        let slow = tokio::spawn(gate.around(async move { once.run(&slow_book, caller, &slow_link).await }));
        assert!(hold.arrived().await.is_some(), "{once:?} has seen that its key is new");
        once.run(&book, caller, &link).await.unwrap();
        hold.pass();
        let answer = slow.await.unwrap();
        assert!(answer.is_ok(), "{once:?}: {answer:?}");
        let happened = house.events("PasswordChanged").await + house.events("PasswordReset").await;
        assert_eq!(happened, 1, "{once:?}");
        house.assert_whole().await;
    }
}

/// C087. Breaks when `core/src/service/idempotent.rs`: `command(keys.into_iter().next())` → `command(None)`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_got_the_answer_may_repeat_and_it_has_happened_once() {
    let rounds = dose(25, 500);
    let house = house().await;
    let book = house.book().await;
    for n in 0..rounds {
        let (address, context) = (format!("user{n}@example.com"), network(n));
        let (killed_book, killed_address, killed_context) = (book.clone(), address.clone(), context.clone());
        let killed =
            tokio::spawn(async move { register_once(&killed_book, &killed_address, "a", &killed_context).await });
        tokio::time::sleep(Duration::from_micros(chance(12_000))).await;
        killed.abort();
        let _ = killed.await;
        register_once(&book, &address, "a", &context).await.unwrap();
    }
    let attempts = "select count(*) from events where type = 'RegistrationAttemptedForTakenEmail'";
    house.quiet().await;
    assert_eq!(house.number(attempts).await, 0);
    assert_eq!(house.number("select count(*) from accounts").await, i64::try_from(rounds).unwrap());
    house.assert_whole().await;
}

/// C087. Breaks when `core/src/store/project/idempotency.rs`: `where i.created_at <= clock_timestamp() - interval '24 hours' returning 1",` → `where i.created_at <= clock_timestamp() - interval '48 hours' returning 1",`.
#[tokio::test]
async fn a_day_later_a_key_is_new_again() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    for _ in 0..2 {
        for _ in 0..2 {
            reset_once(&book, "ana@example.com", "a", &anywhere()).await.unwrap();
        }
        house.alter("update idempotency set created_at = created_at - interval '24 hours 1 second'").await;
    }
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequested'").await, 2);
}
