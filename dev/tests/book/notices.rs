//! What owners are told of by mail: each thing once, what is repeated once a day, and nothing that strangers could learn from.

use std::time::Duration;

use doorbook_core::account::Role;
use doorbook_core::limit::Rule;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::value::EventId;

use crate::common::*;

const ANA: &str = "ana@example.com";
/// As many as make a login after them worth telling.
const FAILURES: i32 = 3;
const NOBODY: &str = "nobody@example.com";

impl House {
    /// Mails of a template that were ordered for what an event of this kind tells.
    async fn told(&self, template: &str, kind: &str) -> i64 {
        let count = "select count(*) from deliveries d join events e using (event_id)
                     where d.template = $1 and e.type = $2 and d.token_id in (select token_id from tokens where kind = 'not_me')";
        sqlx::query_scalar(count).bind(template).bind(kind).fetch_one(&self.owner).await.unwrap()
    }

    async fn mails(&self, template: &str) -> i64 {
        let count = "select count(*) from deliveries where template = $1";
        sqlx::query_scalar(count).bind(template).fetch_one(&self.owner).await.unwrap()
    }
}

async fn arrive(book: &Doorbook, address: &str, device: Option<&str>) -> Option<String> {
    let tokens = login_from(book, ANA, PASSWORD, device.map(str::to_owned), &from(address)).await.unwrap();
    tokens.device.map(|device| device.expose().to_owned())
}

/// C096. Breaks when `core/src/service/notices.rs`: `!(known_place || arrival.known_device || owner.logins == 0)` → `!(known_place || owner.logins == 0)`.
#[tokio::test]
async fn a_login_from_a_network_that_is_new_is_told_once_unless_the_device_is_known() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let told = async || house.told("login_new_place", "LoggedIn").await;
    let device = arrive(&book, "198.51.100.7", None).await;
    assert_eq!(told().await, 0, "the first login follows a registration");
    for (address, device, expected) in [
        ("198.51.100.200", None, 0),
        ("203.0.113.9", device.as_deref(), 0),
        ("203.0.113.10", None, 0),
        ("192.0.2.1", None, 1),
        ("192.0.2.2", None, 1),
        ("2001:db8:1::1", None, 2),
        ("2001:db8:1:ffff::1", None, 2),
        ("2001:db8:2::1", None, 3),
    ] {
        arrive(&book, address, device).await;
        assert_eq!(told().await, expected, "{address}");
    }
    let mail = house.mail(&book, "login_new_place").await;
    assert_eq!((mail.to.as_str(), mail.context.address.as_str()), (ANA, "2001:db8:2::1"));
    let life = mail.token_expires_at.unwrap().since(mail.created_at);
    assert!(Duration::from_hours(7 * 24).abs_diff(life) < Duration::from_secs(1), "{life:?}");
    let days_pass = |days: i64| {
        format!(
            "update counters set version = version + 1, state = state || jsonb_build_object('hits',
                 (select jsonb_agg(jsonb_build_array((h->0)::bigint - {days} * 86400000000, h->1)) from jsonb_array_elements(state->'hits') h))
             where kind = 'login_place'"
        )
    };
    for (days, expected) in [(89, 3), (91, 4)] {
        house.alter(days_pass(days)).await;
        arrive(&book, "192.0.2.1", None).await;
        assert_eq!(told().await, expected, "after {days} days");
    }
    house.assert_whole().await;
}

/// C046. Breaks when `core/src/service/notices.rs`: `const LOGINS_TOLD: Rule = Rule { max: 5,` → `const LOGINS_TOLD: Rule = Rule { max: 500,`.
#[tokio::test]
async fn a_mailbox_cannot_be_filled_from_many_networks_by_somebody_who_has_the_password() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    arrive(&book, "198.51.100.7", None).await;
    for (hour, expected) in [(0, 5), (1, 10)] {
        for network in 0..8 {
            let address = format!("203.0.{}.1", 100 + hour * 10 + network);
            for _ in 0..if network == 2 { FAILURES } else { 0 } {
                let guess = login_from(&book, ANA, OTHER_PASSWORD, None, &from(&address)).await;
                assert_eq!(word(&guess), "wrong");
            }
            arrive(&book, &address, None).await;
        }
        let told = house.mails("login_new_place").await + house.mails("login_after_failures").await;
        assert_eq!(told, expected, "hour {hour}");
        house.age_limits(3_601).await;
    }
    // Whoever had no room stays new.
    arrive(&book, "203.0.107.1", None).await;
    assert_eq!(house.mails("login_new_place").await + house.mails("login_after_failures").await, 11);
    assert_eq!(house.events("LoggedIn").await, 18, "the trail has every one");
}

/// C096. Breaks when `core/src/service/notices.rs`: `const FAILURES_TOLD: u32 = 3;` → `const FAILURES_TOLD: u32 = 2;`.
#[tokio::test]
async fn a_success_after_three_failures_is_told_once_a_day() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    for (failures, expected) in [(2, 0), (3, 1), (4, 1)] {
        for _ in 0..failures {
            assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "wrong");
        }
        login(&book, ANA, PASSWORD).await.unwrap();
        assert_eq!(house.told("login_after_failures", "LoggedIn").await, expected, "{failures} failures");
    }
    house.age_limits(86_401).await;
    for _ in 0..3 {
        assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "wrong");
    }
    login(&book, ANA, PASSWORD).await.unwrap();
    assert_eq!(house.told("login_after_failures", "LoggedIn").await, 2);
    assert_eq!(house.mails("login_new_place").await, 0);
    house.assert_whole().await;
}

/// Does what a worker does with the looks that blocks and locks have ordered.
async fn look(house: &House, book: &Doorbook) {
    let ordered = "delete from jobs where kind = 'guesses' returning ref";
    let looks: Vec<uuid::Uuid> = sqlx::query_scalar(ordered).fetch_all(&house.owner).await.unwrap();
    for look in looks {
        // A second worker, or the same after a crash, tells nothing more.
        for _ in 0..2 {
            book.tell_of_guesses(EventId(look), uuid::Uuid::nil()).await.unwrap();
        }
    }
}

/// Rows that a block has left behind, by table.
async fn rows(house: &House) -> [i64; 4] {
    [
        house.number("select count(*) from jobs where kind = 'guesses'").await,
        house.number("select count(*) from events where type = 'LoginBlocked'").await,
        house.number("select count(*) from tokens where kind = 'not_me'").await,
        house.number("select count(*) from counters where kind = 'notice'").await,
    ]
}

/// C096. Breaks when `core/src/service/notices.rs`: `if self.may_tell(&mut batch, ONCE_A_DAY, template, account, &[]).await? {` → `if self.may_tell(&mut batch, ONCE_A_DAY, template, account, &event.event_id.0.as_bytes()[..]).await? {`.
#[tokio::test]
async fn a_block_is_told_once_a_day_and_one_of_an_unknown_address_leaves_the_same_rows_and_tells_nobody() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let block = async |address: &str| {
        for _ in 0..5 {
            assert_eq!(word(&login(&book, address, OTHER_PASSWORD).await), "wrong");
        }
        assert_eq!(word(&login(&book, address, PASSWORD).await), "blocked");
    };
    block(ANA).await;
    assert_eq!(rows(&house).await, [1, 1, 0, 0]);
    block(NOBODY).await;
    assert_eq!(rows(&house).await, [2, 2, 0, 0]);
    look(&house, &book).await;
    assert_eq!((rows(&house).await, house.told("login_blocked", "LoginBlocked").await), ([0, 2, 1, 1], 1));
    let mail = house.mail(&book, "login_blocked").await;
    assert_eq!((mail.to.as_str(), mail.context.address.as_str()), (ANA, "203.0.113.7"));
    house.age_limits(1_801).await;
    for address in [ANA, NOBODY] {
        block(address).await;
    }
    look(&house, &book).await;
    assert_eq!(rows(&house).await, [0, 4, 1, 1], "blocked again, told once");
    house.age_limits(86_401).await;
    block(ANA).await;
    look(&house, &book).await;
    assert_eq!(house.told("login_blocked", "LoginBlocked").await, 2);
    house.assert_whole().await;
}

/// C096. Breaks when `core/src/service/login.rs`: `locked.unwrap_or(last)` → `last`.
#[tokio::test]
async fn a_lock_is_told_as_a_lock() {
    let house = house().await;
    let minute = Duration::from_mins(1);
    let many = policy_with(|policy| policy.login = Rule { max: 1_000, window: 60 * minute, block: minute });
    let book = house.book_with(many, &secrets()).await;
    register(&book, ANA).await.unwrap();
    for _ in 0..100 {
        assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "wrong");
    }
    look(&house, &book).await;
    assert_eq!(house.told("account_locked", "AccountLocked").await, 1);
    assert_eq!(house.mails("login_blocked").await, 0);
    assert_eq!(house.mail(&book, "account_locked").await.to, ANA);
}

/// C096. Breaks when `core/src/service/admin/order.rs`: `self.notice_to(batch, (template, Some(role.as_str())), loaded.id, (&email, key), *cause)?;` → `let _ = (&email, key, cause, role, template, &mut *batch);`.
#[tokio::test]
async fn a_role_that_is_given_or_taken_is_told_and_not_where_those_sit_who_did_it() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let ana = book.find_account(&email(ANA)).await.unwrap().unwrap();
    let operator = Context::operator(uuid::Uuid::nil());
    for what in [
        Intervention::GrantRole(Role::Auditor),
        Intervention::GrantRole(Role::Auditor),
        Intervention::RevokeRole(Role::Auditor),
    ] {
        book.command_account(ana, &Order::new(what, "test"), &operator).await.unwrap();
    }
    for (template, kind) in [("role_granted", "RoleGranted"), ("role_revoked", "RoleRevoked")] {
        assert_eq!((house.told(template, kind).await, house.mails(template).await), (1, 1));
        let mail = house.mail(&book, template).await;
        assert_eq!((mail.to.as_str(), mail.context.about.as_deref()), (ANA, Some("auditor")));
        assert_eq!((mail.context.address.as_str(), mail.context.user_agent.as_str()), ("", ""));
    }
    house.assert_whole().await;
}

/// C096. Breaks when `core/src/service/refresh.rs`: `if self.may_tell(&mut batch, ONCE_A_DAY, "token_reused", owner.id, &[]).await? {` → `if true {`.
#[tokio::test]
async fn spent_tokens_are_told_once_a_day_however_many_sessions_they_end() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let show_spent = async || {
        let first = login(&book, ANA, PASSWORD).await.unwrap();
        let second = book.refresh(first.refresh.expose(), &anywhere()).await.unwrap();
        book.refresh(second.refresh.expose(), &anywhere()).await.unwrap();
        assert_eq!(word(&book.refresh(first.refresh.expose(), &anywhere()).await), "unauthenticated");
    };
    for _ in 0..3 {
        show_spent().await;
    }
    assert_eq!(house.events("RefreshTokenReused").await, 3);
    assert_eq!(house.told("token_reused", "RefreshTokenReused").await, 1);
    house.age_limits(86_401).await;
    show_spent().await;
    assert_eq!(house.told("token_reused", "RefreshTokenReused").await, 2);
}
