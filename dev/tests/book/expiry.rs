//! What time ends: dead at once by the clock of the database, an event once the worker has looked.

use std::sync::Arc;

use doorbook_core::service::{Context, Doorbook, Refusal};

use crate::common::*;

/// Runs the worker's job until nothing is left; how many rows it has closed.
async fn expire_all(book: Arc<Doorbook>) -> usize {
    let (system, mut closed) = (Context::system(uuid::Uuid::nil()), 0);
    loop {
        match book.expire(&system).await.unwrap() {
            0 => return closed,
            some => closed += some,
        }
    }
}

const TIME_PASSES: &str = "update tokens set expires_at = clock_timestamp() - interval '1 second';
     update sessions set absolute_end = clock_timestamp() - interval '1 second'";

/// C098. Breaks when `core/src/service/expiry.rs`: `Some(TokenKind::Reset) => Some(Command::ExpireReset { token }),` → `Some(TokenKind::Reset) => None,`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_append_each_expiry_once() {
    let accounts = dose(60, 1_000);
    let house = house().await;
    let books = [house.book().await, house.book().await];
    for n in 0..accounts {
        let address = format!("user{n}@example.com");
        let context = from(&format!("198.18.{}.{}", n / 256, n % 256));
        register(&books[0], &address).await.unwrap();
        books[0].request_reset(&email(&address), None, &context).await.unwrap();
        let session = login_from(&books[0], &address, PASSWORD, None, &context).await.unwrap();
        let caller = books[0].authenticate(&session.access).await.unwrap();
        let new = email(&format!("new{n}@example.com"));
        let acting = context.acting(caller.account);
        books[0].request_email_change(caller, &password(PASSWORD), &new, None, &acting).await.unwrap();
        house.alter("delete from counters").await;
    }
    // A link that belongs to nobody runs out as well, without an event.
    books[0].request_reset(&email("nobody@example.com"), None, &anywhere()).await.unwrap();
    house.alter(TIME_PASSES).await;
    let [a, b] = books.clone().map(|book| tokio::spawn(expire_all(book)));
    let closed = a.await.unwrap() + b.await.unwrap();
    assert_eq!(closed, 4 * accounts + 1);
    for name in ["EmailVerificationExpired", "PasswordResetExpired", "EmailChangeExpired", "SessionExpired"] {
        let found = house.events(name).await;
        assert_eq!(found, i64::try_from(accounts).unwrap(), "{name}");
    }
    assert_eq!(house.number("select count(*) from tokens where state <> 'expired'").await, 0);
    assert_eq!(house.number("select count(*) from sessions where revoked_reason is distinct from 'expired'").await, 0);
    assert_eq!(expire_all(books[0].clone()).await, 0);
    house.assert_whole().await;
}

/// C098. Breaks when `core/src/store/query/tokens.rs`: `self.state == "open" && self.expires_at > self.now` → `self.state == "open"`.
#[tokio::test]
async fn tokens_and_sessions_are_dead_by_time_without_a_worker() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    book.request_reset(&email("ana@example.com"), None, &anywhere()).await.unwrap();
    let session = login(&book, "ana@example.com", PASSWORD).await.unwrap();
    let caller = book.authenticate(&session.access).await.unwrap();
    let acting = anywhere().acting(caller.account);
    book.request_email_change(caller, &password(PASSWORD), &email("ana@new.example"), None, &acting).await.unwrap();
    let [verify, reset, change] = [
        house.link(&book, "verify").await,
        house.link(&book, "reset").await,
        house.link(&book, "email_change_confirm").await,
    ];
    house.alter(TIME_PASSES).await;
    assert!(matches!(book.verify_email(&verify, None, &anywhere()).await, Err(Refusal::InvalidToken)));
    let confirmed = book.confirm_reset(&reset, &password(OTHER_PASSWORD), None, &anywhere()).await;
    assert!(matches!(confirmed, Err(Refusal::InvalidToken)));
    assert!(matches!(book.confirm_email_change(&change, None, &anywhere()).await, Err(Refusal::InvalidToken)));
    assert!(matches!(book.authenticate(&session.access).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(book.refresh(session.refresh.expose(), &anywhere()).await, Err(Refusal::Unauthenticated)));
    assert!(book.list_sessions(caller).await.unwrap().is_empty());
    assert_eq!(house.events("PasswordResetExpired").await, 0, "nobody has looked yet");
}

/// Breaks when `core/src/service/expiry.rs`: `batch.write.expire_token(token, row.now);` → ``.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_used_while_it_runs_out_is_either_used_or_expired() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], "ana@example.com").await.unwrap();
    for round in 0..dose(20, 200) {
        house.alter("delete from counters").await;
        books[0].request_reset(&email("ana@example.com"), None, &anywhere()).await.unwrap();
        let link = house.link(&books[0], "reset").await;
        let micros = 2_000 + chance(15_000);
        house
            .alter(format!(
                "update tokens set expires_at = clock_timestamp() + interval '{micros} microseconds' where state = 'open' and kind = 'reset'"
            ))
            .await;
        let book = books[1].clone();
        let using = tokio::spawn(async move {
            book.confirm_reset(&link, &password(OTHER_PASSWORD), None, &anywhere()).await.is_ok()
        });
        let mut used = 0;
        let system = Context::system(uuid::Uuid::nil());
        for _ in 0..8 {
            books[0].expire(&system).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        used += i64::from(using.await.unwrap());
        books[0].expire(&system).await.unwrap();
        let ended = house.events("PasswordReset").await + house.events("PasswordResetExpired").await;
        assert_eq!(ended, round + 1, "round {round}, used {used}");
    }
    house.assert_whole().await;
}

/// Breaks when `core/src/service/expiry.rs`: `Err(error @ (Refusal::Internal(_) | Refusal::Unavailable(_))) if` → `Err(error @ (Refusal::Busy | Refusal::Unavailable(_))) if`.
#[tokio::test]
async fn an_account_that_cannot_be_read_holds_up_nobody_elses_expiry() {
    let house = house().await;
    let book = house.book().await;
    for name in ["ana", "bea"] {
        register(&book, &format!("{name}@example.com")).await.unwrap();
    }
    let first = "(select account_id from tokens order by expires_at, token_id limit 1)";
    house.alter(TIME_PASSES).await;
    house.alter(format!("update accounts set profile = sha256('torn') where account_id = {first}")).await;
    let system = Context::system(uuid::Uuid::nil());
    assert_eq!(book.expire(&system).await.unwrap(), 1, "the other one's");
    assert!(matches!(book.expire(&system).await, Err(Refusal::Internal(_))), "it is told for as long as it lasts");
    assert_eq!(house.events("EmailVerificationExpired").await, 1);
}

/// Breaks when `core/src/service/expiry.rs`: `Err(error @ (Refusal::Internal(_) | Refusal::Unavailable(_))) if` → `Err(error @ Refusal::Internal(_)) if`.
#[tokio::test]
async fn an_account_for_which_postgres_takes_too_long_holds_up_nobody_elses_expiry() {
    let house = house().await;
    let book = house.book().await;
    for name in ["ana", "bea"] {
        register(&book, &format!("{name}@example.com")).await.unwrap();
    }
    house.alter(TIME_PASSES).await;
    house
        .alter(
            "create table slow as select account_id from tokens order by expires_at, token_id limit 1; grant select on slow to public;
             create function sleep() returns trigger language plpgsql as $$ begin
                 if exists (select 1 from slow where account_id = old.account_id) then perform pg_sleep(10); end if;
                 return new;
             end $$;
             create trigger sleep before update on tokens for each row execute function sleep()",
        )
        .await;
    let system = Context::system(uuid::Uuid::nil());
    assert_eq!(book.expire(&system).await.unwrap(), 1, "the other one's");
    house.alter("drop trigger sleep on tokens").await;
    assert_eq!(book.expire(&system).await.unwrap(), 1);
    assert_eq!(house.events("EmailVerificationExpired").await, 2);
}
