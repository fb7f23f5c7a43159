//! Mails with nothing in their way.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::interval;

use crate::common::*;

/// Commit to hand-over, 99 of 100 mails. Source: bar 6, steady state.
const SENT_WITHIN_MS: i64 = 5_000;

/// C093. Breaks when `worker/src/ending.rs`: `Verdict::Sent { answer } => Ending::Mail(Handover::Sent { answer }),` → `Verdict::Sent { .. } => Ending::Job(Outcome::Done),`.
#[tokio::test]
async fn two_workers_send_every_mail_once_and_within_seconds_and_write_down_that_they_did() {
    let house = house().await;
    let _workers = (house.worker().await, house.worker().await);
    let mut requests = JoinSet::new();
    let mut every = interval(Duration::from_millis(50));
    for number in 0..dose(200, 10_000) {
        every.tick().await;
        requests.spawn(register(house.client(number), number));
    }
    let all = requests.join_all().await;
    house.until_settled(SOON).await;

    house.assert_each_sent_once(&all).await;
    for entry in house.entries().await.values() {
        assert_eq!((entry.attempts, entry.events.join(" ").as_str()), (1, "MailQueued MailSent"));
    }
    let p99 = house
        .number(
            "select (1000 * percentile_disc(0.99) within group (order by extract(epoch from settled_at - created_at)))::bigint
             from deliveries",
        )
        .await;
    println!("figure: {} mails, 99 of 100 within {p99} ms", all.len());
    assert!(p99 < SENT_WITHIN_MS, "{p99} ms");
}
