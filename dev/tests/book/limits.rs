//! Limits hold to the attempt and to the second, however many ask at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbook_core::failpoint::Gate;
use doorbook_core::limit::Rule;
use doorbook_core::password::{Engine, HashCost, Hasher};
use doorbook_core::service::access::Caller;
use doorbook_core::service::profile::ProfileChange;
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::store::jobs;
use doorbook_core::value::PersonName;

use crate::common::*;
use crate::erasure::worker;

const MINUTE: Duration = Duration::from_secs(60);
const ANA: &str = "ana@example.com";

/// Five failures a minute block for two.
fn short() -> doorbook_core::service::Policy {
    policy_with(|policy| policy.login = Rule { max: 5, window: MINUTE, block: 2 * MINUTE })
}

/// C010. Breaks when `core/src/limit/mod.rs`: `        if in_window < max {` → `        if in_window <= max {`.
#[tokio::test]
async fn the_sixth_attempt_is_blocked_and_the_block_ends_when_it_says() {
    let house = house().await;
    let book = house.book_with(short(), &secrets()).await;
    register(&book, ANA).await.unwrap();
    fails(&book, ANA, 5).await;
    let blocked = login(&book, ANA, PASSWORD).await;
    assert_eq!(word(&blocked), "blocked");
    let told = retry_after(&blocked).as_secs();
    assert!((118..=120).contains(&told), "told to wait {told} s of 120");
    house.age_limits(115).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "five seconds before the end");
    house.age_limits(5).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok", "at the end");
}

/// C010. Breaks when `core/src/limit/mod.rs`: `            counter.hits.retain(|(_, whose)| *whose != target);` → `            let _ = &counter.hits;`.
#[tokio::test]
async fn a_success_forgets_the_failures_before_it_and_the_window_the_older_ones() {
    let house = house().await;
    let book = house.book_with(short(), &secrets()).await;
    register(&book, ANA).await.unwrap();
    for _ in 0..3 {
        fails(&book, ANA, 4).await;
        assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok");
    }
    fails(&book, ANA, 4).await;
    house.age_limits(60).await;
    fails(&book, ANA, 4).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok");
    assert_eq!(house.events("LoginBlocked").await, 0);
}

/// C011. Breaks when `core/src/limit/mod.rs`: `        if counter.hits.len() + counter.held.len() >= usize` → `        if counter.hits.len() >= usize`.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses_at_once_in_two_processes_verify_five_passwords() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    let before: u64 = books.iter().map(|book| book.hasher.verifications()).sum();
    let answers = together((0..200).map(|n| {
        let book = Arc::clone(&books[n % 2]);
        async move { word(&login(&book, ANA, OTHER_PASSWORD).await) }
    }))
    .await;
    let after: u64 = books.iter().map(|book| book.hasher.verifications()).sum();
    assert!(after - before <= 5, "{} passwords were verified", after - before);
    for answer in answers {
        assert!(matches!(answer, "wrong" | "blocked" | "busy" | "conflict"), "{answer}");
    }
    assert_eq!(house.events("LoginFailed").await, i64::try_from(after - before).unwrap());
    assert_eq!(house.events("LoginBlocked").await, 1);
}

/// C107. Breaks when `core/src/service/login.rs`: `        self.hasher.room().await?;` → `        let _ = self.hasher.room().await;`.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_and_a_registration_for_which_there_is_no_room_ask_the_database_for_nothing() {
    let house = house().await;
    // A hash takes a quarter of a second or more, so that a place for it does not become free meanwhile.
    let dear = HashCost { memory_kib: 128 * 1_024, time_cost: 4, parallelism: 1 };
    let hasher = Hasher::start(dear, Engine::Argon2, NonZeroUsize::MIN).unwrap();
    let book = house.book_hashing(hasher, policy(), &secrets()).await;
    let flood: Vec<_> = (0..20)
        .map(|_| {
            let hasher = book.hasher.clone();
            tokio::spawn(async move { hasher.verify(None, &password(OTHER_PASSWORD)).await })
        })
        .collect();
    while book.hasher.rejected() == 0 {
        tokio::task::yield_now().await;
    }
    // Whoever asked for anything would wait for this until he is told that the database is away.
    let mut locked = house.owner.begin().await.unwrap();
    let tables = "lock table key_guards, account_emails, accounts, counters, counter_members in access exclusive mode";
    sqlx::query(tables).execute(&mut *locked).await.unwrap();
    for answer in [login(&book, ANA, PASSWORD).await.err(), register(&book, ANA).await.err()] {
        assert!(matches!(answer, Some(Refusal::Overloaded { .. })), "{answer:?}");
    }
    locked.rollback().await.unwrap();
    for guess in flood {
        guess.abort();
    }
}

/// C011. Breaks when `core/src/limit/mod.rs`: `        Some(self.held.swap_remove(place).2)` → `        Some(self.held[place].2)`.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_right_passwords_at_once_all_get_in_and_leave_no_trace() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    register(&books[0], ANA).await.unwrap();
    for _ in 0..dose(1, 20) {
        let begun = Instant::now();
        let answers = together((0..20).map(|n| {
            let book = Arc::clone(&books[n % 2]);
            async move { word(&patient_login(&book, ANA, PASSWORD).await) }
        }))
        .await;
        assert_eq!(answers, ["ok"; 20]);
        assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
        // A guess that was answered but not settled would become a failure after 30 s.
        assert_eq!(
            house.number("select count(*) from counters where kind = 'login' and state->'held' <> '[]'").await,
            0,
            "every reservation is settled"
        );
    }
    assert_eq!(house.events("LoginFailed").await + house.events("LoginBlocked").await, 0);
}

/// C012. Breaks when `core/src/value/email.rs`: `        let folded: String = local.to_lowercase().nfc().collect();` → `        let folded: String = local.clone();`.
#[tokio::test]
async fn forty_spellings_of_one_mailbox_share_five_guesses() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "josé.ana@bücher.example").await.unwrap();
    let locals = ["josé.ana", "JOSÉ.ANA", "José.Ana", "jose\u{301}.ana", "JOSE\u{301}.ANA"];
    let domains = [
        "bücher.example",
        "BÜCHER.EXAMPLE",
        "bu\u{308}cher.example",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.EXAMPLE",
        "bücher.example.",
        "ｂüｃｈｅｒ.ｅｘａｍｐｌｅ",
        "bücher。example",
    ];
    let before = book.hasher.verifications();
    let mut spellings = 0;
    for local in locals {
        for domain in domains {
            spellings += 1;
            let address = format!("{local}@{domain}");
            register(&book, &address).await.unwrap();
            for _ in 0..5 {
                let answer = word(&login(&book, &address, OTHER_PASSWORD).await);
                assert!(matches!(answer, "wrong" | "blocked"), "{address}: {answer}");
            }
        }
    }
    assert_eq!(spellings, 40);
    assert_eq!(book.hasher.verifications() - before, 5);
    assert_eq!(house.number("select count(*) from accounts").await, 1, "one mailbox, one account");
    for outside in [" josé.ana@bücher.example", "josé.ana@bücher.example ", "josé.ana@bücher.example\u{a0}"] {
        assert!(doorbook_core::value::Email::parse(outside).is_err(), "{outside:?}");
    }
}

/// C012. Breaks when `core/src/service/limits.rs`: `&[email.limit_form().as_bytes()]` → `&[email.normal_form().as_bytes()]`.
#[tokio::test]
async fn plus_tags_are_accounts_of_their_own_in_one_bucket() {
    let house = house().await;
    let book = house.book().await;
    for address in ["ana@example.com", "ana+shop@example.com", "ana+bank@example.com"] {
        register(&book, address).await.unwrap();
    }
    assert_eq!(house.number("select count(*) from accounts").await, 3);
    fails(&book, "ana@example.com", 2).await;
    fails(&book, "ana+shop@example.com", 2).await;
    fails(&book, "Ana+nobody@example.com", 1).await;
    assert_eq!(word(&login(&book, "ana+bank@example.com", PASSWORD).await), "blocked");
}

/// C012. Breaks when `core/src/limit/mod.rs`: `            counter.hits.retain(|(_, whose)| *whose != target);` → `            counter.hits.clear();`.
#[tokio::test]
async fn who_owns_a_plus_tag_of_a_mailbox_gets_no_more_guesses_at_its_other_accounts() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    register(&book, "ana+thief@example.com").await.unwrap();
    fails(&book, ANA, 4).await;
    assert_eq!(word(&login(&book, "ana+thief@example.com", PASSWORD).await), "ok");
    fails(&book, ANA, 1).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked");
}

/// C018. Breaks when `core/src/limit/mod.rs`: `            return Err(self.hits.first().map_or(now, |(oldest, _)| oldest.plus(rule.window)));` → `            return Err(now.plus(rule.window));`.
#[tokio::test]
async fn the_fourth_registration_from_one_address_waits_as_long_as_it_is_told() {
    let house = house().await;
    let rule = Rule { max: 3, window: MINUTE, block: Duration::ZERO };
    let book = house.book_with(policy_with(|policy| policy.registration = rule), &secrets()).await;
    register(&book, "ana1@example.com").await.unwrap();
    house.age_limits(20).await;
    register(&book, "ana2@example.com").await.unwrap();
    register(&book, "ana3@example.com").await.unwrap();
    let refused = register(&book, "ana4@example.com").await;
    assert_eq!(word(&refused), "limited");
    let told = i64::try_from(retry_after(&refused).as_secs()).unwrap();
    assert!((38..=40).contains(&told), "told {told} s of 40");
    house.age_limits(told - 2).await;
    assert_eq!(word(&register(&book, "ana4@example.com").await), "limited", "two seconds early");
    house.age_limits(3).await;
    assert_eq!(word(&register(&book, "ana4@example.com").await), "ok");
    assert_eq!(word(&register(&book, "ana5@example.com").await), "limited", "the window slides");
    assert_eq!(house.number("select count(*) from accounts").await, 4);
}

/// C018. Breaks when `core/src/service/password.rs`: `forgotten);\n                return Ok(batch.commit(self).await?);` → `forgotten);\n                return Err(Refusal::Busy);`.
#[tokio::test]
async fn the_fourth_reset_in_an_hour_gets_the_same_answer_and_no_mail() {
    let house = house().await;
    let rule = Rule { max: 3, window: MINUTE, block: Duration::ZERO };
    let book = house.book_with(policy_with(|policy| policy.reset = rule), &secrets()).await;
    register(&book, ANA).await.unwrap();
    let mails = "select count(*) from deliveries where template = 'reset'";
    for address in [ANA, "nobody@example.com"] {
        let before = house.number(mails).await;
        for _ in 0..5 {
            book.request_reset(&email(address), None, &anywhere()).await.unwrap();
        }
        assert_eq!(house.number(mails).await - before, 3, "{address}");
        house.age_limits(60).await;
        book.request_reset(&email(address), None, &anywhere()).await.unwrap();
        assert_eq!(house.number(mails).await - before, 4, "{address}: a new window");
    }
}

/// C018. Breaks when `core/src/service/limits.rs`: `    Rule { max: rule.max.saturating_mul(ADDRESS_FACTOR), ..rule }` → `    Rule { max: u32::MAX, ..rule }`.
#[tokio::test]
async fn one_network_asks_for_thirty_resets_whoever_they_are_for() {
    let house = house().await;
    let book = house.book().await;
    for n in 0..30 {
        book.request_reset(&email(&format!("nobody{n}@example.com")), None, &anywhere()).await.unwrap();
    }
    let next = book.request_reset(&email("nobody@example.com"), None, &anywhere()).await;
    assert_eq!(word(&next), "limited");
    book.request_reset(&email("nobody@example.com"), None, &from("203.0.113.8")).await.unwrap();
}

/// C011. Breaks when `core/src/limit/mod.rs`: `            self.fail(until, target);` → `            let _ = (until, target);`.
#[tokio::test]
async fn a_guess_whose_process_died_is_a_failure_after_thirty_seconds() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    for _ in 0..5 {
        let (gate, mut hold) = Gate::new(&["login.verified"]);
        let task = tokio::spawn({
            let book = Arc::clone(&book);
            gate.around(async move { login(&book, ANA, PASSWORD).await })
        });
        assert_eq!(hold.arrived().await, Some("login.verified"));
        task.abort();
        assert_eq!(hold.arrived().await, None, "it is gone");
    }
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "busy", "five guesses are in flight, as far as one can know");
    house.age_limits(29).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "busy");
    house.age_limits(1).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "blocked", "dying has bought no guess");
    house.age_limits(900).await;
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok");
}

/// Somebody who asks for changes of the own account.
async fn signed_in(house: &House) -> (Arc<Doorbook>, Caller, Context) {
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let session = login(&book, ANA, PASSWORD).await.unwrap();
    let caller = book.authenticate(&session.access).await.unwrap();
    (book, caller, anywhere().acting(caller.account))
}

/// Breaks when `core/src/service/profile.rs`: `self.count(&bucket, OWN_CHANGES, &context.origin).await?;` → ``.
#[tokio::test]
async fn an_account_changes_its_profile_sixty_times_an_hour_and_no_more() {
    let house = house().await;
    let (book, caller, context) = signed_in(&house).await;
    let rename = async |n: usize| {
        let change = ProfileChange {
            first_name: Some(PersonName::parse(&format!("Ana {n}")).unwrap()),
            ..ProfileChange::default()
        };
        book.update_profile(caller, &change, None, &context).await
    };
    for n in 1..=60 {
        assert_eq!(rename(n).await.unwrap().first_name, format!("Ana {n}"));
    }
    let refused = rename(61).await;
    let hour = Duration::from_hours(1);
    assert!(matches!(refused, Err(Refusal::Limited { retry_after }) if retry_after <= hour), "{refused:?}");
    assert_eq!(house.events("ProfileUpdated").await, 60);
}

/// C018. Breaks when `core/src/service/limits.rs`: `            self.note_exceeded(bucket, rule, origin).await;` → `            let _ = (bucket, origin);`.
#[tokio::test]
async fn a_limit_that_was_hit_is_noted_once_a_window_however_often_it_is_hit() {
    let house = house().await;
    let book = house
        .book_with(policy_with(|policy| policy.registration = Rule { max: 1, ..policy.registration }), &secrets())
        .await;
    register(&book, "ana@example.com").await.unwrap();
    for n in 0..5 {
        let refused = register(&book, &format!("ben{n}@example.com")).await;
        assert!(matches!(refused, Err(doorbook_core::service::Refusal::Limited { .. })));
    }
    assert_eq!(house.events("LimitExceeded").await, 1);
}

/// Each mails a notice, and an address that was never confirmed may be a stranger's.
/// C046. Breaks when `core/src/service/password.rs`: `const PASSWORD_CHANGES: Rule = Rule { max: 20,` → `const PASSWORD_CHANGES: Rule = Rule { max: 200,`.
#[tokio::test]
async fn an_account_changes_its_password_twenty_times_an_hour_and_no_more() {
    let house = house().await;
    let (book, caller, context) = signed_in(&house).await;
    let words = [PASSWORD, OTHER_PASSWORD].map(password);
    let change =
        async |n: usize| book.change_password(caller, &words[n % 2], &words[(n + 1) % 2], None, &context).await;
    let wrong = change(1).await;
    assert!(matches!(wrong, Err(Refusal::Invalid(_))), "{wrong:?}");
    for n in 0..20 {
        change(n).await.unwrap();
    }
    let refused = change(20).await;
    assert!(matches!(refused, Err(Refusal::Limited { .. })), "{refused:?}");
    assert_eq!(house.number("select count(*) from deliveries where template = 'password_changed'").await, 20);
}

/// Breaks when `core/src/service/sessions.rs`: `self.count(&bucket, OWN_CHANGES, &context.origin).await?;` → `let _ = (&bucket, OWN_CHANGES);`.
#[tokio::test]
async fn an_account_logs_out_everywhere_sixty_times_an_hour_and_no_more() {
    let house = house().await;
    let (book, caller, context) = signed_in(&house).await;
    for _ in 0..60 {
        book.logout_all(caller, None, &context).await.unwrap();
    }
    let refused = book.logout_all(caller, None, &context).await;
    assert!(matches!(refused, Err(Refusal::Limited { .. })), "{refused:?}");
    assert_eq!(house.events("AllSessionsRevoked").await, 60);
}

/// Breaks when `core/src/store/jobs.rs`: `delete from counters where expires_at < now() and bucket in (` → `delete from counters where bucket in (`.
#[tokio::test]
async fn what_is_counted_anew_while_it_is_cleared_away_stays() {
    let house = house().await;
    let book = house.book().await;
    assert!(login(&book, "nobody@example.com", PASSWORD).await.is_err());
    let counted = house.number("select count(*) from counters").await;
    house.alter("update counters set expires_at = clock_timestamp() - interval '1 second'").await;
    let mut renewing = house.owner.begin().await.unwrap();
    let renewed = "update counters set expires_at = clock_timestamp() + interval '1 hour'";
    sqlx::query(renewed).execute(&mut *renewing).await.unwrap();
    let worker = worker(&house).await;
    let purged = tokio::spawn(async move { jobs::purge(&worker.db, 100).await.unwrap() });
    let waits = "select count(*) from pg_locks where not granted";
    while house.number(waits).await == 0 {
        assert!(!purged.is_finished(), "it waits for who renews");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    renewing.commit().await.unwrap();
    purged.await.unwrap();
    assert_eq!(house.number("select count(*) from counters").await, counted);
}
