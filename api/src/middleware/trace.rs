//! One trace id and one access log line a request.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    time::Instant,
};

use doorbook_core::telemetry::{
    traces,
    transactions::{self, Answered},
};
use poem::{
    FromRequest, Request, RequestBody, Response,
    http::{HeaderMap, HeaderName, HeaderValue, Method},
};
use tracing::{Level, Span};

use super::paths::is_health;
use crate::metrics::{self, InFlight, REQUESTS};
use crate::problem::Problem;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Logged for a request whose client went away before its answer. Source: nginx.
const CLIENT_CLOSED: u16 = 499;

/// Longest path written to the log when no route matched, in characters.
const LOGGED_PATH_MAX: usize = 128;

/// The id that names a request in logs, events and problems. Source: W3C Trace Context, section 3.2.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn random() -> Self {
        Self((u128::from(random()) << 64 | u128::from(random())).to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl<'a> FromRequest<'a> for TraceId {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        request.data::<Self>().copied().ok_or_else(|| Problem::internal().into())
    }
}

/// The request's own span: what it causes, in this process or another, goes below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub u64);

/// Unlikely to repeat, and no secret: std keys each hasher anew from the system's entropy.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// The trace id and the caller's span of a well-formed `traceparent`. Source: W3C Trace Context, section 3.2.
fn parse(value: &str) -> Option<(TraceId, u64)> {
    let lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = value.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    if !lengths || ![version, trace, parent, flags].into_iter().all(lower_hex) {
        return None;
    }
    // Later versions may append fields; version 00 has none and ff is forbidden.
    if version == "ff" || (version == "00" && parts.next().is_some()) || parent.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    Some((TraceId(id.to_be_bytes()), u64::from_str_radix(parent, 16).ok()?))
}

fn from_headers(headers: &HeaderMap) -> Option<(TraceId, u64)> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.to_str().ok()?),
        _ => None,
    }
}

/// A request being answered. Dropped without an answer, its client went away: that too is a line and a number.
pub struct Trace {
    id: TraceId,
    span_id: SpanId,
    span: Span,
    method: Method,
    path: String,
    /// Of a balancer or an orchestrator, which asks every second and is told the same: nothing to write down while all is well.
    is_probe: bool,
    started: Instant,
    answered: bool,
    _in_flight: InFlight,
}

impl Trace {
    /// Takes over the caller's trace id when it sent a valid one.
    pub fn start(request: &Request) -> Self {
        let caller = from_headers(request.headers());
        let id = caller.map_or_else(TraceId::random, |(id, _)| id);
        let is_probe = is_health(request.uri().path());
        let span = if is_probe {
            tracing::debug_span!("request", trace_id = %id)
        } else {
            tracing::info_span!("request", trace_id = %id)
        };
        traces::join(&span, id.0, caller.map(|(_, parent)| parent));
        traces::attribute(&span, traces::METHOD, metrics::label(request.method()));
        Self {
            id,
            span_id: SpanId(traces::span_id(&span).unwrap_or_else(random)),
            span,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            is_probe,
            started: Instant::now(),
            answered: false,
            _in_flight: REQUESTS.enter(),
        }
    }

    /// Of a request whose head could not be read: nothing is known of it.
    pub fn unreadable() -> Self {
        let nothing = Method::from_bytes(b"-").unwrap_or_default();
        let (id, span_id) = (TraceId::random(), SpanId(random()));
        Self {
            id,
            span_id,
            span: tracing::info_span!("request", trace_id = %id),
            method: nothing,
            path: "/".to_owned(),
            is_probe: false,
            started: Instant::now(),
            answered: false,
            _in_flight: REQUESTS.enter(),
        }
    }

    pub const fn id(&self) -> TraceId {
        self.id
    }

    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// Path of the request as it came, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Everything logged inside carries the trace id.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Tells the client its trace id and writes the access log line, which names the route when one matched.
    pub fn finish(
        mut self,
        mut response: Response,
        route: Option<&str>,
    ) -> hyper::Response<impl hyper::body::Body<Data: Send, Error = std::io::Error> + Send + use<>> {
        let traceparent = format!("00-{}-{:016x}-01", self.id, self.span_id.0);
        if let Ok(value) = HeaderValue::from_str(&traceparent) {
            response.headers_mut().insert(TRACEPARENT, value);
        }
        // The framework's body keeps its length to itself.
        let response: hyper::Response<_> = response.into();
        let bytes = hyper::body::Body::size_hint(response.body()).exact();
        self.answered = true;
        self.tell(route, response.status().as_u16(), bytes);
        response
    }

    fn tell(&self, route: Option<&str>, status: u16, bytes: Option<u64>) {
        let duration = self.started.elapsed();
        REQUESTS.record(&self.method, route, status, duration);
        let (trace_id, method) = (self.id.as_bytes(), metrics::label(&self.method));
        transactions::record(Answered { trace_id, span_id: self.span_id.0, method, route, status, duration });
        traces::attribute(&self.span, traces::STATUS, i64::from(status));
        if let Some(route) = route {
            traces::attribute(&self.span, traces::ROUTE, route.to_owned());
        }
        let path = || self.path.chars().take(LOGGED_PATH_MAX).collect();
        // The level of a line is fixed where it is written.
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "doorbook::access",
                    $level,
                    method = %self.method,
                    route = route.map_or_else(path, str::to_owned),
                    status,
                    ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                    bytes,
                    trace_id = %self.id,
                    "request"
                )
            };
        }
        if self.is_probe && status < 400 { line!(Level::DEBUG) } else { line!(Level::INFO) }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(None, CLIENT_CLOSED, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;

    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_taken_over() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parse(good).map(|(id, _)| id.to_string()).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some());
        for bad in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(target: &'static str, route: Option<&str>) -> serde_json::Value {
        serde_json::from_str(&told(target, route, 200)).unwrap()
    }

    /// What is written at the level of production.
    fn told(target: &'static str, route: Option<&str>, status: u16) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let request = Request::builder().uri(poem::http::Uri::from_static(target)).finish();
            let status = StatusCode::from_u16(status).unwrap();
            Trace::start(&request).finish(Response::builder().status(status).body("12345"), route)
        });
        String::from_utf8(std::mem::take(&mut log.0.lock().unwrap())).unwrap()
    }

    /// Breaks when `api/src/middleware/trace.rs`: `self.is_probe && status < 400` → `self.is_probe`.
    #[test]
    fn a_probe_is_a_line_only_when_it_fails() {
        assert_eq!(told("/health/ready", Some("/health/ready"), 200), "");
        assert!(told("/health/ready", Some("/health/ready"), 503).contains("503"));
        assert!(told("/healthy", None, 404).contains("/healthy"));
    }

    #[test]
    fn the_access_line_names_the_route_and_never_the_query() {
        let known = line("/api/items/7/?token=secret", Some("/api/items/{id}/"));
        let fields = &known["fields"];
        assert_eq!((&fields["method"], &fields["route"]), (&"GET".into(), &"/api/items/{id}/".into()));
        assert_eq!((&fields["status"], &fields["bytes"]), (&200.into(), &5.into()));
        assert!(fields["ms"].is_u64() && fields["trace_id"].as_str().is_some_and(|id| id.len() == 32));
        let unknown = line("/no/such?token=secret", None);
        assert_eq!(unknown["fields"]["route"], "/no/such");
        assert!(!known.to_string().contains("secret") && !unknown.to_string().contains("secret"));
    }

    #[test]
    fn random_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| TraceId::random().0).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
