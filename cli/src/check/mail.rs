//! Would mails leave?

use std::time::Duration;

use doorbook_core::config::check::{Line, Parts};
use doorbook_core::config::{Http, Mail, MailBackend, Smtp, SmtpSecurity};
use doorbook_mail::{Login, MessageId, OutgoingMail, Rendered, Security, SendError, Sender, SmtpConfig, Transport};
use url::Url;

use super::deploy::unseen;

const SERVER: &str = "mail server";
const TEST: &str = "test mail";

/// Longest wait for the whole conversation, however long one command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

const SUBJECT: &str = "Test mail of Doorbook";
const TEXT: &str = "This mail was sent from the command line, to see whether mails leave.\r\n";

pub async fn lines(parts: &Parts, send_to: Option<&str>) -> Vec<Line> {
    let mut lines = Vec::new();
    let (Some(mail), Some(http)) = (&parts.mail, &parts.http) else {
        lines.push(unseen(SERVER, "a setting of mail or http was refused"));
        lines.extend(send_to.map(|_| unseen(TEST, "a setting of mail or http was refused")));
        return lines;
    };
    let MailBackend::Smtp(smtp) = &mail.backend else {
        lines.push(unseen(SERVER, "EMAIL_BACKEND is not smtp"));
        lines.extend(send_to.map(|_| unseen(TEST, "EMAIL_BACKEND is not smtp")));
        return lines;
    };
    let transport = match Transport::smtp(config(smtp, http)) {
        Ok(transport) => transport,
        Err(error) => return vec![Line::fail(SERVER, format!("{error}: check EMAIL_HOST and EMAIL_CA_FILE"))],
    };
    lines.push(server(smtp, Box::pin(within(transport.check())).await));
    if let Some(address) = send_to {
        lines.push(match test_mail(mail, address) {
            Ok(message) => {
                sent(Box::pin(within(transport.send(&message))).await.map(|accepted| accepted.server_answer))
            }
            Err(error) => Line::fail(TEST, error.to_string()),
        });
    }
    lines
}

async fn within<T>(talk: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
    let late = || SendError::Deferred { answer: "no end in time".to_owned() };
    tokio::time::timeout(TIMEOUT, talk).await.unwrap_or_else(|_| Err(late()))
}

fn server(smtp: &Smtp, found: Result<(), SendError>) -> Line {
    let how = match (smtp.security, &smtp.login) {
        (SmtpSecurity::ClearText, _) => "clear text, to this machine",
        (_, Some(_)) => "TLS and login",
        (_, None) => "TLS, no login",
    };
    match found {
        Ok(()) => Line::ok(SERVER, format!("reachable: {how}")),
        Err(error) => {
            let what = "check EMAIL_HOST, EMAIL_PORT, EMAIL_USE_TLS, EMAIL_USE_SSL and the login";
            Line::fail(SERVER, format!("{error}: {what}"))
        }
    }
}

fn sent(outcome: Result<String, SendError>) -> Line {
    match outcome {
        Ok(answer) => Line::ok(TEST, format!("taken: {answer}")),
        Err(error) => Line::fail(TEST, format!("{error}: check the address and DEFAULT_FROM_EMAIL")),
    }
}

fn test_mail(mail: &Mail, to: &str) -> Result<OutgoingMail, doorbook_mail::MessageError> {
    let mailbox = match &mail.from.name {
        Some(name) => format!("\"{name}\" <{}>", mail.from.address),
        None => mail.from.address.clone(),
    };
    let sender = Sender::parse(&mailbox)?;
    let id = MessageId::for_delivery(super::random(), &sender);
    let rendered = Rendered { subject: SUBJECT.to_owned(), text: TEXT.to_owned(), html: format!("<p>{TEXT}</p>") };
    OutgoingMail::compose(&sender, to, &id, super::now(), &rendered)
}

/// As the worker has it.
fn config(smtp: &Smtp, http: &Http) -> SmtpConfig {
    let site = Url::parse(&http.frontend_url).ok().and_then(|url| url.host_str().map(str::to_owned));
    SmtpConfig {
        host: smtp.host.clone(),
        port: smtp.port,
        security: match smtp.security {
            SmtpSecurity::StartTls => Security::StartTls,
            SmtpSecurity::ImplicitTls => Security::Implicit,
            SmtpSecurity::ClearText => Security::None,
        },
        login: smtp.login.as_ref().map(|login| Login::new(login.user.clone(), login.password.expose().clone())),
        command_timeout: smtp.timeout,
        ca_file: smtp.ca_file.clone(),
        hello_name: site.unwrap_or_else(|| "localhost".to_owned()),
    }
}
