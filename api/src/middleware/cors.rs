//! Cross-origin calls: an exact allow-list, nothing reflected, nothing granted when the list is empty.

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

use crate::{
    middleware::{client::Scheme, paths},
    problem::Problem,
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Idempotency-Key, X-CSRF-Token, traceparent");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("Retry-After, traceparent, Location");
/// Seconds a browser may remember a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const TRUE: HeaderValue = HeaderValue::from_static("true");

pub struct Cors(Vec<HeaderValue>);

/// Which page a request says it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerOrigin {
    /// No Origin header: no browser, or a request that cannot change anything.
    None,
    /// This very host.
    Own,
    /// A listed origin: a front end, on a host of its own. It may call the API, and is nobody to the console.
    Listed,
    Foreign,
}

impl Cors {
    /// Origins that cannot stand in a header can never be sent by a browser either.
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// The request's origin when it is on the list and asks for something that pages elsewhere may read. The console is for its own: a
    /// script that got into a front end on a sibling host would read and order with an admin's session otherwise.
    pub fn granted(&self, path: &str, headers: &HeaderMap) -> Option<HeaderValue> {
        if paths::is_console(path) { None } else { self.listed(headers) }
    }

    fn listed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        self.0.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Where the request comes from. The Host header is on the list of allowed hosts before anything depends on this.
    pub fn caller(&self, headers: &HeaderMap, scheme: Scheme) -> CallerOrigin {
        if !headers.contains_key(header::ORIGIN) {
            return CallerOrigin::None;
        }
        let scheme = if scheme == Scheme::Https { "https" } else { "http" };
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let own = text(header::HOST).map(|host| format!("{scheme}://{}", host.to_ascii_lowercase()));
        let is_one = headers.get_all(header::ORIGIN).iter().count() == 1;
        let same = is_one && own.is_some() && text(header::ORIGIN) == own.as_deref();
        if same {
            CallerOrigin::Own
        } else if self.listed(headers).is_some() {
            CallerOrigin::Listed
        } else {
            CallerOrigin::Foreign
        }
    }

    /// The answer to a preflight; `None` when the request is none.
    pub fn preflight(&self, request: &Request) -> Result<Option<Response>, Problem> {
        let headers = request.headers();
        if *request.method() != Method::OPTIONS
            || !headers.contains_key(header::ORIGIN)
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return Ok(None);
        }
        self.granted(request.uri().path(), headers).ok_or_else(Problem::origin_not_allowed)?;
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Ok(Some(response))
    }

    /// Marks an answer, errors included, for the origin that was granted. Credentials are allowed to listed origins:
    /// a front end on a sibling host needs them for its refresh cookie.
    pub fn apply(granted: Option<HeaderValue>, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = granted {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(list: &[&str], origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        Cors::new(&list.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>())
            .granted("/api/auth/", &headers)
            .is_some()
    }

    #[test]
    fn only_exactly_listed_origins_are_granted() {
        let list = ["https://app.example.com", "https://admin.example.com:8443"];
        assert!(granted(&list, &["https://app.example.com"]));
        assert!(granted(&list, &["https://admin.example.com:8443"]));
        for refused in [
            "null",
            "",
            "*",
            "http://app.example.com",
            "https://app.example.com:443",
            "https://app.example.com/",
            "https://app.example.com.evil.com",
            "https://evil.app.example.com",
            "https://evilapp.example.com",
            "https://admin.example.com",
            "HTTPS://APP.EXAMPLE.COM",
        ] {
            assert!(!granted(&list, &[refused]), "{refused}");
        }
        assert!(!granted(&list, &["https://app.example.com", "https://app.example.com"]));
    }

    #[test]
    fn a_page_of_this_very_host_is_allowed_and_none_that_only_resembles_it() {
        let caller = |origins: &[&str], scheme| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "auth.example.com".parse().unwrap());
            for origin in origins {
                headers.append(header::ORIGIN, origin.parse().unwrap());
            }
            Cors::new(&["https://app.example.com".to_owned()]).caller(&headers, scheme)
        };
        assert_eq!(caller(&[], Scheme::Https), CallerOrigin::None);
        assert_eq!(caller(&["https://auth.example.com"], Scheme::Https), CallerOrigin::Own);
        assert_eq!(caller(&["https://app.example.com"], Scheme::Https), CallerOrigin::Listed);
        for origins in [
            &["http://auth.example.com"][..],
            &["https://auth.example.com:8443"],
            &["https://example.com"],
            &["null"],
            &[""],
            &["https://auth.example.com", "https://auth.example.com"],
        ] {
            assert_eq!(caller(origins, Scheme::Https), CallerOrigin::Foreign, "{origins:?}");
        }
        assert_eq!(caller(&["https://auth.example.com"], Scheme::Http), CallerOrigin::Foreign);
    }

    #[test]
    fn nothing_of_the_console_is_granted_to_a_listed_origin() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, "https://app.example.com".parse().unwrap());
        let cors = Cors::new(&["https://app.example.com".to_owned()]);
        assert!(
            ["/admin", "/admin/", "/admin/audit/export/"].iter().all(|path| cors.granted(path, &headers).is_none())
        );
        assert!(["/api/admin/accounts/", "/administer"].iter().all(|path| cors.granted(path, &headers).is_some()));
    }

    #[test]
    fn an_empty_list_grants_nothing() {
        for origin in ["https://app.example.com", "null", ""] {
            assert!(!granted(&[], &[origin]), "{origin}");
        }
    }
}
