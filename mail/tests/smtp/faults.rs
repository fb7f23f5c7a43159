//! What each failure of the server means for a mail.

use std::time::{Duration, Instant};

use doorbook_mail::{OutgoingMail, SendError, Transport};

use crate::support::{Fault, Offer, Server, Step, TIMEOUT, TOKEN, config, plain_transport, reset_mail};

fn mail() -> OutgoingMail {
    reset_mail("ana@example.com", 7)
}

async fn error_of(step: Step, fault: Fault) -> SendError {
    let server = Server::start(Offer::ClearText).await;
    server.fail(step, fault);
    plain_transport(&server).send(&mail()).await.unwrap_err()
}

const BEFORE_CONTENT: [Step; 5] = [Step::Greeting, Step::Ehlo, Step::Mail, Step::Rcpt, Step::Data];

/// From the recipient on a failure is put down to the recipient; before, to the server. With the server's answer.
fn put_off(error: &SendError, step: Step) -> Option<(&str, bool)> {
    match (error, step) {
        (SendError::Deferred { answer }, Step::Greeting | Step::Ehlo | Step::Mail) => Some((answer, false)),
        (SendError::Delayed { answer, silent }, Step::Rcpt | Step::Data | Step::Accepted) => Some((answer, *silent)),
        _ => None,
    }
}

#[tokio::test]
async fn a_4xx_answer_defers_at_every_step() {
    for step in BEFORE_CONTENT.into_iter().chain([Step::Accepted]) {
        for line in ["421 4.3.2 closing", "451 4.7.1 greylisted, come back later"] {
            let error = error_of(step, Fault::Answer(line)).await;
            let (answer, silent) = put_off(&error, step).unwrap();
            assert!(answer.contains(line) && !silent, "{step:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_5xx_answer_to_the_recipient_or_the_message_refuses() {
    for step in [Step::Rcpt, Step::Data, Step::Accepted] {
        let error = error_of(step, Fault::Answer("550 5.1.1 no such user")).await;
        assert!(
            matches!(&error, SendError::Refused { answer } if answer.ends_with("550 5.1.1 no such user")),
            "{error}"
        );
    }
}

/// What is wrong with our account or our sender is wrong for every mail: nothing may be given up for it.
#[tokio::test]
async fn a_5xx_answer_that_is_not_about_the_mail_defers() {
    for (step, line) in [
        (Step::Greeting, "554 no service"),
        (Step::Ehlo, "550 who are you"),
        (Step::Mail, "553 sender not allowed"),
        (Step::Rcpt, "530 5.7.0 authentication required"),
    ] {
        let error = error_of(step, Fault::Answer(line)).await;
        assert!(matches!(error, SendError::Deferred { .. }), "{step:?}: {error}");
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_message_defers() {
    for step in BEFORE_CONTENT {
        let error = error_of(step, Fault::Drop).await;
        let (_, silent) = put_off(&error, step).unwrap();
        assert_eq!(silent, matches!(step, Step::Rcpt | Step::Data), "{step:?}: {error}");
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_go_ahead_leaves_the_outcome_unknown() {
    for step in [Step::Content, Step::Accepted] {
        let error = error_of(step, Fault::Drop).await;
        assert!(matches!(error, SendError::Unknown { .. }), "{step:?}: {error}");
    }
}

#[tokio::test]
async fn a_message_without_an_answer_in_time_leaves_the_outcome_unknown() {
    let error = error_of(Step::Accepted, Fault::Silence).await;
    assert_eq!(error, SendError::Unknown { answer: "message: no answer in time".to_owned() });
}

#[tokio::test]
async fn an_answer_to_the_message_that_makes_no_sense_leaves_the_outcome_unknown() {
    for line in ["what?", "354 go on", "999 odd"] {
        let error = error_of(Step::Accepted, Fault::Answer(line)).await;
        assert!(matches!(error, SendError::Unknown { .. }), "{line}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_go_ahead_keeps_the_message_back() {
    let server = Server::start(Offer::ClearText).await;
    server.fail(Step::Data, Fault::Answer("250 fine"));

    let error = plain_transport(&server).send(&mail()).await.unwrap_err();

    assert_eq!(error, SendError::Delayed { answer: "DATA: 250 fine".to_owned(), silent: false });
    assert!(server.received().is_empty());
}

/// One byte now and then is no answer: the limit is for the whole of it.
#[tokio::test]
async fn a_silent_or_slow_server_is_left_after_the_time_limit() {
    for fault in [Fault::Silence, Fault::Trickle] {
        for step in BEFORE_CONTENT {
            let began = Instant::now();
            let error = error_of(step, fault).await;
            let (answer, silent) = put_off(&error, step).unwrap();
            assert!(answer.ends_with("no answer in time"), "{error}");
            assert_eq!(silent, matches!(step, Step::Rcpt | Step::Data), "{step:?}: {error}");
            assert!(began.elapsed() < TIMEOUT + Duration::from_secs(3), "{step:?} took {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_refused_connection_defers() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let transport = Transport::smtp(config(port, doorbook_mail::Security::None)).unwrap();

    let error = transport.send(&mail()).await.unwrap_err();

    assert!(matches!(&error, SendError::Deferred { answer } if answer.starts_with("connect: ")), "{error}");
    assert_eq!(transport.check().await.unwrap_err(), error);
}

/// Content filters quote what they dislike; the quote must not reach a table or a log.
#[tokio::test]
async fn addresses_and_links_in_an_answer_are_not_passed_on() {
    let line = "554 <ana@example.com>: blocked https://app.example.com/reset-password?token=canary-mail-token";
    let error = error_of(Step::Accepted, Fault::Answer(line)).await;

    assert_eq!(error, SendError::Refused { answer: "message: 554 [address] blocked [link]".to_owned() });
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_repeated_attempt_carries_the_same_message_id() {
    let server = Server::start(Offer::ClearText).await;
    let transport = plain_transport(&server);
    server.fail(Step::Accepted, Fault::Drop);
    transport.send(&mail()).await.unwrap_err();
    server.recover();

    transport.send(&mail()).await.unwrap();

    let ids: Vec<String> = server.received().iter().map(|received| header(&received.data, "Message-ID")).collect();
    assert_eq!(ids, ["<00000000000000000000000000000007@example.com>"; 2]);
}

fn header(data: &str, name: &str) -> String {
    let line = data.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len() + 2..].to_owned()
}
