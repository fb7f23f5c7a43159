//! Leaving and erasing: what is left of a person, who may still take it back, and what comes in between.

use std::num::NonZeroUsize;
use std::sync::Arc;

use doorbook_core::account::Role as AccountRole;
use doorbook_core::audit::note::{Note, Signer};
use doorbook_core::password::{Engine, HashCost, Hasher};
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::audit::Filter;
use doorbook_core::service::login::Tokens;
use doorbook_core::service::profile::ProfileChange;
use doorbook_core::service::{Context, Doorbook, Policy, Refusal};
use doorbook_core::store::keys::Vault;
use doorbook_core::store::{Db, migrations, rebuild};
use doorbook_core::token::keys::RootRing;
use doorbook_core::value::{AccountId, PersonName};
use doorbook_dev::Role;

use crate::common::*;

const ANA: &str = "ana@example.com";
const NEW: &str = "ana@new.example";
const GRACE_PASSES: &str = "update tokens set expires_at = expires_at - interval '14 days' where kind = 'cancel';
     update accounts set erase_at = erase_at - interval '14 days'";

fn operator() -> Context {
    Context::operator(uuid::Uuid::nil())
}

pub fn system() -> Context {
    Context::system(uuid::Uuid::nil())
}

/// A process with a worker's rights.
pub async fn worker(house: &House) -> Arc<Doorbook> {
    worker_with(house, policy()).await
}

pub async fn worker_with(house: &House, policy: Policy) -> Arc<Doorbook> {
    let cost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };
    let hasher = Hasher::start(cost, Engine::Argon2, NonZeroUsize::MIN).unwrap();
    Arc::new(Doorbook::open(house.worker(), hasher, policy, &secrets()).await.unwrap())
}

async fn erase(book: &Doorbook, account: AccountId) -> Result<bool, Refusal> {
    book.command_account(account, &Order::new(Intervention::Erase, "asked by letter"), &operator()).await
}

/// Somebody with a row in every table: an address that was changed and one that is still to be, links, a device, a failed login.
async fn lived(house: &House, book: &Doorbook) -> (AccountId, Tokens) {
    register(book, ANA).await.unwrap();
    let tokens = login(book, ANA, PASSWORD).await.unwrap();
    let caller = holder(book, &tokens).await;
    let acting = anywhere().acting(caller.account);
    for address in [NEW, "ana@third.example"] {
        book.request_email_change(caller, &password(PASSWORD), &email(address), None, &acting).await.unwrap();
        if address == NEW {
            let link = house.link(book, "email_change_confirm").await;
            book.confirm_email_change(&link, None, &anywhere()).await.unwrap();
        }
    }
    book.request_reset(&email(NEW), None, &anywhere()).await.unwrap();
    assert_eq!(word(&login(book, NEW, OTHER_PASSWORD).await), "wrong");
    book.logout(login(book, NEW, PASSWORD).await.unwrap().refresh.expose(), &acting).await.unwrap();
    (caller.account, tokens)
}

/// C073. Breaks when `migrations/0013_erasure.sql`: `delete from credentials where account_id = new.subject_id;` → `-- Kept.`.
#[tokio::test]
async fn an_erasure_leaves_nothing_but_the_account_s_row_and_its_addresses_may_register_anew() {
    let house = house().await;
    let book = house.book().await;
    let (ana, tokens) = lived(&house, &book).await;
    let events = house.number("select count(*) from events").await;
    assert!(erase(&book, ana).await.unwrap());
    assert_eq!(house.number("select count(*) from events").await, events + 2, "no event goes, two tell of it");
    assert_eq!((house.events("AccountErased").await, house.events("DataKeyShredded").await), (1, 1));
    for sql in [
        "select count(*) from keys.data_keys where account_id is not null",
        "select count(*) from account_emails",
        "select count(*) from credentials",
        "select count(*) from sessions",
        "select count(*) from devices",
        "select count(*) from tokens",
        "select count(*) from deliveries",
        "select count(*) from jobs where kind = 'mail'",
        "select count(*) from accounts where profile is not null or roles <> '{}' or status <> 'erased'",
    ] {
        assert_eq!(house.number(sql).await, 0, "{sql}");
    }
    assert_eq!(alive(&book, &tokens).await, (false, false));
    assert!(!erase(&book, ana).await.unwrap(), "once is enough");
    for history in book.history(ana, None, 100).await.unwrap() {
        assert_eq!((history.address, history.user_agent), (None, None), "{}", history.name);
    }
    for address in [ANA, NEW] {
        assert_eq!(word(&login(&book, address, PASSWORD).await), "wrong");
        register(&book, address).await.unwrap();
        assert_ne!(book.find_account(&email(address)).await.unwrap(), Some(ana));
        login(&book, address, PASSWORD).await.unwrap();
    }
    house.assert_whole().await;
}

/// Breaks when `core/src/service/erasure.rs`: `let note = receipt.sign(&self.checkpoint_signers(None).await?).to_string();` → `let note = receipt.sign(&[]).to_string();`.
#[tokio::test]
async fn a_receipt_says_what_went_when_signed_by_the_key_of_checkpoints_and_the_same_each_time() {
    let house = house().await;
    let book = house.book().await;
    let (ana, _) = lived(&house, &book).await;
    let key: uuid::Uuid = sqlx::query_scalar("select key_id from keys.data_keys where account_id is not null")
        .fetch_one(&house.owner)
        .await
        .unwrap();
    assert!(matches!(book.erasure_receipt(ana).await, Err(Refusal::NotFound)), "not yet");
    erase(&book, ana).await.unwrap();
    let receipt = book.erasure_receipt(ana).await.unwrap();
    assert_eq!(receipt.backups_until.since(receipt.erased_at), policy().key_backup_lifetime);
    let note: Note = receipt.note.parse().unwrap();
    let signers = book.checkpoint_signers(None).await.unwrap();
    assert!(note.is_signed_by(&signers.iter().map(Signer::verifier).collect::<Vec<_>>()));
    for line in
        [format!("account {ana}"), format!("data-key {key}"), format!("erased-at {}", receipt.erased_at.rfc3339())]
    {
        assert!(note.text().lines().any(|found| found == line), "{line} in {}", note.text());
    }
    erase(&book, ana).await.unwrap();
    assert_eq!(book.erasure_receipt(ana).await.unwrap().note, receipt.note);
}

/// Breaks when `core/src/account/event.rs`: `            | Self::DeletionRequested { .. }` → ``.
#[tokio::test]
async fn whoever_asks_to_be_deleted_is_logged_out_everywhere_and_kept_by_the_mailed_link() {
    let house = house().await;
    let book = house.book().await;
    let (ana, tokens) = lived(&house, &book).await;
    let caller = holder(&book, &tokens).await;
    let acting = anywhere().acting(ana);
    let wrong = book.request_deletion(caller, &password(OTHER_PASSWORD), None, &acting).await;
    assert!(matches!(wrong, Err(Refusal::Invalid(_))), "{wrong:?}");
    let erase_at = book.request_deletion(caller, &password(PASSWORD), None, &acting).await.unwrap();
    assert_eq!(alive(&book, &tokens).await, (false, false));
    assert_eq!(word(&login(&book, NEW, PASSWORD).await), "wrong", "refused in the words of a wrong password");
    register(&book, NEW).await.unwrap();
    assert_eq!(house.number("select count(*) from accounts").await, 1, "the address is taken meanwhile");
    let mail = house.mail(&book, "deletion_requested").await;
    assert_eq!((mail.to.as_str(), mail.token_expires_at), (NEW, Some(erase_at)));
    let link = mail.token.unwrap().1.expose().to_owned();
    for text in ["dbc_", &format!("dbc_{}", "A".repeat(70))] {
        assert_eq!(word(&book.cancel_deletion(text, None, &anywhere()).await), "invalid token");
    }
    assert_eq!(worker(&house).await.expire(&system()).await.unwrap(), 0, "it is not time yet");
    book.cancel_deletion(&link, None, &anywhere()).await.unwrap();
    assert_eq!(word(&book.cancel_deletion(&link, None, &anywhere()).await), "invalid token");
    login(&book, NEW, PASSWORD).await.unwrap();
    assert_eq!(alive(&book, &tokens).await, (false, false), "what was ended stays so");
    house.assert_whole().await;
}

/// Breaks when `core/src/service/email_change.rs`: `const UNDONE: [TokenKind; 4] = [TokenKind::Reset, TokenKind::Change, TokenKind::Verify, TokenKind::Cancel];` → `const UNDONE: [TokenKind; 3] = [TokenKind::Reset, TokenKind::Change, TokenKind::Verify];`.
#[tokio::test]
async fn a_thief_who_changed_the_address_and_asked_for_deletion_is_undone_from_the_old_mailbox() {
    let house = house().await;
    let book = house.book().await;
    let (ana, tokens) = lived(&house, &book).await;
    let caller = holder(&book, &tokens).await;
    book.request_deletion(caller, &password(PASSWORD), None, &anywhere().acting(ana)).await.unwrap();
    let undo = house.link(&book, "email_change_notice").await;
    let cancel = house.link(&book, "deletion_requested").await;
    book.undo_email_change(&undo, None, &anywhere()).await.unwrap();
    assert_eq!(word(&book.cancel_deletion(&cancel, None, &anywhere()).await), "invalid token");
    house.alter(GRACE_PASSES).await;
    worker(&house).await.expire(&system()).await.unwrap();
    login(&book, ANA, PASSWORD).await.unwrap();
    house.assert_whole().await;
}

/// C073. Breaks when `core/src/service/expiry.rs`: `if row.kind == TokenKind::Cancel.as_str() && self.end_grace(row, context).await? {` → `if row.kind == TokenKind::Reset.as_str() && self.end_grace(row, context).await? {`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_grace_is_over_workers_erase_each_account_once_though_it_was_disabled_since() {
    let house = house().await;
    let (book, workers) = (house.book().await, [worker(&house).await, worker(&house).await]);
    let accounts = dose(8, 100);
    for n in 0..accounts {
        let address = format!("user{n}@example.com");
        register(&book, &address).await.unwrap();
        let caller = holder(&book, &login(&book, &address, PASSWORD).await.unwrap()).await;
        let acting = anywhere().acting(caller.account);
        book.request_deletion(caller, &password(PASSWORD), None, &acting).await.unwrap();
        if n == 0 {
            let disable = Order::new(Intervention::Disable, "test");
            book.command_account(caller.account, &disable, &operator()).await.unwrap();
        }
    }
    house.alter(GRACE_PASSES).await;
    let erased = together(workers.map(|worker| async move { worker.expire(&system()).await.unwrap() })).await;
    assert_eq!(erased.iter().sum::<usize>(), accounts);
    let accounts = i64::try_from(accounts).unwrap();
    assert_eq!((house.events("AccountErased").await, house.events("DataKeyShredded").await), (accounts, accounts));
    let requested =
        "select count(*) from events where type = 'AccountErased' and payload = '{\"cause\": \"requested\"}'";
    assert_eq!(house.number(requested).await, accounts);
    house.assert_whole().await;
}

/// Breaks when `core/src/service/erasure.rs`: `self.keep_an_admin(&mut batch, &owner, &after).await?;` → `let _ = &after;`.
#[tokio::test]
async fn the_last_admin_cannot_leave_and_an_admin_who_is_leaving_does_not_count() {
    let house = house().await;
    let book = house.book().await;
    let mut callers = Vec::new();
    for address in ["ines@example.com", "juan@example.com"] {
        register(&book, address).await.unwrap();
        let caller = holder(&book, &login(&book, address, PASSWORD).await.unwrap()).await;
        let grant = Order::new(Intervention::GrantRole(AccountRole::Admin), "test");
        book.command_account(caller.account, &grant, &operator()).await.unwrap();
        callers.push(caller);
    }
    let leave = async |n: usize| {
        let acting = anywhere().acting(callers[n].account);
        book.request_deletion(callers[n], &password(PASSWORD), None, &acting).await
    };
    leave(0).await.unwrap();
    assert!(matches!(leave(1).await, Err(Refusal::LastAdmin)));
    assert!(matches!(erase(&book, callers[1].account).await, Err(Refusal::LastAdmin)));
    // Kept by somebody else's hand, he counts again.
    let enable = Order::new(Intervention::Enable, "asked by phone");
    assert!(book.command_account(callers[0].account, &enable, &operator()).await.unwrap());
    assert_eq!(house.events("DeletionCancelled").await, 1);
    erase(&book, callers[1].account).await.unwrap();
    house.assert_whole().await;
}

/// C073. Breaks when `migrations/0013_erasure.sql`: `delete from devices where account_id = new.subject_id;` → `-- Kept.`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_beside_an_erasure_nothing_of_the_person_outlives_it() {
    let house = house().await;
    let books = [house.book().await, house.book().await];
    for round in 0..dose(12, 300) {
        let address = format!("user{round}@example.com");
        let context = from(&format!("198.18.{}.{}", round / 250, round % 250));
        register(&books[0], &address).await.unwrap();
        let first = login_from(&books[0], &address, PASSWORD, None, &context).await.unwrap();
        let caller = holder(&books[0], &first).await;
        let one = async |n: usize| {
            let (book, acting) = (&books[n % 2], context.clone().acting(caller.account));
            let name = Some(PersonName::parse("Bea").unwrap());
            match n {
                0 | 1 => return login_from(book, &address, PASSWORD, None, &context).await.ok(),
                2 => drop(
                    book.update_profile(
                        caller,
                        &ProfileChange { first_name: name, ..ProfileChange::default() },
                        None,
                        &acting,
                    )
                    .await,
                ),
                3 => drop(register(book, &address).await),
                4 => drop(book.request_reset(&email(&address), None, &context).await),
                5 => drop(book.request_deletion(caller, &password(PASSWORD), None, &acting).await),
                _ => {
                    tokio::time::sleep(std::time::Duration::from_micros(chance(12_000))).await;
                    erase(book, caller.account).await.unwrap();
                }
            }
            None
        };
        let sessions = tokio::join!(one(0), one(1), one(2), one(3), one(4), one(5), one(6), one(7));
        for tokens in [sessions.0, sessions.1, Some(first)].iter().flatten() {
            let outlived = holder_of(&books[0], tokens).await == Some(caller.account);
            assert!(!outlived, "round {round}: a session of who is gone");
        }
    }
    // A link that was made beside an erasure runs out like any other.
    house.alter("update tokens set expires_at = clock_timestamp() where state = 'open'").await;
    while worker(&house).await.expire(&system()).await.unwrap() > 0 {}
    assert_eq!(house.number("select count(*) from tokens where state = 'open'").await, 0);
    house.assert_whole().await;
}

async fn holder_of(book: &Doorbook, tokens: &Tokens) -> Option<AccountId> {
    book.authenticate(&tokens.access).await.ok().map(|caller| caller.account)
}

/// C073. Breaks when `core/src/store/search.rs`: `forget(&mut tx, &key, account, data_key).await?;` → `let _ = (account, data_key);`.
#[tokio::test]
async fn no_search_finds_an_erased_person_and_a_view_made_anew_is_the_same() {
    let house = house().await;
    let (book, worker) = (house.book().await, worker(&house).await);
    let (ana, _) = lived(&house, &book).await;
    register(&book, "bea@example.com").await.unwrap();
    let bea = holder(&book, &login(&book, "bea@example.com", PASSWORD).await.unwrap()).await;
    let settle = async || {
        house.seal().await;
        while worker.follow_search().await.unwrap() > 0 {}
    };
    let personal = "select count(*) from event_search where field in (6, 7, 8, 9)";
    settle().await;
    let before = house.number(personal).await;
    erase(&book, ana).await.unwrap();
    settle().await;
    let after = house.number(personal).await;
    assert!(after > 0 && after < before, "{after} of {before} are somebody else's");
    let find = async |filter: Filter| book.search_trail(bea, &filter, None, 100, &anywhere()).await.unwrap().entries;
    let by = |address: &str| Filter { email: Some(email(address)), ..Filter::default() };
    assert!(find(by(NEW)).await.is_empty() && find(by(ANA)).await.is_empty());
    assert!(!find(by("bea@example.com")).await.is_empty());
    // By its id it is found, and says that there was more.
    let entries = find(Filter { account: Some(ana), ..Filter::default() }).await;
    assert!(entries.iter().any(|entry| entry.name == "Registered" && entry.erased && entry.personal.is_none()));
    house.alter("truncate event_search; truncate event_hours; update followers set position = 0").await;
    settle().await;
    assert_eq!(house.number(personal).await, after + house.number(LATER).await);
    house.assert_whole().await;
}

/// Terms of what was noted while this was looked at.
const LATER: &str =
    "select count(*) from event_search s join event_seals p using (position) join events e using (event_id)
                     where s.field in (6, 7, 8, 9) and e.type = 'AuditSearched'";

/// Breaks when `core/src/store/migrations.rs`: `erasure::reapply(&db).await?;` → `let _ = erasure::reapply;`.
#[tokio::test]
async fn a_key_that_a_restore_brings_back_is_gone_before_anything_is_served() {
    let house = house().await;
    let book = house.book().await;
    let (ana, _) = lived(&house, &book).await;
    house.alter("create table copy as select * from keys.data_keys").await;
    erase(&book, ana).await.unwrap();
    // As `pg_restore` of schema `keys` does, from files older than the erasure.
    house.alter("insert into keys.data_keys select * from copy on conflict do nothing; drop table copy").await;
    let owner = Db::from(house.owner.clone());
    let vault = Vault::open(&owner, RootRing::new(&secrets().secret_key, &[])).await.unwrap();
    let found = rebuild::check(&owner, &vault).await.unwrap().differences.join("; ");
    assert!(found.contains(&format!("keys.data_keys {ana}: has outlived the erasure")), "{found}");
    migrations::migrate(&house.database.url_for(Role::Migrator)).await.unwrap();
    assert_eq!(house.number("select count(*) from keys.data_keys where account_id is not null").await, 0);
    house.assert_whole().await;
}
