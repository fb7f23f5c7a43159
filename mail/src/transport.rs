//! The way out of a mail: SMTP in production, the terminal or a folder for development.

mod answer;
mod cleartext;
mod console;
mod file;
mod smtp;

use std::path::PathBuf;

use crate::message::OutgoingMail;

use smtp::Smtp;
pub use smtp::{COMMAND_TIMEOUT, CONNECTIONS_MAX, ConfigError, Login, Security, SmtpConfig};

/// Where mails go. One for the whole process: it keeps connections open between mails.
#[derive(Debug)]
pub struct Transport(Kind);

#[derive(Debug)]
enum Kind {
    Smtp(Box<Smtp>),
    Console,
    File(PathBuf),
}

/// The mail was taken; from here on it is the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What the server said, safe to store: one line, bounded, without addresses and links.
    pub server_answer: String,
}

/// Why a mail was not, or perhaps not, taken. The answers are as safe to store as [`Accepted::server_answer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Surely not taken, and a later attempt may succeed: no connection, no TLS, a failed login, a sender the server does not like.
    /// Any other mail would have fared alike. The last two are for the operator to repair; mails shall survive until then.
    #[error("deferred: {answer}")]
    Deferred { answer: String },
    /// Surely not taken, and a later attempt may succeed: the server would not have this recipient now, or fell silent once it was named.
    #[error("delayed: {answer}")]
    Delayed { answer: String, silent: bool },
    /// Surely not taken, and never will be: a 5xx answer to this recipient or this message.
    #[error("refused: {answer}")]
    Refused { answer: String },
    /// The message was on its way when the connection failed: it may have been taken. Sending again may double it,
    /// with the same Message-ID.
    #[error("outcome unknown: {answer}")]
    Unknown { answer: String },
}

impl Transport {
    /// Sends over SMTP. Reads the CA file and the system's certificates; connects only when there is a mail.
    pub fn smtp(config: SmtpConfig) -> Result<Self, ConfigError> {
        Ok(Self(Kind::Smtp(Box::new(Smtp::new(config)?))))
    }

    /// Prints mails, with their links, to standard output. For development only.
    pub fn console() -> Self {
        Self(Kind::Console)
    }

    /// Writes one `.eml` a mail into the folder, which is made when needed. For development only.
    pub fn file(folder: PathBuf) -> Self {
        Self(Kind::File(folder))
    }

    /// Sends one mail once. Retries are the caller's.
    pub async fn send(&self, mail: &OutgoingMail) -> Result<Accepted, SendError> {
        match &self.0 {
            Kind::Smtp(smtp) => smtp.send(mail).await,
            Kind::Console => console::send(mail).await,
            Kind::File(folder) => file::send(folder, mail).await,
        }
    }

    /// Whether mails could leave now. For SMTP: a connection of its own with TLS and login, NOOP, QUIT. Call it some
    /// times a minute at most; providers count logins.
    pub async fn check(&self) -> Result<(), SendError> {
        match &self.0 {
            Kind::Smtp(smtp) => smtp.check().await,
            Kind::Console => Ok(()),
            Kind::File(folder) => file::check(folder).await,
        }
    }
}
