use doorbook_core::config::Process;
use serde_json::Value;

use crate::common::*;
use crate::log::seal_all;

/// Breaks when `core/src/service/alert_replay.rs`: `if alert.at >= since {` → `if alert.at < since {`.
#[tokio::test]
async fn a_replay_prints_what_would_have_been_raised_and_writes_nothing() {
    let house = house().await;
    let (book, worker) = (house.book().await, house.book_as(Process::Worker).await);
    assert!(house.run("alerts replay").await.starts_with("no alert would have been raised since"));
    for number in 0..3 {
        let address = format!("user{number}@example.com");
        register(&book, &address).await;
        let role = ["account", "role", "grant", &address, "admin", "--reason", "a test"];
        assert_eq!(house.run_with(&role, &[], "").await.status, 0);
        assert!(login(&book, &address, OTHER_PASSWORD).await.is_err());
    }
    seal_all(&house).await;
    while worker.follow_search().await.unwrap() > 0 {}
    let state =
        "select (select count(*) from events) + (select count(*) from alerts) + (select count(*) from alert_states)
                      + (select sum(position) from followers)::bigint";
    let before = house.number(state).await;
    let told = house.run("alerts replay --since 2h").await;
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.lines().all(|line| line.starts_with("admin_granted") && line.contains(" 1x ")), "{told}");
    // Other thresholds, and for programs.
    let changed = [("ALERT_NETWORK_ACCOUNTS", "3"), ("ALERT_ACCOUNT_FAILURES", "1")];
    let told = house.run_with(&["alerts", "replay", "--json"], &changed, "").await;
    let lines: Vec<Value> = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |rule: &str| lines.iter().filter(|line| line["rule"] == rule).collect::<Vec<_>>();
    assert_eq!((of("admin_granted").len(), of("account_guessing").len()), (3, 3), "{lines:?}");
    let [spraying] = of("network_spraying")[..] else { panic!("{lines:?}") };
    assert_eq!((&spraying["subject"]["name"], &spraying["most"]), (&"203.0.113.0".into(), &3.into()));
    assert_eq!(house.number(state).await, before, "nothing was written");
}
