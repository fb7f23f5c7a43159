//! One SMTP connection: each command with its own time limit and its own meaning of failure.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;

use lettre::transport::smtp::Error as LettreError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Noop, Quit, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Duration, timeout};

use super::super::answer;
use super::super::cleartext::Cleartext;
use super::{Accepted, Protection, SendError, Server};
use crate::message::OutgoingMail;

/// Addresses of one host name that are tried. Ours: bounds the wait for a dead name to so many timeouts.
const ADDRESSES_MAX: usize = 4;
/// "Authentication required", also said for "STARTTLS required": about our account, not about the mail. Source:
/// RFC 4954, 6 and RFC 3207, 4.
const AUTHENTICATION_REQUIRED: u16 = 530;
/// The only good answer to DATA. Source: RFC 5321, 4.3.2.
const START_MAIL_INPUT: u16 = 354;

/// An open connection, protected and logged in as configured.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    timeout: Duration,
    mails: u32,
}

/// A command without a good answer.
enum Failure {
    Timeout,
    Io(io::Error),
    Smtp(LettreError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LettreError> for Failure {
    fn from(error: LettreError) -> Self {
        Self::Smtp(error)
    }
}

impl Session {
    /// Connects, protects, logs in. Every failure is a deferral: it says something about the server or about our
    /// settings, nothing about a mail.
    pub(super) async fn open(server: &Server) -> Result<Self, SendError> {
        let mut connection = connect(server).await?;
        if let Protection::StartTls(parameters) = &server.security {
            // Not offering STARTTLS is an error inside; there is no way on in clear text.
            let upgraded = connection.starttls(parameters.clone(), &server.hello);
            limited(server.timeout, upgraded).await.map_err(|failure| failure.deferred("STARTTLS"))?;
        }
        if let Some(login) = &server.login {
            log_in(&mut connection, &login.0, server.timeout).await?;
        }
        Ok(Self { connection, timeout: server.timeout, mails: 0 })
    }

    /// How many mails went through.
    pub(super) fn mails(&self) -> u32 {
        self.mails
    }

    pub(super) async fn send(&mut self, mail: &OutgoingMail) -> Result<Accepted, SendError> {
        let parameters = self.mail_parameters(mail)?;
        // The sender is the same for every mail: a 5xx here is for the operator to repair, not for this mail to die of.
        let sender = Mail::new(Some(mail.sender.clone()), parameters);
        limited(self.timeout, self.connection.command(sender)).await.map_err(|failure| failure.deferred("MAIL"))?;

        let recipient = Rcpt::new(mail.recipient.clone(), vec![]);
        limited(self.timeout, self.connection.command(recipient))
            .await
            .map_err(|failure| failure.before_content("RCPT"))?;
        let go_ahead = limited(self.timeout, self.connection.command(Data))
            .await
            .map_err(|failure| failure.before_content("DATA"))?;
        if !go_ahead.has_code(START_MAIL_INPUT) {
            let answer = answer::safe(&format!("DATA: {}", line(&go_ahead)));
            return Err(SendError::Delayed { answer, silent: false });
        }

        let response =
            limited(self.timeout, self.connection.message(mail.as_bytes())).await.map_err(Failure::after_content)?;
        let server_answer = answer::safe(&line(&response));
        if response.code().severity != Severity::PositiveCompletion {
            return Err(SendError::Unknown { answer: server_answer });
        }
        self.mails += 1;
        Ok(Accepted { server_answer })
    }

    pub(super) async fn noop(&mut self) -> Result<(), SendError> {
        let answered = limited(self.timeout, self.connection.command(Noop)).await;
        answered.map(drop).map_err(|failure| failure.deferred("NOOP"))
    }

    /// Says good-bye and closes. The answer changes nothing, so none is waited for beyond the limit.
    pub(super) async fn quit(mut self) {
        drop(limited(self.timeout, self.connection.command(Quit)).await);
    }

    /// The message is ASCII by construction but for an address, which then is in a header too.
    fn mail_parameters(&self, mail: &OutgoingMail) -> Result<Vec<MailParameter>, SendError> {
        if mail.as_bytes().is_ascii() {
            return Ok(vec![]);
        }
        if self.connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Ok(vec![MailParameter::SmtpUtfEight]);
        }
        Err(SendError::Refused { answer: "the server takes no addresses outside ASCII (SMTPUTF8)".to_owned() })
    }
}

/// Opens the connection up to EHLO at the first address of the host that answers.
async fn connect(server: &Server) -> Result<AsyncSmtpConnection, SendError> {
    let found = timeout(server.timeout, lookup_host((server.host.as_str(), server.port))).await;
    let addresses = match found {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX),
        Ok(Err(error)) => return Err(SendError::Deferred { answer: format!("look-up of the mail host: {error}") }),
        Err(_) => return Err(Failure::Timeout.deferred("look-up of the mail host")),
    };
    let mut failed = SendError::Deferred { answer: "the mail host has no address".to_owned() };
    for address in addresses {
        match limited(server.timeout, greet(server, address)).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failed = failure.deferred("connect"),
        }
    }
    Err(failed)
}

async fn greet(server: &Server, address: SocketAddr) -> Result<AsyncSmtpConnection, Failure> {
    Ok(match &server.security {
        Protection::StartTls(_) => {
            let stream = Cleartext::new(dial(address).await?);
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &server.hello).await?
        }
        // lettre takes no stream of ours for this, so Nagle's algorithm stays on here.
        Protection::Implicit(parameters) => {
            AsyncSmtpConnection::connect_tokio1(address, None, &server.hello, Some(parameters.clone()), None).await?
        }
        Protection::None => {
            AsyncSmtpConnection::connect_with_transport(Box::new(dial(address).await?), &server.hello).await?
        }
    })
}

/// lettre writes a message and its final dot apart: with Nagle's algorithm the dot waits for the server's delayed
/// acknowledgement, 40 ms a mail on Linux.
async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The server's words are left out: a server may repeat what it was sent, and that was the password.
async fn log_in(connection: &mut AsyncSmtpConnection, login: &Credentials, time: Duration) -> Result<(), SendError> {
    match limited(time, connection.auth(DEFAULT_MECHANISMS, login)).await {
        Ok(_) => Ok(()),
        Err(Failure::Smtp(error)) => {
            let answer = match error.status() {
                Some(code) => format!("AUTH: {code}"),
                None if error.is_client() => "AUTH: no mechanism in common (PLAIN or LOGIN)".to_owned(),
                None => "AUTH: the connection failed".to_owned(),
            };
            Err(SendError::Deferred { answer })
        }
        Err(failure) => Err(failure.deferred("AUTH")),
    }
}

/// A command with its time limit.
async fn limited<T, E: Into<Failure>>(
    time: Duration,
    command: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout(time, command).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::Timeout),
    }
}

impl Failure {
    fn deferred(self, stage: &str) -> SendError {
        SendError::Deferred { answer: self.answer(stage) }
    }

    /// At the recipient and at DATA a 5xx is about this mail; nothing was sent yet, so all else is a delay.
    fn before_content(self, stage: &str) -> SendError {
        match &self {
            Self::Smtp(error) if is_final(error) => SendError::Refused { answer: self.answer(stage) },
            // It asks for a login, or for TLS.
            Self::Smtp(error) if error.is_permanent() => self.deferred(stage),
            _ => self.delayed(stage),
        }
    }

    fn delayed(self, stage: &str) -> SendError {
        let silent = !matches!(&self, Self::Smtp(error) if error.status().is_some());
        SendError::Delayed { answer: self.answer(stage), silent }
    }

    /// The message is out: only a reply code tells what became of it. A lost connection, a time-out and an answer that
    /// makes no sense leave it open. Includes the case that the message was cut on the way, in which no server takes
    /// it: from here that looks the same.
    fn after_content(self) -> SendError {
        const STAGE: &str = "message";
        match &self {
            Self::Smtp(error) if is_final(error) => SendError::Refused { answer: self.answer(STAGE) },
            Self::Smtp(error) if error.status().is_some() => self.delayed(STAGE),
            _ => SendError::Unknown { answer: self.answer(STAGE) },
        }
    }

    fn answer(&self, stage: &str) -> String {
        let what = match self {
            Self::Timeout => "no answer in time".to_owned(),
            Self::Io(error) => error.to_string(),
            Self::Smtp(error) => match (error.status(), error.source()) {
                (Some(code), Some(words)) => format!("{code} {words}"),
                _ => error.to_string(),
            },
        };
        answer::safe(&format!("{stage}: {what}"))
    }
}

fn is_final(error: &LettreError) -> bool {
    error.is_permanent() && error.status().is_none_or(|code| u16::from(code) != AUTHENTICATION_REQUIRED)
}

fn line(response: &Response) -> String {
    format!("{} {}", response.code(), response.message().collect::<Vec<_>>().join(" "))
}
