//! Mail servers that cannot be trusted, or that take connections and say nothing.

use std::fs;
use std::time::{Duration, Instant};

use doorbook_dev::certified;
use doorbook_dev::sink::{Access, Fault, Protection, Stage};

use crate::common::*;

fn only(protection: Protection) -> Access {
    Access { protection, login: None }
}

/// C097. Breaks when `worker/src/settings.rs`: `SmtpSecurity::StartTls => Security::StartTls,` → `SmtpSecurity::StartTls => Security::None,`.
#[tokio::test]
async fn a_mail_waits_until_the_server_offers_tls_and_proves_its_name() {
    let house = house().await;
    let (ours, acceptor) = certified("127.0.0.1").unwrap();
    let (elsewhere, misnamed) = certified("mail.evil.example").unwrap();
    let (_, unknown) = certified("127.0.0.1").unwrap();
    let authorities = doorbook_dev::Cluster::shared().await.unwrap().run().folder().join("authorities.pem");
    fs::write(&authorities, ours + &elsewhere).unwrap();
    let settings = [("EMAIL_USE_TLS", "True"), ("EMAIL_CA_FILE", authorities.to_str().unwrap())];
    let mut worker = house.launch_worker(&settings).await;
    worker.ready().await;
    let registered = house.register(0).await;
    let wrong = [Protection::ClearText, Protection::StartTls(misnamed), Protection::StartTls(unknown)];
    for (tries, protection) in (1..).zip(wrong) {
        house.stand.sink.demand(only(protection));
        house.forget_trouble().await;
        house.let_pauses_pass().await;
        house.until(SOON, "select max(attempts)::bigint from deliveries", tries).await;
        house.until(SOON, "select count(*) from deliveries where state = 'deferred'", 1).await;
    }
    assert!(house.stand.sink.mails().is_empty());
    let answer = "select count(*) from deliveries where server_answer like 'STARTTLS: %certificate%'";
    assert_eq!(house.number(answer).await, 1);

    house.stand.sink.demand(only(Protection::StartTls(acceptor)));
    house.forget_trouble().await;
    house.let_pauses_pass().await;
    house.until_settled(SOON).await;
    assert_eq!(house.copies(&[registered]).await[0].len(), 1);
}

/// C097. Breaks when `worker/src/settings.rs`: `command_timeout: smtp.timeout,` → `command_timeout: std::time::Duration::from_secs(300),`.
#[tokio::test]
async fn a_server_that_says_nothing_or_a_byte_a_second_is_left_and_the_api_does_not_notice() {
    let house = house().await;
    let worker = house.launch_worker(&[("EMAIL_TIMEOUT_SECONDS", "1")]).await;
    for (number, fault) in [Fault::Delay(Duration::from_secs(3_600)), Fault::Trickle].into_iter().enumerate() {
        house.stand.sink.fail_always(Stage::Greeting, None, fault);
        house.forget_trouble().await;
        let begun = Instant::now();
        house.register(number).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let silent =
            "select count(*) from deliveries where state = 'deferred' and server_answer like '%no answer in time'";
        house.until(SOON, silent, i64::try_from(number + 1).unwrap()).await;
        house.stand.sink.forget_faults();
    }
    house.forget_trouble().await;
    house.let_pauses_pass().await;
    house.until_settled(SOON).await;
    assert_eq!(house.stand.sink.mails().len(), 2);
    drop(worker);
}
