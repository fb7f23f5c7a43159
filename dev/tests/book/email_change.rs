//! Changing the address: confirmed by the new mailbox, undone from the old one, reserved in between.

use doorbook_core::failpoint::Gate;
use doorbook_core::service::access::Caller;
use doorbook_core::service::{Context, Doorbook, Refusal};

use crate::common::*;

const ANA: &str = "ana@example.com";
const NEW: &str = "ana@new.example";

async fn ana(book: &Doorbook) -> Caller {
    register(book, ANA).await.unwrap();
    let tokens = login(book, ANA, PASSWORD).await.unwrap();
    book.authenticate(&tokens.access).await.unwrap()
}

async fn ask(book: &Doorbook, caller: Caller, address: &str) {
    let context = anywhere().acting(caller.account);
    book.request_email_change(caller, &password(PASSWORD), &email(address), None, &context).await.unwrap();
}

/// Asks for the change and confirms it with the link that went to the new address.
async fn change(house: &House, book: &Doorbook, caller: Caller, address: &str) {
    ask(book, caller, address).await;
    let mail = house.mail(book, "email_change_confirm").await;
    assert_eq!(mail.to, address, "the new mailbox confirms");
    book.confirm_email_change(mail.token.unwrap().1.expose(), None, &anywhere()).await.unwrap();
}

/// Breaks when `core/src/service/email_change.rs`: `row.detail = Some(data_key.key.seal_json(token.0, &new_email.as_str())?);` → `row.detail = Some(data_key.key.seal_json(token.0, &owner.email().unwrap().as_str())?);`.
#[tokio::test]
async fn nothing_changes_before_the_new_mailbox_confirms() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    ask(&book, caller, NEW).await;
    assert_eq!(book.profile(caller.account).await.unwrap().email, ANA);
    assert!(matches!(login(&book, NEW, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    let link = house.link(&book, "email_change_confirm").await;
    book.confirm_email_change(&link, None, &anywhere()).await.unwrap();
    assert_eq!(book.profile(caller.account).await.unwrap().email, NEW);
    login(&book, NEW, PASSWORD).await.unwrap();
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    assert!(matches!(book.confirm_email_change(&link, None, &anywhere()).await, Err(Refusal::InvalidToken)));
    assert_eq!(house.mail(&book, "email_change_notice").await.to, ANA);
    assert_eq!(house.mail(&book, "email_changed").await.to, NEW);
    house.assert_whole().await;
}

/// Breaks when `core/src/service/email_change.rs`: `batch.write.release_email(owner.id, &current_key);` → ``.
#[tokio::test]
async fn the_old_mailbox_can_take_the_account_back_and_end_every_session() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    change(&house, &book, caller, NEW).await;
    let thief = login(&book, NEW, PASSWORD).await.unwrap();
    let undo = house.link(&book, "email_change_notice").await;
    book.undo_email_change(&undo, None, &anywhere()).await.unwrap();
    assert!(matches!(book.authenticate(&thief.access).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(login(&book, NEW, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    login(&book, ANA, PASSWORD).await.unwrap();
    assert!(matches!(book.undo_email_change(&undo, None, &anywhere()).await, Err(Refusal::InvalidToken)));
    assert_eq!(house.mail(&book, "email_change_undone").await.to, ANA);
    register(&book, NEW).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 2, "the other address is free again");
    house.assert_whole().await;
}

/// Breaks when `core/src/service/email_change.rs`: `batch.write.reserve_email(owner.id, &old_key, now.plus(UNDO_WINDOW));` → `batch.write.release_email(owner.id, &old_key);`.
#[tokio::test]
async fn the_old_address_is_nobodys_while_the_change_can_be_undone() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    book.verify_email(&house.link(&book, "verify").await, None, &anywhere()).await.unwrap();
    change(&house, &book, caller, NEW).await;
    register(&book, ANA).await.expect("answered like any other");
    assert_eq!(house.number("select count(*) from accounts").await, 1);

    register(&book, "bea@example.com").await.unwrap();
    let bea = login(&book, "bea@example.com", PASSWORD).await.unwrap();
    let bea = book.authenticate(&bea.access).await.unwrap();
    ask(&book, bea, ANA).await;
    let link = house.link(&book, "email_change_confirm").await;
    assert!(matches!(book.confirm_email_change(&link, None, &anywhere()).await, Err(Refusal::EmailTaken)));

    house.alter("update account_emails set reserved_until = now() where state = 'reserved'").await;
    register(&book, ANA).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 3, "after the week it is anybody's");
    house.assert_whole().await;
}

/// Breaks when `core/src/service/email_change.rs`: `if owner.account.email_verified_at.is_some() {` → `if true {`.
#[tokio::test]
async fn an_address_that_nobody_ever_confirmed_is_kept_from_nobody() {
    let house = house().await;
    let book = house.book().await;
    let squatter = ana(&book).await;
    change(&house, &book, squatter, NEW).await;
    register(&book, ANA).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 2, "its owner may have it");
    login(&book, ANA, PASSWORD).await.unwrap();
    let undo = house.link(&book, "email_change_notice").await;
    assert!(matches!(book.undo_email_change(&undo, None, &anywhere()).await, Err(Refusal::InvalidToken)));
    house.assert_whole().await;
}

/// Breaks when `core/src/service/email_change.rs`: `            batch.write.void_younger_tokens(owner.id, TokenKind::Undo, row.token_id, now);` → ``.
/// Breaks when `core/src/service/not_me.rs`: `                batch.write.void_younger_tokens(owner.id, TokenKind::Undo, undo, now);` → ``.
#[tokio::test]
async fn who_takes_an_account_back_has_it_from_all_who_changed_its_address_since() {
    for frozen in [false, true] {
        let house = house().await;
        let book = house.book().await;
        let thief = ana(&book).await;
        book.verify_email(&house.link(&book, "verify").await, None, &anywhere()).await.unwrap();
        let context = anywhere().acting(thief.account);
        for [old, new] in [[PASSWORD, OTHER_PASSWORD], [OTHER_PASSWORD, PASSWORD]] {
            book.change_password(thief, &password(old), &password(new), None, &context).await.unwrap();
        }
        let not_me = if frozen { Some(house.link(&book, "password_changed").await) } else { None };
        change(&house, &book, thief, NEW).await;
        let owners = house.link(&book, "email_change_notice").await;
        change(&house, &book, thief, "ana@third.example").await;
        let thiefs = house.link(&book, "email_change_notice").await;
        match not_me {
            Some(link) => book.freeze(&link, None, &anywhere()).await.unwrap(),
            None => book.undo_email_change(&owners, None, &anywhere()).await.unwrap(),
        }
        assert_eq!(book.profile(thief.account).await.unwrap().email, ANA);
        let back = book.undo_email_change(&thiefs, None, &anywhere()).await;
        assert!(matches!(back, Err(Refusal::InvalidToken)), "{back:?}");
        assert_eq!(book.profile(thief.account).await.unwrap().email, ANA);
        house.assert_whole().await;
    }
}

/// Breaks when `core/src/service/email_change.rs`: `return Err(Refusal::EmailTaken);` → ``.
#[tokio::test]
async fn an_address_taken_before_the_confirmation_is_refused_and_nothing_changes() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    ask(&book, caller, NEW).await;
    let link = house.link(&book, "email_change_confirm").await;
    register(&book, NEW).await.unwrap();
    assert!(matches!(book.confirm_email_change(&link, None, &anywhere()).await, Err(Refusal::EmailTaken)));
    assert_eq!(book.profile(caller.account).await.unwrap().email, ANA);
    assert_eq!(house.number("select count(*) from events where type = 'EmailChanged'").await, 0);
    house.assert_whole().await;
}

/// Many accounts confirm a change to the same address at once: one gets it, the others are told that it is taken.
/// Breaks when `core/src/store/project/accounts.rs`: `where e.state = 'reserved' and (e.reserved_until <= {now} or e.account_id = {account}) returning 1` → `where true returning 1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_accounts_that_confirm_one_address_at_once_one_gets_it() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    let mut links = Vec::new();
    for n in 0..8 {
        let address = format!("user{n}@example.com");
        register(&books[0], &address).await.unwrap();
        let tokens = login(&books[0], &address, PASSWORD).await.unwrap();
        let caller = books[0].authenticate(&tokens.access).await.unwrap();
        house.alter("delete from counters").await;
        ask(&books[0], caller, NEW).await;
        links.push(house.link(&books[0], "email_change_confirm").await);
    }
    let (mut tasks, mut holds) = (Vec::new(), Vec::new());
    for (n, link) in links.iter().cloned().enumerate() {
        let (gate, mut hold) = Gate::new(&["email_change.read"]);
        let book = books[n % 2].clone();
        let confirmation = async move { book.confirm_email_change(&link, None, &anywhere()).await };
        tasks.push(tokio::spawn(gate.around(confirmation)));
        assert!(hold.arrived().await.is_some());
        holds.push(hold);
    }
    // Each has seen an address that nobody has; who must decide again is not held again.
    for hold in &holds {
        (0..20).for_each(|_| hold.pass());
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let taken = outcomes.iter().filter(|outcome| matches!(outcome, Err(Refusal::EmailTaken))).count();
    assert_eq!(taken, links.len() - 1, "{outcomes:?}");
    assert_eq!(house.number("select count(*) from events where type = 'EmailChanged'").await, 1);
    house.assert_whole().await;
}

/// Breaks when `core/src/service/email_change.rs`: `&[TokenKind::Reset, TokenKind::Verify], now);` → `&[TokenKind::Verify], now);`.
#[tokio::test]
async fn a_changed_address_makes_links_in_the_old_mailbox_worthless() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    let reset = house.link(&book, "reset").await;
    change(&house, &book, caller, NEW).await;
    let confirmed = book.confirm_reset(&reset, &password(OTHER_PASSWORD), None, &anywhere()).await;
    assert!(matches!(confirmed, Err(Refusal::InvalidToken)));
    login(&book, NEW, PASSWORD).await.unwrap();
}

/// C024. Breaks when `core/src/service/email_change.rs`: `batch.write.require_session(caller.session, None);` → `let _ = &batch;`.
/// Breaks when `core/src/service/erasure.rs`: `batch.write.require_session(caller.session, None);` → `let _ = &batch;`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_while_it_asks_changes_no_address_and_deletes_nothing() {
    let house = house().await;
    let book = house.book().await;
    ana(&book).await;
    for at in [&["email_change.proven"], &["email_change.read"], &["deletion.read"]] {
        let name = at[0];
        let tokens = login(&book, ANA, PASSWORD).await.unwrap();
        let caller = holder(&book, &tokens).await;
        let (gate, mut hold) = Gate::new(at);
        let slow = std::sync::Arc::clone(&book);
        let asked = tokio::spawn(gate.around(async move {
            let context = anywhere().acting(caller.account);
            if name == "deletion.read" {
                return slow.request_deletion(caller, &password(PASSWORD), None, &context).await.map(drop);
            }
            slow.request_email_change(caller, &password(PASSWORD), &email(NEW), None, &context).await
        }));
        assert_eq!(hold.arrived().await, Some(name));
        book.logout(tokens.refresh.expose(), &anywhere().acting(caller.account)).await.unwrap();
        hold.pass();
        assert_eq!(word(&asked.await.unwrap()), "unauthenticated", "{name}");
    }
    assert_eq!(house.events("EmailChangeRequested").await + house.events("DeletionRequested").await, 0);
}

/// Breaks when `core/src/store/project/sessions.rs`: `None => "for no key update of t for share of s, a",` → `None => "for share of t, s, a",`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_requests_at_once_neither_holds_what_the_other_waits_for() {
    // As Postgres sees it; it, or the limit of a wait, would end this after a second only.
    const CROSSWISE: &str =
        "select count(*) from pg_stat_activity a, pg_stat_activity b where a.datname = current_database()
        and a.pid = any(pg_blocking_pids(b.pid)) and b.pid = any(pg_blocking_pids(a.pid))";
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    let (mut asked, mut holds) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (gate, mut hold) = Gate::new(&["email_change.read"]);
        let book = std::sync::Arc::clone(&book);
        asked.push(tokio::spawn(gate.around(async move {
            let context = anywhere().acting(caller.account);
            book.request_email_change(caller, &password(PASSWORD), &email(NEW), None, &context).await
        })));
        assert!(hold.arrived().await.is_some());
        holds.push(hold);
    }
    // Both have what they take before it when they come to the row that somebody else holds.
    let mut other = house.owner.begin().await.unwrap();
    sqlx::query("select from accounts for update").execute(&mut *other).await.unwrap();
    // Gone with its pass: whoever decides anew runs through.
    for hold in holds {
        hold.pass();
    }
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    other.rollback().await.unwrap();
    for _ in 0..25 {
        assert_eq!(house.number(CROSSWISE).await, 0);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
}

/// Breaks when `core/src/service/password.rs`: `if !standing.in_force || !still_proven(proven, &owner) {` → `if !standing.in_force {`.
#[tokio::test]
async fn a_password_that_was_replaced_a_moment_ago_has_no_link_mailed() {
    let house = house().await;
    let book = house.book().await;
    let thief = ana(&book).await;
    let (gate, mut hold) = Gate::new(&["email_change.proven"]);
    let slow = std::sync::Arc::clone(&book);
    let asked = tokio::spawn(gate.around(async move {
        let context = anywhere().acting(thief.account);
        slow.request_email_change(thief, &password(PASSWORD), &email(NEW), None, &context).await
    }));
    assert!(hold.arrived().await.is_some());
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    book.confirm_reset(&house.reset_link().await, &password(OTHER_PASSWORD), None, &anywhere()).await.unwrap();
    hold.pass();
    assert_eq!(word(&asked.await.unwrap()), "unauthenticated");
    assert_eq!(house.number("select count(*) from deliveries where template = 'email_change_confirm'").await, 0);
    assert_eq!(house.number("select count(*) from tokens where kind = 'change' and closed_at is null").await, 0);
}

/// Breaks when `core/src/service/email_change.rs`: `&[caller.account.0.as_bytes()]), per_network(rule)),` → `&[caller.account.0.as_bytes()]), per_network(per_network(rule))),`.
/// Breaks when `core/src/service/email_change.rs`: `&context.origin), per_network(rule)),` → `&context.origin), per_network(per_network(rule))),`.
#[tokio::test]
async fn neither_an_account_nor_a_network_writes_to_more_than_thirty_strangers_an_hour() {
    let house = house().await;
    let book = house.book().await;
    let ana = ana(&book).await;
    let asked = async |caller: Caller, number: usize, origin: &Context| {
        let context = origin.clone().acting(caller.account);
        let address = email(&format!("stranger{number}@example.com"));
        word(&book.request_email_change(caller, &password(PASSWORD), &address, None, &context).await)
    };
    for number in 0..30 {
        assert_eq!(asked(ana, number, &from(&format!("198.51.100.{number}"))).await, "ok");
    }
    assert_eq!(asked(ana, 30, &from("198.51.100.30")).await, "limited", "one account from ever other networks");
    let one_place = from("192.0.2.77");
    let mut caller = ana;
    for person in 0..3 {
        let address = format!("person{person}@example.com");
        register_from(&book, &address, &from(&format!("203.0.113.{person}"))).await.unwrap();
        let tokens = login(&book, &address, PASSWORD).await.unwrap();
        caller = book.authenticate(&tokens.access).await.unwrap();
        for number in 0..10 {
            assert_eq!(asked(caller, 31 + 10 * person + number, &one_place).await, "ok");
        }
    }
    assert_eq!(asked(caller, 61, &one_place).await, "limited", "ever other accounts from one network");
}

/// Who is refused has asked for nothing: what is left of the other limits stays.
/// Breaks when `core/src/service/confirm.rs`: `if reached.is_none() {` → `if reached.is_none() || limits.len() > 1 {`.
#[tokio::test]
async fn what_one_limit_refuses_counts_against_none() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    let context = anywhere().acting(caller.account);
    let ask =
        async |given: &str| book.request_email_change(caller, &password(given), &email(NEW), None, &context).await;
    let counted = "select sum(jsonb_array_length(state->'hits'))::bigint from counters where kind like 'email_change%'";
    for _ in 0..3 {
        ask(PASSWORD).await.unwrap();
    }
    assert_eq!(house.number(counted).await, 9, "address, account and network");
    assert_eq!(word(&ask(PASSWORD).await), "limited");
    assert_eq!(house.number(counted).await, 9);
    assert!(matches!(ask(OTHER_PASSWORD).await, Err(Refusal::Invalid(_))), "a wrong password is told as one");
    assert_eq!(house.number(counted).await, 9);
}

/// Breaks when `core/src/service/email_change.rs`: `if self.is_anothers(&old_key, owner.id, now).await? {` → `if false {`.
#[tokio::test]
async fn nobody_goes_back_to_an_address_that_is_somebody_elses_by_now() {
    let house = house().await;
    let book = house.book().await;
    let caller = ana(&book).await;
    change(&house, &book, caller, NEW).await;
    change(&house, &book, caller, ANA).await;
    let back_to_new = house.link(&book, "email_change_notice").await;
    change(&house, &book, caller, NEW).await;
    let back_to_ana = house.link(&book, "email_change_notice").await;
    book.undo_email_change(&back_to_ana, None, &anywhere()).await.unwrap();
    register(&book, NEW).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 2, "it was free");
    let refused = book.undo_email_change(&back_to_new, None, &anywhere()).await;
    assert!(matches!(refused, Err(Refusal::InvalidToken)), "{refused:?}");
    house.assert_whole().await;
}
