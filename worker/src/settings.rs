//! From settings to the way out of mails.

use doorbook_core::config::{Mail, MailBackend, Settings, Smtp, SmtpSecurity};
use doorbook_core::service::start::site;
use doorbook_mail::{ConfigError, Login, MessageError, OwnFaults, OwnWording, Security, Sender, SmtpConfig, Transport};
use url::Url;

use crate::jobs::mail::Post;

/// Why no mail could ever leave with these settings.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("DEFAULT_FROM_EMAIL: {0}")]
    Sender(#[from] MessageError),
    #[error("the mail server's settings: {0}")]
    Transport(#[from] ConfigError),
    #[error("FRONTEND_URL: {0}")]
    Frontend(#[from] url::ParseError),
    #[error("MAIL_TEMPLATES_DIR: {0}")]
    Wording(#[from] OwnFaults),
}

pub fn post(settings: &Settings) -> Result<Post, PostError> {
    let Mail { backend, from, templates_dir } = &settings.mail;
    let mailbox = match &from.name {
        Some(name) => format!("\"{name}\" <{}>", from.address),
        None => from.address.clone(),
    };
    let transport = match backend {
        MailBackend::Smtp(smtp) => Transport::smtp(smtp_config(smtp, site(settings)))?,
        MailBackend::Console => Transport::console(),
        MailBackend::File { directory } => Transport::file(directory.clone()),
    };
    let own = templates_dir.as_deref().map(OwnWording::read).transpose()?.unwrap_or_default();
    Ok(Post::new(transport, Sender::parse(&mailbox)?, Url::parse(&settings.http.frontend_url)?, own))
}

fn smtp_config(smtp: &Smtp, hello_name: String) -> SmtpConfig {
    let login = smtp.login.as_ref().map(|login| Login::new(login.user.clone(), login.password.expose().clone()));
    SmtpConfig {
        host: smtp.host.clone(),
        port: smtp.port,
        security: match smtp.security {
            SmtpSecurity::StartTls => Security::StartTls,
            SmtpSecurity::ImplicitTls => Security::Implicit,
            SmtpSecurity::ClearText => Security::None,
        },
        login,
        command_timeout: smtp.timeout,
        ca_file: smtp.ca_file.clone(),
        hello_name,
    }
}
