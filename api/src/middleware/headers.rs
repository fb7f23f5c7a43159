//! Security headers, the same table on every answer.

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    config::{FrameOptions, HeaderConfig},
    middleware::client::Scheme,
};

const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Headers whatever the settings.
const CONSTANT: [(HeaderName, HeaderValue); 2] =
    [(CORP, HeaderValue::from_static("same-origin")), (COOP, HeaderValue::from_static("same-origin"))];

const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

pub struct SecurityHeaders {
    always: Vec<(HeaderName, HeaderValue)>,
    policy: HeaderValue,
    hsts: Option<HeaderValue>,
}

impl SecurityHeaders {
    pub fn new(config: HeaderConfig) -> Self {
        let (frame, policy) = match config.frame_options {
            FrameOptions::Deny => {
                ("DENY", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'")
            }
            FrameOptions::SameOrigin => {
                ("SAMEORIGIN", "default-src 'none'; frame-ancestors 'self'; base-uri 'none'; object-src 'none'")
            }
        };
        let xss = if config.xss_filter { "1; mode=block" } else { "0" };
        let mut always = CONSTANT.to_vec();
        always.push((header::X_FRAME_OPTIONS, HeaderValue::from_static(frame)));
        always.push((header::X_XSS_PROTECTION, HeaderValue::from_static(xss)));
        if config.nosniff {
            always.push((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        }
        let hsts = config.hsts.and_then(|hsts| {
            let subdomains = if hsts.include_subdomains { "; includeSubDomains" } else { "" };
            let preload = if hsts.preload { "; preload" } else { "" };
            HeaderValue::from_str(&format!("max-age={}{subdomains}{preload}", hsts.seconds)).ok()
        });
        Self { always, policy: HeaderValue::from_static(policy), hsts }
    }

    /// A page that needs more than the empty policy, or a public key that may be cached, sets its own header first;
    /// below `/api` nothing is ever stored.
    pub fn apply(&self, path: &str, scheme: Scheme, headers: &mut HeaderMap) {
        for (name, value) in &self.always {
            headers.insert(name, value.clone());
        }
        headers.entry(header::REFERRER_POLICY).or_insert(NO_REFERRER);
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert_with(|| self.policy.clone());
        if path == "/api" || path.starts_with("/api/") {
            headers.insert(header::CACHE_CONTROL, NO_STORE);
        } else {
            headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
        }
        // RFC 6797, section 7.2: never over plain http.
        if let (Scheme::Https, Some(hsts)) = (scheme, &self.hsts) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}
