//! One account: what an address tells of it, exact passwords, changing the password and the address.

use std::collections::BTreeMap;

use doorbook_core::failpoint::Gate;
use doorbook_core::password::{Engine, HashCost, Hasher};
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::login::Tokens;
use doorbook_core::service::register::Registration;
use doorbook_core::service::{Doorbook, Refusal};
use doorbook_core::value::PersonName;
use sqlx::AssertSqlSafe;

use crate::common::*;

const ANA: &str = "ana@example.com";
const NEW: &str = "ana@new.example";

/// Rows of each table written in transactions from `since` on; partitions count as their table.
async fn rows_since(house: &House, since: i64) -> BTreeMap<String, i64> {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select format('%I.%I', n.nspname, c.relname), regexp_replace(c.relname, '^events_(keep|expire)_.*', 'events')
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and n.nspname in ('public', 'keys')",
    )
    .fetch_all(&house.owner)
    .await
    .unwrap();
    let mut rows = BTreeMap::new();
    for (table, name) in tables {
        let sql = format!("select count(*) from {table} where xmin::text::bigint >= $1");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(since).fetch_one(&house.owner).await.unwrap();
        *rows.entry(name).or_default() += count;
    }
    rows.retain(|_, count| *count > 0);
    rows
}

async fn next_xid(house: &House) -> i64 {
    house.number("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").await
}

/// C003. Breaks when `core/src/service/password.rs`: `(self.phantom(&bucket), ids, Some(&*stranger))` → `(self.phantom(&bucket), vec![], Some(&*stranger))`.
#[tokio::test]
async fn a_reset_for_nobody_writes_the_same_rows_as_one_for_somebody() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    // The strangers' key of the day is made by whoever comes first, whatever he asks for.
    book.request_reset(&email("first@example.com"), None, &from("192.0.2.1")).await.unwrap();
    // The fourth is over the limit and mails nobody.
    for request in 1..=4 {
        let before = next_xid(&house).await;
        book.request_reset(&email(ANA), None, &from("192.0.2.2")).await.unwrap();
        let known = rows_since(&house, before).await;
        let before = next_xid(&house).await;
        book.request_reset(&email("nobody@example.com"), None, &from("192.0.2.3")).await.unwrap();
        let unknown = rows_since(&house, before).await;
        assert_eq!(known, unknown, "request {request}");
        assert_eq!(known.contains_key("jobs"), request < 4, "request {request}");
    }
    house.assert_whole().await;
}

/// C003. Breaks when `core/src/service/password.rs`: `Some(owner) if owner.account.status.takes_resets() => {` → `Some(owner) => {`.
#[tokio::test]
async fn a_disabled_account_is_asked_for_a_reset_like_any_other_and_gets_none() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    disable(&book, ANA).await;
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequested'").await, 0);
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequestedForUnknown'").await, 1);
}

async fn disable(book: &Doorbook, address: &str) {
    let id = book.find_account(&email(address)).await.unwrap().unwrap();
    let order = Order::new(Intervention::Disable, "test");
    let operator = doorbook_core::service::Context::operator(uuid::Uuid::nil());
    assert!(book.command_account(id, &order, &operator).await.unwrap());
}

/// C005. Breaks when `core/src/service/register.rs`: `Some(owner) => self.attempt_for_taken(registration, &owner, key, context).await,` → `Some(_) => Err(Refusal::EmailTaken),`.
#[tokio::test]
async fn a_taken_address_is_answered_like_a_free_one_and_its_owner_gets_one_mail() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    book.verify_email(&house.link(&book, "verify").await, None, &anywhere()).await.unwrap();
    let mails = house.number("select count(*) from jobs where kind = 'mail'").await;
    register(&book, "Ana@EXAMPLE.com").await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 1);
    assert_eq!(house.number("select count(*) from jobs where kind = 'mail'").await, mails + 1);
    let mail = house.mail(&book, "registration_attempt").await;
    assert_eq!(mail.to, ANA, "to the owner as he wrote it, not as somebody else did");
    assert!(mail.token.is_none(), "a stranger's attempt opens no link into a verified account");
    login(&book, ANA, PASSWORD).await.unwrap();
}

/// C005. Breaks when `core/src/service/register.rs`: `Rule { max: 3, window: std::time::Duration::from_hours(1)` → `Rule { max: 9, window: std::time::Duration::from_hours(1)`.
#[tokio::test]
async fn the_owner_of_a_taken_address_gets_three_mails_an_hour_at_most() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    for _ in 0..8 {
        register(&book, ANA).await.unwrap();
    }
    assert_eq!(house.number("select count(*) from deliveries where template like 'registration%'").await, 3);
}

/// Whoever registers an address first without reading its mail keeps nothing once its owner comes.
/// C005. Breaks when `core/src/service/register.rs`: `let token = (!verified).then(|| TokenId::new(now));` → `let token = None::<TokenId>;`.
#[tokio::test]
async fn registering_an_unverified_address_again_mails_a_link_that_takes_it_over() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let squatter = login(&book, ANA, PASSWORD).await.unwrap();
    register(&book, ANA).await.unwrap();
    let link = house.link(&book, "registration_unverified").await;
    book.confirm_reset(&link, &password(OTHER_PASSWORD), None, &anywhere()).await.unwrap();
    assert!(matches!(book.authenticate(&squatter.access).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(book.refresh(squatter.refresh.expose(), &anywhere()).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    let owner = login(&book, ANA, OTHER_PASSWORD).await.unwrap();
    let caller = book.authenticate(&owner.access).await.unwrap();
    assert!(book.profile(caller.account).await.unwrap().email_verified);
    assert_eq!(house.number("select count(*) from accounts").await, 1);
    house.assert_whole().await;
}

async fn register_as(book: &Doorbook, address: &str, text: &str) {
    let registration = Registration {
        email: email(address),
        password: password(text),
        first_name: PersonName::parse("Ana").unwrap(),
        last_name: PersonName::parse("Lima").unwrap(),
        locale: None,
        idempotency: None,
    };
    book.register(registration, &anywhere()).await.unwrap();
}

/// C020. Breaks when `core/src/password/mod.rs`: `let raw = Zeroizing::new(raw);` → `let raw = Zeroizing::new(raw.trim().to_owned());`.
#[tokio::test]
async fn a_password_is_taken_exactly_as_it_was_typed() {
    let house = house().await;
    let book = house.book().await;
    let long = "correct horse battery staple ".repeat(7) + "x";
    let chosen = [
        "Violet Harbour 73",
        " leading and trailing ",
        "two  spaces within",
        "🦀🔒 crab and lock 🗝️",
        "пароль длинный Ёж",
        "caf\u{e9} au lait 12",
        "tab\tand\nnewline 9",
        "percent%20and%00nul",
        "\\\"quotes'; drop--",
        &long,
    ];
    for (n, right) in chosen.into_iter().enumerate() {
        let address = format!("user{n}@example.com");
        register_as(&book, &address, right).await;
        let mut last = right.to_owned();
        last.pop();
        let wrong = [
            right.to_uppercase(),
            right.to_lowercase(),
            format!("{right} "),
            format!(" {right}"),
            right.trim().to_owned(),
            right.replacen(' ', "  ", 1),
            right.replacen(' ', "", 1),
            last.clone() + "~",
            last,
        ];
        for wrong in wrong.iter().filter(|wrong| *wrong != right) {
            let refused = login(&book, &address, wrong).await;
            assert!(matches!(refused, Err(Refusal::InvalidCredentials)), "{wrong:?} for {right:?}");
            // A right one between: it clears the failures, so that none of these is refused for the wrong reason.
            login(&book, &address, right).await.expect(right);
        }
    }
    for (n, same) in [(5, "cafe\u{301} au lait 12"), (4, "пароль длинный Е\u{308}ж")] {
        login(&book, &format!("user{n}@example.com"), same).await.expect(same);
    }
}

async fn two_sessions(book: &Doorbook) -> (Tokens, Tokens, Caller) {
    register(book, ANA).await.unwrap();
    let here = login(book, ANA, PASSWORD).await.unwrap();
    let there = login(book, ANA, PASSWORD).await.unwrap();
    let caller = book.authenticate(&here.access).await.unwrap();
    (here, there, caller)
}

/// C024. Breaks when `core/src/account/event.rs`: `Self::PasswordChanged { kept_session, .. } => Some(Some(*kept_session)),` → `Self::PasswordChanged { .. } => None,`.
#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_and_the_old_password() {
    let house = house().await;
    let book = house.book().await;
    let (here, there, caller) = two_sessions(&book).await;
    let context = anywhere().acting(caller.account);
    book.change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), None, &context).await.unwrap();
    assert_eq!(book.authenticate(&here.access).await.unwrap(), caller);
    book.refresh(here.refresh.expose(), &anywhere()).await.unwrap();
    assert!(matches!(book.authenticate(&there.access).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(book.refresh(there.refresh.expose(), &anywhere()).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    login(&book, ANA, OTHER_PASSWORD).await.unwrap();
    assert_eq!(house.mail(&book, "password_changed").await.to, ANA);
    house.assert_whole().await;
}

/// C024. Breaks when `core/src/service/confirm.rs`: `match self.settle_failure(&guess, Some(owner.id), LoginFailure::WrongPassword, context).await {` → `match Refusal::InvalidCredentials {`.
#[tokio::test]
async fn wrong_current_passwords_count_to_the_lockout() {
    let house = house().await;
    let book = house.book().await;
    let (here, _, caller) = two_sessions(&book).await;
    let context = anywhere().acting(caller.account);
    let change = async |current: &str| {
        book.change_password(caller, &password(current), &password(OTHER_PASSWORD), None, &context).await
    };
    for _ in 0..5 {
        let Err(Refusal::Invalid(faults)) = change("wrong harbour 11").await else { panic!("a field was wrong") };
        assert_eq!((faults[0].field, faults[0].code), ("current_password", "password_incorrect"));
    }
    assert!(matches!(change(PASSWORD).await, Err(Refusal::Blocked { .. })), "the right one is refused too");
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::Blocked { .. })));
    book.authenticate(&here.access).await.unwrap();
}

/// C024. Breaks when `core/src/service/password.rs`: `if !standing.in_force || !still_proven(proven, &owner) {` → `if !still_proven(proven, &owner) {`.
#[tokio::test]
async fn a_session_that_ends_while_its_new_password_is_hashed_sets_none() {
    let house = house().await;
    let book = house.book().await;
    let (here, _, caller) = two_sessions(&book).await;
    let (gate, mut hold) = Gate::new(&["password_change.hashed"]);
    let slow = std::sync::Arc::clone(&book);
    let changed = tokio::spawn(gate.around(async move {
        let context = anywhere().acting(caller.account);
        slow.change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), None, &context).await
    }));
    assert!(hold.arrived().await.is_some());
    book.logout(here.refresh.expose(), &anywhere().acting(caller.account)).await.unwrap();
    hold.pass();
    assert_eq!(word(&changed.await.unwrap()), "unauthenticated");
    login(&book, ANA, PASSWORD).await.unwrap();
}

/// A service that stores a password anew when somebody logs in with it.
async fn dearer(house: &House) -> std::sync::Arc<Doorbook> {
    let cost = HashCost { memory_kib: 128, time_cost: 1, parallelism: 1 };
    let hasher = Hasher::start(cost, Engine::Argon2, std::num::NonZeroUsize::MIN).unwrap();
    house.book_hashing(hasher, policy(), &secrets()).await
}

/// C024. Breaks when `core/src/service/password.rs`: `            if !still_proven(proven, &owner) {\n                return Ok(());` → `            if false {\n                return Ok(());`.
#[tokio::test]
async fn a_password_that_was_replaced_is_not_put_back_by_a_login_that_stores_it_anew() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let dearer = dearer(&house).await;
    let (gate, mut hold) = Gate::new(&["login.rehashed"]);
    let thief = tokio::spawn(gate.around(async move { word(&login(&dearer, ANA, PASSWORD).await) }));
    assert!(hold.arrived().await.is_some());
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    book.confirm_reset(&house.reset_link().await, &password(OTHER_PASSWORD), None, &anywhere()).await.unwrap();
    hold.pass();
    thief.await.unwrap();
    assert_eq!(house.events("PasswordRehashed").await, 0);
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    login(&book, ANA, OTHER_PASSWORD).await.unwrap();
}

/// C024. Breaks when `core/src/service/password.rs`: `read.account.credential.map(|set| set.id)` → `read.account.credential`.
#[tokio::test]
async fn a_password_that_a_login_stores_anew_meanwhile_is_still_the_one_that_was_given() {
    let house = house().await;
    let book = house.book().await;
    let (_, _, caller) = two_sessions(&book).await;
    let dearer = dearer(&house).await;
    let (gate, mut hold) = Gate::new(&["password_change.hashed"]);
    let slow = std::sync::Arc::clone(&book);
    let changed = tokio::spawn(gate.around(async move {
        let context = anywhere().acting(caller.account);
        slow.change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), None, &context).await
    }));
    assert!(hold.arrived().await.is_some());
    login(&dearer, ANA, PASSWORD).await.unwrap();
    assert_eq!(house.events("PasswordRehashed").await, 1);
    hold.pass();
    changed.await.unwrap().unwrap();
    login(&book, ANA, OTHER_PASSWORD).await.unwrap();
    house.assert_whole().await;
}

/// A link to another mailbox must not outlive the password of whoever asked for it.
/// C024. Breaks when `core/src/service/password.rs`: `batch.write.void_tokens(owner.id, &[TokenKind::Reset, TokenKind::Change], now);` → `batch.write.void_tokens(owner.id, &[TokenKind::Reset], now);`.
#[tokio::test]
async fn a_changed_password_makes_an_open_change_of_address_worthless() {
    let house = house().await;
    let book = house.book().await;
    let (_, there, caller) = two_sessions(&book).await;
    let thief = book.authenticate(&there.access).await.unwrap();
    ask_for(&book, thief, NEW).await;
    let link = house.link(&book, "email_change_confirm").await;
    let context = anywhere().acting(caller.account);
    book.change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), None, &context).await.unwrap();
    assert!(matches!(book.confirm_email_change(&link, None, &anywhere()).await, Err(Refusal::InvalidToken)));
    login(&book, ANA, OTHER_PASSWORD).await.unwrap();
    house.assert_whole().await;
}

async fn ask_for(book: &Doorbook, caller: Caller, address: &str) {
    let context = anywhere().acting(caller.account);
    book.request_email_change(caller, &password(PASSWORD), &email(address), None, &context).await.unwrap();
}
