//! What the listeners accept and what every answer carries.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use url::{Origin, Url};

use super::cores;
use super::hosts::{AllowedHost, AllowedHosts};
use super::mail::is_address;
use super::reader::{Reader, Refused};
use super::registry;

/// Hosts of a development machine. Source: Django.
const DEBUG_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

#[derive(Debug)]
pub struct Http {
    pub api_bind: SocketAddr,
    pub api_ops_bind: SocketAddr,
    pub worker_ops_bind: SocketAddr,
    pub allowed_hosts: AllowedHosts,
    /// As browsers send them: lower case, no default port.
    pub cors_allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    /// Without trailing slash: a path is appended as it is.
    pub frontend_url: String,
    pub request_timeout: Duration,
    pub worker_threads: u32,
    pub docs_enabled: bool,
    /// A URI, as `/.well-known/security.txt` shows it.
    pub security_contact: Option<String>,
    pub security: HttpSecurity,
}

#[derive(Debug)]
pub struct HttpSecurity {
    pub ssl_redirect: bool,
    pub proxy_ssl_header: ProxySslHeader,
    /// None sends no such header.
    pub hsts: Option<Hsts>,
    pub content_type_nosniff: bool,
    pub browser_xss_filter: bool,
    pub frame_options: FrameOptions,
}

/// The header and the value by which a trusted proxy tells that it was reached over https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySslHeader {
    /// Lower case.
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Hsts {
    pub max_age_seconds: u32,
    pub include_subdomains: bool,
    pub preload: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameOptions {
    Deny,
    SameOrigin,
}

impl Http {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let is_debug = reader.debug;
        let binds = Binds::read(reader);
        let allowed_hosts = allowed_hosts(reader);
        let origins = reader.parsed_list(&registry::CORS_ALLOWED_ORIGINS, |text| parse_origin(text, is_debug));
        let trusted_proxies = trusted_proxies(reader);
        let frontend_url = reader.parsed(&registry::FRONTEND_URL, |text| parse_frontend_url(text, is_debug));
        let request_timeout = reader.seconds(&registry::REQUEST_TIMEOUT_SECONDS);
        let worker_threads = reader.given_whole(&registry::API_WORKER_THREADS);
        let docs_enabled = reader.given_flag(&registry::DOCS_ENABLED);
        let security_contact = reader.given_parsed(&registry::SECURITY_CONTACT, parse_contact);
        let security = HttpSecurity::read(reader);
        let binds = binds?;
        Ok(Self {
            api_bind: binds.api,
            api_ops_bind: binds.api_ops,
            worker_ops_bind: binds.worker_ops,
            allowed_hosts: allowed_hosts?,
            cors_allowed_origins: origins?,
            trusted_proxies: trusted_proxies?,
            frontend_url: frontend_url?,
            request_timeout: request_timeout?,
            worker_threads: worker_threads?.unwrap_or_else(cores),
            docs_enabled: docs_enabled?.unwrap_or(is_debug),
            security_contact: security_contact?,
            security: security?,
        })
    }
}

struct Binds {
    api: SocketAddr,
    api_ops: SocketAddr,
    worker_ops: SocketAddr,
}

impl Binds {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let api = reader.parsed(&registry::API_BIND, |text| text.parse().ok());
        let api_ops = reader.parsed(&registry::API_OPS_BIND, |text| text.parse().ok());
        let worker_ops = reader.parsed(&registry::WORKER_OPS_BIND, |text| text.parse().ok());
        let binds = Self { api: api?, api_ops: api_ops?, worker_ops: worker_ops? };
        if overlap(binds.api, binds.api_ops) {
            return Err(reader.refuse(&registry::API_OPS_BIND));
        }
        Ok(binds)
    }
}

/// True if both cannot be bound at once; port 0 asks the system for a free one.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_address
}

impl HttpSecurity {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        // Browsers remember a permanent redirect, so a development machine without a certificate must not begin with it.
        let is_production = !reader.debug;
        let ssl_redirect = reader.given_flag(&registry::SECURE_SSL_REDIRECT);
        let proxy_ssl_header = reader.parsed(&registry::SECURE_PROXY_SSL_HEADER, ProxySslHeader::parse);
        let hsts_seconds = reader.whole(&registry::SECURE_HSTS_SECONDS);
        let include_subdomains = reader.flag(&registry::SECURE_HSTS_INCLUDE_SUBDOMAINS);
        let preload = reader.flag(&registry::SECURE_HSTS_PRELOAD);
        let content_type_nosniff = reader.flag(&registry::SECURE_CONTENT_TYPE_NOSNIFF);
        let browser_xss_filter = reader.flag(&registry::SECURE_BROWSER_XSS_FILTER);
        let frame_choices = [("DENY", FrameOptions::Deny), ("SAMEORIGIN", FrameOptions::SameOrigin)];
        let frame_options = reader.choice(&registry::X_FRAME_OPTIONS, &frame_choices);
        let hsts = Hsts { max_age_seconds: hsts_seconds?, include_subdomains: include_subdomains?, preload: preload? };
        Ok(Self {
            ssl_redirect: ssl_redirect?.unwrap_or(is_production),
            proxy_ssl_header: proxy_ssl_header?,
            hsts: (hsts.max_age_seconds > 0).then_some(hsts),
            content_type_nosniff: content_type_nosniff?,
            browser_xss_filter: browser_xss_filter?,
            frame_options: frame_options?,
        })
    }
}

impl ProxySslHeader {
    /// `X-Forwarded-Proto: https`, or Django's `('HTTP_X_FORWARDED_PROTO', 'https')` with or without its punctuation.
    fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once([':', ','])?;
        let bare = |part: &str| part.trim_matches([' ', '\'', '"', '(', ')']).to_ascii_lowercase();
        let (name, value) = (bare(name), bare(value));
        let name = name.strip_prefix("http_").map_or(name.clone(), |rest| rest.replace('_', "-"));
        let is_token =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (is_token(&name) && is_token(&value)).then_some(Self { name, value })
    }
}

fn allowed_hosts(reader: &mut Reader<'_>) -> Result<AllowedHosts, Refused> {
    let variable = &registry::ALLOWED_HOSTS;
    let mut hosts = reader.parsed_list(variable, AllowedHost::parse)?;
    if hosts.is_empty() && reader.debug {
        hosts.extend(DEBUG_HOSTS.into_iter().filter_map(AllowedHost::parse));
    }
    if hosts.is_empty() { Err(reader.missing(variable)) } else { Ok(AllowedHosts::new(hosts)) }
}

fn trusted_proxies(reader: &mut Reader<'_>) -> Result<Vec<IpNet>, Refused> {
    let variable = &registry::TRUSTED_PROXIES;
    // Elsewhere empty means unset. Here it says to trust no one, and the default would trust more.
    if reader.is_set_to_nothing(variable) {
        return Ok(Vec::new());
    }
    let networks = reader.parsed_list(variable, parse_network)?;
    // Who may be anyone can claim any address, and all limits by address would be off.
    if networks.iter().any(|network| network.prefix_len() == 0) && !reader.debug {
        return Err(reader.refuse(variable));
    }
    Ok(networks)
}

fn parse_network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text.parse::<std::net::IpAddr>().ok().map(IpNet::from),
    }
}

/// An http(s) URL with a host and nothing that no such URL here should have. `Url` alone would repair a lot silently.
fn parse_plain_url(text: &str, is_debug: bool) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_scheme = url.scheme() == "https" || (is_debug && url.scheme() == "http");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>{}|^`*@?#".contains(&byte));
    let has_slashes = text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"));
    (is_scheme && is_plain && has_slashes && url.has_host()).then_some(url)
}

/// The origin as browsers write it, unless the text says more than an origin.
fn parse_origin(text: &str, is_debug: bool) -> Option<String> {
    let url = parse_plain_url(text, is_debug)?;
    let has_path = text.splitn(4, '/').count() > 3;
    match url.origin() {
        origin @ Origin::Tuple(..) if !has_path => Some(origin.ascii_serialization()),
        _ => None,
    }
}

fn parse_frontend_url(text: &str, is_debug: bool) -> Option<String> {
    let url = parse_plain_url(text, is_debug)?;
    (!text.ends_with('/')).then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// A URI of RFC 9116, 2.5.3: mail or https. A bare address is taken for mail.
fn parse_contact(text: &str) -> Option<String> {
    if parse_plain_url(text, false).is_some() {
        return Some(text.to_owned());
    }
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    is_address(address).then(|| format!("mailto:{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_or_an_https_page() {
        for (text, contact) in [
            ("security@example.com", "mailto:security@example.com"),
            ("mailto:security@example.com", "mailto:security@example.com"),
            ("https://example.com/security", "https://example.com/security"),
        ] {
            assert_eq!(parse_contact(text).as_deref(), Some(contact));
        }
        for text in ["security", "http://example.com/", "tel:+1", "a@example.com\nPolicy: x", "mailto:a@b@c"] {
            assert_eq!(parse_contact(text), None, "{text}");
        }
    }

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for (text, origin) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM:443", "https://example.com"),
            ("https://example.com:8443", "https://example.com:8443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(parse_origin(text, false).as_deref(), Some(origin), "{text}");
        }
        assert_eq!(parse_origin("http://localhost:3000", true).as_deref(), Some("http://localhost:3000"));
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in [
            "*",
            "null",
            "example.com",
            "https://",
            "https:example.com",
            "https://example.com/",
            "https://example.com/app",
            "https://example.com?x",
            "https://example.com#x",
            "https://user@example.com",
            "https://*.example.com",
            "ftp://example.com",
            "file:///x",
            "http://example.com",
        ] {
            assert_eq!(parse_origin(text, false), None, "{text}");
        }
    }

    #[test]
    fn a_frontend_url_may_have_a_path_but_nothing_that_breaks_what_is_appended() {
        assert_eq!(parse_frontend_url("https://Example.com", false).as_deref(), Some("https://example.com"));
        assert_eq!(parse_frontend_url("https://example.com/app", false).as_deref(), Some("https://example.com/app"));
        for text in [
            "https://example.com/",
            "https://example.com/?a=b",
            "https://example.com#",
            "https://user:pw@example.com",
            "http://example.com",
            "//example.com",
            "example.com",
            "javascript://example.com",
            "https://exam\tple.com",
        ] {
            assert_eq!(parse_frontend_url(text, false), None, "{text}");
        }
    }

    #[test]
    fn the_https_header_is_read_as_a_header_and_as_djangos_setting() {
        let expected = ProxySslHeader { name: "x-forwarded-proto".to_owned(), value: "https".to_owned() };
        for text in ["X-Forwarded-Proto: https", "HTTP_X_FORWARDED_PROTO,https", "('HTTP_X_FORWARDED_PROTO', 'https')"]
        {
            assert_eq!(ProxySslHeader::parse(text), Some(expected.clone()), "{text}");
        }
        for text in ["X-Forwarded-Proto", ": https", "X-Forwarded-Proto:", "X Forwarded: https", "a: b c"] {
            assert_eq!(ProxySslHeader::parse(text), None, "{text}");
        }
    }

    #[test]
    fn listeners_overlap_only_on_the_same_port_of_the_same_address() {
        let overlap = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(overlap("0.0.0.0:8000", "127.0.0.1:8000"));
        assert!(overlap("127.0.0.1:8000", "127.0.0.1:8000"));
        assert!(!overlap("127.0.0.1:8000", "127.0.0.2:8000"));
        assert!(!overlap("0.0.0.0:0", "0.0.0.0:0"));
    }
}
