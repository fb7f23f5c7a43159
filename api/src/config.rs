//! What the HTTP layer must be told. `main` fills it from the settings; nothing here reads the environment.

use std::time::Duration;

use ipnet::IpNet;
use poem::http::HeaderName;

/// Longest time from a request's head to its answer. Source: the replaced service's gunicorn timeout.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `example.com` is that host, `.example.com` the domain and its subdomains. Lower case, no port.
    pub allowed_hosts: Vec<String>,
    /// Peers whose forwarded headers count.
    pub trusted_proxies: Vec<IpNet>,
    /// Header by which a trusted proxy tells the scheme, and the value that means https.
    pub proxy_scheme_header: (HeaderName, String),
    pub ssl_redirect: bool,
    pub headers: HeaderConfig,
    /// The cookie of cookie mode.
    pub cookie: CookieConfig,
    /// Exact origins; empty grants none.
    pub cors_allowed_origins: Vec<String>,
    pub request_timeout: Duration,
    /// Serves `/docs/`.
    pub docs: bool,
    /// A URI; serves `/.well-known/security.txt`.
    pub security_contact: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct HeaderConfig {
    /// `None` sends no Strict-Transport-Security.
    pub hsts: Option<Hsts>,
    pub nosniff: bool,
    /// False sends `X-XSS-Protection: 0`.
    pub xss_filter: bool,
    pub frame_options: FrameOptions,
}

#[derive(Debug, Clone, Copy)]
pub struct Hsts {
    pub seconds: u64,
    pub include_subdomains: bool,
    pub preload: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct CookieConfig {
    /// False in development only.
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameOptions {
    Deny,
    SameOrigin,
}
