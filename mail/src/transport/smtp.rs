//! SMTP submission.
//!
//! Built on lettre's connection, not on its transport: the transport limits only the TCP connect in time (its
//! asynchronous reads wait for ever) and does not tell whether an error came before or after the message was sent.

mod session;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::Error as LettreError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::{Accepted, SendError};
use crate::message::OutgoingMail;
use session::Session;

/// Time for one SMTP command and its answer by default. The message itself and the opening of a connection (TCP, TLS,
/// greeting, EHLO) count as one command each. Ours: lettre's 60 s would hold a worker for minutes.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at the same time. Ours: small providers allow about ten a client.
pub const CONNECTIONS_MAX: usize = 4;
/// Age up to which an idle connection is used again. Ours: shorter than the idle timeouts of common servers.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Mails over one connection. Ours: common limit of providers, who answer 421 beyond.
const MAILS_PER_CONNECTION_MAX: u32 = 100;

/// How the connection is protected. There is no "TLS if offered": who can cut the wire could switch it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Clear text up to STARTTLS, which the server must offer (port 587).
    StartTls,
    /// TLS from the first byte (port 465).
    Implicit,
    /// Clear text. Only for a server on the same machine.
    None,
}

/// User and password of the server. Cannot be printed or copied.
pub struct Login(Credentials);

impl Login {
    pub fn new(user: String, password: String) -> Self {
        Self(Credentials::new(user, password))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Which server, and how to talk to it.
#[derive(Debug)]
pub struct SmtpConfig {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub login: Option<Login>,
    /// Time for one command, see [`COMMAND_TIMEOUT`].
    pub command_timeout: Duration,
    /// PEM file with authorities trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// What we call ourselves in EHLO: a host name of ours. Some providers refuse `localhost`.
    pub hello_name: String,
}

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the CA file {path} cannot be read: {source}")]
    CaFileUnreadable { path: PathBuf, source: io::Error },
    #[error("the CA file {path} has no usable certificate")]
    CaFileWithoutCertificate { path: PathBuf },
    #[error("the command timeout is zero")]
    NoTime,
    #[error("the host or the EHLO name is not a host name")]
    HostName,
    #[error("TLS cannot be set up: {0}")]
    Tls(LettreError),
}

pub(super) struct Smtp {
    server: Server,
    /// Open connections without work, the freshest last.
    idle: Mutex<Vec<Idle>>,
    permits: Semaphore,
}

/// What it takes to open a session.
struct Server {
    host: String,
    port: u16,
    security: Protection,
    login: Option<Login>,
    timeout: Duration,
    hello: ClientId,
}

enum Protection {
    StartTls(TlsParameters),
    Implicit(TlsParameters),
    None,
}

struct Idle {
    session: Session,
    since: Instant,
}

impl Smtp {
    pub(super) fn new(config: SmtpConfig) -> Result<Self, ConfigError> {
        if config.command_timeout.is_zero() {
            return Err(ConfigError::NoTime);
        }
        if !is_host(&config.host) || !is_host(&config.hello_name) {
            return Err(ConfigError::HostName);
        }
        let security = match config.security {
            Security::StartTls => Protection::StartTls(tls_parameters(&config)?),
            Security::Implicit => Protection::Implicit(tls_parameters(&config)?),
            Security::None => Protection::None,
        };
        let server = Server {
            host: config.host,
            port: config.port,
            security,
            login: config.login,
            timeout: config.command_timeout,
            hello: ClientId::Domain(config.hello_name),
        };
        Ok(Self { server, idle: Mutex::new(Vec::new()), permits: Semaphore::new(CONNECTIONS_MAX) })
    }

    pub(super) async fn send(&self, mail: &OutgoingMail) -> Result<Accepted, SendError> {
        let _permit = self.permit().await?;
        let mut session = match self.reusable().await {
            Some(session) => session,
            None => Session::open(&self.server).await?,
        };
        // A session that failed is dropped, which closes it: what the server thinks of it is not worth finding out.
        let accepted = session.send(mail).await?;
        if session.mails() < MAILS_PER_CONNECTION_MAX {
            self.idle.lock().await.push(Idle { session, since: Instant::now() });
        } else {
            session.quit().await;
        }
        Ok(accepted)
    }

    pub(super) async fn check(&self) -> Result<(), SendError> {
        let _permit = self.permit().await?;
        let mut session = Session::open(&self.server).await?;
        session.noop().await?;
        session.quit().await;
        Ok(())
    }

    async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, SendError> {
        self.permits.acquire().await.map_err(|closed| SendError::Deferred { answer: closed.to_string() })
    }

    /// An idle connection that still answers. Those that do not, or are too old, are closed by dropping them.
    async fn reusable(&self) -> Option<Session> {
        loop {
            let mut session = {
                let mut idle = self.idle.lock().await;
                idle.retain(|parked| parked.since.elapsed() < IDLE_MAX);
                idle.pop()?.session
            };
            if session.noop().await.is_ok() {
                return Some(session);
            }
        }
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("host", &self.server.host).field("port", &self.server.port).finish_non_exhaustive()
    }
}

fn tls_parameters(config: &SmtpConfig) -> Result<TlsParameters, ConfigError> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path).map_err(|source| ConfigError::CaFileUnreadable { path: path.clone(), source })?;
        // lettre takes a file without a certificate for an empty list; only the first mail would find out.
        let begins = pem.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN);
        let certificate = Certificate::from_pem(&pem)
            .ok()
            .filter(|_| begins)
            .ok_or_else(|| ConfigError::CaFileWithoutCertificate { path: path.clone() })?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(ConfigError::Tls)
}

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// A name, an IP address or an address literal: nothing that could end the EHLO line.
fn is_host(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}
