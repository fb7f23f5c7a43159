//! Errors as RFC 9457 problems. The only file that turns an error into a status; every other one names the problem.

use std::borrow::Cow;

use poem::{
    Response,
    error::{MethodNotAllowedError, NotFoundError, ResponseError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    error::{AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
    registry::{MetaResponses, Registry},
    types::{ToJSON, Type},
};

use crate::middleware::trace::TraceId;
use kinds::Kind;

mod kinds;
mod parameters;

/// Media type of every error. Source: RFC 9457, section 3.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Longest request path repeated as `instance`, in bytes.
const INSTANCE_MAX: usize = 256;

/// One field that was refused. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct FieldError {
    /// Name of the field; dots and indices lead into nested ones; empty for the body as a whole.
    pub field: String,
    /// Stable word for programs, such as `required` or `password_too_short`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// An error on its way to the client. Handlers return it as `Err`; `instance` and `trace_id` are added on the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", kind.slug)]
pub struct Problem {
    kind: &'static Kind,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    retry_after_seconds: Option<u64>,
    allow: Option<HeaderValue>,
}

impl Problem {
    const fn new(kind: &'static Kind) -> Self {
        Self { kind, detail: None, errors: Vec::new(), retry_after_seconds: None, allow: None }
    }

    const fn retry(kind: &'static Kind, seconds: u64) -> Self {
        let mut problem = Self::new(kind);
        problem.retry_after_seconds = Some(seconds);
        problem
    }

    /// Replaces the standard sentence. The text goes to the client: no input, no internals.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub const fn bad_request() -> Self {
        Self::new(&kinds::BAD_REQUEST)
    }

    pub const fn malformed_json() -> Self {
        Self::new(&kinds::MALFORMED_JSON)
    }

    pub const fn bad_host() -> Self {
        Self::new(&kinds::BAD_HOST)
    }

    /// Unknown account, wrong password, disabled account: the same words for all.
    pub const fn invalid_credentials() -> Self {
        Self::new(&kinds::INVALID_CREDENTIALS)
    }

    pub const fn unauthorized() -> Self {
        Self::new(&kinds::UNAUTHORIZED)
    }

    pub const fn forbidden() -> Self {
        Self::new(&kinds::FORBIDDEN)
    }

    /// The session may do it, but its password was given too long ago.
    pub const fn step_up_required() -> Self {
        Self::new(&kinds::STEP_UP_REQUIRED)
    }

    pub const fn https_required() -> Self {
        Self::new(&kinds::HTTPS_REQUIRED)
    }

    pub const fn untrusted_proxy() -> Self {
        Self::new(&kinds::UNTRUSTED_PROXY)
    }

    pub const fn origin_not_allowed() -> Self {
        Self::new(&kinds::ORIGIN_NOT_ALLOWED)
    }

    /// A cookie came along without the token that only our own pages know.
    pub const fn forged() -> Self {
        Self::new(&kinds::FORGED)
    }

    pub const fn not_found() -> Self {
        Self::new(&kinds::NOT_FOUND)
    }

    /// `allow` is the value of the Allow header.
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        Self { allow: Some(allow), ..Self::new(&kinds::METHOD_NOT_ALLOWED) }
    }

    pub const fn request_timeout() -> Self {
        Self::new(&kinds::REQUEST_TIMEOUT)
    }

    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(&kinds::CONFLICT).with_detail(detail)
    }

    pub const fn payload_too_large() -> Self {
        Self::new(&kinds::PAYLOAD_TOO_LARGE)
    }

    /// What the framework would answer without a word: a head that is no HTTP, or larger than accepted.
    pub const fn unreadable(status: StatusCode) -> Self {
        match status {
            StatusCode::URI_TOO_LONG => Self::new(&kinds::URI_TOO_LONG),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::new(&kinds::HEADERS_TOO_LARGE),
            _ => Self::bad_request(),
        }
    }

    pub const fn unsupported_media_type() -> Self {
        Self::new(&kinds::UNSUPPORTED_MEDIA_TYPE)
    }

    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(&kinds::VALIDATION) }
    }

    /// The identifier is blocked for so many seconds, whatever the password.
    pub const fn blocked(retry_after_seconds: u64) -> Self {
        Self::retry(&kinds::BLOCKED, retry_after_seconds)
    }

    /// The identifier's free attempts are all in flight.
    pub const fn busy() -> Self {
        Self::retry(&kinds::BUSY, 1)
    }

    /// A budget of the client address is used up.
    pub const fn limit_exceeded(retry_after_seconds: u64) -> Self {
        Self::retry(&kinds::LIMIT_EXCEEDED, retry_after_seconds)
    }

    /// The cause belongs in the log, never here.
    pub const fn internal() -> Self {
        Self::new(&kinds::INTERNAL)
    }

    pub const fn unavailable(retry_after_seconds: u64) -> Self {
        Self::retry(&kinds::UNAVAILABLE, retry_after_seconds)
    }

    pub const fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// Title, sentence and refused fields, for people.
    pub fn words(&self) -> (&'static str, &str, &[FieldError]) {
        (self.kind.title, self.detail.as_deref().unwrap_or(self.kind.detail), &self.errors)
    }

    /// Any error of the framework as the problem it stands for; `allow` are the methods of the matched route.
    pub fn from_framework(error: poem::Error, allow: Option<&HeaderValue>) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(problem) => return problem,
            Err(other) => other,
        };
        if error.is::<NotFoundError>() || error.is::<ParsePathError>() {
            return Self::not_found();
        }
        if error.is::<MethodNotAllowedError>() {
            return Self::method_not_allowed(allow.cloned().unwrap_or(HeaderValue::from_static("GET, HEAD")));
        }
        if let Some(parameter) = error.downcast_ref::<ParseParamError>() {
            return Self::validation(vec![FieldError::new(
                parameter.name,
                "invalid",
                parameters::rule(&parameter.reason),
            )]);
        }
        if error.is::<ContentTypeError>() {
            return Self::unsupported_media_type();
        }
        if error.is::<ParseRequestPayloadError>() {
            return Self::malformed_json();
        }
        if error.is::<AuthorizationError>() {
            return Self::unauthorized();
        }
        Self::from_status(error.status(), &error)
    }

    fn from_status(status: StatusCode, error: &poem::Error) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::unauthorized(),
            StatusCode::FORBIDDEN => Self::forbidden(),
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::REQUEST_TIMEOUT => Self::request_timeout(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::payload_too_large(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::unsupported_media_type(),
            other if other.is_client_error() => Self::bad_request(),
            _ => {
                tracing::error!(%error, "a handler failed");
                Self::internal()
            }
        }
    }

    /// The answer for a request to `path`.
    pub fn render(&self, path: &str, trace_id: Option<TraceId>) -> Response {
        let Kind { status, slug, title, detail } = *self.kind;
        let body = Body {
            kind: format!("/problems/{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.as_deref().unwrap_or(detail).to_owned(),
            instance: Some(instance(path)).filter(|path| !path.is_empty()),
            trace_id: trace_id.map(|id| id.to_string()),
            errors: Some(self.errors.clone()).filter(|errors| !errors.is_empty()),
            retry_after_seconds: self.retry_after_seconds,
        };
        let mut response = Response::builder().status(status).content_type(MEDIA_TYPE).body(body.to_json_string());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = &self.allow {
            headers.insert(header::ALLOW, allow.clone());
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the body is still on its way and will not be read.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The path as a URI reference: what RFC 3986 does not allow in a path is escaped, what is too long is cut.
fn instance(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len().min(INSTANCE_MAX));
    for byte in path.bytes() {
        if escaped.len() >= INSTANCE_MAX {
            break;
        }
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.extend([byte >> 4, byte & 0xf].map(|nibble| char::from(b"0123456789ABCDEF"[usize::from(nibble)])));
        }
    }
    escaped
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.kind.status
    }

    fn as_response(&self) -> Response {
        self.render("", None)
    }
}

/// The statuses are added to the document by `openapi.rs`, which knows what each operation can really answer.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(registry: &mut Registry) {
        Body::register(registry);
    }
}

/// An error, as RFC 9457 describes it.
#[derive(Object)]
#[oai(rename = "Problem", skip_serializing_if_is_none)]
struct Body {
    /// Stable reference that tells problems apart.
    #[oai(rename = "type")]
    kind: String,
    /// The same for every problem of this type.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened, for people.
    detail: String,
    /// Path of the request.
    instance: Option<String>,
    /// Names the request in the service's logs.
    trace_id: Option<String>,
    /// The refused fields of a 422.
    errors: Option<Vec<FieldError>>,
    /// Seconds to wait; the Retry-After header says the same.
    retry_after_seconds: Option<u64>,
}

/// Adds the schema named `Problem` and what it refers to.
pub(crate) fn register_schema(registry: &mut Registry) {
    Body::register(registry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_valid_uri_path_of_bounded_length() {
        assert_eq!(instance("/a/b~c%20d"), "/a/b~c%20d");
        assert_eq!(instance("/\"<é>"), "/%22%3C%C3%A9%3E");
        assert!(instance(&"/\u{e9}".repeat(5_000)).len() <= INSTANCE_MAX + 2);
    }

    #[test]
    fn a_handlers_problem_survives_the_framework() {
        let problem = Problem::blocked(900);
        assert_eq!(Problem::from_framework(problem.clone().into(), None), problem);
    }

    #[test]
    fn an_unknown_server_error_tells_the_client_nothing() {
        let error = poem::Error::from_string("relation accounts does not exist", StatusCode::BAD_GATEWAY);
        assert_eq!(Problem::from_framework(error, None), Problem::internal());
    }
}
