//! The rules of limits as sentences.

use super::*;

const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);
const RULE: Rule = Rule { max: 5, window: Duration::from_secs(300), block: Duration::from_secs(900) };

const ANA: Target = Target(1);
const ANA_SHOP: Target = Target(2);

fn at(seconds: u64) -> Timestamp {
    NOON.plus(Duration::from_secs(seconds))
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn granted(admission: Admission) -> Counter {
    match admission {
        Admission::Granted(counter) => counter,
        other => panic!("expected a reservation, got {other:?}"),
    }
}

fn fail(counter: Counter, seconds: u64) -> Failure {
    granted(counter.reserve(RULE, at(seconds), id(1), ANA)).settle_failure(RULE, at(seconds), id(1))
}

fn failed_times(n: u64) -> Counter {
    (0..n).fold(Counter::default(), |counter, second| fail(counter, second).counter)
}

#[test]
fn the_fifth_failure_blocks_for_fifteen_minutes() {
    let fifth = fail(failed_times(4), 10);
    assert_eq!(fifth.blocked_until, Some(at(910)));
    assert_eq!(fifth.counter.clone().reserve(RULE, at(909), id(2), ANA), Admission::Blocked { until: at(910) });
    granted(fifth.counter.reserve(RULE, at(910), id(2), ANA));
}

#[test]
fn failures_older_than_the_window_do_not_count() {
    let four = failed_times(4);
    let late = fail(four, 303);
    assert_eq!(late.blocked_until, None);
    assert_eq!(late.counter.hits.len(), 1);
}

#[test]
fn guesses_in_flight_count_before_their_outcome_is_known() {
    let five = (0..5).fold(Counter::default(), |counter, n| granted(counter.reserve(RULE, at(0), id(n), ANA)));
    assert_eq!(five.reserve(RULE, at(0), id(9), ANA), Admission::Busy);
}

#[test]
fn failures_and_guesses_in_flight_add_up() {
    let counter = granted(failed_times(3).reserve(RULE, at(5), id(7), ANA));
    let counter = granted(counter.reserve(RULE, at(5), id(8), ANA));
    assert_eq!(counter.reserve(RULE, at(5), id(9), ANA), Admission::Busy);
}

#[test]
fn a_guess_that_is_never_settled_becomes_a_failure() {
    let five = (0..5).fold(Counter::default(), |counter, n| granted(counter.reserve(RULE, at(0), id(n), ANA)));
    assert_eq!(five.reserve(RULE, at(31), id(9), ANA), Admission::Blocked { until: at(930) });
}

#[test]
fn a_late_settlement_counts_once() {
    let counter = granted(Counter::default().reserve(RULE, at(0), id(1), ANA));
    assert_eq!(counter.settle_failure(RULE, at(40), id(1)).counter.hits.len(), 1);
}

#[test]
fn a_success_clears_the_bucket_but_not_other_guesses_in_flight() {
    let counter = granted(failed_times(3).reserve(RULE, at(5), id(7), ANA));
    let counter = granted(counter.reserve(RULE, at(5), id(8), ANA));
    let after = counter.settle_success(RULE, at(6), id(7));
    assert_eq!(after.hits.len(), 0);
    assert_eq!(after.held.len(), 1);
}

#[test]
fn a_released_guess_does_not_count() {
    let counter = granted(failed_times(4).reserve(RULE, at(5), id(7), ANA));
    assert_eq!(counter.release(RULE, at(6), id(7)).hits.len(), 4);
}

#[test]
fn the_hundredth_failure_in_a_row_locks_and_windows_do_not_help() {
    let mut counter = Counter::default();
    for n in 0..100u64 {
        let failure = fail(counter, n * 1_000);
        assert_eq!(failure.locked, n == 99, "failure {n}");
        counter = failure.counter;
    }
    assert!(matches!(counter.clone().reserve(RULE, at(10_000_000), id(2), ANA), Admission::Blocked { .. }));
    // Of an account that stands unlocked all the same the next one does.
    let unlocked = counter.unlocked(RULE, at(10_000_000), ANA);
    let next = granted(unlocked.reserve(RULE, at(10_000_000), id(2), ANA)).settle_failure(RULE, at(10_000_000), id(2));
    assert!(next.locked);
}

#[test]
fn a_plain_limit_names_when_the_next_is_allowed() {
    let rule = Rule { max: 3, window: Duration::from_secs(3600), block: Duration::ZERO };
    let full = (0..3).fold(Counter::default(), |counter, n| counter.count(rule, at(n)).unwrap());
    assert_eq!(full.clone().count(rule, at(100)), Err(at(3600)));
    assert!(full.count(rule, at(3600)).is_ok());
}

#[test]
fn the_state_never_holds_more_entries_than_the_limit() {
    let mut counter = Counter::default();
    for n in 0..50u64 {
        if let Admission::Granted(next) = counter.clone().reserve(RULE, at(n), id(u128::from(n)), ANA) {
            counter = next;
        }
        assert!(counter.hits.len() + counter.held.len() <= 5);
    }
}

#[test]
fn a_success_forgets_nothing_of_another_target_in_the_bucket() {
    let counter = failed_times(4);
    let counter = granted(counter.reserve(RULE, at(5), id(7), ANA_SHOP)).settle_success(RULE, at(5), id(7));
    assert_eq!(fail(counter, 6).blocked_until, Some(at(906)));
}

/// Breaks when `core/src/limit/mod.rs`: `before.saturating_add(1)` → `1`.
#[test]
fn guesses_at_decoys_do_not_make_those_at_an_account_be_forgotten() {
    let (mut counter, mut seconds) = (Counter::default(), 0);
    let mut guess = |counter: Counter, target| {
        seconds += 1_000;
        let counter = granted(counter.reserve(RULE, at(seconds), id(1), target));
        counter.settle_failure(RULE, at(seconds), id(1)).counter
    };
    // Two at each of seven decoys, and then one at the account and one at another decoy in turn.
    for n in 0..14 {
        counter = guess(counter, Target(100 + n / 2));
    }
    for n in 1..=10 {
        counter = guess(counter, ANA);
        assert!(counter.run(ANA) >= n, "{} of {n}", counter.run(ANA));
        counter = guess(counter, Target(200));
    }
}

#[test]
fn runs_of_many_targets_are_bounded_and_none_is_told_too_short() {
    let mut counter = failed_times(3);
    for n in 0..50u32 {
        let seconds = 1_000 + u64::from(n) * 1_000;
        let target = Target(100 + n);
        counter =
            granted(counter.reserve(RULE, at(seconds), id(1), target)).settle_failure(RULE, at(seconds), id(1)).counter;
        assert!(counter.runs.len() <= RUNS_MAX);
    }
    let later = granted(counter.reserve(RULE, at(90_000), id(1), ANA)).settle_failure(RULE, at(90_000), id(1));
    assert!(later.counter.run(ANA) >= 4, "{}", later.counter.run(ANA));
}
