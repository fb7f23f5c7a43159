//! Mail servers that defer, refuse, stay away and hang up.

use doorbook_dev::sink::{Fault, Stage};
use serde_json::json;

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
        // Two failures in a row would close the way, and mails would wait without a try.
        house.forget_trouble().await;
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

/// C097. Breaks when `core/src/copies.rs`: `const NEEDED_MAX: i32 = 4;` → `const NEEDED_MAX: i32 = 1;`.
#[tokio::test]
async fn a_mail_with_a_link_whose_outcome_nobody_heard_is_sent_again_under_the_same_message_id() {
    let house = house().await;
    let worker = house.worker().await;
    house.stand.sink.fail(Stage::Body, Fault::AcceptAndDrop);
    let registered = house.register(0).await;
    house.until(SOON, "select count(*) from deliveries where state = 'deferred' and unheard = 1", 1).await;
    house.let_pauses_pass().await;
    house.until_settled(SOON).await;
    let delivery = house.entry(&registered).await.delivery.to_string();
    let story = house.stand.doorbook(&["mail", "show", &delivery]).await.unwrap();
    assert!(story.contains("MailDeferred") && story.contains("\"unheard\":true"), "{story}");
    assert_eq!(worker.metric("mails_total{outcome=\"unheard\"}").await, Some(1));
    assert_eq!(house.copies(&[registered]).await[0].len(), 2);
}

/// C097. Breaks when `core/src/copies.rs`: `const TOLD_MAX: i32 = 1;` → `const TOLD_MAX: i32 = 2;`.
#[tokio::test]
async fn a_notice_whose_outcome_nobody_heard_is_not_sent_twice_and_its_story_says_why() {
    let house = house().await;
    let _worker = house.worker().await;
    house.register(0).await;
    house.until_settled(SOON).await;
    let token = house.stand.sink.mails()[0].token().unwrap();
    house.post(0, "/api/auth/email/verify/", json!({ "token": token }), 204).await;

    house.stand.sink.fail(Stage::Body, Fault::AcceptAndDrop);
    let again = house.register(0).await;
    house.until_settled(SOON).await;
    house.let_pauses_pass().await;
    let entry = house.entry(&again).await;
    assert_eq!((entry.template.as_str(), entry.state.as_str()), ("registration_attempt", "failed"));
    assert_eq!((entry.job_state.as_str(), entry.events.join(" ").as_str()), ("dead", "MailQueued MailFailed"));
    let story = house.stand.doorbook(&["mail", "show", &entry.delivery.to_string()]).await.unwrap();
    assert!(story.contains("\"unheard\":true") && story.contains("message: "), "{story}");
    assert_eq!(house.stand.sink.mails().len(), 2);

    // An operator who knows better has it sent all the same.
    house.stand.doorbook(&["jobs", "redrive", &entry.job.to_string(), "--reason", "mended"]).await.unwrap();
    house.until(SOON, "select count(*) from deliveries where state = 'sent'", 2).await;
    assert_eq!(house.stand.sink.mails().len(), 3);
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
    house.stand.doorbook(&["jobs", "redrive", &entry.job.to_string(), "--reason", "mended"]).await.unwrap();
    house.until(SOON, "select count(*) from deliveries where state = 'sent'", 2).await;
    assert_eq!(house.entry(&refused).await.events, ["MailQueued", "MailFailed", "MailQueued", "MailSent"]);
    assert_eq!(house.copies(&[refused]).await[0].len(), 1);
    assert_eq!(house.stand.doorbook(&["jobs", "dead"]).await.unwrap(), "");
}
