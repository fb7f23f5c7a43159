//! Refresh tokens: each is spent once, a lost answer is given again, a copied one ends the family.

use std::collections::HashSet;
use std::sync::Arc;

use crate::common::*;

const ANA: &str = "ana@example.com";
/// Longer than the grace of ten seconds.
const AFTER_GRACE: i64 = 11;

/// C025. Breaks when `core/src/session/refresh.rs`: `    } else if presented == family.generation {` → `    } else if presented <= family.generation {`.
#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_the_old_token_is_worthless_after_the_grace() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    for _ in 0..dose(10, 100) {
        let first = login(&book, ANA, PASSWORD).await.unwrap();
        let second = book.refresh(first.refresh.expose(), &anywhere()).await.unwrap();
        assert_ne!(second.access, first.access);
        assert_ne!(second.refresh.expose(), first.refresh.expose());
        assert_eq!(second.session, first.session);
        assert!(book.authenticate(&second.access).await.is_ok());
        house.age_sessions(AFTER_GRACE).await;
        assert_eq!(word(&book.refresh(first.refresh.expose(), &anywhere()).await), "unauthenticated");
    }
}

/// C025. Breaks when `core/src/session/refresh.rs`: `now.since(family.rotated_at) <= grace {` → `now.since(family.rotated_at) > grace {`.
#[tokio::test]
async fn a_chain_of_refreshes_never_repeats_a_token() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let mut newest = login(&book, ANA, PASSWORD).await.unwrap();
    let mut seen = HashSet::from([newest.refresh.expose().to_owned()]);
    for _ in 0..100 {
        let next = book.refresh(newest.refresh.expose(), &anywhere()).await.unwrap();
        let again = book.refresh(newest.refresh.expose(), &anywhere()).await.unwrap();
        assert_eq!(next.refresh.expose(), again.refresh.expose(), "a lost answer is given again");
        assert!(seen.insert(next.refresh.expose().to_owned()));
        house.age_sessions(AFTER_GRACE).await;
        newest = next;
    }
    assert_eq!(house.number("select max(generation) from sessions").await, 101);
}

/// C026. Breaks when `core/src/service/refresh.rs`: `            Presentation::Repeated => self.answer(&row, row.generation(), &row.key_id),` → `            Presentation::Repeated => Err(Refusal::Unauthenticated),`.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_at_once_in_two_processes_get_one_successor() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let mut tokens = login(&books[0], ANA, PASSWORD).await.unwrap().refresh.expose().to_owned();
    for round in 0..dose(20, 200) {
        let answers = together((0..50).map(|n| {
            let (book, token) = (Arc::clone(&books[n % 2]), tokens.clone());
            async move { book.refresh(&token, &anywhere()).await.map(|next| next.refresh.expose().to_owned()) }
        }))
        .await;
        let successors: HashSet<String> = answers.into_iter().map(|answer| answer.unwrap()).collect();
        assert_eq!(successors.len(), 1, "round {round}");
        tokens = successors.into_iter().next().unwrap();
        house.age_sessions(AFTER_GRACE).await;
    }
    assert_eq!(word(&books[1].refresh(&tokens, &anywhere()).await), "ok", "the family is alive");
    assert_eq!(house.events("RefreshTokenReused").await, 0);
}

/// C035. Breaks when `core/src/service/refresh.rs`: `        batch.write.end_session(row.session_id, RevokeReason::TokenReuse.as_str(), batch.now);` → `        let _ = RevokeReason::TokenReuse.as_str();`.
#[tokio::test]
async fn a_spent_token_that_comes_back_ends_its_family_and_tells_the_owner_once() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    for round in 1..=dose(10_i64, 100) {
        // An owner is told once a day.
        let address = format!("ana{round}@example.com");
        register(&books[0], &address).await.unwrap();
        let other = login(&books[0], &address, PASSWORD).await.unwrap();
        let first = login(&books[0], &address, PASSWORD).await.unwrap();
        let second = books[0].refresh(first.refresh.expose(), &anywhere()).await.unwrap();
        house.age_sessions(AFTER_GRACE).await;
        let newest = books[1].refresh(second.refresh.expose(), &anywhere()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(word(&books[1].refresh(first.refresh.expose(), &anywhere()).await), "unauthenticated");
        }
        for book in &books {
            assert_eq!(alive(book, &newest).await, (false, false), "the newest leaf too");
            assert_eq!(word(&book.authenticate(&first.access).await), "unauthenticated");
        }
        assert_eq!(alive(&books[0], &other).await, (true, true), "another session of the owner's stays");
        assert_eq!(house.events("RefreshTokenReused").await, round);
        assert_eq!(house.number("select count(*) from deliveries where template = 'token_reused'").await, round);
        let jobs =
            "select count(*) from jobs j join deliveries d on d.delivery_id = j.ref where d.template = 'token_reused'";
        assert_eq!(house.number(jobs).await, round);
    }
}

/// C035. Breaks when `core/src/session/refresh.rs`: `    if family.revoked || now >= family.absolute_end` → `    if now >= family.absolute_end`.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_token_presented_many_times_at_once_is_told_of_once() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    for round in 1..=dose(10_i64, 100) {
        let address = format!("ana{round}@example.com");
        register(&books[0], &address).await.unwrap();
        let first = login(&books[0], &address, PASSWORD).await.unwrap();
        books[0].refresh(first.refresh.expose(), &anywhere()).await.unwrap();
        house.age_sessions(AFTER_GRACE).await;
        let answers = together((0..10).map(|n| {
            let (book, token) = (Arc::clone(&books[n % 2]), first.refresh.expose().to_owned());
            async move { word(&book.refresh(&token, &anywhere()).await) }
        }))
        .await;
        assert_eq!(answers, ["unauthenticated"; 10]);
        assert_eq!(house.events("RefreshTokenReused").await, round);
        assert_eq!(house.number("select count(*) from deliveries where template = 'token_reused'").await, round);
    }
}
