//! What is logged and how.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::reader::{Reader, Refused};
use super::registry;

#[derive(Debug, Clone)]
pub struct Logging {
    pub format: LogFormat,
    pub level: LevelFilter,
    pub email: LogEmail,
    /// None logs to the console alone.
    pub file: Option<LogFile>,
}

/// A file that is renamed when it has grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// As given: each process puts its name before the extension.
    pub path: PathBuf,
    /// 0 never renames.
    pub max_bytes: u64,
    /// 0 never renames.
    pub backups: u32,
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
        let file = LogFile::read(reader);
        Ok(Self { format: format?, level: level?, email: email?, file: file? })
    }
}

impl LogFile {
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Refused> {
        let path = reader.text(&registry::LOG_FILE);
        let max_bytes = reader.whole(&registry::LOG_FILE_MAX_BYTES);
        let backups = reader.whole(&registry::LOG_FILE_BACKUPS);
        let (path, max_bytes, backups) = (path?.map(PathBuf::from), u64::from(max_bytes?), backups?);
        match path {
            // Whether it can be written is not asked here: logging never keeps a process from starting.
            Some(path) if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() => {
                Err(reader.refuse(&registry::LOG_FILE))
            }
            path => Ok(path.map(|path| Self { path, max_bytes, backups })),
        }
    }

    /// The file of one process: `service.log` is `service-api.log` for the api.
    pub fn of(&self, process_name: &str) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push("-");
        name.push(process_name);
        if let Some(extension) = self.path.extension() {
            name.push(".");
            name.push(extension);
        }
        self.path.with_file_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_log_file_of_its_own() {
        let file = |path: &str| LogFile { path: path.into(), max_bytes: 1, backups: 1 };
        assert_eq!(file("/var/log/doorbook/service.log").of("api"), PathBuf::from("/var/log/doorbook/service-api.log"));
        assert_eq!(file("service").of("worker"), PathBuf::from("service-worker"));
    }
}
