//! Destinations in trouble, beside others that are well.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use doorbook_dev::sink::{Fault, Stage};
use tokio::time::sleep;

use crate::common::*;

/// From the end of a trouble to the first mail that gets through. Source: bar 6.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Time that one command may take in these tests.
const PATIENCE: &str = "2";

/// Domains in trouble, each in its own way.
const TROUBLED: [(&str, Fault); 5] = [
    ("tarpit.example", Fault::Trickle),
    ("silent.example", Fault::Delay(Duration::from_secs(3_600))),
    ("busy.example", Fault::Reply(451)),
    ("closing.example", Fault::Reply(421)),
    ("dead.example", Fault::Drop),
];

/// Recipients of what the sink has.
fn reached(house: &House) -> HashSet<String> {
    house.stand.sink.mails().iter().flat_map(|mail| mail.envelope.to.clone()).collect()
}

/// As if the pauses of closed destinations had passed. They last 40 s at most.
async fn let_closures_pass(house: &House) {
    house.execute("update mail_destinations set open_at = clock_timestamp(), probe_until = null").await;
}

/// C097. Breaks when `core/src/service/pacing.rs`: `is_some_and(|known| known.weight >= CLOSED_FROM);` → `is_some_and(|known| known.weight >= 100 * CLOSED_FROM);`.
#[tokio::test]
async fn domains_that_are_dead_slow_or_busy_hold_nobody_up_and_get_their_mails_when_they_are_well() {
    let house = house().await;
    for (domain, fault) in TROUBLED {
        house.stand.sink.fail_always(Stage::Recipient, Some(domain), fault);
    }
    // Theirs were first, and are many.
    let each = dose(20, 200);
    let number = each * TROUBLED.len();
    for number in 0..number {
        house.register_at(number, TROUBLED[number % TROUBLED.len()].0).await;
    }
    let first = 1_000_000;
    let well = house.register_all(first..first + dose(20, 200)).await;
    let mut workers = Vec::new();
    for _ in 0..2 {
        workers.push(house.launch_worker(&[("EMAIL_TIMEOUT_SECONDS", PATIENCE)]).await);
    }
    for worker in &mut workers {
        worker.ready().await;
    }
    let started = Instant::now();
    while !well.iter().all(|it| reached(&house).contains(&it.address)) {
        assert!(started.elapsed() < SOON, "{} of {}", reached(&house).len(), well.len());
        sleep(Duration::from_millis(20)).await;
    }
    println!("figure: {} mails behind {} to domains in trouble: {:?}", well.len(), number, started.elapsed());
    assert_eq!(reached(&house).len(), well.len());
    // Their turn came, a few of them were tried, ten at most and those beside, and the rest waits without a try.
    house.until(SOON, "select count(*) from mail_destinations where weight >= 10", 5).await;
    sleep(Duration::from_secs(2)).await;
    let tried = house.number("select count(*) from deliveries where state = 'deferred'").await;
    println!("figure: {tried} of {number} mails to domains in trouble were tried");
    assert!(tried <= 60, "{tried} were tried");

    house.stand.sink.forget_faults();
    let (well_again, all) = (Instant::now(), well.len() + number);
    if each < 200 {
        let_closures_pass(&house).await;
    }
    while reached(&house).len() == well.len() {
        assert!(well_again.elapsed() < BACK_WITHIN, "nothing got through");
        sleep(Duration::from_millis(20)).await;
    }
    println!("figure: the first mail got through {:?} after the trouble", well_again.elapsed());
    while reached(&house).len() < all {
        assert!(well_again.elapsed() < 3 * BACK_WITHIN, "{} of {all}", reached(&house).len());
        house.let_pauses_of_tried_pass().await;
        sleep(Duration::from_millis(100)).await;
    }
    house.until_settled(SOON).await;
    assert_eq!(house.stand.sink.mails().len(), all, "each once");
    assert_eq!(house.number("select count(*) from held_mails").await, 0);
}
