//! Who is told of errors and traces.

use std::sync::Arc;

use url::Url;

use super::reader::{Reader, Refused};
use super::registry::{self, Variable};
use super::secret::Secret;

/// Longest name of an environment or a release. Source: Sentry's limit for environments.
const NAME_CHARACTERS_MAX: usize = 64;

/// Key of the DSN that Django's guides print as an example: whoever leaves it in believes to have error reports.
const PUBLISHED_KEY: &str = "examplePublicKey";

#[derive(Debug)]
pub struct Monitoring {
    /// None reports nothing.
    pub sentry: Option<Arc<Sentry>>,
    /// Collector of traces; none records nothing.
    pub otlp_endpoint: Option<Url>,
}

/// Where errors are reported, and as what.
#[derive(Debug)]
pub struct Sentry {
    /// Address that takes envelopes: the DSN without its key.
    pub endpoint: Url,
    pub key: Secret,
    pub environment: String,
    pub release: String,
    /// Share of the requests that Sentry is told of, from 0 to 1.
    pub traces_sample_rate: f64,
}

impl Monitoring {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let dsn = dsn(reader);
        let environment = name(reader, &registry::SENTRY_ENVIRONMENT);
        let release = name(reader, &registry::SENTRY_RELEASE);
        let rate = reader.parsed(&registry::SENTRY_TRACES_SAMPLE_RATE, |text| {
            text.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate))
        });
        let otlp_endpoint = endpoint(reader);
        let (environment, release) = (environment?.unwrap_or_default(), release?);
        let traces_sample_rate = rate?;
        Ok(Self {
            sentry: dsn?.map(|(endpoint, key)| {
                let release = release.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
                Arc::new(Sentry { endpoint, key, environment, release, traces_sample_rate })
            }),
            otlp_endpoint: otlp_endpoint?,
        })
    }
}

fn dsn(reader: &mut Reader<'_>) -> Result<Option<(Url, Secret)>, Refused> {
    let Some(dsn) = reader.secret(&registry::SENTRY_DSN)? else { return Ok(None) };
    let parsed = parse_dsn(dsn.expose()).ok_or_else(|| reader.refuse(&registry::SENTRY_DSN))?;
    if parsed.1.expose() == PUBLISHED_KEY {
        return Err(reader.refuse_because(&registry::SENTRY_DSN, "must not be a published example"));
    }
    let is_here = matches!(parsed.0.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if parsed.0.scheme() == "http" && !is_here && !reader.debug {
        return Err(
            reader.refuse_because(&registry::SENTRY_DSN, "must be https, but to this machine or when DEBUG is True")
        );
    }
    Ok(Some(parsed))
}

/// `https://key@host/prefix/project` is the key, and `https://host/prefix/api/project/envelope/`. Source: Sentry's developer
/// documentation, "SDK overview".
fn parse_dsn(text: &str) -> Option<(Url, Secret)> {
    let mut url = web_url(text)?;
    let key = Secret::new(url.username().to_owned());
    let (prefix, project) = url.path().rsplit_once('/')?;
    if key.expose().is_empty() || project.is_empty() || !project.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let path = format!("{prefix}/api/{project}/envelope/");
    url.set_path(&path);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some((url, key))
}

fn endpoint(reader: &mut Reader<'_>) -> Result<Option<Url>, Refused> {
    let Some(text) = reader.text(&registry::OTEL_EXPORTER_OTLP_ENDPOINT)? else { return Ok(None) };
    let url = web_url(&text).filter(|url| url.username().is_empty() && url.password().is_none());
    url.map(Some).ok_or_else(|| reader.refuse(&registry::OTEL_EXPORTER_OTLP_ENDPOINT))
}

fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.has_host();
    (plain && matches!(url.scheme(), "http" | "https")).then_some(url)
}

/// A word that Sentry files reports under; none if neither operator nor registry gives one.
fn name(reader: &mut Reader<'_>, variable: &Variable) -> Result<Option<String>, Refused> {
    let Some(text) = reader.text(variable)? else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'@' | b'+');
    if text.len() > NAME_CHARACTERS_MAX || !text.bytes().all(plain) {
        return Err(reader.refuse(variable));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_is_a_key_and_the_address_that_takes_envelopes() {
        let (endpoint, key) = parse_dsn("https://abc123@sentry.example.com:8443/on/premise/42").unwrap();
        assert_eq!(endpoint.as_str(), "https://sentry.example.com:8443/on/premise/api/42/envelope/");
        assert_eq!(key.expose(), "abc123");
        let (endpoint, _) = parse_dsn("http://abc123:old@127.0.0.1/7").unwrap();
        assert_eq!(endpoint.as_str(), "http://127.0.0.1/api/7/envelope/");
        for bad in
            ["", "abc", "https://sentry.example.com/1", "https://k@h/", "https://k@h", "ftp://k@h/1", "https://k@h/1?a"]
        {
            assert!(parse_dsn(bad).is_none(), "{bad}");
        }
    }
}
