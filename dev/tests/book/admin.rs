//! What admins and operators do to accounts of others, below HTTP: who stays an admin, what is told of whom, and how old a proof may
//! be.

use std::sync::Arc;

use doorbook_core::account::Role;
use doorbook_core::failpoint::Gate;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{AccountFilter, Intervention, MailFilter, Order};
use doorbook_core::service::audit::Filter;
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::value::AccountId;

use crate::common::*;

const ANA: &str = "ana@example.com";
const ADMINS: [&str; 2] = ["ines@example.com", "juan@example.com"];
/// Where admins sit, and nobody else.
const OFFICE: &str = "198.51.100.77";

fn operator() -> Context {
    Context::operator(uuid::Uuid::nil())
}

async fn id_of(book: &Doorbook, address: &str) -> AccountId {
    book.find_account(&email(address)).await.unwrap().unwrap()
}

/// Registers an admin and logs him in.
async fn admin(book: &Doorbook, address: &str) -> Caller {
    register(book, address).await.unwrap();
    let grant = Order::new(Intervention::GrantRole(Role::Admin), "test");
    assert!(book.command_account(id_of(book, address).await, &grant, &operator()).await.unwrap());
    let tokens = login_from(book, address, PASSWORD, None, &from(OFFICE)).await.unwrap();
    holder(book, &tokens).await
}

async fn orders(book: &Doorbook, caller: Caller, account: AccountId, what: Intervention) -> Result<(), Refusal> {
    let context = from(OFFICE).acting(caller.account);
    book.administer(caller, account, &Order::new(what, "asked by phone"), None, &context).await
}

async fn active_admins(house: &House) -> i64 {
    house.number("select count(*) from accounts where 'admin' = any(roles) and status = 'active'").await
}

/// Breaks when `core/src/service/admin/last_admin.rs`: `batch.write.move_admins(others.version);` → `let _ = &batch.write;`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_admins_who_remove_each_other_at_once_one_stays() {
    let revoke = Intervention::RevokeRole(Role::Admin);
    for (pair, is_operators) in
        [([Intervention::Disable; 2], false), ([revoke, Intervention::Disable], false), ([revoke; 2], true)]
    {
        let house = house().await;
        let books = [house.book().await, house.book().await];
        let callers = [admin(&books[0], ADMINS[0]).await, admin(&books[1], ADMINS[1]).await];
        let (mut tasks, mut holds) = (Vec::new(), Vec::new());
        for n in 0..2 {
            let (gate, mut hold) = Gate::new(&["admin.counted"]);
            let (book, other, what) = (Arc::clone(&books[n]), callers[1 - n].account, pair[n]);
            let caller = callers[n];
            tasks.push(tokio::spawn(gate.around(async move {
                if is_operators {
                    return book
                        .command_account(other, &Order::new(what, "asked by phone"), &operator())
                        .await
                        .map(drop);
                }
                orders(&book, caller, other, what).await
            })));
            assert_eq!(hold.arrived().await, Some("admin.counted"), "each has seen the other");
            holds.push(hold);
        }
        let mut outcomes = Vec::new();
        for (hold, task) in holds.iter().zip(tasks) {
            hold.pass();
            outcomes.push(task.await.unwrap());
        }
        assert!(outcomes[0].is_ok(), "{pair:?}: {outcomes:?}");
        // An admin who has been removed has no say any more.
        let is_refused = match &outcomes[1] {
            Err(Refusal::LastAdmin) => is_operators,
            Err(Refusal::Unauthenticated | Refusal::Forbidden) => !is_operators,
            _ => false,
        };
        assert!(is_refused, "{pair:?}: {outcomes:?}");
        assert_eq!(active_admins(&house).await, 1, "{pair:?}");
        house.assert_whole().await;
    }
}

/// C067. Breaks when `core/src/service/append.rs`: `self.write.require_session(hand.session, Some(Role::Admin));` → `let _ = (hand.session, Role::Admin);`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_who_is_thrown_out_while_his_order_is_under_way_leaves_nothing_behind() {
    for out in [Intervention::Disable, Intervention::RevokeRole(Role::Admin), Intervention::RevokeSessions] {
        let house = house().await;
        let books = [house.book().await, house.book().await];
        let [good, bad] = [admin(&books[0], ADMINS[0]).await, admin(&books[1], ADMINS[1]).await];
        register(&books[0], ANA).await.unwrap();
        let ana = id_of(&books[0], ANA).await;
        let (gate, mut hold) = Gate::new(&["admin.read"]);
        let book = Arc::clone(&books[1]);
        let late = tokio::spawn(
            gate.around(async move { orders(&book, bad, ana, Intervention::GrantRole(Role::Admin)).await }),
        );
        assert_eq!(hold.arrived().await, Some("admin.read"));
        orders(&books[0], good, bad.account, out).await.unwrap();
        hold.pass();
        let refused = late.await.unwrap();
        assert!(matches!(refused, Err(Refusal::Unauthenticated | Refusal::Forbidden)), "{out:?}: {refused:?}");
        assert_eq!(
            house.number("select count(*) from accounts where 'admin' = any(roles)").await,
            match out {
                Intervention::RevokeRole(_) => 1,
                _ => 2,
            }
        );
        house.assert_whole().await;
    }
}

/// C069. Breaks when `core/src/service/admin/view.rs`: `self.note_search(caller, filter, None, context).await?;` → `let _ = context;`.
#[tokio::test]
async fn who_searches_for_accounts_stands_in_the_trail_once_an_hour_for_each_search() {
    let house = house().await;
    let book = house.book().await;
    let caller = admin(&book, ADMINS[0]).await;
    let context = from(OFFICE).acting(caller.account);
    let one = AccountFilter { email: Some(email(ADMINS[0])), ..AccountFilter::default() };
    for filter in [&AccountFilter::default(), &one, &one] {
        assert_eq!(book.search_accounts(caller, filter, None, 10, &context).await.unwrap().len(), 1);
    }
    assert_eq!(house.events("AuditSearched").await, 2);
    book.accounts_of_domain(caller, "example.com", &AccountFilter::default(), None, 10, &context).await.unwrap();
    assert_eq!(house.events("AuditSearched").await, 3);
    let nothing = MailFilter { template: Some("\0".to_owned()), ..MailFilter::default() };
    assert!(book.search_mails(caller, &nothing, None, 10, &context).await.unwrap().is_empty());
}

/// Breaks when `core/src/service/admin/order.rs`: `self.keep_an_admin(&mut batch, &loaded, &after).await?;` → `let _ = &after;`.
#[tokio::test]
async fn nobody_takes_the_last_admin_away_not_even_an_operator() {
    let house = house().await;
    let book = house.book().await;
    let caller = admin(&book, ADMINS[0]).await;
    for what in [Intervention::Disable, Intervention::RevokeRole(Role::Admin), Intervention::Erase] {
        assert!(matches!(orders(&book, caller, caller.account, what).await, Err(Refusal::LastAdmin)), "{what:?}");
        let refused = book.command_account(caller.account, &Order::new(what, "test"), &operator()).await;
        assert!(matches!(refused, Err(Refusal::LastAdmin)), "{what:?}");
    }
    // One who is disabled cannot give the role back.
    let other = admin(&book, ADMINS[1]).await;
    orders(&book, caller, other.account, Intervention::Disable).await.unwrap();
    assert!(matches!(orders(&book, caller, caller.account, Intervention::Disable).await, Err(Refusal::LastAdmin)));
    orders(&book, caller, other.account, Intervention::Enable).await.unwrap();
    orders(&book, caller, caller.account, Intervention::RevokeRole(Role::Admin)).await.unwrap();
    assert_eq!(active_admins(&house).await, 1);
    house.assert_whole().await;
}

/// C069. Breaks when `core/src/service/append.rs`: `(_, Some(hand)) => (hand.key.as_ref(), self.with_origin(own)),` → `(_, Some(_)) => (key, self.with_origin(own)),`.
#[tokio::test]
async fn an_account_never_learns_from_where_an_admin_worked_on_it() {
    let house = house().await;
    let book = house.book().await;
    let caller = admin(&book, ADMINS[0]).await;
    register(&book, ANA).await.unwrap();
    let ana = id_of(&book, ANA).await;
    let hers = login(&book, ANA, PASSWORD).await.unwrap().session;
    let context = from(OFFICE).acting(caller.account);
    book.view_account(caller, ana, &context).await.unwrap();
    book.end_session_of(caller, ana, hers, "stolen", None, &context).await.unwrap();
    for what in [
        Intervention::ForceReset,
        Intervention::RevokeSessions,
        Intervention::GrantRole(Role::Auditor),
        Intervention::RevokeRole(Role::Auditor),
        Intervention::Disable,
        Intervention::Enable,
    ] {
        orders(&book, caller, ana, what).await.unwrap();
    }
    let strays = "select count(*) from events e
         join keys.data_keys k on k.account_id = e.actor_id
         where e.actor_id <> e.subject_id and e.type <> 'MailQueued'
           and (e.pii_key_id is distinct from k.key_id or e.session_id is null)";
    assert_eq!(house.number(strays).await, 0, "sealed with the admin's key, in the admin's session");
    let done = "select count(*) from events where actor_id <> subject_id and type <> 'MailQueued'";
    assert_eq!(house.number(done).await, 8);
    for entry in book.history(ana, None, 100).await.unwrap() {
        assert_ne!(entry.address.as_deref(), Some(OFFICE), "{entry:?}");
        assert_ne!(entry.session, Some(caller.session), "{entry:?}");
    }
    // A mail is told nothing either.
    let mail = house.mail(&book, "reset_forced").await;
    assert_eq!((mail.context.address.as_str(), mail.context.user_agent.as_str()), ("", ""));
    assert_eq!(mail.to, ANA);
    house.assert_whole().await;
}

/// C030. Breaks when `core/src/service/login.rs`: `if owner.account.reset_required_at.is_some() {` → `if false {`.
#[tokio::test]
async fn after_a_forced_reset_nobody_logs_in_before_the_owner_has_set_a_new_password() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let ana = id_of(&book, ANA).await;
    let old = login(&book, ANA, PASSWORD).await.unwrap();
    let caller = holder(&book, &old).await;
    let (new, hers) = (email("thief@example.com"), anywhere().acting(caller.account));
    book.request_email_change(caller, &password(PASSWORD), &new, None, &hers).await.unwrap();
    let force = Order::new(Intervention::ForceReset, "stolen");
    assert!(book.command_account(ana, &force, &operator()).await.unwrap());
    assert_eq!(alive(&book, &old).await, (false, false));
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "wrong");
    assert_eq!(house.number("select count(*) from tokens where kind = 'change' and state = 'open'").await, 0);
    let reasons = "select count(*) from events where type = 'LoginFailed' and payload->>'reason' = 'reset_required'";
    assert_eq!(house.number(reasons).await, 1);
    let link = house.link(&book, "reset_forced").await;
    book.confirm_reset(&link, &password(OTHER_PASSWORD), None, &anywhere()).await.unwrap();
    assert_eq!(word(&login(&book, ANA, PASSWORD).await), "wrong");
    assert_eq!(word(&login(&book, ANA, OTHER_PASSWORD).await), "ok");
    house.assert_whole().await;
    // Disabled is disabled: nothing is mailed, and who orders it is told.
    assert!(book.command_account(ana, &Order::new(Intervention::Disable, "left"), &operator()).await.unwrap());
    assert!(matches!(book.command_account(ana, &force, &operator()).await, Err(Refusal::AccountDisabled)));
}

/// Breaks when `core/src/service/admin/order.rs`: `if order.what.needs_step_up() {` → `if false {`.
#[tokio::test]
async fn what_is_dangerous_needs_a_password_given_within_ten_minutes() {
    let house = house().await;
    let book = house.book().await;
    let caller = admin(&book, ADMINS[0]).await;
    register(&book, ANA).await.unwrap();
    let ana = id_of(&book, ANA).await;
    let dangerous = [
        Intervention::Disable,
        Intervention::ForceReset,
        Intervention::GrantRole(Role::Auditor),
        Intervention::RevokeRole(Role::Auditor),
        Intervention::Erase,
    ];
    house.age_sessions(601).await;
    for what in dangerous {
        assert!(matches!(orders(&book, caller, ana, what).await, Err(Refusal::StepUpRequired)), "{what:?}");
    }
    for what in [Intervention::Enable, Intervention::Unlock, Intervention::RevokeSessions] {
        orders(&book, caller, ana, what).await.unwrap();
    }
    let context = from(OFFICE).acting(caller.account);
    let export = book.export_trail(caller, Filter::default(), "csv", &context).await;
    assert!(matches!(export, Err(Refusal::StepUpRequired)));
    let wrong = book.step_up(caller, &password(OTHER_PASSWORD), &context).await;
    assert!(matches!(wrong, Err(Refusal::Invalid(_))), "{wrong:?}");
    assert!(matches!(orders(&book, caller, ana, dangerous[0]).await, Err(Refusal::StepUpRequired)));
    book.step_up(caller, &password(PASSWORD), &context).await.unwrap();
    orders(&book, caller, ana, Intervention::GrantRole(Role::Auditor)).await.unwrap();
    house.age_sessions(599).await;
    orders(&book, caller, ana, Intervention::RevokeRole(Role::Auditor)).await.unwrap();
    house.age_sessions(2).await;
    assert!(matches!(orders(&book, caller, ana, Intervention::Disable).await, Err(Refusal::StepUpRequired)));
    // Wrong ones are guesses like any other.
    for _ in 0..5 {
        assert!(book.step_up(caller, &password(OTHER_PASSWORD), &context).await.is_err());
    }
    assert_eq!(word(&book.step_up(caller, &password(PASSWORD), &context).await), "blocked");
}

/// Breaks when `core/src/service/admin/order.rs`: `let buckets = std::iter::once(None).chain(devices.into_iter().map(Some));` → `let _ = devices; let buckets = std::iter::once(None);`.
#[tokio::test]
async fn an_unlock_lifts_a_timed_block_of_the_address_and_of_known_devices() {
    let house = house().await;
    let book = house.book().await;
    register(&book, ANA).await.unwrap();
    let ana = id_of(&book, ANA).await;
    let device = login(&book, ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned();
    let unlock = Order::new(Intervention::Unlock, "asked by phone");
    assert!(!book.command_account(ana, &unlock, &operator()).await.unwrap(), "nothing to lift");
    let here = anywhere();
    for token in [String::new(), device] {
        let guess = |text: &'static str| login_from(&book, ANA, text, Some(token.clone()), &here);
        for _ in 0..5 {
            assert_eq!(word(&guess(OTHER_PASSWORD).await), "wrong");
        }
        assert_eq!(word(&guess(PASSWORD).await), "blocked");
        assert!(book.command_account(ana, &unlock, &operator()).await.unwrap());
        assert_eq!(word(&guess(PASSWORD).await), "ok");
    }
    let said = "select count(*) from events where type = 'AccountUnlocked' and payload->>'reason' = 'asked by phone'";
    assert_eq!(house.number(said).await, 2);
    house.assert_whole().await;
}

/// C069. Breaks when `core/src/service/notes.rs`: `let Ok(counter) = row.counter.clone().count(LOOKS_NOTED, at) else { return Ok(()) };` → `let Ok(counter) = crate::limit::Counter::default().count(LOOKS_NOTED, at) else { return Ok(()) };`.
#[tokio::test]
async fn a_look_at_an_account_is_noted_once_an_hour_for_each_who_looks() {
    let house = house().await;
    let book = house.book().await;
    let callers = [admin(&book, ADMINS[0]).await, admin(&book, ADMINS[1]).await];
    for address in [ANA, "eva@example.com"] {
        register(&book, address).await.unwrap();
    }
    let (ana, eva) = (id_of(&book, ANA).await, id_of(&book, "eva@example.com").await);
    for caller in callers {
        let context = from(OFFICE).acting(caller.account);
        for account in [ana, ana, eva, ana] {
            book.view_account(caller, account, &context).await.unwrap();
        }
        let nobody = book.view_account(caller, AccountId(uuid::Uuid::nil()), &context).await;
        assert_eq!(word(&nobody), "not found");
    }
    assert_eq!(house.events("AccountViewed").await, 4);
    house.age_limits(3_601).await;
    book.view_account(callers[0], ana, &from(OFFICE)).await.unwrap();
    assert_eq!(house.events("AccountViewed").await, 5);
    assert_eq!(house.events("LimitExceeded").await, 0, "looking is no offence");
    house.assert_whole().await;
}

/// The caller was let in before the body came, and it came slowly.
/// Breaks when `core/src/service/admin/order.rs`: `self.admit_still(caller, Right::Administer, context).await?;` → `let _ = context;`.
#[tokio::test]
async fn an_order_is_not_carried_out_for_a_session_or_a_role_that_ended_before_it_was_read() {
    let house = house().await;
    let book = house.book().await;
    let (caller, other) = (admin(&book, ADMINS[0]).await, admin(&book, ADMINS[1]).await);
    register(&book, ANA).await.unwrap();
    let ana = id_of(&book, ANA).await;
    let grant = Intervention::GrantRole(Role::Admin);
    orders(&book, other, caller.account, Intervention::RevokeRole(Role::Admin)).await.unwrap();
    assert!(matches!(orders(&book, caller, ana, grant).await, Err(Refusal::Forbidden)));
    orders(&book, other, caller.account, grant).await.unwrap();
    book.logout_all(caller, None, &from(OFFICE).acting(caller.account)).await.unwrap();
    assert!(matches!(orders(&book, caller, ana, grant).await, Err(Refusal::Unauthenticated)));
    assert_eq!(active_admins(&house).await, 2, "Ana is none");
    house.assert_whole().await;
}
