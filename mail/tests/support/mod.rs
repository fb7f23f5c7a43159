//! A mail server for tests that speaks SMTP over TCP and fails where it is told to.

mod certificates;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use doorbook_mail::{
    Link, Locale, Login, MessageId, OutgoingMail, Recipient, Security, Sender, SmtpConfig, Template, Transport,
};
use time::macros::datetime;
use uuid::Uuid;

pub use certificates::Authority;
pub use server::{Fault, Offer, Server, Step};

pub const USER: &str = "doorbook";
pub const PASSWORD: &str = "canary-smtp-password";
pub const TOKEN: &str = "canary-mail-token";
/// Shorter than the default, so that tests of silence end soon.
pub const TIMEOUT: Duration = Duration::from_millis(600);

/// A reset mail; the same `delivery` gives the same Message-ID.
pub fn reset_mail(recipient: &str, delivery: u128) -> OutgoingMail {
    let link = format!("https://app.example.com/reset-password?token={TOKEN}").parse::<url::Url>().unwrap();
    let template = Template::Reset { link: Link::from(link), valid_hours: 1 };
    let rendered = template.render(Locale::En, &Recipient { first_name: Some("Ana") }, "app.example.com").unwrap();
    let sender = Sender::parse("Example Accounts <auth@example.com>").unwrap();
    let id = MessageId::for_delivery(Uuid::from_u128(delivery), &sender);
    OutgoingMail::compose(&sender, recipient, &id, datetime!(2026-03-01 12:00 UTC), &rendered).unwrap()
}

pub fn config(port: u16, security: Security) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port,
        security,
        login: None,
        command_timeout: TIMEOUT,
        ca_file: None,
        hello_name: "app.example.com".to_owned(),
    }
}

pub fn login() -> Login {
    Login::new(USER.to_owned(), PASSWORD.to_owned())
}

/// Clear text, no login.
pub fn plain_transport(server: &Server) -> Transport {
    Transport::smtp(config(server.port(), Security::None)).unwrap()
}

/// A transport that trusts `ca_file` and logs in.
pub fn tls_transport(server: &Server, security: Security, ca_file: PathBuf) -> Transport {
    Transport::smtp(SmtpConfig { login: Some(login()), ca_file: Some(ca_file), ..config(server.port(), security) })
        .unwrap()
}
