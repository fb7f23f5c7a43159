//! "This was not me": what the link of a notice closes, which mailbox opens it again, and what is done at the same time.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::limit::Rule;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::login::Tokens;
use doorbook_core::service::{Context, Doorbook};

use crate::common::*;

const ANA: &str = "ana@example.com";
const NEW: &str = "ana@new.example";

/// An account with a remembered device, and its holder.
async fn ana(book: &Doorbook) -> (Caller, Tokens) {
    register(book, ANA).await.unwrap();
    let tokens = login(book, ANA, PASSWORD).await.unwrap();
    (holder(book, &tokens).await, tokens)
}

/// Changes the password from one to the other; the link of the notice about it.
async fn notice(house: &House, book: &Doorbook, caller: Caller, [old, new]: [&str; 2]) -> String {
    let context = anywhere().acting(caller.account);
    book.change_password(caller, &password(old), &password(new), None, &context).await.unwrap();
    house.link(book, "password_changed").await
}

async fn change_address(house: &House, book: &Doorbook, caller: Caller, text: &str, to: &str) {
    let context = anywhere().acting(caller.account);
    book.request_email_change(caller, &password(text), &email(to), None, &context).await.unwrap();
    let link = house.link(book, "email_change_confirm").await;
    book.confirm_email_change(&link, None, &anywhere()).await.unwrap();
}

async fn click(book: &Doorbook, link: &str) -> &'static str {
    word(&book.freeze(link, None, &anywhere()).await)
}

async fn order(book: &Doorbook, caller: Caller, what: Intervention) {
    let operator = Context::operator(uuid::Uuid::nil());
    book.command_account(caller.account, &Order::new(what, "test"), &operator).await.unwrap();
}

const STATUS: &str = "select count(*) from accounts where status = 'frozen' and reset_required_at is not null";

/// Breaks when `core/src/service/not_me.rs`: `batch.write.forget_devices(owner.id);` → ``.
#[tokio::test]
async fn the_link_of_a_notice_closes_the_account_until_its_owner_sets_a_new_password() {
    let house = house().await;
    let book = house.book().await;
    let (caller, tokens) = ana(&book).await;
    let link = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    let context = anywhere().acting(caller.account);
    book.request_email_change(caller, &password(OTHER_PASSWORD), &email(NEW), None, &context).await.unwrap();
    let thiefs = house.link(&book, "email_change_confirm").await;
    for forged in ["dbn_", &link.replace("dbn_", "dbp_"), &format!("dbn_{}", "A".repeat(70))] {
        assert_eq!(click(&book, forged).await, "invalid token");
    }
    assert_eq!(house.number(STATUS).await, 0);
    assert_eq!(click(&book, &link).await, "ok");
    assert_eq!((house.number(STATUS).await, house.events("AccountFrozenByOwner").await), (1, 1));
    assert_eq!(alive(&book, &tokens).await, (false, false));
    assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "wrong", "refused in the words of a wrong password");
    assert_eq!(house.number("select count(*) from devices").await, 0);
    assert_eq!(word(&book.confirm_email_change(&thiefs, None, &anywhere()).await), "invalid token");
    assert_eq!(click(&book, &link).await, "invalid token", "once is enough");
    let mail = house.mail(&book, "reset_frozen").await;
    assert_eq!(mail.to, ANA);
    // That mail is gone: another one can be asked for as ever.
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    let reset = house.link(&book, "reset").await;
    assert_ne!(mail.token.unwrap().1.expose(), reset);
    book.confirm_reset(&reset, &password(PASSWORD), None, &anywhere()).await.unwrap();
    assert_eq!(house.number(STATUS).await, 0);
    login(&book, ANA, PASSWORD).await.unwrap();
    house.assert_whole().await;
}

/// Breaks when `core/src/service/not_me.rs`: `batch.write.claim_email(owner.id, &told_key, now);` → ``.
#[tokio::test]
async fn whoever_has_changed_the_address_loses_it_to_the_mailbox_that_the_notice_went_to() {
    let house = house().await;
    let book = house.book().await;
    let (caller, _) = ana(&book).await;
    let link = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    change_address(&house, &book, caller, OTHER_PASSWORD, NEW).await;
    let undo = house.link(&book, "email_change_notice").await;
    assert_eq!(click(&book, &link).await, "ok");
    assert_eq!((house.number(STATUS).await, house.events("EmailChangeUndone").await), (1, 1));
    assert_eq!(house.mail(&book, "reset_frozen").await.to, ANA);
    assert_eq!(word(&book.undo_email_change(&undo, None, &anywhere()).await), "invalid token", "that has been done");
    let resets = "select count(*) from deliveries d join accounts a using (account_id) where template = 'reset'";
    book.request_reset(&email(NEW), None, &anywhere()).await.unwrap();
    assert_eq!(house.number(resets).await, 0, "the thief's mailbox opens nothing");
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    let reset = house.link(&book, "reset").await;
    book.confirm_reset(&reset, &password(PASSWORD), None, &anywhere()).await.unwrap();
    login(&book, ANA, PASSWORD).await.unwrap();
    register(&book, NEW).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 2, "the other address is free again");
    house.assert_whole().await;
}

/// Breaks when `core/src/store/query/tokens.rs`: `order by created_at, token_id limit $3` → `order by created_at desc, token_id limit $3`.
#[tokio::test]
async fn later_changes_of_the_address_cannot_crowd_out_the_link_of_an_earlier_notice() {
    let house = house().await;
    let book = house.book().await;
    let (caller, _) = ana(&book).await;
    let link = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    change_address(&house, &book, caller, OTHER_PASSWORD, NEW).await;
    // As a hundred changes more leave it.
    house
        .alter(
            "insert into tokens select (jsonb_populate_record(t, jsonb_build_object(
                 'token_id', gen_random_uuid(), 'created_at', t.created_at + n * interval '1 minute'))).*
             from tokens t, generate_series(1, 100) n where t.kind = 'undo'",
        )
        .await;
    assert_eq!(click(&book, &link).await, "ok");
    assert_eq!(house.mail(&book, "reset_frozen").await.to, ANA);
}

/// Breaks when `core/src/account/decide.rs`: `(Status::Leaving | Status::Frozen, Command::UndoEmailChange { .. } | Command::Freeze { .. })` → `(Status::Leaving | Status::Frozen, Command::Freeze { .. })`.
#[tokio::test]
async fn a_thief_who_closes_the_account_from_the_mailbox_he_has_given_it_is_undone_from_the_old_one() {
    let house = house().await;
    let book = house.book().await;
    let (caller, _) = ana(&book).await;
    change_address(&house, &book, caller, PASSWORD, NEW).await;
    let undo = house.link(&book, "email_change_notice").await;
    let link = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    assert_eq!(click(&book, &link).await, "ok");
    let thiefs = house.mail(&book, "reset_frozen").await;
    assert_eq!(thiefs.to, NEW, "who reads it may reset, as without that link");
    book.undo_email_change(&undo, None, &anywhere()).await.unwrap();
    let reset = thiefs.token.unwrap().1;
    let set = book.confirm_reset(reset.expose(), &password(OTHER_PASSWORD), None, &anywhere()).await;
    assert_eq!(word(&set), "invalid token");
    assert_eq!(house.number(STATUS).await, 1, "still closed");
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    let reset = house.link(&book, "reset").await;
    book.confirm_reset(&reset, &password(PASSWORD), None, &anywhere()).await.unwrap();
    login(&book, ANA, PASSWORD).await.unwrap();
    house.assert_whole().await;
}

/// Breaks when `core/src/service/not_me.rs`: `        Err(Refusal::InvalidToken)` → `        Ok(None)`.
#[tokio::test]
async fn a_notice_to_a_mailbox_that_is_the_accounts_no_more_closes_nothing() {
    let house = house().await;
    let book = house.book().await;
    let (caller, _) = ana(&book).await;
    change_address(&house, &book, caller, PASSWORD, NEW).await;
    let thiefs = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    let undo = house.link(&book, "email_change_notice").await;
    book.undo_email_change(&undo, None, &anywhere()).await.unwrap();
    assert_eq!(click(&book, &thiefs).await, "invalid token");
    // The mailbox that has taken the address back is asked whether that was enough.
    let mail = house.mail(&book, "email_change_undone").await;
    assert_eq!(mail.to, ANA);
    assert_eq!(click(&book, mail.token.unwrap().1.expose()).await, "ok");
    assert_eq!(house.mail(&book, "reset_frozen").await.to, ANA);
    house.assert_whole().await;
}

/// Breaks when `core/src/account/state.rs`: `account.reset_required_at = Some(at);` → ``.
#[tokio::test]
async fn whoever_else_opens_the_account_does_not_make_its_password_good_again() {
    let house = house().await;
    let book = house.book().await;
    let (caller, _) = ana(&book).await;
    let link = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    order(&book, caller, Intervention::Disable).await;
    assert_eq!(click(&book, &link).await, "invalid token", "a ban is not the owner's to lift");
    order(&book, caller, Intervention::Enable).await;
    assert_eq!(click(&book, &link).await, "ok");
    order(&book, caller, Intervention::Enable).await;
    assert_eq!(house.number("select count(*) from accounts where status = 'active'").await, 1);
    assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "wrong");
    let reset = house.link(&book, "reset_frozen").await;
    book.confirm_reset(&reset, &password(PASSWORD), None, &anywhere()).await.unwrap();
    login(&book, ANA, PASSWORD).await.unwrap();
    house.assert_whole().await;
}

/// Breaks when `core/src/account/decide.rs`: `None => kept(account).into_iter().collect(),` → `None => vec![],`.
#[tokio::test]
async fn a_deletion_that_a_thief_has_asked_for_is_off() {
    let house = house().await;
    let book = house.book().await;
    let (caller, _) = ana(&book).await;
    let link = notice(&house, &book, caller, [PASSWORD, OTHER_PASSWORD]).await;
    let context = anywhere().acting(caller.account);
    book.request_deletion(caller, &password(OTHER_PASSWORD), None, &context).await.unwrap();
    assert_eq!(click(&book, &link).await, "ok");
    assert_eq!(house.events("DeletionCancelled").await, 1);
    assert_eq!(house.number("select count(*) from accounts where erase_at is null and status = 'frozen'").await, 1);
    assert_eq!(house.number("select count(*) from tokens where kind = 'cancel' and state = 'open'").await, 0);
    house.assert_whole().await;
}

/// What is done while the link is opened twice.
async fn rival(
    n: usize,
    book: Arc<Doorbook>,
    text: &'static str,
    next: &'static str,
    base: (Caller, String),
) -> Option<Tokens> {
    match n {
        0 | 1 => login(&book, ANA, text).await.ok(),
        2 => book.refresh(&base.1, &anywhere()).await.ok(),
        _ => {
            drop(book.change_password(base.0, &password(text), &password(next), None, &anywhere()).await);
            None
        }
    }
}

/// C030. Breaks when `core/src/account/event.rs`: `            | Self::AccountFrozenByOwner { .. }` → ``.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_works_once_and_no_session_outlives_it_whatever_is_done_beside() {
    let house = house().await;
    let minute = Duration::from_secs(60);
    let free = || policy_with(|policy| policy.login = Rule { max: 10_000, window: minute, block: minute });
    let books = [house.book_with(free(), &secrets()).await, house.book_with(free(), &secrets()).await];
    register(&books[0], ANA).await.unwrap();
    let (mut text, mut next) = (PASSWORD, OTHER_PASSWORD);
    for round in 0..dose(20, 500) {
        house.age_limits(3_601).await;
        let first = login(&books[0], ANA, text).await.unwrap();
        let link = notice(&house, &books[0], holder(&books[0], &first).await, [text, next]).await;
        (text, next) = (next, text);
        let base = login(&books[0], ANA, text).await.unwrap();
        let caller = holder(&books[0], &base).await;
        let rivals =
            (0..4).map(|n| rival(n, Arc::clone(&books[n % 2]), text, next, (caller, base.refresh.expose().to_owned())));
        let clicks = (0..2).map(|n| {
            let (book, link) = (Arc::clone(&books[n]), link.clone());
            async move {
                tokio::time::sleep(Duration::from_micros(chance(14_000))).await;
                click(&book, &link).await
            }
        });
        let (sessions, mut clicks) = tokio::join!(together(rivals), together(clicks));
        clicks.sort_unstable();
        assert_eq!(clicks, ["invalid token", "ok"], "round {round}");
        for tokens in sessions.iter().flatten().chain([&first, &base]) {
            assert_eq!(alive(&books[round % 2], tokens).await, (false, false), "round {round}");
        }
        assert_eq!(house.number(STATUS).await, 1, "round {round}");
        assert_eq!(house.number("select count(*) from sessions where revoked_at is null").await, 0, "round {round}");
        let reset = house.link(&books[0], "reset_frozen").await;
        books[0].confirm_reset(&reset, &password(PASSWORD), None, &anywhere()).await.unwrap();
        (text, next) = (PASSWORD, OTHER_PASSWORD);
    }
    house.assert_whole().await;
}
