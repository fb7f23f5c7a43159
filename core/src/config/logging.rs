//! What is logged and how.

use tracing::level_filters::LevelFilter;

use super::reader::{Reader, Refused};
use super::registry;

#[derive(Debug, Clone, Copy)]
pub struct Logging {
    pub format: LogFormat,
    pub level: LevelFilter,
    pub email: LogEmail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One object a line.
    Json,
    /// Text for people.
    Console,
}

/// How the line about a failed login names the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEmail {
    Plain,
    Masked,
    Hash,
}

impl Logging {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let format =
            reader.choice(&registry::LOG_FORMAT, &[("json", LogFormat::Json), ("console", LogFormat::Console)]);
        let levels = [
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("warning", LevelFilter::WARN), // as Python calls it
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ];
        let level = reader.choice(&registry::LOG_LEVEL, &levels);
        let emails = [("plain", LogEmail::Plain), ("masked", LogEmail::Masked), ("hash", LogEmail::Hash)];
        let email = reader.choice(&registry::LOG_EMAIL, &emails);
        Ok(Self { format: format?, level: level?, email: email? })
    }
}
