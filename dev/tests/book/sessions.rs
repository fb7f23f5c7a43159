//! Sessions end when their owner, an operator or time ends them: at once, with both tokens, in every process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::login::Tokens;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::value::SessionId;

use crate::common::*;

const ANA: &str = "ana@example.com";
const SESSIONS: usize = 20;

/// Two processes on one database, and an account with twenty sessions begun in turns in both.
async fn twenty_sessions() -> (House, [Arc<Doorbook>; 2], Vec<Tokens>) {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let mut sessions = Vec::with_capacity(SESSIONS);
    for n in 0..SESSIONS {
        sessions.push(login(&books[n % 2], ANA, PASSWORD).await.unwrap());
    }
    (house, books, sessions)
}

async fn all_over(books: &[Arc<Doorbook>], sessions: &[Tokens]) {
    for tokens in sessions {
        for book in books {
            assert_eq!(alive(book, tokens).await, (false, false));
        }
    }
}

async fn operator_does(book: &Doorbook, what: Intervention) {
    let account = book.find_account(&email(ANA)).await.unwrap().unwrap();
    let operator = Context::operator(uuid::Uuid::nil());
    assert!(book.command_account(account, &Order::new(what, "test"), &operator).await.unwrap());
}

/// C029. Breaks when `core/src/service/sessions.rs`: `            batch.write.end_session(row.session_id, "logged_out", batch.now);` → `            let _ = batch.now;`.
#[tokio::test]
async fn a_logout_ends_both_tokens_in_every_process_and_repeats_without_complaint() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let stays = login(&books[0], ANA, PASSWORD).await.unwrap();
    let rounds = dose(10, 100);
    for _ in 0..rounds {
        let tokens = login(&books[0], ANA, PASSWORD).await.unwrap();
        assert!(books[1].authenticate(&tokens.access).await.is_ok());
        for book in [&books[0], &books[0], &books[1]] {
            book.logout(tokens.refresh.expose(), &anywhere()).await.unwrap();
        }
        all_over(&books, &[tokens]).await;
    }
    assert_eq!(house.events("LoggedOut").await, i64::from(rounds));
    assert_eq!(alive(&books[1], &stays).await, (true, true), "another session of the owner's stays");
}

/// C029. Breaks when `core/src/service/sessions.rs`: `            if row.revoked_at.is_some() {` → `            if row.rotated_at.plus(self.policy.access_lifetime) < row.now {`.
#[tokio::test]
async fn a_logout_needs_no_access_token_that_is_still_valid() {
    let house = house().await;
    let lifetime = Duration::from_secs(1);
    let book = house.book_with(policy_with(|policy| policy.access_lifetime = lifetime), &secrets()).await;
    register(&book, ANA).await.unwrap();
    let tokens = login(&book, ANA, PASSWORD).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(word(&book.authenticate(&tokens.access).await), "unauthenticated", "the access token is past its time");
    book.logout(tokens.refresh.expose(), &anywhere()).await.unwrap();
    assert_eq!(word(&book.refresh(tokens.refresh.expose(), &anywhere()).await), "unauthenticated");
}

/// C030. Breaks when `core/src/account/event.rs`: `            Self::PasswordChanged { kept_session, .. } => Some(Some(*kept_session)),` → `            Self::PasswordChanged { .. } => None,`.
#[tokio::test]
async fn a_changed_password_ends_every_session_but_the_one_it_was_changed_in() {
    let (_house, books, sessions) = twenty_sessions().await;
    let (kept, others) = sessions.split_last().unwrap();
    let caller = holder(&books[0], kept).await;
    let (old, new) = (password(PASSWORD), password(OTHER_PASSWORD));
    books[0].change_password(caller, &old, &new, None, &anywhere()).await.unwrap();
    all_over(&books, others).await;
    assert_eq!(alive(&books[1], kept).await, (true, true));
    assert_eq!(word(&login(&books[1], ANA, PASSWORD).await), "wrong");
    assert_eq!(word(&login(&books[1], ANA, OTHER_PASSWORD).await), "ok");
}

/// C030. Breaks when `core/src/account/event.rs`: `            Self::PasswordReset { .. }` → `            Self::AccountLocked { .. }`.
#[tokio::test]
async fn a_reset_password_ends_every_session() {
    let (house, books, sessions) = twenty_sessions().await;
    books[0].request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    let link = house.reset_link().await;
    books[1].confirm_reset(&link, &password(OTHER_PASSWORD), None, &anywhere()).await.unwrap();
    all_over(&books, &sessions).await;
    assert_eq!(word(&login(&books[0], ANA, OTHER_PASSWORD).await), "ok");
}

/// C030. Breaks when `core/src/account/event.rs`: `            | Self::AccountDisabled { .. }` → `            | Self::AccountUnlocked { .. }`.
#[tokio::test]
async fn a_disabled_account_has_no_session_and_its_old_ones_do_not_come_back() {
    let (_house, books, sessions) = twenty_sessions().await;
    operator_does(&books[0], Intervention::Disable).await;
    all_over(&books, &sessions).await;
    assert_eq!(word(&login(&books[1], ANA, PASSWORD).await), "wrong");
    operator_does(&books[1], Intervention::Enable).await;
    all_over(&books, &sessions).await;
    assert_eq!(word(&login(&books[0], ANA, PASSWORD).await), "ok");
}

/// C030. Breaks when `core/src/account/event.rs`: `            | Self::AllSessionsRevoked { .. } => Some(None),` → `            | Self::AccountUnlocked { .. } => Some(None),`.
#[tokio::test]
async fn an_operator_and_an_owner_end_all_sessions_of_one_account_and_of_no_other() {
    let (_house, books, sessions) = twenty_sessions().await;
    register(&books[0], "eva@example.com").await.unwrap();
    let other = login(&books[0], "eva@example.com", PASSWORD).await.unwrap();
    operator_does(&books[0], Intervention::RevokeSessions).await;
    all_over(&books, &sessions).await;

    let sessions = [login(&books[0], ANA, PASSWORD).await.unwrap(), login(&books[1], ANA, PASSWORD).await.unwrap()];
    books[1].logout_all(holder(&books[1], &sessions[0]).await, None, &anywhere()).await.unwrap();
    all_over(&books, &sessions).await;
    assert_eq!(alive(&books[1], &other).await, (true, true));
}

/// C031. Breaks when `core/src/service/refresh.rs`: `        let expires_at = now.plus(self.policy.access_lifetime).min(absolute_end);` → `        let expires_at = now.plus(self.policy.access_lifetime);`.
#[tokio::test]
async fn a_family_ends_a_week_after_its_login_however_often_it_rotates() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let mut newest = login(&book, ANA, PASSWORD).await.unwrap();
    assert_eq!(newest.expires_in.as_secs(), 900, "an access token lives for fifteen minutes");
    for _ in 0..6 {
        house.age_sessions(86_400).await;
        newest = book.refresh(newest.refresh.expose(), &anywhere()).await.unwrap();
    }
    house.age_sessions(86_400 - 60).await;
    newest = book.refresh(newest.refresh.expose(), &anywhere()).await.unwrap();
    assert!((55..=60).contains(&newest.expires_in.as_secs()), "{:?} of a minute", newest.expires_in);
    house.age_sessions(55).await;
    newest = book.refresh(newest.refresh.expose(), &anywhere()).await.unwrap();
    assert!(book.authenticate(&newest.access).await.is_ok(), "five seconds before the end");
    house.age_sessions(5).await;
    assert_eq!(alive(&book, &newest).await, (false, false), "at the end");
}

/// C031. Breaks when `core/src/service/refresh.rs`: `        let idle = self.policy.session_idle;` → `        let idle = None;`.
#[tokio::test]
async fn an_idle_session_ends_and_one_in_use_does_not() {
    let house = house().await;
    let idle = Some(Duration::from_secs(600));
    let book = house.book_with(policy_with(|policy| policy.session_idle = idle), &secrets()).await;
    register(&book, ANA).await.unwrap();
    let mut newest = login(&book, ANA, PASSWORD).await.unwrap();
    for _ in 0..3 {
        house.age_sessions(595).await;
        assert!(book.authenticate(&newest.access).await.is_ok(), "five seconds before it is idle too long");
        newest = book.refresh(newest.refresh.expose(), &anywhere()).await.unwrap();
    }
    house.age_sessions(600).await;
    assert_eq!(alive(&book, &newest).await, (false, false));
}

/// C031. Breaks when `core/src/service/login.rs`: `let kept = usize::try_from(self.policy.sessions_max.saturating_sub(1))` → `let kept = usize::try_from(self.policy.sessions_max)`.
#[tokio::test]
async fn one_session_too_many_ends_the_oldest_with_an_event() {
    let house = house().await;
    let books =
        [house.book_with(three_sessions(), &secrets()).await, house.book_with(three_sessions(), &secrets()).await];
    register(&books[0], ANA).await.unwrap();
    let mut sessions = Vec::new();
    for n in 0..3 {
        sessions.push(login(&books[n % 2], ANA, PASSWORD).await.unwrap());
    }
    for tokens in &sessions {
        assert!(books[1].authenticate(&tokens.access).await.is_ok());
    }
    let newest = login(&books[0], ANA, PASSWORD).await.unwrap();
    assert_eq!(alive(&books[1], &sessions[0]).await, (false, false), "the oldest is over");
    for tokens in sessions[1..].iter().chain([&newest]) {
        assert_eq!(alive(&books[1], tokens).await, (true, true));
    }
    let evicted: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select session_id from events where type = 'SessionRevoked' and payload->>'reason' = 'surplus'",
    )
    .fetch_all(&house.owner)
    .await
    .unwrap();
    assert_eq!(evicted, [sessions[0].session.0]);
}

fn three_sessions() -> doorbook_core::service::Policy {
    policy_with(|policy| policy.sessions_max = 3)
}

/// C034. Breaks when `core/src/service/sessions.rs`: `if row.account_id != caller.account {` → `if false {`.
#[tokio::test]
async fn owners_list_and_end_their_own_sessions_and_learn_nothing_of_others() {
    let house = house().await;
    let book = house.book().await;
    for address in [ANA, "eva@example.com"] {
        register(&book, address).await.unwrap();
    }
    let here = login_from(&book, ANA, PASSWORD, None, &from("198.51.100.1")).await.unwrap();
    let there = login_from(&book, ANA, PASSWORD, Some("none".into()), &from("198.51.100.2")).await.unwrap();
    let eva = login(&book, "eva@example.com", PASSWORD).await.unwrap();
    let (ana, stranger) = (holder(&book, &here).await, holder(&book, &eva).await);

    let listed = book.list_sessions(ana).await.unwrap();
    let shown: Vec<_> = listed
        .iter()
        .map(|view| {
            (view.id, view.address.as_deref().unwrap(), view.user_agent.as_deref().unwrap(), view.device_remembered)
        })
        .collect();
    assert_eq!(shown, [(there.session, "198.51.100.2", "test", false), (here.session, "198.51.100.1", "test", true)]);
    for n in 0..500 {
        let foreign = if n % 2 == 0 { here.session } else { SessionId(uuid::Uuid::from_u128(n)) };
        assert_eq!(word(&book.revoke_session(stranger, foreign, None, &anywhere()).await), "not found");
    }
    book.revoke_session(ana, there.session, None, &anywhere()).await.unwrap();
    assert_eq!(word(&book.revoke_session(ana, there.session, None, &anywhere()).await), "not found");
    assert_eq!(alive(&book, &there).await, (false, false));
    assert_eq!(alive(&book, &here).await, (true, true));
    assert_eq!(book.list_sessions(ana).await.unwrap().len(), 1);
}

/// How often each index of a table was asked since the beginning; connections tell of it a moment later.
async fn scans(house: &House, table: &'static str) -> BTreeMap<String, i64> {
    let scans = "select indexrelname::text, idx_scan from pg_stat_user_indexes where relname = $1";
    sqlx::query_as::<_, (String, i64)>(scans).bind(table).fetch_all(&house.owner).await.unwrap().into_iter().collect()
}

/// Breaks when `core/src/store/query/accounts.rs`: `num_nonnulls(s.revoked_at) = 0` → `s.revoked_at is null`.
#[tokio::test]
async fn a_session_is_found_by_its_id_however_few_were_alive_when_postgres_last_looked() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let first = login(&book, ANA, PASSWORD).await.unwrap();
    book.logout(first.refresh.expose(), &anywhere()).await.unwrap();
    // Of many accounts, and all of them over.
    let ended =
        "insert into sessions select (jsonb_populate_record(s, jsonb_build_object('session_id', gen_random_uuid(),
                     'account_id', gen_random_uuid()))).* from sessions s, generate_series(1, 20000)";
    sqlx::raw_sql(ended).execute(&house.owner).await.unwrap();
    sqlx::raw_sql("vacuum analyze sessions").execute(&house.owner).await.unwrap();
    let mut alive = Vec::new();
    for _ in 0..5 {
        alive.push(login(&book, ANA, PASSWORD).await.unwrap());
    }
    let before = scans(&house, "sessions").await;
    let rounds = 40;
    for _ in 0..rounds {
        for tokens in &mut alive {
            book.authenticate(&tokens.access).await.unwrap();
            book.own_profile(&tokens.access).await.unwrap();
            *tokens = book.refresh(tokens.refresh.expose(), &anywhere()).await.unwrap();
        }
    }
    let asked = 3 * rounds * i64::try_from(alive.len()).unwrap();
    let (begun, mut by_id, mut others) = (Instant::now(), 0, BTreeMap::new());
    // Connections that are at rest tell after ten seconds.
    while by_id < asked && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        others = scans(&house, "sessions").await;
        by_id = others.remove("sessions_pkey").unwrap() - before["sessions_pkey"];
        others.retain(|name, scans| *scans - before[name] >= rounds);
    }
    assert!(by_id >= asked && others.is_empty(), "{by_id} of {asked} by their ids; others: {others:?}");
}
