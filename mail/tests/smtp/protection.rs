//! TLS and login.

use doorbook_mail::{ConfigError, Security, SendError, SmtpConfig, Transport};

use crate::support::{
    Authority, Fault, Offer, PASSWORD, Server, Step, USER, config, login, plain_transport, reset_mail, tls_transport,
};

#[tokio::test]
async fn starttls_protects_the_login_and_the_mail() {
    let authority = Authority::new();
    let server = Server::start(Offer::StartTls(authority.acceptor("127.0.0.1"))).await;
    let transport = tls_transport(&server, Security::StartTls, authority.file());

    let accepted = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap();

    assert_eq!(accepted.server_answer, "250 2.0.0 queued as 4F1A2");
    assert!(server.received()[0].encrypted);
    let commands = server.commands();
    assert_eq!(commands[..3], ["EHLO app.example.com", "STARTTLS", "EHLO app.example.com"]);
    assert!(commands[3].starts_with("AUTH PLAIN "));
}

#[tokio::test]
async fn implicit_tls_protects_from_the_first_byte() {
    let authority = Authority::new();
    let server = Server::start(Offer::Implicit(authority.acceptor("127.0.0.1"))).await;
    let transport = tls_transport(&server, Security::Implicit, authority.file());

    transport.send(&reset_mail("ana@example.com", 1)).await.unwrap();

    assert!(server.received()[0].encrypted);
    assert!(!server.commands().contains(&"STARTTLS".to_owned()));
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_login_nor_mail() {
    let authority = Authority::new();
    let server = Server::start(Offer::ClearText).await;
    let transport = tls_transport(&server, Security::StartTls, authority.file());

    let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert!(
        matches!(&error, SendError::Deferred { answer } if answer.contains("STARTTLS is not supported")),
        "{error}"
    );
    assert_eq!(server.commands(), ["EHLO app.example.com"]);
}

#[tokio::test]
async fn a_server_that_refuses_starttls_gets_neither_login_nor_mail() {
    let authority = Authority::new();
    let server = Server::start(Offer::StartTls(authority.acceptor("127.0.0.1"))).await;
    server.fail(Step::StartTls, Fault::Answer("454 TLS not available"));
    let transport = tls_transport(&server, Security::StartTls, authority.file());

    let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert_eq!(error, SendError::Deferred { answer: "STARTTLS: 454 TLS not available".to_owned() });
    assert!(server.commands().iter().all(|command| !command.starts_with("AUTH") && !command.starts_with("MAIL")));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_accepted() {
    let (ours, strange) = (Authority::new(), Authority::new());
    for security in [Security::StartTls, Security::Implicit] {
        let acceptor = strange.acceptor("127.0.0.1");
        let offer = match security {
            Security::StartTls => Offer::StartTls(acceptor),
            Security::Implicit | Security::None => Offer::Implicit(acceptor),
        };
        let server = Server::start(offer).await;
        let transport = tls_transport(&server, security, ours.file());

        let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

        assert!(matches!(&error, SendError::Deferred { answer } if answer.contains("certificate")), "{error}");
        assert!(server.received().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_accepted() {
    let authority = Authority::new();
    let server = Server::start(Offer::StartTls(authority.acceptor("other.example.com"))).await;
    let transport = tls_transport(&server, Security::StartTls, authority.file());

    let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert!(matches!(&error, SendError::Deferred { answer } if answer.contains("certificate")), "{error}");
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn without_a_ca_file_only_the_systems_authorities_count() {
    let authority = Authority::new();
    let server = Server::start(Offer::StartTls(authority.acceptor("127.0.0.1"))).await;
    let transport = Transport::smtp(config(server.port(), Security::StartTls)).unwrap();

    let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert!(matches!(&error, SendError::Deferred { answer } if answer.contains("certificate")), "{error}");
}

/// Replies appended in clear text to the answer to STARTTLS must not count as replies inside TLS.
#[tokio::test]
async fn replies_forged_before_the_handshake_break_the_connection() {
    let authority = Authority::new();
    let server = Server::start(Offer::StartTls(authority.acceptor("127.0.0.1"))).await;
    server.fail(
        Step::StartTls,
        Fault::Answer(
            "220 go ahead\r\n250-forged\r\n250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 ok\r\n250 forged",
        ),
    );
    let transport = tls_transport(&server, Security::StartTls, authority.file());

    let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert!(matches!(&error, SendError::Deferred { answer } if answer.starts_with("STARTTLS: ")), "{error}");
    assert_eq!(server.commands(), ["EHLO app.example.com", "STARTTLS"]);
}

#[tokio::test]
async fn login_works_with_plain_and_with_login() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let server = Server::start(Offer::ClearText).await;
        server.offer_mechanisms(mechanism);
        let with_login = SmtpConfig { login: Some(login()), ..config(server.port(), Security::None) };
        let transport = Transport::smtp(with_login).unwrap();

        transport.send(&reset_mail("ana@example.com", 1)).await.unwrap();

        assert!(server.commands()[1].starts_with(&format!("AUTH {mechanism}")));
        assert_eq!(server.received().len(), 1);
    }
}

/// A wrong password is the operator's to repair: it must not end every mail for ever.
#[tokio::test]
async fn a_failed_login_defers_and_does_not_show_the_password() {
    let server = Server::start(Offer::ClearText).await;
    // Such servers exist: they repeat what they were sent.
    server.fail(Step::Auth, Fault::Answer("535 5.7.8 canary-smtp-password is wrong"));
    let with_login = SmtpConfig { login: Some(login()), ..config(server.port(), Security::None) };
    let transport = Transport::smtp(with_login).unwrap();

    let error = transport.send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert_eq!(error, SendError::Deferred { answer: "AUTH: 535".to_owned() });
}

#[tokio::test]
async fn a_server_without_a_known_mechanism_defers() {
    let server = Server::start(Offer::ClearText).await;
    server.offer_mechanisms("SCRAM-SHA-256");
    let with_login = SmtpConfig { login: Some(login()), ..config(server.port(), Security::None) };

    let error = Transport::smtp(with_login).unwrap().send(&reset_mail("ana@example.com", 1)).await.unwrap_err();

    assert_eq!(error, SendError::Deferred { answer: "AUTH: no mechanism in common (PLAIN or LOGIN)".to_owned() });
}

#[tokio::test]
async fn user_and_password_cannot_be_printed() {
    let with_login = SmtpConfig { login: Some(login()), ..config(25, Security::None) };
    let printed = format!("{with_login:?} {:?}", login());
    let transport = Transport::smtp(with_login).unwrap();

    let printed = format!("{printed} {transport:?} {transport:#?}");

    assert!(printed.contains("127.0.0.1"));
    assert!(!printed.contains(USER) && !printed.contains(PASSWORD), "{printed}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, absent) = (folder.path().join("empty.pem"), folder.path().join("absent.pem"));
    std::fs::write(&empty, "no certificate").unwrap();
    let ca_file = |path| SmtpConfig { ca_file: Some(path), ..config(465, Security::Implicit) };

    assert!(matches!(Transport::smtp(ca_file(empty)), Err(ConfigError::CaFileWithoutCertificate { .. })));
    assert!(matches!(Transport::smtp(ca_file(absent)), Err(ConfigError::CaFileUnreadable { .. })));
    let forged = SmtpConfig { hello_name: "x\r\nMAIL FROM:<>".to_owned(), ..config(25, Security::None) };
    assert!(matches!(Transport::smtp(forged), Err(ConfigError::HostName)));
    let hasty = SmtpConfig { command_timeout: std::time::Duration::ZERO, ..config(25, Security::None) };
    assert!(matches!(Transport::smtp(hasty), Err(ConfigError::NoTime)));
}

#[tokio::test]
async fn clear_text_without_login_sends_no_auth() {
    let server = Server::start(Offer::ClearText).await;

    plain_transport(&server).send(&reset_mail("ana@example.com", 1)).await.unwrap();

    assert!(server.commands().iter().all(|command| !command.starts_with("AUTH")));
}
