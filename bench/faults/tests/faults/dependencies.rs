//! Postgres, Redis and the mail server: dead, unheard, slow, full.

use std::time::Duration;

use doorbook_faults::campaign::Report;
use doorbook_faults::figures::REFUSED_WITHIN;
use doorbook_faults::nemesis::Fault;

use crate::common::{SLACK, TIMES_SLOWER, WRITES_AGAIN_WITHIN, assert_calm, row};

/// A refusal while Postgres lets nobody in. Source: bar 6.
const REFUSED_WITHOUT_CONNECTION: Duration = Duration::from_millis(1_500);

/// Whoever could not be served was told so in time and when to come back, and is served again soon.
fn assert_refused_well(report: &Report) {
    let answers = report.during(|_| true);
    assert_eq!((answers.other, answers.silent), (0, 0), "{answers}");
    assert!(answers.slowest_refusal() <= REFUSED_WITHIN, "{answers}");
    assert!(report.recovery() <= WRITES_AGAIN_WITHIN, "{:?}", report.recovery());
}

/// Nobody noticed, neither while it lasted nor afterwards.
fn assert_unaffected(report: &Report, by: impl Fn(Fault) -> bool) {
    let answers = report.during(by);
    assert_eq!(answers.failed(), 0, "{answers}");
    assert_calm(report);
    let (calm, then) = (report.calm().percentile(99), answers.percentile(99));
    assert!(then <= calm * TIMES_SLOWER + SLACK, "{calm:?} without it, {then:?} with it");
}

/// C103. Breaks when `core/src/store/mod.rs`: `|| code.starts_with("57")` → `|| code.starts_with("5700")`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C103"]
async fn a_postgres_that_crashes_again_and_again_loses_nothing_that_was_acknowledged() {
    assert_refused_well(&row("postgres-crash").await);
}

/// C104.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C104"]
async fn a_redis_that_is_killed_or_emptied_loses_no_mail() {
    assert_unaffected(&row("redis-kill").await, |_| true);
}

/// C104.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C104"]
async fn a_redis_without_persistence_that_is_killed_or_emptied_loses_no_mail() {
    assert_unaffected(&row("redis-forget").await, |_| true);
}

/// C104.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C104"]
async fn a_redis_that_is_not_heard_of_loses_no_mail() {
    assert_unaffected(&row("redis-blackhole").await, |_| true);
}

/// C105. Breaks when `core/src/store/db/patience.rs`: `ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);` → `ANSWER_TIMEOUT: Duration = Duration::from_millis(28_000);`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C105"]
async fn a_postgres_that_is_not_heard_of_is_not_waited_for() {
    let report = row("postgres-network").await;
    assert_refused_well(&report);
    let answers = report.during(|_| true);
    assert!(answers.percentile(100) <= REFUSED_WITHIN, "{answers}");
}

/// C105. Breaks when `core/src/store/db/patience.rs`: `ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);` → `ANSWER_TIMEOUT: Duration = Duration::from_millis(28);`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C105"]
async fn a_postgres_that_is_far_away_is_used_all_the_same() {
    let report = row("postgres-slow").await;
    let answers = report.during(|_| true);
    assert!(answers.done > 0 && answers.failed() * 100 <= answers.all(), "{answers}");
    assert_eq!((answers.other, answers.silent), (0, 0), "{answers}");
    assert!(answers.slowest_refusal() <= REFUSED_WITHIN, "{answers}");
}

/// C097.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C097"]
async fn a_mail_server_that_is_not_heard_of_leaves_the_api_alone() {
    assert_unaffected(&row("smtp-blackhole").await, |_| true);
}

/// Breaks when `core/src/store/mod.rs`: `|| code.starts_with("53")` → `|| code.starts_with("5399")`.
/// Release: the bar names a time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- dependencies::a_full_disk_and_taken_connections_are_told_and_lose_nothing"]
async fn a_full_disk_and_taken_connections_are_told_and_lose_nothing() {
    let report = row("exhausted").await;
    assert_refused_well(&report);
    let answers = report.during(|fault| fault == Fault::NoConnections);
    assert!(answers.slowest_refusal() <= REFUSED_WITHOUT_CONNECTION, "{answers}");
}
