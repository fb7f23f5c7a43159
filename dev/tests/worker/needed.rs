//! Mails that nobody needs any more, or that nobody is there to get.

use doorbook_dev::Mail;
use doorbook_dev::sink::{Fault, Stage};
use serde_json::json;

use crate::common::*;

/// A house with one verified nothing: somebody registered, whose own mail is out of the way.
async fn house_of_one() -> (House, Worker) {
    let house = house().await;
    let worker = house.worker().await;
    house.register(0).await;
    house.until_settled(SOON).await;
    (house, worker)
}

async fn ask_for_reset(house: &House, address: &str) {
    house.post(0, "/api/auth/password/reset/", json!({ "email": address }), 202).await;
}

async fn reset(house: &House, mail: &Mail) {
    let token = mail.token().unwrap();
    let body = json!({ "token": token, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    house.post(0, "/api/auth/password/reset/confirm/", body, 204).await;
}

fn resets(house: &House) -> Vec<Mail> {
    house.stand.sink.mails().into_iter().filter(|mail| mail.text.contains("/reset-password?token=")).collect()
}

/// The reset mails of the books, oldest first: state, and events.
async fn told(house: &House) -> Vec<(String, String)> {
    sqlx::query_as(
        "select d.state, (select string_agg(e.type, ' ' order by e.version) from events e where e.stream_id = d.delivery_id)
         from deliveries d where d.template = 'reset' order by d.created_at",
    )
    .fetch_all(&house.owner)
    .await
    .unwrap()
}

fn said(state: &str, events: &str) -> (String, String) {
    (state.to_owned(), events.to_owned())
}

/// C097. Breaks when `core/src/service/mail.rs`: `TokenOf::Over => return Ok(Need::Unneeded("token_over")),` → `TokenOf::Over => (None, None, None),`.
#[tokio::test]
async fn a_reset_that_was_used_is_not_mailed_again_though_nobody_heard_that_its_first_mail_arrived() {
    let (house, _worker) = house_of_one().await;
    house.stand.sink.fail(Stage::Body, Fault::AcceptAndDrop);
    ask_for_reset(&house, "p0@example.com").await;
    house.until(SOON, "select count(*) from deliveries where state = 'deferred'", 1).await;
    reset(&house, &resets(&house)[0]).await;
    house.let_pauses_pass().await;
    house.until_settled(SOON).await;
    assert_eq!(told(&house).await, [said("suppressed", "MailQueued MailDeferred MailSuppressed")]);
    assert_eq!(resets(&house).len(), 1);
}

/// C096. Breaks when `worker/src/jobs/mod.rs`: `job::GUESSES => guesses::run(doorbook, job).await,` → `job::GUESSES => Verdict::Done,`.
#[tokio::test]
async fn a_block_is_mailed_to_the_owner_of_the_account_and_one_of_nobody_s_address_is_no_mail_at_all() {
    let (house, _worker) = house_of_one().await;
    let mails = house.number("select count(*) from deliveries").await;
    for email in ["nobody@example.com", "p0@example.com"] {
        for status in [401, 401, 401, 401, 401, 429] {
            house.post(1, "/api/auth/login/", json!({ "email": email, "password": OTHER_PASSWORD }), status).await;
        }
    }
    let told = "select count(*) from deliveries where template = 'login_blocked' and state = 'sent'";
    house.until(SOON, told, 1).await;
    house.until(SOON, "select count(*) from jobs where kind = 'guesses' and state = 'done'", 2).await;
    assert_eq!(house.number("select count(*) from deliveries").await, mails + 1);
    assert_eq!(house.number("select count(*) from events where type = 'MailSuppressed'").await, 0);
}

/// C097. Breaks when `core/src/store/query/tokens.rs`: `self.state == "open" && self.expires_at > self.now` → `self.expires_at > self.now`.
#[tokio::test]
async fn a_reset_that_another_one_has_overtaken_is_not_mailed() {
    let (house, _worker) = house_of_one().await;
    house.stand.sink.fail(Stage::Recipient, Fault::Reply(451));
    ask_for_reset(&house, "p0@example.com").await;
    house.until(SOON, "select count(*) from deliveries where state = 'deferred'", 1).await;
    ask_for_reset(&house, "p0@example.com").await;
    house.until(SOON, "select count(*) from deliveries where template = 'reset' and state = 'sent'", 1).await;
    reset(&house, &resets(&house)[0]).await;
    house.let_pauses_pass().await;
    house.until_settled(SOON).await;
    let sent = said("sent", "MailQueued MailSent");
    assert_eq!(told(&house).await, [said("suppressed", "MailQueued MailDeferred MailSuppressed"), sent]);
    assert_eq!(resets(&house).len(), 1);
}

/// C003. Breaks when `core/src/service/mail.rs`: `Need::Unneeded(reason) => return Ok(Prepared::Unneeded { reason }),` → `Need::Unneeded(_) => return Ok(Prepared::Settled),`.
#[tokio::test]
async fn a_reset_for_an_address_without_an_account_is_suppressed_and_mailed_to_nobody() {
    let (house, _worker) = house_of_one().await;
    ask_for_reset(&house, "nobody@example.com").await;
    ask_for_reset(&house, "p0@example.com").await;
    house.until_settled(SOON).await;
    let sent = said("sent", "MailQueued MailSent");
    assert_eq!(told(&house).await, [said("suppressed", "MailQueued MailSuppressed"), sent]);
    assert!(house.stand.sink.mails().iter().all(|mail| mail.is_to("p0@example.com")));
}
