//! Apis that die, end or stand still behind a balancer.

use std::time::Duration;

use crate::common::{WRITES_AGAIN_WITHIN, assert_calm, row};

/// Ready again after a kill. Source: bar 6.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// End after SIGTERM. Source: bar 6.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// C102. Breaks when `deploy/haproxy/doorbook.cfg`: `retry-on conn-failure` → `retry-on none`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C102"]
async fn an_api_killed_again_and_again_loses_nothing_that_was_acknowledged() {
    let report = row("api-kill").await;
    let failures = report.failures();
    println!("figure: {failures}");
    assert_eq!(failures.beyond, 0, "the other api serves");
    assert!(report.took() <= READY_WITHIN, "{:?}", report.took());
    assert!(report.recovery() <= WRITES_AGAIN_WITHIN, "{:?}", report.recovery());
}

/// C108.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C108"]
async fn apis_and_workers_told_to_end_under_load_fail_no_request() {
    let report = row("terminate").await;
    let answers = report.during(|_| true);
    assert_eq!(answers.failed(), 0, "{answers}");
    assert_calm(&report);
    assert!(report.took() <= ENDS_WITHIN, "{:?}", report.took());
}
