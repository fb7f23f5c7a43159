//! Every kind of problem: its status, its lasting name and its words.

use poem::http::{StatusCode, StatusCode as S};

/// What went wrong, as clients tell it apart. `type` is `/problems/` and the slug; slugs never change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) status: StatusCode,
    pub(super) slug: &'static str,
    pub(super) title: &'static str,
    /// Said when nothing better is known.
    pub(super) detail: &'static str,
}

impl Kind {
    const fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: &'static str) -> Self {
        Self { status, slug, title, detail }
    }
}

pub(super) static BAD_REQUEST: Kind =
    Kind::new(S::BAD_REQUEST, "bad-request", "Bad request", "The request could not be read.");
pub(super) static MALFORMED_JSON: Kind =
    Kind::new(S::BAD_REQUEST, "malformed-json", "Malformed JSON", "The body is not valid JSON.");
pub(super) static BAD_HOST: Kind = Kind::new(S::BAD_REQUEST, "bad-host", "Bad host", "This host is not served here.");
pub(super) static INVALID_CREDENTIALS: Kind =
    Kind::new(S::UNAUTHORIZED, "invalid-credentials", "Invalid credentials", "The e-mail or the password is wrong.");
pub(super) static UNAUTHORIZED: Kind =
    Kind::new(S::UNAUTHORIZED, "unauthorized", "Unauthorized", "A valid access token is required.");
pub(super) static FORBIDDEN: Kind = Kind::new(S::FORBIDDEN, "forbidden", "Forbidden", "This account may not do that.");
pub(super) static STEP_UP_REQUIRED: Kind = Kind::new(
    S::FORBIDDEN,
    "step-up-required",
    "Step-up required",
    "Give your password again at /api/admin/step-up/ first.",
);
pub(super) static HTTPS_REQUIRED: Kind = Kind::new(S::FORBIDDEN, "https-required", "HTTPS required", "Use https.");
pub(super) static UNTRUSTED_PROXY: Kind =
    Kind::new(S::FORBIDDEN, "untrusted-proxy", "Untrusted proxy", "The proxy in front of this service is not trusted.");
pub(super) static ORIGIN_NOT_ALLOWED: Kind =
    Kind::new(S::FORBIDDEN, "origin-not-allowed", "Origin not allowed", "This origin may not call this service.");
pub(super) static FORGED: Kind =
    Kind::new(S::FORBIDDEN, "csrf", "Possibly forged", "The X-CSRF-Token header does not belong to this session.");
pub(super) static NOT_FOUND: Kind =
    Kind::new(S::NOT_FOUND, "not-found", "Not found", "There is nothing at this address.");
pub(super) static METHOD_NOT_ALLOWED: Kind = Kind::new(
    S::METHOD_NOT_ALLOWED,
    "method-not-allowed",
    "Method not allowed",
    "The Allow header names the methods of this address.",
);
pub(super) static REQUEST_TIMEOUT: Kind =
    Kind::new(S::REQUEST_TIMEOUT, "request-timeout", "Request timeout", "The body did not arrive in time.");
pub(super) static CONFLICT: Kind =
    Kind::new(S::CONFLICT, "conflict", "Conflict", "The request conflicts with the present state.");
pub(super) static PAYLOAD_TOO_LARGE: Kind =
    Kind::new(S::PAYLOAD_TOO_LARGE, "payload-too-large", "Payload too large", "The body is larger than accepted.");
pub(super) static URI_TOO_LONG: Kind =
    Kind::new(S::URI_TOO_LONG, "uri-too-long", "URI too long", "The address is longer than accepted.");
pub(super) static HEADERS_TOO_LARGE: Kind = Kind::new(
    S::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers-too-large",
    "Headers too large",
    "The headers are more or larger than accepted.",
);
pub(super) static UNSUPPORTED_MEDIA_TYPE: Kind = Kind::new(
    S::UNSUPPORTED_MEDIA_TYPE,
    "unsupported-media-type",
    "Unsupported media type",
    "Send application/json, encoded as UTF-8, not compressed.",
);
pub(super) static VALIDATION: Kind =
    Kind::new(S::UNPROCESSABLE_ENTITY, "validation", "Invalid input", "One or more fields are not acceptable.");
pub(super) static BLOCKED: Kind =
    Kind::new(S::TOO_MANY_REQUESTS, "blocked", "Blocked", "Too many failed attempts. Try again later.");
pub(super) static BUSY: Kind =
    Kind::new(S::TOO_MANY_REQUESTS, "busy", "Busy", "Another attempt is still being checked. Try again at once.");
pub(super) static LIMIT_EXCEEDED: Kind =
    Kind::new(S::TOO_MANY_REQUESTS, "limit-exceeded", "Limit exceeded", "Too many requests. Try again later.");
pub(super) static INTERNAL: Kind =
    Kind::new(S::INTERNAL_SERVER_ERROR, "internal", "Internal error", "Something went wrong on our side.");
pub(super) static UNAVAILABLE: Kind =
    Kind::new(S::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", "The service cannot answer now. Try again later.");
