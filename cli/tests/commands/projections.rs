use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::mail::Prepared;
use doorbook_core::service::profile::ProfileChange;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::value::{DeliveryId, Locale, PersonName};
use uuid::Uuid;

use crate::common::*;

/// The link in the newest mail of this template.
async fn link(house: &House, book: &Doorbook, template: &str) -> String {
    let delivery: Uuid = sqlx::query_scalar(
        "select delivery_id from deliveries where template = $1 order by created_at desc, delivery_id desc limit 1",
    )
    .bind(template)
    .fetch_one(&house.owner)
    .await
    .unwrap();
    let row = book.delivery(DeliveryId(delivery)).await.unwrap().unwrap();
    match book.prepare_mail(&row).await.unwrap() {
        Prepared::Send(mail) => mail.token.unwrap().1.expose().to_owned(),
        Prepared::Unneeded { reason } => panic!("{template} is not needed: {reason}"),
        Prepared::Alert(_) => panic!("an operator's"),
        Prepared::Settled => panic!("{template} is settled"),
    }
}

async fn caller(book: &Doorbook, address: &str, text: &str) -> Caller {
    let tokens = login(book, address, text).await.unwrap();
    book.authenticate(&tokens.access).await.unwrap()
}

/// What an account can go through, in one life.
async fn live_through(house: &House, book: &Doorbook) {
    let here = anywhere();
    register(book, "ana@example.com").await;
    register(book, "ana@example.com").await;
    book.resend_verification(&email("ana@example.com"), None, &here).await.unwrap();
    book.verify_email(&link(house, book, "verify").await, None, &here).await.unwrap();
    let first = caller(book, "ana@example.com", PASSWORD).await;
    caller(book, "ana@example.com", PASSWORD).await;
    let change = ProfileChange {
        first_name: Some(PersonName::parse("Anna").unwrap()),
        last_name: None,
        locale: Some(Locale::Es),
    };
    book.update_profile(first, &change, None, &here.clone().acting(first.account)).await.unwrap();
    let acting = here.clone().acting(first.account);
    book.change_password(first, &password(PASSWORD), &password(OTHER_PASSWORD), None, &acting).await.unwrap();
    let spent = login(book, "ana@example.com", OTHER_PASSWORD).await.unwrap();
    book.logout(spent.refresh.expose(), &here).await.unwrap();

    book.request_email_change(first, &password(OTHER_PASSWORD), &email("anna@example.org"), None, &acting)
        .await
        .unwrap();
    book.confirm_email_change(&link(house, book, "email_change_confirm").await, None, &here).await.unwrap();
    let undo = link(house, book, "email_change_notice").await;
    book.request_reset(&email("anna@example.org"), None, &here).await.unwrap();
    book.request_reset(&email("anna@example.org"), None, &here).await.unwrap();
    book.confirm_reset(&link(house, book, "reset").await, &password(PASSWORD), None, &here).await.unwrap();
    caller(book, "anna@example.org", PASSWORD).await;
    book.undo_email_change(&undo, None, &here).await.unwrap();
    book.request_reset(&email("nobody@example.org"), None, &here).await.unwrap();

    let operator = Context::operator(Uuid::nil());
    for reason in ["first", "second"] {
        caller(book, "ana@example.com", PASSWORD).await;
        book.command_account(first.account, &Order::new(Intervention::Disable, reason), &operator).await.unwrap();
        book.command_account(first.account, &Order::new(Intervention::Enable, reason), &operator).await.unwrap();
    }
    let last = caller(book, "ana@example.com", PASSWORD).await;
    book.revoke_session(last, last.session, None, &acting).await.unwrap();
    book.request_reset(&email("ana@example.com"), None, &here).await.unwrap();
    caller(book, "ana@example.com", PASSWORD).await;
}

#[tokio::test]
async fn what_the_service_writes_agrees_with_a_replay() {
    let house = house().await;
    let book = house.book().await;
    live_through(&house, &book).await;
    house.run("account create bo@example.com --role auditor").await;
    for run_out in ["update tokens set expires_at = created_at", "update sessions set absolute_end = created_at"] {
        sqlx::query(run_out).execute(&house.owner).await.unwrap();
    }
    book.expire(&Context::system(Uuid::nil())).await.unwrap();
    let out = house.run("projections check").await;
    assert!(out.starts_with("2 accounts and ") && out.ends_with(": 0 differences.\n"), "{out}");
    for name in ["EmailChangeUndone", "SessionExpired", "PasswordResetExpired", "LoggedOut", "SessionRevoked"] {
        let seen: bool = sqlx::query_scalar("select exists (select 1 from events where type = $1)")
            .bind(name)
            .fetch_one(&house.owner)
            .await
            .unwrap();
        assert!(seen, "{name} has not happened");
    }
}

#[tokio::test]
async fn rows_that_somebody_has_changed_are_found_and_named() {
    /// A change of the rows of one account, and how the line of its difference begins and goes on.
    const TAMPERED: [(&str, &str, &str); 13] = [
        ("update accounts set roles = '{admin}' where account_id = $1", "accounts", "roles"),
        ("update accounts set email_verified_at = now() where account_id = $1", "accounts", "email_verified_at"),
        ("update accounts set profile = null where account_id = $1", "accounts", "profile"),
        ("update credentials set version = 7 where account_id = $1", "credentials", "version"),
        (
            "update sessions set revoked_at = now(), revoked_reason = 'x' where account_id = $1",
            "sessions",
            "revoked_at",
        ),
        ("update sessions set session_epoch = 9 where account_id = $1", "sessions", "session_epoch"),
        ("update tokens set state = 'used', closed_at = now() where account_id = $1", "tokens", "state"),
        ("update streams set version = 9 where stream_id = $1", "streams", "version"),
        ("update streams set logins = 0 where stream_id = $1", "streams", "logins"),
        ("delete from sessions where account_id = $1", "sessions", "has events but no row"),
        ("delete from devices where account_id = $1", "devices", "has events but no row"),
        ("delete from account_emails where account_id = $1", "account_emails", "current email_key"),
        ("delete from accounts where account_id = $1", "accounts", "has events but no row"),
    ];
    let house = house().await;
    let book = house.book().await;
    let mut accounts = Vec::new();
    for number in 0..TAMPERED.len() {
        // Registrations of one network are limited; operators are not.
        let address = format!("ana{number}@example.com");
        let arguments = ["account", "create", address.as_str(), "--password-stdin"];
        assert_eq!(house.run_with(&arguments, &[], PASSWORD).await.status, 0);
        accounts.push(caller(&book, &address, PASSWORD).await.account);
        book.request_reset(&email(&address), None, &anywhere()).await.unwrap();
    }
    house.run("projections check").await;
    for ((change, ..), account) in TAMPERED.iter().zip(&accounts) {
        let changed = sqlx::query(*change).bind(account.0).execute(&house.owner).await.unwrap().rows_affected();
        assert!(changed > 0, "{change} changes nothing");
    }
    let ran = house.run_with(&["projections", "check"], &[], "").await;
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(!ran.out.contains("@example.com"), "{ran:?}");
    for (change, table, named) in TAMPERED {
        let found = |line: &str| line.starts_with(&format!("{table} ")) && line.contains(&format!(": {named}"));
        assert!(ran.out.lines().any(found), "{change}:\n{}", ran.out);
    }
}
