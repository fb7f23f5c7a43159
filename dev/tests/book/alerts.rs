//! Alerts are raised once, whoever is at work beside, and tell nobody who somebody was.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::account::Role as AccountRole;
use doorbook_core::alert::{Rule, Subject};
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::audit::Filter;
use doorbook_core::service::{Context, Doorbook, Policy};
use doorbook_core::store::jobs;
use doorbook_core::value::AccountId;
use serde_json::Value;

use crate::common::*;
use crate::erasure::{worker, worker_with};

const ANA: &str = "ana@example.com";

/// A process of the api where nobody is blocked.
async fn open_house(house: &House) -> Arc<Doorbook> {
    house.book_with(policy_with(|policy| policy.login.max = 1_000), &secrets()).await
}

async fn fail(book: &Doorbook, address: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(word(&login(book, address, OTHER_PASSWORD).await), "wrong");
    }
}

/// Takes in all that is sealed; what was raised.
async fn follow(worker: &Doorbook) -> Vec<Rule> {
    let mut raised = Vec::new();
    loop {
        let step = worker.follow_alerts().await.unwrap();
        raised.extend(step.raised);
        if step.positions == 0 {
            return raised;
        }
    }
}

/// Payloads of all alerts.
async fn alerts(house: &House) -> Vec<Value> {
    let all = "select payload from events where type = 'SecurityAlertRaised' order by event_id";
    sqlx::query_scalar(all).fetch_all(&house.owner).await.unwrap()
}

async fn account(house: &House) -> uuid::Uuid {
    let first = "select account_id from accounts order by account_id limit 1";
    sqlx::query_scalar(first).fetch_one(&house.owner).await.unwrap()
}

/// Breaks when `core/src/service/alerts.rs`: `alerts::remember(tx, &key, changed).await?;` → `let _ = changed;`.
#[tokio::test]
async fn what_several_workers_have_seen_a_part_of_is_raised_once() {
    let house = house().await;
    let book = open_house(&house).await;
    register(&book, ANA).await.unwrap();
    let workers = [worker(&house).await, worker(&house).await];
    let mut raised = Vec::new();
    // Each step may fall to another worker, and none sees all.
    for round in 0..dose(5, 50) {
        fail(&book, ANA, 7).await;
        house.seal().await;
        let both = workers.clone();
        for found in at_once(2, move |n| {
            let worker = Arc::clone(&both[(n + round) % 2]);
            async move { follow(&worker).await }
        })
        .await
        {
            raised.extend(found);
        }
    }
    assert_eq!(raised, [Rule::AccountGuessing]);
    let alerts = alerts(&house).await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["account"], account(&house).await.to_string());
    assert_eq!((&alerts[0]["rule"], &alerts[0]["severity"]), (&"account_guessing".into(), &"warning".into()));
    assert_eq!(alerts[0]["evidence"]["count"], 20);
    assert_eq!(alerts[0]["evidence"]["events"].as_array().unwrap().len(), 10);
    let streams = "select count(*) from streams s join alerts a on a.alert_id = s.stream_id where s.kind = 'security'";
    assert_eq!(house.number(streams).await, 1, "the alert is listed under the name of its stream");
    house.seal().await;
    assert_eq!(follow(&workers[0]).await, [], "an alert raises none");
}

/// Breaks when `core/src/store/alerts.rs`: `Subject::Network(network) => key.name("network", network.as_bytes()),` → `Subject::Network(network) => { let mut name = [0; 32]; name[..network.len()].copy_from_slice(network.as_bytes()); name }`.
#[tokio::test]
async fn a_network_that_sprays_is_found_and_named_nowhere() {
    let house = house().await;
    let (book, worker) = (open_house(&house).await, worker(&house).await);
    for number in 0..20 {
        fail(&book, &format!("nobody{number}@example.com"), 1).await;
    }
    house.seal().await;
    assert_eq!(follow(&worker).await, [Rule::NetworkSpraying]);
    let alerts = alerts(&house).await;
    assert!(alerts[0].get("account").is_none(), "{alerts:?}");
    // As text, and as bytes.
    let told = "select count(*) from (select to_jsonb(s)::text as row from alert_states s union all
                    select payload::text from events where type like 'Security%') t
                where t.row like '%203.0.113%' or t.row like '%3230332e302e313133%'";
    assert_eq!(house.number(told).await, 0);
    assert_eq!(house.number("select count(*) from alert_states where rule = 'network_spraying'").await, 1);
    // What is over is taken away.
    house.alter("update alert_states set expires_at = clock_timestamp() - interval '1 second'").await;
    assert!(jobs::purge(&worker.db, 100).await.unwrap() >= 1);
    assert_eq!(house.number("select count(*) from alert_states").await, 0);
}

/// Breaks when `core/src/terms.rs`: `terms.push((Field::Account, account.to_string()));` → `let _ = account;`.
#[tokio::test]
async fn admins_find_an_alert_by_its_account_and_its_owner_does_not_read_of_it() {
    let house = house().await;
    let (book, worker) = (open_house(&house).await, worker(&house).await);
    register(&book, ANA).await.unwrap();
    let caller = holder(&book, &login(&book, ANA, PASSWORD).await.unwrap()).await;
    let grant = Order::new(Intervention::GrantRole(AccountRole::Admin), "test");
    book.command_account(caller.account, &grant, &Context::operator(uuid::Uuid::nil())).await.unwrap();
    house.seal().await;
    assert_eq!(follow(&worker).await, [Rule::AdminGranted]);
    house.seal().await;
    while worker.follow_search().await.unwrap() > 0 {}
    let name = Some("SecurityAlertRaised".to_owned());
    let filter = |account| Filter { account: Some(account), name: name.clone(), ..Filter::default() };
    let found = book.search_trail(caller, &filter(caller.account), None, 10, &anywhere()).await.unwrap();
    assert_eq!(found.entries.len(), 1);
    assert_eq!((found.entries[0].kind.as_str(), found.entries[0].account), ("security", None));
    let other = book.search_trail(caller, &filter(AccountId(uuid::Uuid::nil())), None, 10, &anywhere()).await.unwrap();
    assert!(other.entries.is_empty());
    let history = book.history(caller.account, None, 100).await.unwrap();
    assert!(history.iter().all(|entry| !entry.name.starts_with("Security")), "{history:?}");
}

/// Breaks when `core/src/store/alerts.rs`: `where s.expires_at <= clock_timestamp() returning 1` → `where true returning 1`.
#[tokio::test]
async fn what_workers_see_themselves_is_raised_once_for_as_long_as_it_lasts() {
    let house = house().await;
    let workers = [worker(&house).await, worker(&house).await];
    let seen = async |subject: Subject| {
        let looks = dose(8, 64);
        let workers = workers.clone();
        let raised = at_once(looks, move |n| {
            let (worker, subject) = (Arc::clone(&workers[n % 2]), subject.clone());
            async move { worker.raise_while_seen(Rule::FollowerStopped, subject, 1).await.unwrap() }
        })
        .await;
        raised.into_iter().filter(|raised| *raised).count()
    };
    let search = || Subject::Follower("search".into());
    assert_eq!((seen(search()).await, seen(search()).await), (1, 0));
    assert_eq!(seen(Subject::Follower("other".into())).await, 1, "another one is another matter");
    // Still seen when the quiet period is nearly over: it goes on being told.
    house.alter("update alert_states set expires_at = clock_timestamp() + interval '1 second'").await;
    assert_eq!(seen(search()).await, 0);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(seen(search()).await, 0);
    // Gone for a quiet period, and back.
    house.alter("update alert_states set expires_at = clock_timestamp() - interval '1 second'").await;
    assert_eq!(seen(search()).await, 1);
    assert_eq!(house.events("SecurityAlertRaised").await, 3);
    assert_eq!(alerts(&house).await[0]["follower"], "search");
}

/// Breaks when `core/src/service/alerts.rs`: `told.insert(alert.rule, raised + 1);` → `told.insert(alert.rule, raised);`.
/// Breaks when `core/src/store/alerts.rs`: `and rule = $2"#` → `and $2 <> ''"#`.
#[tokio::test]
async fn operators_are_told_of_sixty_alerts_of_a_rule_an_hour_and_the_list_has_all() {
    let house = house().await;
    let book = open_house(&house).await;
    let told = |policy: &mut Policy| {
        policy.alerts.emails = vec!["ops@example.org".into(), "chief@example.org".into()];
        policy.alerts.webhook = true;
    };
    let worker = worker_with(&house, policy_with(told)).await;
    // 59 of them are of this hour; those of another rule do not count.
    let earlier = "insert into alerts (alert_id, rule, severity)
                   select uuid7_floor(clock_timestamp() - n * interval '1 minute' - h * interval '1 second'),
                          (array['admin_granted', 'network_spraying'])[h], 'warning'
                   from generate_series(1, 70) n, generate_series(1, 2) h";
    house.alter(earlier).await;
    for number in 0..3 {
        let address = format!("user{number}@example.com");
        register(&book, &address).await.unwrap();
        let account = holder(&book, &login(&book, &address, PASSWORD).await.unwrap()).await.account;
        let grant = Order::new(Intervention::GrantRole(AccountRole::Admin), "test");
        book.command_account(account, &grant, &Context::operator(uuid::Uuid::nil())).await.unwrap();
    }
    house.seal().await;
    assert_eq!(follow(&worker).await.len(), 3);
    assert_eq!(house.number("select count(*) from alerts where rule = 'admin_granted'").await, 73);
    assert_eq!(house.number("select count(*) from deliveries where recipient = 'operator'").await, 2);
    assert_eq!(house.number("select count(*) from deliveries where recipient = 'webhook'").await, 1);
}

/// Breaks when `core/src/store/follow.rs`: `ahead.stop = Some(unreadable);` → `ahead.position = next;`.
#[tokio::test]
async fn the_rules_stop_before_an_event_that_they_cannot_read_and_lose_nothing_behind_it() {
    let house = house().await;
    let (book, worker) = (open_house(&house).await, worker(&house).await);
    register(&book, ANA).await.unwrap();
    let strange = "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                   select uuid7_floor(clock_timestamp()), 'keep', stream_id, version + 1, 'FromAnotherTime', '{}', 'system'
                   from streams where kind = 'account' limit 1";
    house.alter(strange).await;
    fail(&book, ANA, 20).await;
    house.seal().await;
    assert!(worker.follow_alerts().await.unwrap().positions > 0, "what comes before it is taken in");
    let error = worker.follow_alerts().await.unwrap_err();
    assert!(error.to_string().contains("FromAnotherTime"), "{error}");
    house.alter("alter table events disable trigger events_insert_only; update events set type = 'AllSessionsRevoked', payload = '{\"reason\": \"x\"}' where type = 'FromAnotherTime'").await;
    assert_eq!(follow(&worker).await, [Rule::AccountGuessing]);
}
