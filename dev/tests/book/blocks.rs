//! A block keeps guessers out and never the owner: his device, the mailed link and an operator get past it.

use std::sync::Arc;

use doorbook_core::failpoint::Gate;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::{Context, Doorbook, Refusal};

use crate::common::*;

const ANA: &str = "ana@example.com";

/// C015. Breaks when `core/src/service/login.rs`: `            Err(failure) => return Err(self.settle_failure(&guess, owner_id, failure, context).await),` → `            Err(LoginFailure::UnknownAccount) => return Err(Refusal::InvalidCredentials), Err(failure) => return Err(self.settle_failure(&guess, owner_id, failure, context).await),`.
#[tokio::test]
async fn a_block_tells_neither_whether_the_account_exists_nor_whether_the_password_is_right() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    for address in [ANA, "nobody@example.com"] {
        fails(&book, address, 5).await;
        let verified = book.hasher.verifications();
        let mut waits = Vec::new();
        for text in [PASSWORD, OTHER_PASSWORD, PASSWORD, OTHER_PASSWORD] {
            let answer = login(&book, address, text).await;
            assert_eq!(word(&answer), "blocked");
            waits.push(retry_after(&answer).as_secs());
        }
        assert!(waits.iter().all(|wait| (897..=900).contains(wait)), "{address}: {waits:?}");
        assert_eq!(book.hasher.verifications(), verified, "{address}: nothing is verified in a block");
    }
    assert_eq!(house.events("LoginBlocked").await, 2);
    let kinds =
        house.number("select count(distinct kind) from counters where state->>'blocked_until' is not null").await;
    assert_eq!(kinds, 1, "both blocks are of one kind");
}

/// C016. Breaks when `core/src/service/login.rs`: `        let bucket = login_bucket(&login.email, known_device, epoch);` → `        let bucket = login_bucket(&login.email, None, epoch);`.
#[tokio::test(flavor = "multi_thread")]
async fn an_attack_from_fifty_addresses_never_keeps_the_owner_on_a_known_device_out() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let device = login(&book, ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned();
    let before = book.hasher.verifications();
    let logins = dose(10, 60);
    for round in 0..logins {
        let attack = (0..5).map(|n| {
            let (book, origin) = (Arc::clone(&book), from(&format!("198.51.100.{}", (round * 5 + n) % 50)));
            async move { word(&login_from(&book, ANA, OTHER_PASSWORD, None, &origin).await) }
        });
        let home = anywhere();
        let (attacked, owner) =
            tokio::join!(together(attack), login_from(&book, ANA, PASSWORD, Some(device.clone()), &home));
        assert_eq!(word(&owner), "ok", "round {round}");
        assert!(!attacked.contains(&"ok"));
    }
    let guessed = book.hasher.verifications() - before - u64::try_from(logins).unwrap();
    assert!(guessed <= 5, "{guessed} guesses of the attacker were verified");
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "a device nobody knows");
}

/// C016. Breaks when `core/src/service/password.rs`: `            self.forget_failures(&mut batch, &owner).await?;` → `            let _ = &owner;`.
#[tokio::test]
async fn the_mailed_link_works_during_a_block_and_ends_it() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    fails(&book, ANA, 5).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked");
    reset(&house, &book, OTHER_PASSWORD).await;
    assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "ok");
}

async fn reset(house: &House, book: &Doorbook, text: &str) {
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    book.confirm_reset(&house.reset_link().await, &password(text), None, &anywhere()).await.unwrap();
}

/// C016. Breaks when `core/src/service/login.rs`: `device.0.as_bytes(), &epoch.to_be_bytes()])` → `device.0.as_bytes(), &[u8::from(epoch < 0)]])`.
#[tokio::test]
async fn a_reset_also_ends_the_block_of_the_owners_own_device() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let device = login(&book, ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned();
    let on_device = async |text| login_from(&book, ANA, text, Some(device.clone()), &anywhere()).await;
    for _ in 0..5 {
        assert_eq!(word(&on_device(OTHER_PASSWORD).await), "wrong");
    }
    assert_eq!(word(&on_device(PASSWORD).await), "blocked");
    reset(&house, &book, "copper meadow 91").await;
    assert_eq!(word(&on_device("copper meadow 91").await), "ok");
}

/// C010. Breaks when `core/src/limit/mod.rs`: `            locked = counter.run(target) >= CONSECUTIVE_FAILURES_MAX;` → `            let _ = target;`.
#[tokio::test]
async fn the_hundredth_failure_in_a_row_locks_the_account_until_its_owner_resets_the_password() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let device = login(&book, ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned();
    for _ in 0..19 {
        fails(&book, ANA, 5).await;
        house.age_limits(1_200).await;
    }
    fails(&book, ANA, 4).await;
    assert_eq!(house.events("AccountLocked").await, 0, "99 failures");
    fails(&book, ANA, 1).await;
    assert_eq!(house.events("AccountLocked").await, 1);
    house.age_limits(86_400).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "time does not help");
    assert_eq!(word(&login_from(&book, ANA, PASSWORD, Some(device), &anywhere()).await), "wrong");
    reset(&house, &book, OTHER_PASSWORD).await;
    assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "ok");
    assert_eq!(house.events("AccountUnlocked").await, 1);
}

/// C010. Breaks when `core/src/service/login.rs`: `            if guess.lockable {` → `            if false {`.
#[tokio::test]
async fn a_hundred_failures_at_an_address_of_nobody_do_not_keep_out_whoever_registers_it() {
    let house = house().await;
    let book = house.book_with(policy_with(|policy| policy.login.max = 200), &secrets()).await;
    fails(&book, ANA, 100).await;
    house.age_limits(86_400).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "of nobody as of anybody");
    register(&book, ANA).await.unwrap();
    // They still count: the next one locks, and the owner is told.
    fails(&book, ANA, 1).await;
    assert_eq!(house.events("AccountLocked").await, 1);
    reset(&house, &book, OTHER_PASSWORD).await;
    assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "ok");

    let other = "other@example.com";
    fails(&book, other, 100).await;
    house.age_limits(86_400).await;
    register(&book, other).await.unwrap();
    assert_eq!(word(&login(&book, other, PASSWORD).await), "ok");
}

/// C010. Breaks when `core/src/service/login.rs`: `                || owner.account.locked_at.is_some()` → ``.
#[tokio::test]
async fn a_right_password_that_was_verified_before_the_lock_does_not_get_in_behind_it() {
    let house = house().await;
    let book = house.book_with(policy_with(|policy| policy.login.max = 200), &secrets()).await;
    register(&book, ANA).await.unwrap();
    let device = login(&book, ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned();
    // On a device of the owner's, which the lock of the address does not hold up before.
    let (gate, mut hold) = Gate::new(&["login.verified"]);
    let (slow_book, origin) = (Arc::clone(&book), anywhere());
    let slow = gate.around(async move { login_from(&slow_book, ANA, PASSWORD, Some(device), &origin).await });
    let slow = tokio::spawn(slow);
    assert!(hold.arrived().await.is_some());
    fails(&book, ANA, 100).await;
    assert_eq!(house.events("AccountLocked").await, 1);
    hold.pass();
    assert_eq!(word(&slow.await.unwrap()), "wrong");
    assert_eq!(house.number("select count(*) from sessions where revoked_at is null").await, 1);
}

/// C016. Breaks when `core/src/service/admin/order.rs`: `                    batch.write.clear_counter(&keys, &bucket);` → `                    let _ = (&keys, &bucket);`.
#[tokio::test]
async fn an_operator_unlocks_as_a_reset_does() {
    let house = house().await;
    let book = house.book_with(policy_with(|policy| policy.login.max = 100), &secrets()).await;
    register(&book, ANA).await.unwrap();
    fails(&book, ANA, 100).await;
    house.age_limits(86_400).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked");
    let account = book.find_account(&email(ANA)).await.unwrap().unwrap();
    let operator = Context::operator(uuid::Uuid::nil());
    assert!(
        book.command_account(account, &Order::new(Intervention::Unlock, "asked by phone"), &operator).await.unwrap()
    );
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok");
}

/// Breaks when `core/src/service/login.rs`: `        if matches!(refusal, Refusal::Unavailable(_)) {` → `        if false {`.
#[tokio::test]
async fn a_right_password_that_the_database_was_away_for_is_no_failure() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let login_of = |word| {
        let (gate, hold) = Gate::new(&["login.verified"]);
        let book = Arc::clone(&book);
        (tokio::spawn(gate.around(async move { login(&book, ANA, word).await.map(drop) })), hold)
    };
    let mut waiting = Vec::new();
    for text in [PASSWORD, PASSWORD, OTHER_PASSWORD] {
        let (task, mut hold) = login_of(text);
        assert!(hold.arrived().await.is_some());
        waiting.push((task, hold));
    }
    // The disk is full for a while; a counter still finds its room.
    let full = "create function full_disk() returns trigger language plpgsql as $$
                    begin raise exception using errcode = 'disk_full'; end $$;
                create trigger full_disk before insert on events for each statement execute function full_disk()";
    sqlx::raw_sql(full).execute(&house.owner).await.unwrap();
    for (task, hold) in waiting {
        hold.pass();
        assert!(matches!(task.await.unwrap(), Err(Refusal::Unavailable(_))));
    }
    sqlx::raw_sql("drop trigger full_disk on events").execute(&house.owner).await.unwrap();
    let held = "select coalesce(sum(jsonb_array_length(state->'held')), 0)::bigint from counters";
    let begun = std::time::Instant::now();
    while house.number(held).await > 1 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "both are given back");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // The wrong one is none of them: it counts once its reservation has run out.
    house.age_limits(31).await;
    for _ in 0..4 {
        assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "wrong");
    }
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked");
}
