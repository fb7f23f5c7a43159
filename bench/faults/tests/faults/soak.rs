//! Hours in which nothing fails.

use std::time::Duration;

use doorbook_faults::campaign::{Plan, Report};
use doorbook_faults::figures::Answers;
use doorbook_faults::soak::growths;

use crate::common::{calmed, is_full, plan, run};

/// Of what it answers when it is asked for more than that. Source: bar 6.
const OF_CAPACITY: f64 = 0.3;
/// What must have come of it: of the operations that are due, a few find nobody who is free.
const LEAST_OF_CAPACITY: f64 = 0.28;
/// More operations a second than a small machine answers, and for how long they are asked for.
const TOO_MANY: u32 = 1_000;
const CROWDED: Duration = Duration::from_mins(1);

/// Growth of memory an hour, in percent. Source: bar 6.
const GROWTH_MAX: f64 = 1.0;
/// p99 at the end, in percent of that at the beginning. Source: bar 6; and what the other work of a machine adds to a
/// p99 of single milliseconds.
const DRIFT_MAX: u32 = 110;
const SLACK: Duration = Duration::from_millis(2);
/// 99 of 100 events are sealed within this many milliseconds. Source: bar 6.
const SEALED_WITHIN: f64 = 250.0;

/// C112.
/// Release: a share of capacity.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two hours: cargo full -- C112"]
async fn nothing_grows_in_hours_of_a_steady_load() {
    let steady = plan("soak");
    let calm = steady.faults[0];
    let crowd = Plan { name: "crowd", rate: TOO_MANY, faults: vec![(calm.0, calm.1.min(CROWDED))], ..steady.clone() };
    let capacity = answered_a_second(&run(&crowd).await);
    // In operations, some of which are more than one request: rather too much than too little.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
    let report = calmed(&Plan { rate: (capacity * OF_CAPACITY) as u32, ..steady }).await;
    let answered = answered_a_second(&report);
    println!("figure: {answered:.0} of {capacity:.0} requests a second");
    let strike = &report.strikes[0];
    let quarter = strike.healed.saturating_sub(strike.began) / 4;
    let [early, late] = [1, 3].map(|number| {
        let from = strike.began + quarter * number;
        Answers::between(&report.entries, from, from + quarter)
    });
    println!("figure: in the second quarter {early}");
    println!("figure: in the last one {late}");
    assert_eq!(report.during(|_| true).failed(), 0, "nothing fails");
    if !is_full() {
        return;
    }
    assert!(answered >= capacity * LEAST_OF_CAPACITY, "{answered} of {capacity} requests a second");
    let most = early.percentile(99) * DRIFT_MAX / 100 + SLACK;
    assert!(late.percentile(99) <= most, "{early}; {late}");
    assert!(report.sealed <= SEALED_WITHIN, "{} ms", report.sealed);
    for growth in growths(&report.readings) {
        assert!(growth.percent_an_hour <= GROWTH_MAX, "{growth}");
    }
}

fn answered_a_second(report: &Report) -> f64 {
    let strike = &report.strikes[0];
    let answers = report.during(|_| true);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let answered = (answers.done + answers.refused) as f64;
    answered / strike.healed.saturating_sub(strike.began).as_secs_f64()
}
