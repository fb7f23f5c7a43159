//! The main flows, one sentence each.

use doorbook_core::service::Refusal;

use crate::common::*;

#[tokio::test]
async fn who_registers_can_log_in_refresh_and_log_out() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    let tokens = login(&book, "Ana@Example.com", PASSWORD).await.unwrap();
    let caller = book.authenticate(&tokens.access).await.unwrap();
    assert_eq!(book.profile(caller.account).await.unwrap().email, "ana@example.com");

    let next = book.refresh(tokens.refresh.expose(), &anywhere()).await.unwrap();
    assert_ne!(next.refresh.expose(), tokens.refresh.expose());
    let again = book.refresh(tokens.refresh.expose(), &anywhere()).await.unwrap();
    assert_eq!(next.refresh.expose(), again.refresh.expose(), "a repeated refresh gets the same successor");

    book.logout(next.refresh.expose(), &anywhere()).await.unwrap();
    book.logout(next.refresh.expose(), &anywhere()).await.unwrap();
    assert!(matches!(book.authenticate(&next.access).await, Err(Refusal::Unauthenticated)));
    assert!(matches!(book.refresh(next.refresh.expose(), &anywhere()).await, Err(Refusal::Unauthenticated)));
    assert_eq!(house.number("select count(*) from events where type = 'LoggedOut'").await, 1);
}

#[tokio::test]
async fn the_fifth_wrong_password_blocks_and_the_right_one_is_refused_meanwhile() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await.unwrap();
    for _ in 0..5 {
        assert!(matches!(login(&book, "ana@example.com", OTHER_PASSWORD).await, Err(Refusal::InvalidCredentials)));
    }
    assert!(matches!(login(&book, "ana@example.com", PASSWORD).await, Err(Refusal::Blocked { .. })));
    assert_eq!(house.number("select count(*) from events where type = 'LoginFailed'").await, 5);
    assert_eq!(house.number("select count(*) from events where type = 'LoginBlocked'").await, 1);
}

#[tokio::test]
async fn everything_written_is_sealed_in_dense_positions() {
    let house = house().await;
    let book = house.book().await;
    for n in 0..5 {
        register(&book, &format!("ana{n}@example.com")).await.unwrap();
    }
    house.seal().await;
    let events = house.number("select count(*) from events").await;
    assert!(events >= 15);
    assert_eq!(house.number("select count(*) from event_seals").await, events);
    assert_eq!(house.number("select max(position) from event_seals").await, events);
}
