//! How connections are used, and what arrives.

use std::sync::Arc;

use crate::support::{Fault, Offer, Server, Step, plain_transport, reset_mail};

#[tokio::test]
async fn the_mail_arrives_with_one_sender_and_one_recipient() {
    let server = Server::start(Offer::ClearText).await;
    let mail = reset_mail("ana@example.com", 1);

    plain_transport(&server).send(&mail).await.unwrap();

    let received = &server.received()[0];
    assert_eq!(received.from, "MAIL FROM:<auth@example.com>");
    assert_eq!(received.to, ["RCPT TO:<ana@example.com>"]);
    let sent = String::from_utf8(mail.as_bytes().to_vec()).unwrap().replace("\r\n", "\n");
    assert_eq!(received.data.trim_end(), sent.trim_end());
}

#[tokio::test]
async fn mails_one_after_the_other_share_a_connection() {
    let server = Server::start(Offer::ClearText).await;
    let transport = plain_transport(&server);

    for delivery in 0..5 {
        transport.send(&reset_mail("ana@example.com", delivery)).await.unwrap();
    }

    assert_eq!(server.received().len(), 5);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_replaced_after_a_hundred_mails() {
    let server = Server::start(Offer::ClearText).await;
    let transport = plain_transport(&server);

    for delivery in 0..101 {
        transport.send(&reset_mail("ana@example.com", delivery)).await.unwrap();
    }

    assert_eq!(server.received().len(), 101);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn mails_at_the_same_time_use_few_connections() {
    let server = Server::start(Offer::ClearText).await;
    let transport = Arc::new(plain_transport(&server));

    let sending: Vec<_> = (0..40)
        .map(|delivery| {
            let transport = Arc::clone(&transport);
            tokio::spawn(async move { transport.send(&reset_mail("ana@example.com", delivery)).await })
        })
        .collect();
    for one in sending {
        one.await.unwrap().unwrap();
    }

    assert_eq!(server.received().len(), 40);
    assert!(server.connections() <= 4, "{}", server.connections());
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_costs_no_mail() {
    let server = Server::start(Offer::ClearText).await;
    let transport = plain_transport(&server);
    transport.send(&reset_mail("ana@example.com", 1)).await.unwrap();
    server.fail(Step::Noop, Fault::Drop);

    transport.send(&reset_mail("ana@example.com", 2)).await.unwrap();

    assert_eq!(server.received().len(), 2);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_failed_is_not_used_again() {
    let server = Server::start(Offer::ClearText).await;
    let transport = plain_transport(&server);
    server.fail(Step::Rcpt, Fault::Answer("550 no such user"));
    transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();
    server.recover();

    transport.send(&reset_mail("eva@example.com", 2)).await.unwrap();

    assert_eq!(server.connections(), 2);
    assert_eq!(server.received()[0].to, ["RCPT TO:<eva@example.com>"]);
}

#[tokio::test]
async fn the_check_connects_and_sends_no_mail() {
    let server = Server::start(Offer::ClearText).await;

    plain_transport(&server).check().await.unwrap();

    assert_eq!(server.commands(), ["EHLO app.example.com", "NOOP", "QUIT"]);
    server.fail(Step::Noop, Fault::Answer("421 closing"));
    plain_transport(&server).check().await.unwrap_err();
}

#[tokio::test]
async fn an_address_outside_ascii_is_refused_when_the_server_cannot_take_it() {
    let server = Server::start(Offer::ClearText).await;

    let error = plain_transport(&server).send(&reset_mail("josé@example.com", 1)).await.unwrap_err();

    assert!(matches!(&error, doorbook_mail::SendError::Refused { answer } if answer.contains("SMTPUTF8")), "{error}");
    assert!(server.received().is_empty());
}
