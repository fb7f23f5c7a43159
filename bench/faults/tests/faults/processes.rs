//! Workers that die, processes that stand still, clocks that are wrong.

use std::time::Duration;

use doorbook_faults::figures::REFUSED_WITHIN;
use doorbook_faults::nemesis::Fault;
use doorbook_faults::rig::Process;

use crate::common::{WRITES_AGAIN_WITHIN, assert_calm, row};

/// Until somebody knows that nobody listens.
const NO_CONNECTION: Duration = Duration::from_secs(1);

/// C094. Breaks when `worker/src/jobs/mail.rs`: `message_id(mail.delivery, &mail.template, host)` → `message_id(mail.delivery, &mail.template, &std::process::id().to_string())`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- C094"]
async fn a_worker_killed_again_and_again_under_a_mixed_load_loses_no_mail() {
    let report = row("worker-kill").await;
    let answers = report.during(|_| true);
    assert_eq!(answers.failed(), 0, "the api does not notice: {answers}");
    assert_calm(&report);
}

/// Breaks when `core/src/store/db/patience.rs`: `ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);` → `ANSWER_TIMEOUT: Duration = Duration::from_millis(28_000);`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- processes::what_stood_still_and_goes_on_does_no_harm"]
async fn what_stood_still_and_goes_on_does_no_harm() {
    let report = row("freeze").await;
    let answers = report.during(|fault| fault == Fault::PostgresFreeze);
    let slowest = answers.percentile(100).max(answers.slowest_refusal());
    assert!(slowest <= REFUSED_WITHIN, "{answers}");
    let of_workers = report.during(|fault| matches!(fault, Fault::Freeze(Process::Worker(_))));
    assert_eq!(of_workers.failed(), 0, "the api does not notice: {of_workers}");
    assert!(report.recovery() <= WRITES_AGAIN_WITHIN, "{:?}", report.recovery());
}

/// Breaks when `core/src/clock.rs`: `self.offset_micros.store(database.0 - Self::machine_micros(), Ordering::Relaxed);` → `let _ = &self.offset_micros;`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo full -- processes::a_clock_that_is_wrong_ends_no_session_early"]
async fn a_clock_that_is_wrong_ends_no_session_early() {
    let report = row("clock").await;
    let of_workers = report.during(|fault| matches!(fault, Fault::Clock(Process::Worker(_), _)));
    assert_eq!(of_workers.failed(), 0, "the api does not notice: {of_workers}");
    // No balancer is before the api, which is away for the moments of its starts: nobody is refused then, but not answered.
    let all = report.during(|_| true);
    assert_eq!(all.failed(), all.silent, "{all}");
    assert!(all.slowest_refusal() <= NO_CONNECTION, "{all}");
    assert_calm(&report);
}
