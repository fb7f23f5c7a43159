//! Settings: read once at start, checked together, and passed on as plain values.
//!
//! `env.rs` alone reads the environment. Each concern has a file that turns variables of the registry into a section.
//! Production is whatever is not `DEBUG`, so nothing left unset makes the service less safe.

mod account;
mod alerts;
pub mod check;
mod cookies;
mod database;
mod dotenv;
mod env;
mod example;
mod fault;
mod generate;
mod hosts;
mod http;
mod jwt;
mod limits;
mod logging;
mod mail;
mod monitoring;
mod password;
mod reader;
mod redis;
pub mod registry;
mod secret;
mod secrets;
mod settings_page;
mod suspects;
mod tokens;
mod watching;

pub use account::{Account, DefaultLocale, RegistrationMode};
pub use alerts::{Alerts, Webhook};
pub use cookies::{CookieAttributes, Cookies, SameSite};
pub use database::{Database, Pooler};
pub use env::Environment;
#[cfg(feature = "failpoints")]
pub(crate) use env::failpoints;
pub use example::env_example;
pub use fault::{Fault, Faults};
pub use generate::{new_secret_block, new_secret_block_for};
pub use hosts::AllowedHosts;
pub use http::{FrameOptions, Hsts, Http, HttpSecurity, ProxySslHeader};
pub use limits::{Limits, LoginLimit, RateLimit};
pub use logging::{LogEmail, LogFile, LogFormat, Logging};
pub use mail::{Mail, MailBackend, Mailbox, Smtp, SmtpLogin, SmtpSecurity};
pub use monitoring::{Monitoring, Sentry};
pub use password::{Argon2, Argon2Engine, Password, PasswordValidator};
pub use redis::Redis;
pub use secret::Secret;
pub use secrets::{PiiKey, Secrets};
pub use settings_page::settings_page;
pub use suspects::{Suspect, suspects};
pub use tokens::Tokens;
pub use watching::{CheckpointSink, Checkpoints, Watching};

use reader::Reader;

/// Which program reads the settings: some defaults and the database login differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Api,
    Worker,
    Cli,
}

#[derive(Debug)]
pub struct Settings {
    /// True in development only.
    pub debug: bool,
    pub secrets: Secrets,
    pub database: Database,
    pub redis: Redis,
    pub mail: Mail,
    pub http: Http,
    pub cookies: Cookies,
    pub tokens: Tokens,
    pub password: Password,
    pub limits: Limits,
    pub account: Account,
    pub logging: Logging,
    pub monitoring: Monitoring,
    pub watching: Watching,
    /// Names in the environment that look like a misspelt setting.
    pub suspects: Vec<Suspect>,
    /// Names of the variables that the operator set.
    pub given: Vec<&'static str>,
    /// Hash of what is in force, without secrets: the same for each process that is set up alike.
    pub fingerprint: String,
}

impl Settings {
    /// Every process checks every section: one wrong variable must not wait for the process that uses it.
    pub fn load(environment: &Environment, process: Process) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment, process);
        let secrets = Secrets::read(&mut reader);
        let database = Database::read(&mut reader);
        let redis = Redis::read(&mut reader);
        let mail = Mail::read(&mut reader);
        let http = Http::read(&mut reader);
        let frontend_url = http.as_ref().map(|http| http.frontend_url.as_str()).map_err(|refused| *refused);
        let cookies = Cookies::read(&mut reader);
        let tokens = Tokens::read(&mut reader, frontend_url);
        let password = Password::read(&mut reader);
        let limits = Limits::read(&mut reader);
        let account = Account::read(&mut reader);
        let logging = Logging::read(&mut reader);
        let monitoring = Monitoring::read(&mut reader);
        let watching = Watching::read(&mut reader);
        let debug = reader.debug;
        let settings = (|| {
            Ok(Self {
                debug,
                secrets: secrets?,
                database: database?,
                redis: redis?,
                mail: mail?,
                http: http?,
                cookies: cookies?,
                tokens: tokens?,
                password: password?,
                limits: limits?,
                account: account?,
                logging: logging?,
                monitoring: monitoring?,
                watching: watching?,
                suspects: suspects(environment),
                given: check::given(environment),
                fingerprint: check::fingerprint(environment),
            })
        })();
        reader.finish(settings)
    }

    /// Says what the process starts with, and loudly what must not be so in production or may be a mistake. Call it once logging is
    /// set up.
    pub fn announce(&self) {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), given = self.given.join(" "), "settings loaded");
        if self.debug {
            tracing::warn!("DEBUG is True: development only, the rules that protect production are off");
        }
        for suspect in &self.suspects {
            tracing::warn!(variable = suspect.name, "{suspect}");
        }
    }
}

/// Cores that this process may use, within what the registry allows for threads.
fn cores() -> u32 {
    /// Upper bound of the variables whose default this is.
    const CORES_MAX: u32 = 1_024;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).map_or(CORES_MAX, |cores| cores.min(CORES_MAX))
}
