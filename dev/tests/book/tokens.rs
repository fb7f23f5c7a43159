//! Mailed links and other tokens: who can make them, how often they are sent, how long and how often they work.

use doorbook_core::service::{Doorbook, Refusal};

use crate::common::*;

const ANA: &str = "ana@example.com";

async fn reset_link(house: &House, book: &Doorbook) -> String {
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    house.link(book, "reset").await
}

async fn confirm(book: &Doorbook, link: &str, text: &str) -> Result<(), Refusal> {
    book.confirm_reset(link, &password(text), None, &anywhere()).await
}

/// C041. Breaks when `core/src/service/password.rs`: `batch.write.use_token(row.token_id, now);` → ``.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_confirmations_of_one_link_one_sets_its_password() {
    const PARALLEL: usize = 50;
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    for round in 0..dose(5, 100) {
        house.alter("delete from counters").await;
        let link = reset_link(&house, &books[0]).await;
        let outcomes = at_once(PARALLEL, |n| {
            let (book, link) = (books[n % 2].clone(), link.clone());
            async move { confirm(&book, &link, &format!("harbour {round} violet {n}")).await }
        })
        .await;
        let winners: Vec<_> = (0..PARALLEL).filter(|n| outcomes[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(Refusal::InvalidToken))).count();
        assert_eq!(lost, PARALLEL - 1, "round {round}: {outcomes:?}");
        let winner = format!("harbour {round} violet {}", winners[0]);
        login(&books[1], ANA, &winner).await.expect("the winner's password is the account's");
        let loser = format!("harbour {round} violet {}", (winners[0] + 1) % PARALLEL);
        assert!(matches!(login(&books[1], ANA, &loser).await, Err(Refusal::InvalidCredentials)));
    }
    house.assert_whole().await;
}

/// C045. Breaks when `core/src/service/limits.rs`: `Rule { max: 20, window: Duration::from_mins(5)` → `Rule { max: 21, window: Duration::from_mins(5)`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_may_present_twenty_bad_tokens_in_five_minutes() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let genuine = reset_link(&house, &books[0]).await;
    let outcomes = at_once(60, |n| {
        let (book, guess) = (books[n % 2].clone(), near_miss(&genuine, n));
        async move { confirm(&book, &guess, OTHER_PASSWORD).await }
    })
    .await;
    let looked_at = outcomes.iter().filter(|outcome| matches!(outcome, Err(Refusal::InvalidToken))).count();
    assert_eq!(looked_at, 20, "{outcomes:?}");
    let limited = outcomes.iter().filter(|outcome| matches!(outcome, Err(Refusal::Limited { .. }))).count();
    assert_eq!(limited, 40, "{outcomes:?}");
    assert!(matches!(confirm(&books[0], &genuine, OTHER_PASSWORD).await, Err(Refusal::Limited { .. })));
    let elsewhere = from("198.51.100.9");
    books[0].confirm_reset(&genuine, &password(OTHER_PASSWORD), None, &elsewhere).await.unwrap();
}

/// The token with one of its last characters changed: right id, wrong MAC.
fn near_miss(token: &str, n: usize) -> String {
    let at = token.len() - 2 - n % 30;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

/// C045. Breaks when `core/src/service/verify.rs`: `_ => Err(self.bad_token(&context.origin, Refusal::InvalidToken).await),` → `_ => Err(Refusal::InvalidToken),`.
#[tokio::test]
async fn every_kind_of_bad_token_gets_one_answer_and_counts_once() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let verify = house.link(&book, "verify").await;
    let genuine = reset_link(&house, &book).await;
    let other_id = format!("dbp_{}{}", "A".repeat(20), &genuine[24..]);
    let bad = [
        near_miss(&genuine, 0),
        near_miss(&genuine, 29),
        other_id,
        genuine.to_lowercase(),
        format!("{genuine}A"),
        genuine[..genuine.len() - 1].to_owned(),
        format!("dbp_{}", &verify[4..]),
        verify,
        String::new(),
    ];
    let counted = "select jsonb_array_length(state -> 'hits')::bigint from counters where kind = 'bad_token'";
    for (n, token) in bad.iter().enumerate() {
        assert!(matches!(confirm(&book, token, OTHER_PASSWORD).await, Err(Refusal::InvalidToken)), "{n}");
        assert_eq!(house.number(counted).await, i64::try_from(n).unwrap() + 1, "{n}");
    }
    confirm(&book, &genuine, OTHER_PASSWORD).await.unwrap();
    assert!(matches!(confirm(&book, &genuine, OTHER_PASSWORD).await, Err(Refusal::InvalidToken)));
    let in_all = i64::try_from(bad.len()).unwrap();
    assert_eq!(house.number(counted).await, in_all, "a link that was genuine once is no guess");
}

/// C046. Breaks when `core/src/service/verify.rs`: `let Ok(counter) = row.counter.clone().count(self.policy.reset, at) else {` → `let Ok(counter) = row.counter.clone().count(per_network(self.policy.reset), at) else {`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_networks_cannot_bomb_a_mailbox() {
    let (networks, requests) = dose((50, 100), (500, 1_000));
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let mails = "select count(*) from deliveries where template in ('reset', 'verify')";
    let before = house.number(mails).await;
    for start in (0..requests).step_by(50) {
        let outcomes = at_once(100, |n| {
            let (book, network) = (books[n % 2].clone(), (start + n / 2) % networks);
            let context = from(&format!("198.{}.{}.1", 18 + network / 256, network % 256));
            async move {
                // Tags of one mailbox share its limit, or there would be none.
                let victim = email(if n % 8 < 2 { "Ana+shop@example.com" } else { ANA });
                if n % 2 == 0 {
                    book.request_reset(&victim, None, &context).await
                } else {
                    book.resend_verification(&victim, None, &context).await
                }
            }
        })
        .await;
        let odd: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
        assert!(odd.is_empty(), "every answer is the same: {odd:?}");
    }
    let after = house.number(mails).await;
    assert!(after - before <= 6, "{} mails", after - before);
    assert!(house.number("select count(*) from deliveries where template = 'reset'").await <= 3);

    // An hour later its owner is heard.
    house.alter("delete from counters where kind = 'reset'").await;
    book_hears(&house, &books[0]).await;
}

async fn book_hears(house: &House, book: &Doorbook) {
    let before = house.number("select count(*) from events where type = 'PasswordResetRequested'").await;
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    assert_eq!(house.number("select count(*) from events where type = 'PasswordResetRequested'").await, before + 1);
}

/// C047. Breaks when `core/src/store/query/tokens.rs`: `self.state == "open" && self.expires_at > self.now` → `self.state == "open"`.
#[tokio::test]
async fn a_reset_link_lives_an_hour_by_the_clock_of_the_database() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let link = reset_link(&house, &book).await;
    let life = "select extract(epoch from expires_at - created_at)::bigint from tokens where kind = 'reset'";
    assert_eq!(house.number(life).await, 3_600);
    let shift = |seconds: i64| {
        format!("update tokens set expires_at = clock_timestamp() + interval '{seconds} seconds' where kind = 'reset'")
    };
    house.alter(shift(0)).await;
    assert!(matches!(confirm(&book, &link, OTHER_PASSWORD).await, Err(Refusal::InvalidToken)));
    login(&book, ANA, PASSWORD).await.unwrap();
    house.alter(shift(5)).await;
    confirm(&book, &link, OTHER_PASSWORD).await.unwrap();
}

/// C047. Breaks when `core/src/store/project/tokens.rs`: `if !matches!(token.kind, TokenKind::Undo | TokenKind::NotMe) {` → `if matches!(token.kind, TokenKind::Undo | TokenKind::NotMe) {`.
#[tokio::test]
async fn a_newer_reset_link_makes_the_older_worthless() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let older = reset_link(&house, &book).await;
    let newer = reset_link(&house, &book).await;
    assert!(matches!(confirm(&book, &older, OTHER_PASSWORD).await, Err(Refusal::InvalidToken)));
    confirm(&book, &newer, OTHER_PASSWORD).await.unwrap();
}

/// C047. Breaks when `core/src/service/password.rs`: `batch.write.void_tokens(owner.id, &[TokenKind::Reset, TokenKind::Change], now);` → ``.
#[tokio::test]
async fn a_changed_password_makes_open_reset_links_worthless() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let link = reset_link(&house, &book).await;
    let tokens = login(&book, ANA, PASSWORD).await.unwrap();
    let caller = book.authenticate(&tokens.access).await.unwrap();
    let context = anywhere().acting(caller.account);
    book.change_password(caller, &password(PASSWORD), &password(OTHER_PASSWORD), None, &context).await.unwrap();
    assert!(matches!(confirm(&book, &link, "granite meadow 55").await, Err(Refusal::InvalidToken)));
    login(&book, ANA, OTHER_PASSWORD).await.unwrap();
}

/// C047. Breaks when `core/src/service/password.rs`: `self.forget_failures(&mut batch, &owner).await?;` → ``.
#[tokio::test]
async fn a_reset_works_while_blocked_unblocks_and_logs_nobody_in() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let session = login(&book, ANA, PASSWORD).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(login(&book, ANA, OTHER_PASSWORD).await, Err(Refusal::InvalidCredentials)));
    }
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::Blocked { .. })));
    let link = reset_link(&house, &book).await;
    book.authenticate(&session.access).await.expect("asking changes nothing");
    confirm(&book, &link, OTHER_PASSWORD).await.unwrap();
    assert_eq!(house.number("select count(*) from sessions where revoked_at is null").await, 0);
    assert!(matches!(book.authenticate(&session.access).await, Err(Refusal::Unauthenticated)));
    assert_eq!(house.mail(&book, "password_reset_done").await.to, ANA);
    login(&book, ANA, OTHER_PASSWORD).await.unwrap();
    assert!(matches!(login(&book, ANA, PASSWORD).await, Err(Refusal::InvalidCredentials)));
    house.assert_whole().await;
}

/// Who has forgotten a password mostly does so on a device that is known.
/// C047. Breaks when `core/src/service/login.rs`: `device.0.as_bytes(), &epoch.to_be_bytes()])` → `device.0.as_bytes(), &[u8::from(epoch < 0)]])`.
#[tokio::test]
async fn a_reset_unblocks_known_devices_too() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let device = login(&book, ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned();
    for _ in 0..5 {
        let wrong = login_from(&book, ANA, OTHER_PASSWORD, Some(device.clone()), &anywhere()).await;
        assert!(matches!(wrong, Err(Refusal::InvalidCredentials)));
    }
    let blocked = login_from(&book, ANA, PASSWORD, Some(device.clone()), &anywhere()).await;
    assert!(matches!(blocked, Err(Refusal::Blocked { .. })));
    let link = reset_link(&house, &book).await;
    confirm(&book, &link, OTHER_PASSWORD).await.unwrap();
    login_from(&book, ANA, OTHER_PASSWORD, Some(device), &anywhere()).await.expect("the device is heard again");
}
