//! Searching the trail, and the view behind it that follows the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbook_core::account::Role as AccountRole;
use doorbook_core::service::access::{Caller, Right};
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::audit::{CutOff, Filter, TrailEntry};
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::store::keys::change::Purpose;
use doorbook_core::store::{Db, follow, search};
use doorbook_core::terms::Severity;
use doorbook_core::value::{AccountId, EventId};

use crate::common::*;

/// A process with a worker's rights that keeps the view.
pub async fn keeper(house: &House) -> Arc<Doorbook> {
    use doorbook_core::password::{Engine, HashCost, Hasher};
    let cost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };
    let hasher = Hasher::start(cost, Engine::Argon2, std::num::NonZeroUsize::new(1).unwrap()).unwrap();
    let db: Db = house.worker();
    Arc::new(Doorbook::open(db, hasher, policy(), &secrets()).await.unwrap())
}

/// Seals everything and takes it into the view.
pub async fn settle(house: &House, keeper: &Doorbook) {
    house.seal().await;
    while keeper.follow_search().await.unwrap() > 0 {}
}

/// Somebody with a role.
pub async fn official(book: &Doorbook, address: &str, role: AccountRole) -> Caller {
    register(book, address).await.unwrap();
    let caller = holder(book, &login(book, address, PASSWORD).await.unwrap()).await;
    let grant = Order::new(Intervention::GrantRole(role), "test");
    book.command_account(caller.account, &grant, &Context::operator(uuid::Uuid::nil())).await.unwrap();
    caller
}

/// What an event must be like to be found.
type Holds<'a> = Box<dyn Fn(&TrailEntry) -> bool + 'a>;

/// Every page of a search, `limit` a page.
pub async fn walk(book: &Doorbook, caller: Caller, filter: &Filter, limit: u32) -> Vec<TrailEntry> {
    let (mut entries, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = book.search_trail(caller, filter, cursor.as_deref(), limit, &anywhere()).await.unwrap();
        assert!(page.entries.len() <= limit as usize);
        entries.extend(page.entries);
        let Some(next) = page.next else { return entries };
        cursor = Some(next);
    }
}

fn positions(entries: &[TrailEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position).collect()
}

pub fn filter(change: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    change(&mut filter);
    filter
}

/// C069. Breaks when `core/src/service/audit/search.rs`: `Ok(Some(Walk { lead, others: terms.collect(), from, before }))` → `Ok(Some(Walk { lead, others: Vec::new(), from, before }))`.
#[tokio::test]
async fn a_search_by_any_combination_finds_what_holds_and_nothing_else() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    let admin = official(&book, "chief@example.org", AccountRole::Admin).await;
    for (number, address) in ["198.51.100.7", "198.51.100.9", "2001:db8:1:2::3"].iter().enumerate() {
        let name = format!("ana{number}@example.com");
        register(&book, &name).await.unwrap();
        login_from(&book, &name, PASSWORD, None, &from(address)).await.unwrap();
        for _ in 0..2 {
            assert!(login_from(&book, &name, OTHER_PASSWORD, None, &from(address)).await.is_err());
        }
    }
    register(&book, "ana@bücher.example").await.unwrap();
    settle(&house, &keeper).await;
    // What is recorded of reading comes behind and is not sealed: the trail stands still.
    let all = walk(&book, admin, &Filter::default(), 7).await;
    assert_eq!(positions(&all), (1..=i64::try_from(all.len()).unwrap()).rev().collect::<Vec<_>>());
    let personal = |entry: &TrailEntry| entry.personal.clone().unwrap_or_default();
    let address = |entry: &TrailEntry| personal(entry).address.unwrap_or_default();
    let mail = |entry: &TrailEntry| personal(entry).email.unwrap_or_default();
    let ana = AccountId(all.iter().find(|it| mail(it) == "ana0@example.com").unwrap().account.unwrap());
    let middle = all[all.len() / 2].at;
    let cases: Vec<(Filter, Holds<'_>)> = vec![
        (filter(|it| it.account = Some(ana)), Box::new(|it| it.account == Some(ana.0))),
        (filter(|it| it.actor = Some(admin.account)), Box::new(|it| it.actor == Some(admin.account.0))),
        (filter(|it| it.session = Some(admin.session)), Box::new(|it| it.session == Some(admin.session.0))),
        (filter(|it| it.name = Some("LoginFailed".into())), Box::new(|it| it.name == "LoginFailed")),
        (
            filter(|it| it.severity = Some(Severity::Warning)),
            Box::new(|it| it.severity.is_some_and(|severity| severity >= Severity::Warning)),
        ),
        (filter(|it| it.address = "198.51.100.9".parse().ok()), Box::new(|it| address(it) == "198.51.100.9")),
        (
            filter(|it| it.network = "198.51.100.200".parse().ok()),
            Box::new(|it| address(it).starts_with("198.51.100.")),
        ),
        (filter(|it| it.network = "2001:db8:1::".parse().ok()), Box::new(|it| address(it).starts_with("2001:db8:1:"))),
        (filter(|it| it.email_domain = Some("EXAMPLE.ORG".into())), Box::new(|it| mail(it).ends_with("@example.org"))),
        (
            filter(|it| it.email_domain = Some("Bücher.example".into())),
            Box::new(|it| mail(it) == "ana@xn--bcher-kva.example"),
        ),
        (filter(|it| it.email = Some(email("Ana0@Example.com"))), Box::new(|it| it.account == Some(ana.0))),
        (
            filter(|it| {
                it.account = Some(ana);
                it.name = Some("LoginFailed".into());
                it.network = "198.51.100.0".parse().ok();
            }),
            Box::new(|it| it.account == Some(ana.0) && it.name == "LoginFailed"),
        ),
        (filter(|it| it.from = Some(middle)), Box::new(|it| it.at >= middle)),
        (filter(|it| it.to = Some(middle)), Box::new(|it| it.at < middle)),
        (
            filter(|it| {
                it.address = "203.0.113.7".parse().ok();
                it.name = Some("Registered".into());
                it.to = Some(middle);
            }),
            Box::new(|it| it.name == "Registered" && address(it) == "203.0.113.7" && it.at < middle),
        ),
        (filter(|it| it.email = Some(email("nobody@example.com"))), Box::new(|_| false)),
    ];
    for (filter, holds) in cases {
        let expected: Vec<i64> = all.iter().filter(|entry| holds(entry)).map(|entry| entry.position).collect();
        let found = walk(&book, admin, &filter, 2).await;
        assert_eq!(positions(&found), expected, "{filter:?}");
    }
}

/// C068. Breaks when `core/src/store/search.rs`: `follow::moved(&mut tx, FOLLOWER, &place, ahead.position).await?;` → `follow::moved(&mut tx, FOLLOWER, &place, ahead.position + 1).await?;`.
#[tokio::test]
async fn walks_while_the_log_grows_see_every_sealed_event_once_and_in_order() {
    let house = house().await;
    // As many register as there is time for, all from one network.
    let policy = policy_with(|policy| policy.registration.max = u32::MAX);
    let (book, keeper) = (house.book_with(policy, &secrets()).await, keeper(&house).await);
    let admin = official(&book, "chief@example.org", AccountRole::Admin).await;
    let stop = Arc::new(AtomicBool::new(false));
    let keeping = tokio::spawn({
        let (keeper, stop, sealer) = (keeper.clone(), stop.clone(), house.worker());
        async move {
            while !stop.load(Ordering::Relaxed) {
                doorbook_core::store::seal::seal_batch(&sealer).await.unwrap();
                keeper.follow_search().await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let writing = tokio::spawn({
        let (book, stop) = (book.clone(), stop.clone());
        async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return number;
                }
                register(&book, &format!("user{number}@example.com")).await.unwrap();
            }
            0
        }
    });
    for round in 0..dose(4, 20) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let registered = filter(|it| it.name = Some("Registered".into()));
        let everything = positions(&walk(&book, admin, &Filter::default(), 50).await);
        let named = positions(&walk(&book, admin, &registered, 10).await);
        let newest = everything.first().copied().unwrap_or(0);
        assert_eq!(everything, (1..=newest).rev().collect::<Vec<_>>(), "round {round}");
        let unique: BTreeSet<i64> = named.iter().copied().collect();
        assert_eq!(unique.into_iter().rev().collect::<Vec<_>>(), named, "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    keeping.await.unwrap();
    settle(&house, &keeper).await;
    let registered = filter(|it| it.name = Some("Registered".into()));
    let found = walk(&book, admin, &registered, 10).await;
    assert_eq!(i64::try_from(found.len()).unwrap(), house.events("Registered").await, "{written} were written");
    // Counted once, whatever came when.
    let counted = "select (sum(events) = (select count(*) from event_seals))::int::bigint from event_hours";
    assert_eq!(house.number(counted).await, 1);
}

/// C068. Breaks when `core/src/store/keys/search.rs`: `if known.id == id {` → `if !known.id.is_empty() {`.
#[tokio::test]
async fn a_view_made_anew_under_another_key_finds_the_same_and_is_counted_once() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    let admin = official(&book, "chief@example.org", AccountRole::Admin).await;
    login(&book, "chief@example.org", OTHER_PASSWORD).await.unwrap_err();
    settle(&house, &keeper).await;
    let searches = [
        filter(|it| it.email = Some(email("chief@example.org"))),
        filter(|it| it.email_domain = Some("example.org".into())),
        filter(|it| it.name = Some("LoginFailed".into())),
        filter(|it| it.account = Some(admin.account)),
    ];
    let upto = house.number("select max(position) from event_seals").await;
    let found = async |book: &Doorbook| {
        let mut found = Vec::new();
        for search in &searches {
            let seen = positions(&walk(book, admin, search, 5).await);
            found.push(seen.into_iter().filter(|position| *position <= upto).collect::<Vec<_>>());
        }
        found
    };
    let before = found(&book).await;
    assert!(before.iter().all(|positions| !positions.is_empty()), "{before:?}");
    house.alter("create table earlier as select distinct field, term from event_search").await;
    let operator = Context::operator(uuid::Uuid::nil());
    book.change_key(&Db::from(house.owner.clone()), Purpose::Search, &operator).await.unwrap();
    assert_eq!(house.number("select count(*) from event_search").await, 0);
    settle(&house, &keeper).await;
    // Whoever knew the earlier key, and whoever never did.
    for book in [&book, &house.book().await] {
        assert_eq!(found(book).await, before);
    }
    assert_eq!(house.number("select count(*) from event_search join earlier using (field, term)").await, 0);
    settle(&house, &keeper).await;
    let counted = "select (sum(events) = (select count(*) from event_seals))::int::bigint from event_hours";
    assert_eq!(house.number(counted).await, 1);
}

/// The follower that keeps the search view.
async fn searching(book: &Doorbook) -> follow::Follower {
    let all = follow::all(&book.db).await.unwrap();
    all.into_iter().find(|follower| follower.name == search::FOLLOWER).unwrap()
}

/// C082. Breaks when `core/src/store/search.rs`: `return ahead.stop.map_or(Ok(0), Err);` → `return ahead.stop.map_or(Ok(0), |_| Ok(0));`.
#[tokio::test]
async fn a_view_stops_before_an_event_that_it_cannot_read_and_says_so() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    register(&book, "ana@example.com").await.unwrap();
    let strange = "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                   select uuid7_floor(clock_timestamp()), 'keep', stream_id, version + 1, 'FromAnotherTime', '{}', 'system'
                   from streams where kind = 'account' limit 1";
    house.alter(strange).await;
    register(&book, "bea@example.com").await.unwrap();
    house.seal().await;
    let before = keeper.follow_search().await.unwrap();
    assert!(before > 0, "what comes before it is taken in");
    for _ in 0..2 {
        let error = keeper.follow_search().await.unwrap_err();
        assert!(error.to_string().contains("FromAnotherTime"), "{error}");
        follow::stopped(&keeper.db, search::FOLLOWER, &error.to_string()).await.unwrap();
    }
    let follower = searching(&book).await;
    assert_eq!(follower.position, i64::try_from(before).unwrap());
    assert!(follower.behind > 1);
    assert!(follower.fault.as_deref().is_some_and(|fault| fault.contains("FromAnotherTime")));
    assert_eq!(
        house.number("select count(*) from event_search where position > (select position from followers where follower = 'search')").await,
        0
    );

    // A build that knows it goes on by itself.
    house.alter("alter table events disable trigger events_insert_only; update events set type = 'AllSessionsRevoked', payload = '{\"reason\": \"x\"}' where type = 'FromAnotherTime'").await;
    settle(&house, &keeper).await;
    let follower = searching(&book).await;
    assert_eq!((follower.behind, follower.fault.as_deref()), (0, None));
}

/// C069. Breaks when `core/src/service/access.rs`: `Ok(if plain { Sight::Plain } else { Sight::Masked })` → `Ok(if plain || !plain { Sight::Plain } else { Sight::Masked })`.
#[tokio::test]
async fn an_auditor_sees_masked_mailboxes_until_they_are_revealed_for_a_reason() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    let admin = official(&book, "chief@example.org", AccountRole::Admin).await;
    let auditor = official(&book, "eyes@example.org", AccountRole::Auditor).await;
    register(&book, "ana.lima@example.com").await.unwrap();
    settle(&house, &keeper).await;
    let search = filter(|it| it.email = Some(email("ana.lima@example.com")));
    let shown = |entries: Vec<TrailEntry>| {
        let entry = entries.into_iter().find(|entry| entry.name == "Registered").unwrap();
        let personal = entry.personal.unwrap();
        (entry.id, personal.email.unwrap(), personal.last_name.unwrap(), personal.address.unwrap())
    };
    let (id, mailbox, name, address) = shown(walk(&book, auditor, &search, 50).await);
    assert_eq!((&*mailbox, &*name, &*address), ("a•••@example.com", "•••", "203.0.113.7"));
    assert_eq!(shown(walk(&book, admin, &search, 50).await).1, "ana.lima@example.com");
    let read = book.trail_event(auditor, id, &anywhere()).await.unwrap();
    assert_eq!(read.event.personal.unwrap().email.unwrap(), "a•••@example.com");
    let asked = walk(&book, auditor, &search, 50).await;
    let asked = asked.iter().find(|entry| entry.name == "EmailVerificationRequested").unwrap().id;
    let read = book.trail_event(auditor, asked, &anywhere()).await.unwrap();
    let caused: Vec<_> = read.caused.iter().map(|entry| &*entry.name).collect();
    assert_eq!(caused, ["MailQueued"]);
    assert_eq!(read.deliveries[0].template, "verify");

    let revealed = book.reveal(auditor, id, "case 17".into(), &anywhere()).await.unwrap();
    assert_eq!(revealed.personal.unwrap().email.unwrap(), "ana.lima@example.com");
    settle(&house, &keeper).await;
    let told = walk(&book, admin, &filter(|it| it.name = Some("PersonalDataRevealed".into())), 50).await;
    let [told] = &told[..] else { panic!("one reveal") };
    assert_eq!(told.payload["reason"], "case 17");
    assert_eq!((told.actor, told.payload["event"].as_str()), (Some(auditor.account.0), Some(&*id.to_string())));
    // Four searches and two events read: pages and what was looked for stand nowhere.
    assert_eq!(house.events("AuditSearched").await, 6);
    let leaked = "select count(*) from events where payload::text like '%ana.lima%'";
    assert_eq!(house.number(leaked).await, 0);
}

/// C068. Breaks when `core/src/token/cursor.rs`: `is_ours.then_some(position)` → `Some(position)`.
#[tokio::test]
async fn a_cursor_continues_its_own_search_and_no_other() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    let admin = official(&book, "chief@example.org", AccountRole::Admin).await;
    let auditor = official(&book, "eyes@example.org", AccountRole::Auditor).await;
    settle(&house, &keeper).await;
    let first = book.search_trail(admin, &Filter::default(), None, 2, &anywhere()).await.unwrap();
    let cursor = first.next.unwrap();
    let ask = async |caller, filter: Filter, cursor: &str| {
        book.search_trail(caller, &filter, Some(cursor), 2, &anywhere()).await.map(|page| page.entries.len())
    };
    assert_eq!(ask(admin, Filter::default(), &cursor).await.unwrap(), 2);
    let other = filter(|it| it.name = Some("Registered".into()));
    let swapped = cursor.chars().rev().collect::<String>();
    for (caller, filter, cursor) in [
        (auditor, Filter::default(), &*cursor),
        (admin, other, &cursor),
        (admin, Filter::default(), &swapped),
        (admin, Filter::default(), ""),
    ] {
        let refused = ask(caller, filter, cursor).await.unwrap_err();
        assert!(matches!(refused, Refusal::Invalid(faults) if faults[0].field == "cursor"));
    }
}

/// C069. Breaks when `core/src/service/audit/export.rs`: `self.doorbook.sight_still(self.caller).await?.ok_or(Refusal::Forbidden)?` → `self.doorbook.sight(self.caller).await?`.
#[tokio::test]
async fn an_export_goes_on_no_longer_than_the_session_and_the_role_that_it_was_begun_with() {
    let house = house().await;
    let (book, keeper) = (house.book().await, keeper(&house).await);
    let auditor = official(&book, "eyes@example.org", AccountRole::Auditor).await;
    let leaver = official(&book, "gone@example.org", AccountRole::Auditor).await;
    settle(&house, &keeper).await;
    let export = async |caller| book.export_trail(caller, Filter::default(), "csv", &anywhere()).await.unwrap();
    let [mut whole, mut cut, mut left] = [export(auditor).await, export(auditor).await, export(leaver).await];
    assert!(whole.next().await.unwrap().is_some_and(|page| !page.is_empty()));
    let revoke = Order::new(Intervention::RevokeRole(AccountRole::Auditor), "test");
    book.command_account(auditor.account, &revoke, &Context::operator(uuid::Uuid::nil())).await.unwrap();
    book.logout_all(leaver, None, &anywhere().acting(leaver.account)).await.unwrap();
    for export in [&mut cut, &mut left] {
        assert!(matches!(export.next().await, Err(CutOff::Refused(Refusal::Forbidden))));
    }
}

/// C067. Breaks when `core/src/service/access.rs`: `Self::Administer => matches!(role, Role::Admin),` → `Self::Administer => true,`.
#[tokio::test]
async fn who_lacks_a_right_is_refused_and_the_trail_tells_it_once_an_hour() {
    let house = house().await;
    let book = house.book().await;
    let admin = official(&book, "chief@example.org", AccountRole::Admin).await;
    let auditor = official(&book, "eyes@example.org", AccountRole::Auditor).await;
    register(&book, "ana@example.com").await.unwrap();
    let ana = holder(&book, &login(&book, "ana@example.com", PASSWORD).await.unwrap()).await;
    for (caller, right, admitted) in [
        (admin, Right::Audit, true),
        (admin, Right::Administer, true),
        (auditor, Right::Audit, true),
        (auditor, Right::Administer, false),
        (ana, Right::Audit, false),
        (ana, Right::Administer, false),
    ] {
        let answer = book.admit(caller, right, &anywhere()).await;
        assert_eq!(answer.is_ok(), admitted, "{right:?}");
        assert!(admitted || matches!(answer, Err(Refusal::Forbidden)));
    }
    assert_eq!(house.events("AuthorizationDenied").await, 3);
    for _ in 0..30 {
        assert!(book.admit(ana, Right::Audit, &anywhere()).await.is_err());
    }
    assert_eq!(house.events("AuthorizationDenied").await, 3, "one an hour, account and right");
    // A role that is gone is gone at once.
    let revoke = Order::new(Intervention::RevokeRole(AccountRole::Auditor), "test");
    book.command_account(auditor.account, &revoke, &Context::operator(uuid::Uuid::nil())).await.unwrap();
    assert!(book.admit(auditor, Right::Audit, &anywhere()).await.is_err());
    assert!(
        book.trail_event(admin, EventId(uuid::Uuid::nil()), &anywhere())
            .await
            .is_err_and(|it| matches!(it, Refusal::NotFound))
    );
}
