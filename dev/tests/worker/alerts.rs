//! Alerts by workers that die, and about workers that stand still.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorbook_dev::receiver::{Posted, Receiver};
use doorbook_dev::sink::{Fault, Stage};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::*;

/// SIGABRT: how a failpoint ends its process.
const ABORTED: i32 = 6;

const RAISED: &str = "select count(*) from events where type = 'SecurityAlertRaised'";

async fn make_admin(house: &House, number: usize) {
    house.register(number).await;
    let email = format!("p{number}@example.com");
    house.stand.doorbook(&["account", "role", "grant", &email, "admin", "--reason", "a test"]).await.unwrap();
}

/// Breaks when `core/src/service/alerts.rs`: `batch.into_write().run(tx).await?;` → `batch.into_write().run(&self.db).await?;`.
#[tokio::test]
async fn a_worker_that_dies_before_its_commit_leaves_each_alert_to_be_raised_once() {
    let house = house().await;
    make_admin(&house, 0).await;
    for _ in 0..dose(2, 20) {
        let mut worker = house.launch_worker(&[("DOORBOOK_FAILPOINTS", "alerts.raised=kill")]).await;
        assert_eq!(worker.program.ended(SOON).await.unwrap().signal(), Some(ABORTED));
    }
    assert_eq!(house.number(RAISED).await, 0);
    let workers = [house.worker().await, house.worker().await];
    house.until(SOON, RAISED, 1).await;
    for number in 1..4 {
        make_admin(&house, number).await;
    }
    house.until(SOON, RAISED, 4).await;
    house
        .until(SOON, "select (select max(position) from event_seals) - (select min(position) from followers)", 0)
        .await;
    assert_eq!(house.number(RAISED).await, 4);
    let listed =
        "select count(*) from alerts where rule = 'admin_granted' and severity = 'warning' and acknowledged_at is null";
    assert_eq!(house.number(listed).await, 4);
    // Each is counted by who raised it, a moment after.
    let begun = Instant::now();
    loop {
        let mut counted = 0;
        for worker in &workers {
            counted += worker.metric("alerts_raised_total{rule=\"admin_granted\"}").await.unwrap();
        }
        if counted == 4 {
            break;
        }
        assert!(counted < 4 && begun.elapsed() < SOON, "{counted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Breaks when `worker/src/follower.rs`: `raise(&doorbook, &metrics, Rule::FollowerStopped, Subject::Follower(name), 1).await;` → `let _ = (name, Rule::ALL, Subject::All);`.
#[tokio::test]
async fn a_follower_that_stands_still_is_told_of_once_by_all_workers() {
    let house = house().await;
    house.register(0).await;
    let strange = "insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                   select uuid7_floor(clock_timestamp()), 'keep', stream_id, version + 1, 'FromAnotherTime', '{}', 'system'
                   from streams where kind = 'account' limit 1";
    house.execute(strange).await;
    let _workers = [house.worker().await, house.worker().await];
    // Both cannot read on.
    house.until(SOON, RAISED, 2).await;
    let followers = "select count(distinct payload->>'follower') from events where type = 'SecurityAlertRaised'
                     and payload->>'rule' = 'follower_stopped' and payload->>'severity' = 'critical'";
    assert_eq!(house.number(followers).await, 2);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(house.number(RAISED).await, 2, "two more looks of each");
}

const CANARY: &str = "canary-of-a-key-in-the-url";

fn secret() -> (Vec<u8>, String) {
    let secret: Vec<u8> = (7..39).collect();
    let text = format!("whsec_{}", STANDARD.encode(&secret));
    (secret, text)
}

/// Whether this is what the holder of the secret would have sent. Written anew: the code of the sender would agree with itself.
fn is_signed(posted: &Posted, secret: &[u8]) -> bool {
    let [id, timestamp, signature] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| posted.header(name).unwrap());
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    for part in [id, ".", timestamp, ".", &posted.body] {
        context.update(part.as_bytes());
    }
    let (version, value) = signature.split_once(',').unwrap();
    version == "v1" && STANDARD.decode(value).unwrap() == context.sign().as_ref()
}

/// Lets the webhook be tried again that has failed so often.
async fn again(house: &House, failures: i32) {
    let failed = match failures {
        1 => "select count(*) from deliveries where recipient = 'webhook' and state = 'deferred' and attempts = 1",
        2 => "select count(*) from deliveries where recipient = 'webhook' and state = 'deferred' and attempts = 2",
        _ => "select count(*) from deliveries where recipient = 'webhook' and state = 'deferred' and attempts = 3",
    };
    house.until(SOON, failed, 1).await;
    house.let_pauses_pass().await;
}

/// Breaks when `worker/src/jobs/webhook.rs`: `hook.post(&alert.id.to_string(), doorbook` → `hook.post(&format!("{:p}", &body), doorbook`.
#[tokio::test]
async fn an_alert_is_posted_to_nobody_but_the_receiver_until_it_is_taken_and_always_under_its_id() {
    let house = house().await;
    let authorities = std::env::temp_dir().join(format!("alert-authorities-{}.pem", std::process::id()));
    let receiver = Receiver::start(&authorities).await.unwrap();
    let (key, secret) = secret();
    let url = format!("https://localhost:{}/hook?key={CANARY}", receiver.port().unwrap());
    let settings = [
        ("ALERT_WEBHOOK_URL", url.as_str()),
        ("ALERT_WEBHOOK_SECRET", &secret),
        ("SSL_CERT_FILE", authorities.to_str().unwrap()),
    ];
    let mut worker = house.launch_worker(&settings).await;
    worker.ready().await;
    make_admin(&house, 0).await;
    assert_eq!(receiver.deceive().await.unwrap(), None, "who shows another certificate gets nothing");
    let mut all = Vec::new();
    let answers =
        ["503 Service Unavailable", "307 Temporary Redirect\r\nLocation: https://localhost:1/", "204 No Content"];
    for (failures, answer) in (1..).zip(answers) {
        again(&house, failures).await;
        all.push(receiver.take(answer).await.unwrap());
    }
    house
        .until(
            SOON,
            "select count(*) from deliveries where recipient = 'webhook' and state = 'sent' and attempts = 4",
            1,
        )
        .await;
    std::fs::remove_file(&authorities).unwrap();

    let id = sqlx::query_scalar::<_, Uuid>("select alert_id from alerts").fetch_one(&house.owner).await.unwrap();
    let account: Uuid = sqlx::query_scalar("select account_id from accounts").fetch_one(&house.owner).await.unwrap();
    for posted in &all {
        assert!(is_signed(posted, &key), "{posted:?}");
        assert!(!is_signed(posted, b"another secret"));
        assert!(posted.head.starts_with("POST /hook?key="), "{posted:?}");
        assert_eq!(posted.header("webhook-id"), Some(id.to_string().as_str()));
        assert_eq!(posted.header("content-type"), Some("application/json"));
        let sent: i64 = posted.header("webhook-timestamp").unwrap().parse().unwrap();
        let ago = house.number("select extract(epoch from clock_timestamp())::bigint").await - sent;
        assert!((-2..120).contains(&ago), "of this try: {ago} s");
    }
    let body: Value = serde_json::from_str(&all[0].body).unwrap();
    assert!(all.iter().all(|posted| posted.body == all[0].body), "{all:?}");
    assert_eq!(body["type"], "security.alert.raised");
    let data = &body["data"];
    assert_eq!((&data["id"], &data["account"]), (&json!(id), &json!(account)));
    assert_eq!(
        (&data["rule"], &data["severity"], &data["count"]),
        (&json!("admin_granted"), &json!("warning"), &json!(1))
    );
    assert!(!all[0].body.contains("example.com"), "{body}");
    let log = worker.program.log().unwrap();
    assert!(log.contains("ALERT_WEBHOOK_URL answered 503") && !log.contains(CANARY), "{log}");
}

/// Breaks when `core/src/service/alert_mail.rs`: `.find(|address| address_digest(delivery, address) == digest)` → `.find(|_| address_digest(delivery, "") != digest)`.
#[tokio::test]
async fn each_operator_gets_one_mail_and_who_is_none_any_more_gets_none() {
    let house = house().await;
    let launch = async |emails: &str| {
        let mut worker = house.launch_worker(&[("ALERT_EMAILS", emails)]).await;
        worker.ready().await;
        worker
    };
    let mut worker = launch("ops@example.org, chief@example.org").await;
    house.register(0).await;
    house.until_settled(SOON).await;
    house.stand.doorbook(&["account", "role", "grant", "p0@example.com", "admin", "--reason", "a test"]).await.unwrap();
    let sent = "select count(*) from deliveries where recipient = 'operator' and state = 'sent'";
    house.until(SOON, sent, 2).await;
    let mails = house.stand.sink.mails();
    let to = |address: &str| mails.iter().filter(|mail| mail.envelope.to == [address]).collect::<Vec<_>>();
    let id: Uuid = sqlx::query_scalar("select alert_id from alerts").fetch_one(&house.owner).await.unwrap();
    for address in ["ops@example.org", "chief@example.org"] {
        let [mail] = to(address)[..] else { panic!("one mail to {address}") };
        assert_eq!(mail.subject, "[warning] Somebody was made an admin at localhost");
        let text = String::from_utf8(mail.raw.to_vec()).unwrap().replace("=\r\n", "");
        assert!(text.contains(&id.to_string()) && !text.contains("p0@example.com"), "{text}");
    }
    let told = "select count(*) from deliveries d where to_jsonb(d)::text like '%example.org%'";
    assert_eq!(house.number(told).await, 0, "the address stands in the setting alone");

    // The next ones wait, like the notice to the new admin; meanwhile others are to be told.
    house.register(1).await;
    house.until_settled(SOON).await;
    for _ in 0..3 {
        house.stand.sink.fail(Stage::Recipient, Fault::Reply(451));
    }
    house.stand.doorbook(&["account", "role", "grant", "p1@example.com", "admin", "--reason", "a test"]).await.unwrap();
    house.until(SOON, "select count(*) from deliveries where recipient = 'operator' and state = 'deferred'", 2).await;
    worker.program.kill().await.unwrap();
    let _worker = launch("chief@example.org, new@example.org").await;
    house.let_pauses_pass().await;
    house.until(SOON, sent, 3).await;
    let suppressed = "select count(*) from deliveries where recipient = 'operator' and state = 'suppressed'
                      and server_answer = 'address_removed'";
    house.until(SOON, suppressed, 1).await;
    let mails = house.stand.sink.mails();
    let count = |address: &str| mails.iter().filter(|mail| mail.envelope.to == [address]).count();
    assert_eq!((count("ops@example.org"), count("chief@example.org"), count("new@example.org")), (1, 2, 0));
}
