use std::sync::Arc;
use std::time::Duration;

use super::admission::*;

fn admitted(admission: &Arc<Admission>) -> Vec<Ticket> {
    std::iter::from_fn(|| admission.admit().ok()).collect()
}

#[test]
fn only_as_many_wait_as_two_seconds_serve() {
    let admission = Admission::new(2);
    let first = admission.admit().unwrap();
    first.finish(Duration::from_millis(500));
    // Two run; of those that wait, two begin each half second, and the last two end with the second second.
    let tickets = admitted(&admission);
    assert_eq!(tickets.len(), 2 + 6);
    assert_eq!(admission.admit().err(), Some(Duration::from_millis(1_500)));
}

#[test]
fn before_the_first_measurement_a_slow_core_is_supposed() {
    let admission = Admission::new(1);
    assert_eq!(admitted(&admission).len(), 1 + 7);
}

#[test]
fn a_job_slower_than_the_limit_still_runs_when_a_thread_is_free() {
    let admission = Admission::new(3);
    admission.admit().unwrap().finish(Duration::from_mins(1));
    assert_eq!(admitted(&admission).len(), 3);
}

#[test]
fn the_queue_is_bounded_at_any_speed() {
    let admission = Admission::new(4);
    admission.admit().unwrap().finish(Duration::from_nanos(1));
    assert_eq!(admitted(&admission).len(), 4 + WAITING_MAX);
}

#[test]
fn a_dropped_ticket_frees_its_place() {
    let admission = Admission::new(1);
    let mut tickets = admitted(&admission);
    tickets.pop();
    assert_eq!(admitted(&admission).len(), 1);
}

#[test]
fn the_average_follows_what_is_measured() {
    let average = MovingAverage::default();
    assert_eq!(average.get(), None);
    average.record(Duration::from_millis(800));
    assert_eq!(average.get(), Some(Duration::from_millis(800)));
    average.record(Duration::from_millis(0));
    assert_eq!(average.get(), Some(Duration::from_millis(700)));
}
