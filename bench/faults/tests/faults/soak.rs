//! Hours in which nothing fails.

use std::time::Duration;

use doorbook_faults::figures::Answers;
use doorbook_faults::soak::growths;

use crate::common::{is_full, row};

/// Growth of memory an hour, in percent. Source: bar 6.
const GROWTH_MAX: f64 = 1.0;
/// p99 at the end, in percent of that at the beginning. Source: bar 6; and what a look at single milliseconds adds.
const DRIFT_MAX: u32 = 110;
const SLACK: Duration = Duration::from_millis(2);
/// 99 of 100 events are sealed within this many milliseconds. Source: bar 6.
const SEALED_WITHIN: f64 = 250.0;

/// C112.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two hours: cargo full -- C112"]
async fn nothing_grows_in_hours_of_a_steady_load() {
    let report = row("soak").await;
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
    let most = early.percentile(99) * DRIFT_MAX / 100 + SLACK;
    assert!(late.percentile(99) <= most, "{early}; {late}");
    assert!(report.sealed <= SEALED_WITHIN, "{} ms", report.sealed);
    for growth in growths(&report.readings) {
        assert!(growth.percent_an_hour <= GROWTH_MAX, "{growth}");
    }
}
