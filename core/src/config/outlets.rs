//! Where logs, errors and traces go beside the console.

use std::path::PathBuf;

use url::Url;

use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;

/// Longest names in reports, in characters. Source: Sentry's limits for environments and releases.
const ENVIRONMENT_CHARACTERS_MAX: usize = 64;
const RELEASE_CHARACTERS_MAX: usize = 200;

/// Key of the DSN that the guide prints as an example: whoever leaves it in believes to have error reports.
const PUBLISHED_DSN_KEY: &str = "examplePublicKey";

#[derive(Debug)]
pub struct Outlets {
    pub log_file: Option<LogFile>,
    pub sentry: Option<Sentry>,
    pub otlp_endpoint: Option<Url>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// As given; each process puts its name before the extension, see [`LogFile::of`].
    pub path: PathBuf,
    pub max_bytes: u64,
    pub backups: u32,
}

#[derive(Debug)]
pub struct Sentry {
    pub dsn: Secret,
    pub environment: String,
    /// None: the version of the build.
    pub release: Option<String>,
    /// From 0 to 1.
    pub traces_sample_rate: f64,
}

impl Outlets {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let log_file = LogFile::read(reader);
        let sentry = Sentry::read(reader);
        let otlp_endpoint = reader.given_parsed(&registry::OTEL_EXPORTER_OTLP_ENDPOINT, parse_collector);
        Ok(Self { log_file: log_file?, sentry: sentry?, otlp_endpoint: otlp_endpoint? })
    }
}

impl LogFile {
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Refused> {
        let path = reader.given_parsed(&registry::LOG_FILE, |text| (!text.ends_with('/')).then(|| PathBuf::from(text)));
        let max_bytes = reader.whole(&registry::LOG_FILE_MAX_BYTES);
        let backups = reader.whole(&registry::LOG_FILE_BACKUPS);
        let (path, max_bytes, backups) = (path?, u64::from(max_bytes?), backups?);
        Ok(path.map(|path| Self { path, max_bytes, backups }))
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

impl Sentry {
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Refused> {
        let dsn = reader.secret(&registry::SENTRY_DSN);
        let environment = reader.parsed(&registry::SENTRY_ENVIRONMENT, |text| label(text, ENVIRONMENT_CHARACTERS_MAX));
        let release = reader.given_parsed(&registry::SENTRY_RELEASE, |text| label(text, RELEASE_CHARACTERS_MAX));
        let rate = reader.parsed(&registry::SENTRY_TRACES_SAMPLE_RATE, parse_share);
        let (dsn, environment, release, traces_sample_rate) = (dsn?, environment?, release?, rate?);
        let Some(dsn) = dsn else { return Ok(None) };
        match dsn_fault(dsn.expose(), reader.debug) {
            Some(rule) => Err(reader.refuse_because(&registry::SENTRY_DSN, rule)),
            None => Ok(Some(Self { dsn, environment, release, traces_sample_rate })),
        }
    }
}

fn dsn_fault(text: &str, is_debug: bool) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else { return Some("must be a URL such as https://key@host/project") };
    let is_scheme = url.scheme() == "https" || (is_debug && url.scheme() == "http");
    let project = url.path().rsplit('/').next().unwrap_or_default();
    if url.username() == PUBLISHED_DSN_KEY {
        Some("must not be a published example")
    } else if !is_scheme || !url.has_host() || url.username().is_empty() || project.is_empty() {
        Some("must be a URL such as https://key@host/project")
    } else {
        None
    }
}

fn label(text: &str, characters_max: usize) -> Option<String> {
    let is_label = text.chars().count() <= characters_max
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/' || c == '\\');
    is_label.then(|| text.to_owned())
}

fn parse_share(text: &str) -> Option<f64> {
    // `parse` alone would take "inf", "1e-3" and "+1".
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|share| is_decimal && (0.0..=1.0).contains(share))
}

fn parse_collector(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_bare = url.query().is_none() && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain && is_bare).then_some(url)
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

    #[test]
    fn a_dsn_needs_a_key_a_host_and_a_project() {
        assert_eq!(dsn_fault("https://4f1a2b@o1.ingest.sentry.io/42", false), None);
        assert_eq!(dsn_fault("https://examplePublicKey@o0.ingest.sentry.io/0", false), {
            Some("must not be a published example")
        });
        for text in ["on", "https://o1.ingest.sentry.io/42", "https://4f1a2b@o1.sentry.io/", "http://4f1a2b@sentry/42"]
        {
            assert!(dsn_fault(text, false).is_some(), "{text}");
        }
        assert_eq!(dsn_fault("http://4f1a2b@localhost:9000/42", true), None);
    }

    #[test]
    fn a_share_is_a_plain_number_from_0_to_1() {
        assert_eq!((parse_share("0"), parse_share("0.25"), parse_share("1.0")), (Some(0.0), Some(0.25), Some(1.0)));
        for text in ["1.1", "-0.1", "inf", "1e-3", "+1", "", "10%"] {
            assert_eq!(parse_share(text), None, "{text}");
        }
    }
}
