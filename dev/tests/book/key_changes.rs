//! The keys that buckets are named by and that data keys are wrapped by are changed while people log in, fail and register.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbook_core::failpoint::Gate;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::store::keys::change::{self, Change, Purpose, Rewrapped};
use doorbook_core::store::keys::{Vault, backup, list};
use doorbook_core::store::{Db, StoreError};
use doorbook_core::token::keys::RootRing;
use doorbook_core::value::AccountId;
use doorbook_dev::Role;
use uuid::Uuid;

use crate::common::*;

const ANA: &str = "ana@example.com";

fn roots() -> RootRing {
    RootRing::new(&secrets().secret_key, &[])
}

/// The operator's side.
struct Operator {
    owner: Db,
    book: Arc<Doorbook>,
}

impl Operator {
    async fn of(house: &House) -> Self {
        let owner = house.database.pool(Role::Migrator).await.unwrap().into();
        Self { owner, book: house.book().await }
    }

    async fn change(&self, purpose: Purpose) -> String {
        self.book.change_key(&self.owner, purpose, &Context::operator(Uuid::nil())).await.unwrap()
    }

    async fn rewrap(&self) -> u64 {
        let vault = Vault::open(&self.owner, roots()).await.unwrap();
        let (mut after, mut total) = (Uuid::nil(), 0);
        loop {
            let Rewrapped { changed, closed, last } =
                change::rewrap_data_keys(&self.owner, &vault, after).await.unwrap();
            assert_eq!(closed, 0);
            total += changed;
            let Some(last) = last else { return total };
            after = last;
        }
    }
}

async fn fails(book: &Doorbook, times: usize) {
    for n in 1..=times {
        assert_eq!(word(&login(book, ANA, OTHER_PASSWORD).await), "wrong", "guess {n}");
    }
}

/// C011. Breaks when `core/src/store/project/counters.rs`: `where purpose = 'identifier' and version = {version})` → `where purpose = 'identifier' and version <> -{version})`.
#[tokio::test]
async fn a_guess_that_was_read_before_the_change_is_not_written_after_it() {
    let house = house().await;
    let (operator, slow, quick) = (Operator::of(&house).await, house.book().await, house.book().await);
    register(&quick, ANA).await.unwrap();
    let (gate, mut hold) = Gate::new(&["login.read"]);
    let guess = tokio::spawn({
        let book = Arc::clone(&slow);
        gate.around(async move { word(&login(&book, ANA, PASSWORD).await) })
    });
    assert_eq!(hold.arrived().await, Some("login.read"));
    operator.change(Purpose::Identifier).await;
    fails(&quick, 5).await;
    // It reads again, and finds what has been counted under a key that it has never heard of.
    hold.pass();
    assert_eq!(hold.arrived().await, Some("login.read"));
    hold.pass();
    assert_eq!(guess.await.unwrap(), "blocked");
    assert_eq!(word(&login(&slow, ANA, PASSWORD).await), "blocked");
    assert_eq!(house.events("LoginFailed").await, 5);
    assert_eq!(house.number("select count(*) from counters where kind = 'login'").await, 1);
}

/// C011. Breaks when `core/src/store/keys/identifiers.rs`: `        self.keys.iter().map(|(_, key)| mac(key, &[&bucket.about]).to_vec()).collect()` → `        self.keys.iter().take(1).map(|(_, key)| mac(key, &[&bucket.about]).to_vec()).collect()`.
#[tokio::test(flavor = "multi_thread")]
async fn five_guesses_block_however_often_the_key_is_changed_meanwhile() {
    let house = house().await;
    let operator = Operator::of(&house).await;
    // Everybody guesses from one network: its own limit must not be what ends it.
    let policy = || policy_with(|policy| policy.login_address_max = 10_000);
    let books = [house.book_with(policy(), &secrets()).await, house.book_with(policy(), &secrets()).await];
    let rounds = dose(4, 50);
    for round in 0..rounds {
        let address = format!("person{round}@example.com");
        let before: u64 = books.iter().map(|book| book.hasher.verifications()).sum();
        let guessing = together((0..24).map(|n| {
            let (book, address) = (Arc::clone(&books[n % 2]), address.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(chance(60))).await;
                word(&login(&book, &address, OTHER_PASSWORD).await)
            }
        }));
        let changing = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(chance(40))).await;
                operator.change(Purpose::Identifier).await;
            }
        };
        tokio::join!(guessing, changing);
        let mut further = 0;
        while word(&patient_login(&books[round % 2], &address, OTHER_PASSWORD).await) != "blocked" {
            further += 1;
            assert!(further <= 5, "nothing blocks in round {round}");
            operator.change(Purpose::Identifier).await;
        }
        let after: u64 = books.iter().map(|book| book.hasher.verifications()).sum();
        assert_eq!(after - before, 5, "passwords verified in round {round}");
        let told = retry_after(&login(&books[0], &address, PASSWORD).await).as_secs();
        assert!((880..=900).contains(&told), "told to wait {told} s of 900");
    }
    let rounds = i64::try_from(rounds).unwrap();
    assert_eq!(house.events("LoginFailed").await, 5 * rounds);
    assert_eq!(house.events("LoginBlocked").await, rounds);
    assert_eq!(house.number("select count(*) from counters where kind = 'login'").await, rounds);
}

/// C010. Breaks when `core/src/store/project/counters.rs`: `            Some(id) => id,` → `            Some(_) => self.keys.active_id(),`.
#[tokio::test]
async fn a_success_forgets_failures_from_before_the_change_and_a_reset_a_block() {
    let house = house().await;
    let (operator, book, other) = (Operator::of(&house).await, house.book().await, house.book().await);
    register(&book, ANA).await.unwrap();
    fails(&book, 4).await;
    operator.change(Purpose::Identifier).await;
    assert_eq!(word(&login(&other, ANA, PASSWORD).await), "ok");
    fails(&book, 4).await;
    assert_eq!(word(&login(&other, ANA, PASSWORD).await), "ok");
    fails(&book, 5).await;
    operator.change(Purpose::Identifier).await;
    for book in [&book, &other] {
        assert_eq!(word(&login(book, ANA, PASSWORD).await), "blocked");
    }
    book.request_reset(&email(ANA), None, &anywhere()).await.unwrap();
    let link = house.link(&book, "reset").await;
    operator.change(Purpose::Identifier).await;
    other.confirm_reset(&link, &password(PASSWORD), None, &anywhere()).await.unwrap();
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "ok");
}

/// C018. Breaks when `core/src/store/project/counters.rs`: `        if keys.have_changed() {` → `        if !keys.have_changed() {`.
#[tokio::test]
async fn a_network_has_failed_at_as_many_identifiers_as_before_the_change() {
    let house = house().await;
    let policy = policy_with(|policy| policy.login_address_max = 3);
    let (operator, book) = (Operator::of(&house).await, house.book_with(policy, &secrets()).await);
    let fail = async |name: &str| word(&login(&book, &format!("{name}@example.com"), OTHER_PASSWORD).await);
    assert_eq!([fail("ana").await, fail("bo").await], ["wrong"; 2]);
    operator.change(Purpose::Identifier).await;
    assert_eq!([fail("ana").await, fail("ana").await, fail("cy").await], ["wrong"; 3], "ana is not a second one");
    assert_eq!(fail("di").await, "limited", "and bo is not forgotten");
    assert_eq!(house.number("select count(*) from counter_members").await, 3);
}

#[tokio::test]
async fn an_earlier_key_goes_when_nothing_is_counted_by_it_any_more() {
    let house = house().await;
    let (operator, book) = (Operator::of(&house).await, house.book().await);
    let keys = "select count(*) from keys.service_keys where purpose = 'identifier'";
    fails(&book, 2).await;
    operator.change(Purpose::Identifier).await;
    house.alter("update keys.service_keys set changed_at = changed_at - interval '2 days'").await;
    assert_eq!(change::forget_identifiers(&operator.owner).await.unwrap(), 0);
    // The bucket has moved by now, but its failures are still told apart by the old key.
    fails(&book, 1).await;
    assert_eq!(change::forget_identifiers(&operator.owner).await.unwrap(), 0);
    assert_eq!(house.number(keys).await, 2);
    house.alter("delete from counters").await;
    assert_eq!(change::forget_identifiers(&operator.owner).await.unwrap(), 1);
    fails(&book, 5).await;
    assert_eq!(word(&login(&*house.book().await, ANA, PASSWORD).await), "blocked");
}

const NOT_BY_THE_ACTIVE_KEY: &str = "select count(*) from keys.data_keys d
    where not exists (select 1 from keys.service_keys k where k.purpose = 'personal_data' and k.active and k.key_id = d.wrapped_by)";

/// C040. Breaks when `core/src/store/project/accounts.rs`: `and key_id = {key_id} and active)` → `and key_id = {key_id})`.
#[tokio::test]
async fn a_registration_that_was_decided_before_the_change_is_wrapped_by_the_new_key() {
    let house = house().await;
    let (operator, slow) = (Operator::of(&house).await, house.book().await);
    let (gate, mut hold) = Gate::new(&["register.deciding"]);
    let registering = tokio::spawn({
        let book = Arc::clone(&slow);
        gate.around(async move { register(&book, ANA).await })
    });
    assert_eq!(hold.arrived().await, Some("register.deciding"));
    operator.change(Purpose::PersonalData).await;
    operator.rewrap().await;
    hold.pass();
    assert_eq!(hold.arrived().await, Some("register.deciding"), "it is undone and decided anew");
    hold.pass();
    registering.await.unwrap().unwrap();
    assert_eq!(house.number(NOT_BY_THE_ACTIVE_KEY).await, 0);
    assert_eq!(word(&login(&slow, ANA, PASSWORD).await), "ok");
    house.assert_whole().await;
}

/// Breaks when `core/src/store/keys/backup.rs`: `db.snapshot()` → `db.begin()`.
#[tokio::test]
async fn a_backup_of_the_keys_is_of_one_moment_whatever_is_changed_meanwhile() {
    let house = house().await;
    let (operator, book) = (Operator::of(&house).await, house.book().await);
    register(&book, ANA).await.unwrap();
    let (gate, mut hold) = Gate::new(&["keys.read"]);
    let reading = tokio::spawn({
        let owner = operator.owner.clone();
        gate.around(async move {
            let mut all = Vec::new();
            let taken = backup::read(&owner, |rows| {
                all.extend(rows.iter().map(|row| serde_json::to_value(row).unwrap()));
                Ok::<_, StoreError>(())
            });
            taken.await.map(|_| all)
        })
    });
    assert_eq!(hold.arrived().await, Some("keys.read"), "the service keys are read");
    operator.change(Purpose::PersonalData).await;
    assert_eq!(operator.rewrap().await, 1);
    hold.pass();
    let all = reading.await.unwrap().unwrap();
    let (data, service): (Vec<_>, Vec<_>) = all.iter().partition(|row| row["table"] == "data_key");
    assert_eq!((data.len(), service.len()), (1, 5));
    assert!(service.iter().any(|key| key["key_id"] == data[0]["wrapped_by"]), "{data:?} {service:?}");
}

/// C040. Breaks when `core/src/store/keys/wrapping.rs`: `            self.learn(&row.ok_or_else(missing)?)?` → `            return Err(row.map_or_else(missing, |_| StoreError::Conflict));`.
#[tokio::test]
async fn what_was_sealed_before_during_and_after_the_change_opens_in_every_process() {
    let house = house().await;
    let operator = Operator::of(&house).await;
    let (knowing, unknowing) = (house.book().await, house.book().await);
    let names = ["before", "during", "after"];
    let address = |name: &str| format!("{name}@example.com");
    let all_open = async |books: &[&Arc<Doorbook>], names: &[&str], step: &str| {
        for (book, name) in books.iter().flat_map(|book| names.iter().map(move |name| (book, name))) {
            let tokens = login(book, &address(name), PASSWORD).await.unwrap_or_else(|error| panic!("{step}: {error}"));
            let caller = book.authenticate(&tokens.access).await.unwrap();
            assert_eq!(book.profile(caller.account).await.unwrap().email, address(name), "{step}");
        }
    };
    register(&knowing, &address("before")).await.unwrap();
    all_open(&[&knowing, &unknowing], &names[..1], "before").await;
    login(&knowing, "nobody@example.com", PASSWORD).await.unwrap_err();
    operator.change(Purpose::PersonalData).await;
    register(&knowing, &address("during")).await.unwrap();
    assert_eq!(house.number(NOT_BY_THE_ACTIVE_KEY).await, 2, "the first account and today's strangers");
    let fresh = house.book().await;
    all_open(&[&unknowing, &knowing, &fresh], &names[..2], "during").await;
    assert_eq!(operator.rewrap().await, 2);
    assert_eq!(operator.rewrap().await, 0, "nothing is done twice");
    assert_eq!(house.number(NOT_BY_THE_ACTIVE_KEY).await, 0);
    register(&fresh, &address("after")).await.unwrap();
    all_open(&[&unknowing, &knowing, &fresh, &house.book().await], &names, "after").await;
    // The worker opens them too: its mails are addressed.
    assert_eq!(house.mail(&unknowing, "verify").await.to.as_str(), address("after"));
    house.assert_whole().await;
}

/// C040. Breaks when `core/src/store/keys/change.rs`: `        let (anew, wrapped_by) = vault.wrap(row.id, &bytes);` → `        let (anew, wrapped_by) = vault.wrap(Uuid::nil(), &bytes);`.
#[tokio::test(flavor = "multi_thread")]
async fn no_data_key_is_lost_when_changes_are_broken_off_while_people_register_and_are_erased() {
    let house = house().await;
    let operator = Operator::of(&house).await;
    let books = [house.book().await, house.book().await];
    let (people, over) = (dose(12, 200), AtomicBool::new(false));
    let changing = async {
        let mut changes = 0;
        while !over.load(Ordering::Relaxed) {
            // Killed before the commit: nothing has happened.
            let killed = Change::new(Purpose::PersonalData, &roots()).unwrap();
            drop(killed.begin(&operator.owner).await);
            operator.change(Purpose::PersonalData).await;
            // Killed between the change and the wrapping anew, every other time.
            if changes % 2 == 0 {
                operator.rewrap().await;
            }
            changes += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        changes
    };
    let registering = async {
        for number in 0..people {
            let (book, address) = (&books[number % 2], format!("person{number}@example.com"));
            while let Err(error) = register(book, &address).await {
                assert!(matches!(error, doorbook_core::service::Refusal::Unavailable(_)), "{error}");
            }
            login(book, &address, OTHER_PASSWORD).await.unwrap_err();
            if number % 4 == 0 {
                house
                    .alter(
                        "delete from keys.data_keys where key_id = (select key_id from keys.data_keys
                             where account_id is not null order by created_at desc limit 1)",
                    )
                    .await;
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    let (changes, ()) = tokio::join!(changing, registering);
    operator.rewrap().await;
    assert_eq!(house.number(NOT_BY_THE_ACTIVE_KEY).await, 0);
    let vault = Vault::open(&operator.owner, roots()).await.unwrap();
    let owners: Vec<Uuid> = sqlx::query_scalar("select account_id from keys.data_keys where account_id is not null")
        .fetch_all(&house.owner)
        .await
        .unwrap();
    assert_eq!(owners.len(), people - people / 4, "who was erased stays erased");
    for owner in owners {
        assert!(vault.account_key(&operator.owner, AccountId(owner)).await.unwrap().is_some());
    }
    assert_eq!(house.events("KeyRotated").await, i64::try_from(changes).unwrap());
    assert_eq!(list(&operator.owner).await.unwrap().len(), 5 + changes);
    println!("figure: {changes} changes of the wrapping key beside {people} registrations, none lost");
}
