//! The key that addresses are looked up by is changed while people register, log in and change their address.

use std::sync::Arc;

use doorbook_core::failpoint::Gate;
use doorbook_core::service::Doorbook;
use doorbook_core::store::Db;
use doorbook_core::store::keys::Vault;
use doorbook_core::store::keys::rotate::{self, Progress};
use doorbook_core::token::keys::RootRing;
use doorbook_dev::Role;
use sqlx::PgPool;

use crate::common::*;

/// The operator's side of a rotation.
struct Rotation {
    owner: PgPool,
    roots: Arc<RootRing>,
}

impl Rotation {
    async fn of(house: &House) -> Self {
        Self {
            owner: house.database.pool(Role::Migrator).await.unwrap(),
            roots: Arc::new(RootRing::new(&secrets().secret_key, &[])),
        }
    }

    fn db(&self) -> Db {
        Db::from(self.owner.clone())
    }

    async fn expand(&self) -> String {
        rotate::expand(&self.db(), &self.roots).await.unwrap()
    }

    async fn rekey(&self) -> u64 {
        let vault = Vault::open(&self.db(), Arc::clone(&self.roots)).await.unwrap();
        let db = self.db();
        let (mut after, mut total) = (Vec::new(), 0);
        loop {
            let (written, last) = rotate::rekey(&db, &vault, &after).await.unwrap();
            total += written;
            let Some(last) = last else { return total };
            after = last;
        }
    }

    async fn contract(&self) -> Progress {
        let vault = Vault::open(&self.db(), Arc::clone(&self.roots)).await.unwrap();
        rotate::contract(&self.db(), &vault).await.unwrap()
    }

    /// As if the next key had been there long enough for every process to know it.
    async fn settle(&self) {
        sqlx::query("update keys.service_keys set changed_at = changed_at - interval '2 minutes'")
            .execute(&self.owner)
            .await
            .unwrap();
    }

    /// Without any pause; readers have to be told by whoever calls it.
    async fn whole(&self) {
        self.expand().await;
        self.rekey().await;
        self.settle().await;
        assert!(matches!(self.contract().await, Progress::Done { .. }));
    }
}

async fn register_everywhere(books: &[Arc<Doorbook>; 2], number: i64) {
    let (mut running, address) = (Vec::new(), format!("person{number}@example.com"));
    // From a network of its own: the limit of one is not what this is about.
    let context = from(&format!("198.{}.{}.7", 18 + number / 250, number % 250));
    for book in books.iter().cycle().take(6) {
        let (book, address, context) = (Arc::clone(book), address.clone(), context.clone());
        running.push(tokio::spawn(async move {
            // Losing a race to the rotation again and again is answered 503: the person tries once more.
            while let Err(error) = register_from(&book, &address, &context).await {
                assert!(matches!(error, doorbook_core::service::Refusal::Unavailable(_)), "{error}");
            }
        }));
    }
    for registration in running {
        registration.await.unwrap();
    }
}

const ONE_OWNER_EACH: &str = "select count(*) from (
    select e.email_key from account_emails e group by e.email_key having count(distinct e.account_id) > 1) twice";
const ONE_ROW_EACH: &str = "select count(*) from accounts a where (select count(*) from account_emails e
    join keys.service_keys k on k.purpose = 'email_lookup' and k.key_id = e.key_id and k.active
    where e.account_id = a.account_id and e.state = 'current') <> 1";

/// C040. Breaks when `core/src/store/project/accounts.rs`: `"select 1 from key_guards where purpose = 'email_lookup' and version = {version} and {{after}} for share"` → `"select 1 from key_guards where purpose = 'email_lookup' and version <> -{version} and {{after}} for share"`.
#[tokio::test]
async fn who_was_registering_while_the_key_changed_is_decided_anew_by_the_new_one() {
    let house = house().await;
    let (rotation, book) = (Rotation::of(&house).await, house.book().await);
    let (gate, mut hold) = Gate::new(&["register.deciding"]);
    let slow = Arc::clone(&book);
    let registering = tokio::spawn(gate.around(async move { register(&slow, "ana@example.com").await }));
    assert!(hold.arrived().await.is_some());
    rotation.whole().await;
    (0..20).for_each(|_| hold.pass());
    registering.await.unwrap().unwrap();
    assert_eq!(house.number(ONE_ROW_EACH).await, 0);
    let fresh = house.book().await;
    login(&fresh, "ana@example.com", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn no_address_gets_two_accounts_while_the_key_it_is_found_by_is_changed() {
    let house = house().await;
    let (rotation, books) = (Rotation::of(&house).await, [house.book().await, house.book().await]);
    let rounds = dose(3, 60);
    let changing = async {
        for _ in 0..rounds {
            rotation.whole().await;
        }
    };
    let registering = async {
        for number in 0..rounds * 5 {
            register_everywhere(&books, number).await;
        }
    };
    tokio::join!(changing, registering);
    assert_eq!(house.number("select count(*) from accounts").await, rounds * 5);
    assert_eq!(house.number(ONE_OWNER_EACH).await, 0);
    rotation.whole().await;
    assert_eq!(house.number(ONE_ROW_EACH).await, 0);
    assert_eq!(house.number("select count(distinct key_id) from account_emails").await, 1);
    let fresh = house.book().await;
    for number in 0..rounds * 5 {
        login(&fresh, &format!("person{number}@example.com"), PASSWORD).await.unwrap();
    }
}

/// C040. Breaks when `core/src/store/keys/lookup.rs`: `self.keys.iter().map(|(key, _)| key.to_vec()).collect()` → `self.keys.iter().rev().take(1).map(|(key, _)| key.to_vec()).collect()`.
#[tokio::test]
async fn people_are_found_at_every_step_also_by_a_process_that_knows_of_none() {
    let house = house().await;
    let rotation = Rotation::of(&house).await;
    let (knowing, unknowing) = (house.book().await, house.book().await);
    register(&knowing, "ana@example.com").await.unwrap();
    let both = async |step: &str| {
        for book in [&knowing, &unknowing] {
            assert!(login(book, "ana@example.com", PASSWORD).await.is_ok(), "{step}");
        }
        let new = house.book().await;
        assert!(login(&new, "ana@example.com", PASSWORD).await.is_ok(), "{step}, a new process");
    };
    both("before").await;
    let next = rotation.expand().await;
    both("expanded").await;
    assert_eq!(rotation.expand().await, next, "a second run goes on with the same key");
    assert!(matches!(rotation.contract().await, Progress::Settling { .. }));
    register(&knowing, "bo@example.com").await.unwrap();
    assert_eq!(house.number("select count(*) from account_emails").await, 3, "who comes now has both rows");
    assert_eq!(rotation.rekey().await, 1);
    assert_eq!(rotation.rekey().await, 0, "nothing is done twice");
    both("re-keyed").await;
    // An erasure beside the batch would leave a row of the next key alone.
    house
        .alter(
            "insert into account_emails select sha256(email_key), (select key_id from keys.service_keys where next), \
         gen_random_uuid(), 'current', null from account_emails limit 1",
        )
        .await;
    rotation.settle().await;
    // Processes read the keys anew well before this; these do because somebody registers.
    for (book, address) in [(&knowing, "cy@example.com"), (&unknowing, "di@example.com")] {
        register(book, address).await.unwrap();
    }
    let before = house.number("select count(*) from account_emails").await;
    assert!(matches!(rotation.contract().await, Progress::Done { retired_rows: 4 }), "of {before} rows");
    both("contracted").await;
    assert_eq!(house.number("select count(*) from account_emails").await, 4);
    assert_eq!(house.number(ONE_ROW_EACH).await, 0);
    assert!(register(&unknowing, "ana@example.com").await.is_ok());
    assert_eq!(house.number("select count(*) from accounts").await, 4, "a taken address stays taken");
}

/// C040. Breaks when `core/src/store/keys/rotate.rs`: `for (token, detail) in row.detail_ids.iter().zip(&row.details) {` → `for (token, detail) in row.detail_ids.iter().zip(&row.details).take(0) {`.
#[tokio::test]
async fn an_address_that_is_kept_for_its_owner_stays_so_and_the_change_can_be_undone() {
    let house = house().await;
    let (rotation, book) = (Rotation::of(&house).await, house.book().await);
    let mut undos = Vec::new();
    let change = async |from: &str, to: &str| {
        let tokens = login(&book, from, PASSWORD).await.unwrap();
        let caller = book.authenticate(&tokens.access).await.unwrap();
        let context = anywhere().acting(caller.account);
        book.request_email_change(caller, &password(PASSWORD), &email(to), None, &context).await.unwrap();
        let link = house.link(&book, "email_change_confirm").await;
        book.confirm_email_change(&link, None, &anywhere()).await.unwrap();
        house.link(&book, "email_change_notice").await
    };
    for name in ["ana", "bo", "cy"] {
        register(&book, &format!("{name}@example.com")).await.unwrap();
        book.verify_email(&house.link(&book, "verify").await, None, &anywhere()).await.unwrap();
    }
    undos.push(change("ana@example.com", "ana@new.example").await);
    rotation.expand().await;
    undos.push(change("bo@example.com", "bo@new.example").await);
    // Ana's two and Cy's one; Bo's were written under both keys.
    assert_eq!(rotation.rekey().await, 3);
    undos.push(change("cy@example.com", "cy@new.example").await);
    rotation.settle().await;
    assert!(matches!(rotation.contract().await, Progress::Done { retired_rows: 6 }));
    for (name, undo) in ["ana", "bo", "cy"].into_iter().zip(undos) {
        let (old, new) = (format!("{name}@example.com"), format!("{name}@new.example"));
        register(&book, &old).await.unwrap();
        assert_eq!(house.number("select count(*) from accounts").await, 3, "{old} is kept");
        book.undo_email_change(&undo, None, &anywhere()).await.unwrap();
        login(&book, &old, PASSWORD).await.unwrap();
        assert!(login(&book, &new, PASSWORD).await.is_err());
    }
    assert_eq!(house.number(ONE_ROW_EACH).await, 0);
    house.assert_whole().await;
}
