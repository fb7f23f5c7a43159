//! Workers that die in the middle of it.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use doorbook_dev::sink::{Fault, Stage};
use tokio::time::sleep;
use uuid::Uuid;

use crate::common::*;

/// Connections that one worker opens to the mail server, so mails that can be between its answer and our commit.
const CONNECTIONS: usize = 4;

/// A job in flight is run again. Source: bar 6.
const RUN_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// SIGABRT: how a failpoint ends its process.
const ABORTED: i32 = 6;

/// C094. Breaks when `core/src/store/jobs.rs`: `LEASE: Duration = Duration::from_secs(20);` → `LEASE: Duration = Duration::from_secs(2_000);`.
#[tokio::test]
async fn a_worker_killed_again_and_again_loses_no_mail_and_doubles_only_what_the_server_had_taken() {
    let house = house().await;
    // What the mail server takes to take one: mails are in flight at any time.
    let (count, delay) = dose((120, Duration::from_millis(100)), (6_000, Duration::from_millis(25)));
    let sink = &house.stand.sink;
    for _ in 0..2 * count {
        sink.fail(Stage::Body, Fault::Delay(delay));
    }
    let all = house.register_all(0..count).await;
    // Deliveries that were in flight at a kill, with the fence of that claim.
    let mut cut = HashSet::new();
    let kills = dose(8, 100);
    let (mut sent, mut lived) = (0, Duration::ZERO);
    for kill in 0..kills {
        let mut worker = house.launch_worker(&[]).await;
        // Some die before they have begun.
        if kill % 8 > 0 {
            worker.ready().await;
        }
        let (before, begun) = (sink.count(), Instant::now());
        // 0.3 s to 2 s, in leaps, so that no two in a row are alike.
        sleep(Duration::from_millis(300 + u64::try_from(kill * 467 % 1_700).unwrap())).await;
        worker.program.kill().await.unwrap();
        (sent, lived) = (sent + sink.count() - before, lived + begun.elapsed());
        cut.extend(in_flight(&house).await);
    }
    let rate = f64::from(u32::try_from(sent).unwrap()) / lived.as_secs_f64();
    println!("figure: {rate:.0} mails a second while a worker lived");
    let _worker = house.worker().await;
    house.until_settled(RUN_AGAIN_WITHIN).await;

    let (copies, entries) = (house.copies(&all).await, house.entries().await);
    let mut extra = 0;
    for (registered, copies) in all.iter().zip(&copies) {
        let delivery = entries[&registered.trace].delivery;
        let cuts = cut.iter().filter(|(of, _)| *of == delivery).count();
        assert!((1..=1 + cuts).contains(&copies.len()), "{} copies of a mail that was cut {cuts} times", copies.len());
        extra += copies.len() - 1;
    }
    println!("figure: {kills} kills cut {} jobs, and {extra} mails went out again", cut.len());
    assert!(extra <= CONNECTIONS * kills);
}

async fn in_flight(house: &House) -> Vec<(Uuid, i64)> {
    let running = "select ref, fence from jobs where kind = 'mail' and state = 'running'";
    sqlx::query_as(running).fetch_all(&house.owner).await.unwrap()
}

/// C094. Breaks when `worker/src/jobs/mail.rs`: `message_id(mail.delivery, &mail.template, host)` → `message_id(mail.delivery, &mail.template, &std::process::id().to_string())`.
#[tokio::test]
async fn a_worker_that_dies_between_the_servers_answer_and_its_own_commit_leaves_a_twin_under_the_same_message_id() {
    let house = house().await;
    let registered = house.register(0).await;
    let mut worker = house.launch_worker(&[("DOORBOOK_FAILPOINTS", "mail.sent=kill")]).await;
    assert_eq!(worker.program.ended(SOON).await.unwrap().signal(), Some(ABORTED));
    let first = house.entry(&registered).await;
    assert_eq!((first.state.as_str(), first.job_state.as_str()), ("queued", "running"));

    assert_eq!(house.let_leases_end().await, 1);
    let _worker = house.worker().await;
    house.until_settled(SOON).await;
    assert_eq!(house.copies(&[registered]).await[0].len(), 2);
}

/// C094. Breaks when `worker/src/ending.rs`: `unheard: job.starts > 1` → `unheard: false`.
#[tokio::test]
async fn a_mail_whose_reader_was_faster_than_the_next_worker_is_told_to_have_been_tried_unheard() {
    let house = house().await;
    house.register(0).await;
    let mut worker = house.launch_worker(&[("DOORBOOK_FAILPOINTS", "mail.sent=kill")]).await;
    assert_eq!(worker.program.ended(SOON).await.unwrap().signal(), Some(ABORTED));
    let token = house.stand.sink.mails()[0].token().unwrap().clone();
    house.post(0, "/api/auth/email/verify/", serde_json::json!({ "token": token }), 204).await;

    assert_eq!(house.let_leases_end().await, 1);
    let _worker = house.worker().await;
    house.until_settled(SOON).await;
    let told = "select count(*) from events e join deliveries d on d.delivery_id = e.stream_id
                where e.type = 'MailSuppressed' and e.payload->>'unheard' = 'true' and d.state = 'suppressed' and d.unheard = 1";
    assert_eq!(house.number(told).await, 1);
    assert_eq!(house.stand.sink.mails().len(), 1);
}

/// C094. Breaks when `core/src/store/jobs.rs`: `STARTS_MAX: i32 = 3;` → `STARTS_MAX: i32 = 30;`.
#[tokio::test]
async fn a_job_that_kills_its_worker_at_every_start_is_set_aside_after_three_and_the_others_go_out() {
    let house = house().await;
    let poison = house.register(0).await;
    for _ in 0..3 {
        let mut worker = house.launch_worker(&[("DOORBOOK_FAILPOINTS", "mail.claimed=kill")]).await;
        assert_eq!(worker.program.ended(SOON).await.unwrap().signal(), Some(ABORTED));
        assert_eq!(house.let_leases_end().await, 1);
    }
    let others = house.register_all(1..6).await;
    let worker = house.worker().await;
    house.until(SOON, "select count(*) from deliveries where state = 'sent'", 5).await;
    house.until(SOON, "select count(*) from jobs where kind = 'mail' and state = 'dead'", 1).await;
    house.assert_each_sent_once(&others).await;
    assert_eq!(worker.metric("jobs_quarantined_total").await, Some(1));

    let dead = house.stand.doorbook(&["jobs", "dead"]).await.unwrap();
    let job = house.entry(&poison).await.job;
    assert!(dead.contains(&job.to_string()) && dead.contains("quarantined"), "{dead}");
    house.stand.doorbook(&["jobs", "redrive", &job.to_string(), "--reason", "mended"]).await.unwrap();
    house.until_settled(SOON).await;
    assert_eq!(house.copies(&[poison]).await[0].len(), 1);
}

/// C094. Breaks when `worker/src/runner.rs`: `Ok(None) if unheard => {` → `Ok(None) if unheard && self.stop.requested() => {`.
#[tokio::test]
async fn a_job_whose_claims_nobody_heard_is_not_set_aside_for_having_been_started_in_vain() {
    let house = house().await;
    // Three claims are made, and answered when nobody listens any more: after 2.5 s. At their commit, when no timeout of Postgres holds.
    let late = "create sequence claims; grant usage on sequence claims to public;
        create function late() returns trigger language plpgsql as $$
            begin if nextval('claims') <= 3 then perform pg_sleep(4); end if; return null; end $$;
        create constraint trigger late after update on jobs deferrable initially deferred for each row
            when (new.state = 'running' and old.state = 'dispatched' and new.kind = 'mail') execute function late()";
    sqlx::raw_sql(late).execute(&house.owner).await.unwrap();
    let registered = house.register(0).await;
    let worker = house.worker().await;
    for unheard in [
        "select count(*) from jobs, claims where kind = 'mail' and state = 'running' and starts = 0 and last_value = 1",
        "select count(*) from jobs, claims where kind = 'mail' and state = 'running' and starts = 0 and last_value = 2",
        "select count(*) from jobs, claims where kind = 'mail' and state = 'running' and starts = 0 and last_value = 3",
    ] {
        house.until(SOON, unheard, 1).await;
        assert_eq!(house.let_leases_end().await, 1);
    }
    house.until_settled(SOON).await;
    assert_eq!(house.copies(&[registered]).await[0].len(), 1);
    assert_eq!(worker.metric("jobs_quarantined_total").await, Some(0));
}

/// C094. Breaks when `worker/src/runner.rs`: `job::MAIL => Ending::Mail(Handover::Unheard { answer, at: None }),` → `job::MAIL => Ending::Mail(Handover::Failed { answer }),`.
#[tokio::test]
async fn a_mail_whose_workers_all_died_behind_the_servers_answer_is_told_to_have_been_tried_unheard() {
    let house = house().await;
    house.register(0).await;
    for _ in 0..3 {
        let mut worker = house.launch_worker(&[("DOORBOOK_FAILPOINTS", "mail.sent=kill")]).await;
        assert_eq!(worker.program.ended(SOON).await.unwrap().signal(), Some(ABORTED));
        assert_eq!(house.let_leases_end().await, 1);
    }
    let worker = house.worker().await;
    let told = "select count(*) from events e join deliveries d on d.delivery_id = e.stream_id
                where e.type = 'MailFailed' and e.payload->>'unheard' = 'true' and d.state = 'failed' and d.unheard = 1";
    house.until(SOON, told, 1).await;
    assert_eq!(worker.metric("jobs_dead_total").await, Some(1));
    assert_eq!(house.stand.sink.mails().len(), 3);
}

/// C094. Breaks when `core/src/store/jobs.rs`: `where job_id = {id} and fence = {fence} and state || '' = 'running' and` → `where job_id = {id} and {fence} > 0 and`.
#[tokio::test]
async fn a_worker_that_stood_still_for_longer_than_its_lease_does_not_settle_what_another_has_done() {
    let house = house().await;
    let mut sleeper = house.worker().await;
    house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_secs(1)));
    let registered = house.register(0).await;
    house.until(SOON, "select count(*) from jobs where kind = 'mail' and state = 'running'", 1).await;
    sleeper.program.pause().unwrap();
    assert_eq!(house.let_leases_end().await, 1);
    let other = house.worker().await;
    house.until_settled(SOON).await;
    assert!(other.metric("jobs_done_total").await > Some(0));

    sleeper.program.resume().unwrap();
    let started = Instant::now();
    while sleeper.metric("jobs_lost_total").await == Some(0) {
        assert!(started.elapsed() < SOON, "the sleeper has not noticed");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.entry(&registered).await.events, ["MailQueued", "MailSent"]);
    // It may have stood still before its own copy had left.
    assert!((1..=2).contains(&house.copies(&[registered]).await[0].len()));
}

/// C094. Breaks when `worker/src/lane.rs`: `PROBATION: Duration = Duration::from_secs(5);` → `PROBATION: Duration = Duration::from_secs(0);`.
#[tokio::test]
async fn a_mail_that_happens_to_be_in_flight_whenever_its_worker_is_killed_is_not_taken_for_the_killer() {
    let house = house().await;
    let all = house.register_all(0..3).await;
    house.execute("update jobs set starts = 2").await;
    for _ in 0..all.len() {
        house.stand.sink.fail(Stage::Body, Fault::Delay(Duration::from_secs(1)));
    }
    for _ in 0..2 {
        let mut worker = house.worker().await;
        sleep(Duration::from_millis(700)).await;
        worker.program.kill().await.unwrap();
        house.let_leases_end().await;
    }
    let _worker = house.worker().await;
    house.until_settled(SOON).await;
    house.assert_each_sent_once(&all).await;
}
