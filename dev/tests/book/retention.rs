//! What is forgotten by itself when its time is over: accounts that nobody ever used, and strangers.

use std::sync::Arc;

use doorbook_core::failpoint::Gate;

use crate::common::*;
use crate::erasure::{system, worker};

/// C073. Breaks when `core/src/service/erasure.rs`: `accounts::unverified(&self.db, self.policy.unverified_lifetime, BATCH)` → `accounts::unverified(&self.db, Duration::ZERO, BATCH)`.
#[tokio::test]
async fn unverified_accounts_that_nobody_ever_used_are_erased_in_time_and_no_others() {
    let house = house().await;
    let book = house.book().await;
    for n in 0..5 {
        register(&book, &format!("user{n}@example.com")).await.unwrap();
        if n == 3 {
            let verify = house.link(&book, "verify").await;
            book.verify_email(&verify, None, &anywhere()).await.unwrap();
        }
    }
    login(&book, "user4@example.com", PASSWORD).await.unwrap();
    let worker = worker(&house).await;
    assert_eq!(worker.erase_unverified(&system()).await.unwrap(), 0);
    let life = std::time::Duration::from_millis(1);
    let impatient = house.book_with(policy_with(|policy| policy.unverified_lifetime = life), &secrets()).await;
    assert_eq!(impatient.erase_unverified(&system()).await.unwrap(), 3);
    assert_eq!(impatient.erase_unverified(&system()).await.unwrap(), 0);
    let why = "select count(*) from events where type = 'AccountErased' and payload->>'cause' = 'unverified' and actor_kind = 'system'";
    assert_eq!(house.number(why).await, 3);
    login(&book, "user3@example.com", PASSWORD).await.unwrap();
    register(&book, "user0@example.com").await.unwrap();
    login(&book, "user0@example.com", PASSWORD).await.unwrap();
    house.assert_whole().await;
}

/// C073. Breaks when `migrations/0013_erasure.sql`: `where stranger_day < (clock_timestamp() at time zone 'UTC')::date - days;` → `where stranger_day <= (clock_timestamp() at time zone 'UTC')::date;`.
#[tokio::test]
async fn the_keys_of_strangers_days_go_when_their_time_is_over() {
    let house = house().await;
    let (book, worker) = (house.book().await, worker(&house).await);
    assert_eq!(word(&login(&book, "nobody@example.com", PASSWORD).await), "wrong");
    let days = "select count(*) from keys.data_keys where stranger_day is not null";
    assert_eq!(house.number(days).await, 1);
    for age in [30, 31, 400] {
        house
            .alter(format!(
                "insert into keys.data_keys (key_id, stranger_day, wrapped, wrapped_by)
                 values (gen_random_uuid(), (now() at time zone 'UTC')::date - {age}, '', '')"
            ))
            .await;
    }
    assert_eq!(worker.shred_strangers().await.unwrap(), 2);
    assert_eq!((worker.shred_strangers().await.unwrap(), house.number(days).await), (0, 2));
}

/// C073. Breaks when `core/src/store/keys/erasure.rs`: `least((clock_timestamp() at time zone 'UTC')::date - $1::text::date - 1, 3650)` → `least((clock_timestamp() at time zone 'UTC')::date - $1::text::date - 1, 30)`.
#[tokio::test]
async fn a_strangers_day_that_ends_while_others_are_forgotten_keeps_its_key_until_it_has_been_forgotten_too() {
    let house = house().await;
    let worker = worker(&house).await;
    let age = |days: i32| {
        format!(
            "insert into keys.data_keys (key_id, stranger_day, wrapped, wrapped_by)
             values (gen_random_uuid(), (now() at time zone 'UTC')::date - {days}, '', '')"
        )
    };
    house.alter(age(40)).await;
    let (gate, mut hold) = Gate::new(&["erasure.forgotten"]);
    let purge = Arc::clone(&worker);
    let purge = tokio::spawn(gate.around(async move { purge.shred_strangers().await }));
    assert!(hold.arrived().await.is_some());
    house.alter(age(31)).await;
    hold.pass();
    assert_eq!(purge.await.unwrap().unwrap(), 1);
    assert_eq!(worker.shred_strangers().await.unwrap(), 1);
}

/// C073. Breaks when `core/src/service/erasure.rs`: `while let Some(last) = search::forget_strangers(&self.db, key, after).await? {` → `while let Some(last) = None::<uuid::Uuid> {`.
#[tokio::test]
async fn strangers_are_not_found_by_their_addresses_any_more_when_their_day_is_over() {
    let house = house().await;
    let (book, worker) = (house.book().await, worker(&house).await);
    assert_eq!(word(&login(&book, "nobody@example.com", PASSWORD).await), "wrong");
    register(&book, "ana@example.com").await.unwrap();
    house.seal().await;
    while worker.follow_search().await.unwrap() > 0 {}
    let of_strangers = "select count(*) from event_search s join event_seals p using (position) join events e using (event_id)
         where s.field in (6, 7, 8, 9) and e.pii_key_id in (select key_id from keys.data_keys where stranger_day is not null)";
    let all = "select count(*) from event_search where field in (6, 7, 8, 9)";
    let (strangers, before) = (house.number(of_strangers).await, house.number(all).await);
    assert!(strangers >= 2, "{strangers}: address and network");
    let forty_days_ago = "alter table events disable trigger events_insert_only;
         alter table event_seals disable trigger event_seals_insert_only;
         update event_seals set event_id = uuid7_floor(now() - interval '40 days')
             where event_id = (select event_id from events where type = 'LoginFailed');
         update events set event_id = uuid7_floor(now() - interval '40 days') where type = 'LoginFailed';
         update keys.data_keys set stranger_day = ((now() - interval '40 days') at time zone 'UTC')::date where stranger_day is not null";
    house.alter(forty_days_ago).await;
    assert_eq!(worker.shred_strangers().await.unwrap(), 1);
    assert_eq!(house.number(all).await, before - strangers, "theirs and no others");
}
