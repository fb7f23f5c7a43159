//! Mail servers that defer, refuse, stay away and hang up.

use doorbook_dev::sink::{Fault, Stage};

use crate::common::*;

/// C097. Breaks when `core/src/job.rs`: `BACK_OFF_FIRST: Duration = Duration::from_secs(10);` → `BACK_OFF_FIRST: Duration = Duration::from_secs(1);`.
#[tokio::test]
async fn a_mail_that_a_server_does_not_take_now_waits_in_postgres_and_is_sent_once_it_does() {
    let mut house = house().await;
    let _worker = house.worker().await;
    let faults = [
        (Stage::Greeting, Fault::Reply(421)),
        (Stage::Greeting, Fault::Drop),
        (Stage::Mail, Fault::Reply(451)),
        (Stage::Recipient, Fault::Reply(451)),
        (Stage::Recipient, Fault::Drop),
        (Stage::Data, Fault::Reply(452)),
        (Stage::Body, Fault::Reply(451)),
        (Stage::Body, Fault::Drop),
    ];
    let mut all = Vec::new();
    for (number, (stage, fault)) in faults.into_iter().enumerate() {
        // Each conversation is a new one: a connection in use has had its greeting.
        house.stand.sink.close().await;
        house.stand.sink.open().await.unwrap();
        house.stand.sink.fail(stage, fault);
        all.push(house.register(number).await);
        let deferred = i64::try_from(all.len()).unwrap();
        house.until(SOON, "select count(*) from deliveries where state = 'deferred' and attempts = 1", deferred).await;
    }
    // Nobody listens at all.
    house.stand.sink.close().await;
    all.push(house.register(faults.len()).await);
    let deferred = i64::try_from(all.len()).unwrap();
    house.until(SOON, "select count(*) from deliveries where state = 'deferred'", deferred).await;
    house.stand.sink.open().await.unwrap();

    // In Postgres, and nothing of it in Redis: 10 s, spread by up to a fifth.
    assert!(house.stand.sink.mails().is_empty());
    let odd = "select count(*) from jobs j join events e on e.stream_id = j.ref and e.type = 'MailDeferred'
               where j.state <> 'due' or j.run_at - e.recorded_at not between interval '9.5 seconds' and interval '12.5 seconds'";
    assert_eq!(house.number(odd).await, 0);
    assert_eq!(house.waiting_in_redis().await, 0);
    house.until_settled(SOON).await;
    house.assert_each_sent_once(&all).await;
    for entry in house.entries().await.values() {
        assert_eq!((entry.attempts, entry.events.join(" ").as_str()), (2, "MailQueued MailDeferred MailSent"));
    }
}

/// C097. Breaks when `worker/src/jobs/mail.rs`: `Err(SendError::Deferred { answer } | SendError::Unknown { answer }) => Verdict::Deferred { answer },` → `Err(SendError::Deferred { answer }) => Verdict::Deferred { answer }, Err(SendError::Unknown { answer }) => Verdict::Sent { answer },`.
#[tokio::test]
async fn a_mail_whose_outcome_nobody_heard_is_sent_again_under_the_same_message_id() {
    let house = house().await;
    let _worker = house.worker().await;
    house.stand.sink.fail(Stage::Body, Fault::AcceptAndDrop);
    let registered = house.register(0).await;
    house.until(SOON, "select count(*) from deliveries where state = 'deferred'", 1).await;
    house.let_pauses_pass().await;
    house.until_settled(SOON).await;
    assert_eq!(house.copies(&[registered]).await[0].len(), 2);
}

/// C097. Breaks when `mail/src/transport/smtp/session.rs`: `error.is_permanent() && error.status()` → `!error.is_permanent() && error.status()`.
#[tokio::test]
async fn a_mail_that_a_server_refuses_for_good_fails_at_once_and_an_operator_can_have_it_sent_again() {
    let house = house().await;
    let worker = house.worker().await;
    house.stand.sink.fail(Stage::Recipient, Fault::Reply(550));
    let refused = house.register(0).await;
    house.until_settled(SOON).await;
    let other = house.register(1).await;
    house.until_settled(SOON).await;
    let entry = house.entry(&refused).await;
    assert_eq!((entry.state.as_str(), entry.job_state.as_str(), entry.attempts), ("failed", "dead", 1));
    assert_eq!(entry.events, ["MailQueued", "MailFailed"]);
    assert_eq!(worker.metric("jobs_dead").await, Some(1));
    house.assert_each_sent_once(&[other]).await;

    let dead = house.stand.doorbook(&["jobs", "dead"]).await.unwrap();
    assert!(dead.contains(&entry.job.to_string()) && dead.contains("550"), "{dead}");
    house.stand.doorbook(&["jobs", "redrive", &entry.job.to_string()]).await.unwrap();
    house.until(SOON, "select count(*) from deliveries where state = 'sent'", 2).await;
    assert_eq!(house.copies(&[refused]).await[0].len(), 1);
    assert_eq!(house.stand.doorbook(&["jobs", "dead"]).await.unwrap(), "");
}
