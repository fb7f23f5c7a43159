//! Who may try a destination in trouble.

use doorbook_core::service::pacing::Admission;
use doorbook_core::store::pacing::add_trouble;

use crate::common::*;
use crate::erasure::worker;

/// Breaks when `core/src/service/pacing.rs`: `            if !of(destination).is_some_and(|known| known.may_be_tried) {` → `            if false {`.
#[tokio::test]
async fn a_mail_that_may_not_go_to_its_domain_takes_nobody_s_turn_at_the_mail_server() {
    let house = house().await;
    let worker = worker(&house).await;
    let to = worker.destinations("closed.example");
    let close = async |destination| {
        // The second failure closes.
        for _ in 0..2 {
            add_trouble(&worker.db, destination, 5, None).await.unwrap();
        }
    };
    close(to.server).await;
    house.alter("update mail_destinations set open_at = clock_timestamp() - interval '1 second'").await;
    // The server's pause is over, the domain's is not.
    close(to.domain).await;
    assert!(matches!(worker.may_go(to).await.unwrap(), Admission::Held(by) if by == to.domain));
    assert_eq!(house.number("select count(*) from mail_destinations where probe_until is not null").await, 0);
    let other = worker.destinations("open.example");
    assert!(matches!(worker.may_go(other).await.unwrap(), Admission::Go { .. }), "the next one may try");
    assert!(
        matches!(worker.may_go(other).await.unwrap(), Admission::Held(by) if by == to.server),
        "and nobody beside it"
    );
}
