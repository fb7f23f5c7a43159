//! Guesses at several accounts: neighbours that share a bucket, and many from one network.

use doorbook_core::limit::Rule;
use doorbook_core::service::Refusal;

use crate::common::*;

const ANA: &str = "ana@example.com";

/// C012. Breaks when `core/src/limit/mod.rs`: `if self.blocked_by.iter().all(|whose| *whose == target) {` → `{`.
/// Breaks when `core/src/service/password.rs`: `counter.clone().forget(row.target(&login_target(&email)))` → `counter.clone().forget(Default::default())`.
#[tokio::test]
async fn a_reset_forgets_what_was_counted_against_its_own_account_alone() {
    let house = house().await;
    let resets = policy_with(|policy| policy.reset = Rule { max: 9, ..policy.reset });
    let book = house.book_with(resets, &secrets()).await;
    let neighbour = "ana+thief@example.com";
    for address in [ANA, neighbour] {
        register(&book, address).await.unwrap();
    }
    let reset = async |address: &str| {
        book.request_reset(&email(address), None, &anywhere()).await.unwrap();
        book.confirm_reset(&house.reset_link().await, &password(PASSWORD), None, &anywhere()).await.unwrap();
    };
    fails(&book, ANA, 4).await;
    reset(neighbour).await;
    fails(&book, ANA, 1).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "the four still count");
    reset(neighbour).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "nor is the block lifted");
    reset(ANA).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok", "its own reset lifts it");
    fails(&book, ANA, 3).await;
    fails(&book, neighbour, 2).await;
    reset(neighbour).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "by guesses at both");
}

/// C018. Breaks when `core/src/service/login.rs`: `self.note_exceeded(&network, self.policy.login, &context.origin).await;` → `let _ = &network;`.
/// Breaks when `core/src/service/limits.rs`: `self.note_exceeded(&bucket, BAD_TOKENS, origin).await;` → `let _ = origin;`.
#[tokio::test]
async fn limits_of_a_network_are_noted_once_a_window_too() {
    let house = house().await;
    let book = house.book_with(policy_with(|policy| policy.login_address_max = 3), &secrets()).await;
    for n in 0..6 {
        if n == 3 {
            house.age_limits(200).await;
        }
        let refused = login(&book, &format!("ben{n}@example.com"), PASSWORD).await;
        assert_eq!(matches!(refused, Err(Refusal::Limited { .. })), n >= 3, "{n}: {}", word(&refused));
        if n >= 3 {
            assert!((95..=100).contains(&retry_after(&refused).as_secs()), "of five minutes 200 s are over");
        }
    }
    assert_eq!(house.events("LimitExceeded").await, 1);
    for _ in 0..23 {
        book.verify_email("dbv_nonsense", None, &anywhere()).await.unwrap_err();
    }
    assert_eq!(house.events("LimitExceeded").await, 2);
}
