//! One trace id and one access log line a request.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    time::Instant,
};

use poem::{
    FromRequest, Request, RequestBody, Response,
    http::{HeaderMap, HeaderName, HeaderValue, Method},
};
use tracing::Span;

use crate::problem::Problem;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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

/// Unlikely to repeat, and no secret: std keys each hasher anew from the system's entropy.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// The trace id of a well-formed `traceparent`. Source: W3C Trace Context, section 3.2.
fn parse(value: &str) -> Option<TraceId> {
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
    Some(TraceId(id.to_be_bytes()))
}

fn from_headers(headers: &HeaderMap) -> Option<TraceId> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.to_str().ok()?),
        _ => None,
    }
}

/// A request being answered.
pub struct Trace {
    id: TraceId,
    span_id: u64,
    method: Method,
    path: String,
    started: Instant,
}

impl Trace {
    /// Takes over the caller's trace id when it sent a valid one.
    pub fn start(request: &Request) -> Self {
        Self {
            id: from_headers(request.headers()).unwrap_or_else(TraceId::random),
            span_id: random(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            started: Instant::now(),
        }
    }

    /// Of a request whose head could not be read: nothing is known of it.
    pub fn unreadable() -> Self {
        let nothing = Method::from_bytes(b"-").unwrap_or_default();
        let (id, span_id) = (TraceId::random(), random());
        Self { id, span_id, method: nothing, path: "/".to_owned(), started: Instant::now() }
    }

    pub const fn id(&self) -> TraceId {
        self.id
    }

    /// Path of the request as it came, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Everything logged inside carries the trace id.
    pub fn span(&self) -> Span {
        tracing::info_span!("request", trace_id = %self.id)
    }

    /// Tells the client its trace id and writes the access log line, which names the route when one matched.
    pub fn finish(
        self,
        mut response: Response,
        route: Option<&str>,
    ) -> hyper::Response<impl hyper::body::Body<Data: Send, Error = std::io::Error> + Send + use<>> {
        let traceparent = format!("00-{}-{:016x}-01", self.id, self.span_id);
        if let Ok(value) = HeaderValue::from_str(&traceparent) {
            response.headers_mut().insert(TRACEPARENT, value);
        }
        let path = || self.path.chars().take(LOGGED_PATH_MAX).collect();
        let route = route.map_or_else(path, str::to_owned);
        // The framework's body keeps its length to itself.
        let response: hyper::Response<_> = response.into();
        let bytes = hyper::body::Body::size_hint(response.body()).exact();
        tracing::info!(
            target: "doorbook::access",
            method = %self.method,
            route,
            status = response.status().as_u16(),
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes,
            trace_id = %self.id,
            "request"
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_taken_over() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parse(good).map(|id| id.to_string()).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
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
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let request = Request::builder().uri(poem::http::Uri::from_static(target)).finish();
            Trace::start(&request).finish(Response::builder().body("12345"), route)
        });
        serde_json::from_slice(&log.0.lock().unwrap()).unwrap()
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
