//! From fields to parsed values; every field that breaks a rule is named in one answer.

use std::sync::Arc;

use doorbook_core::clock::Timestamp;
use doorbook_core::password::PasswordPlain;
use doorbook_core::service::admin::parse_reason;
use doorbook_core::service::idempotent::{IdempotencyHeader, KEY_LENGTH_MAX};
use doorbook_core::service::{Context, Doorbook, FieldFault, Refusal};
use doorbook_core::value::{ClientOrigin, Email, Locale, PersonName};
use poem::{FromRequest, Request, RequestBody};
use serde::{Deserialize, Deserializer};

use crate::command::run_to_end;
use crate::middleware::client::ClientAddress;
use crate::middleware::trace::{SpanId, TraceId};
use crate::problem::Problem;

/// Names a write, so that its repetition is known as one.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// What routes are named relative to, in `idempotency`.
const API: &str = "/api/";

/// The service and where the request came from.
pub struct Asked {
    pub doorbook: Arc<Doorbook>,
    pub context: Context,
    /// What was asked for: the path below `API`.
    route: String,
}

impl Asked {
    /// The `Idempotency-Key` header with what it is about. `body` holds every field but passwords; what stands in the path is part of
    /// the route.
    pub fn idempotency(&self, key: Option<String>, body: &[&str]) -> Result<Option<IdempotencyHeader>, Problem> {
        let Some(key) = key else { return Ok(None) };
        let printable = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > KEY_LENGTH_MAX || !printable {
            return Err(bad_key());
        }
        Ok(Some(IdempotencyHeader { key, route: self.route.clone(), body: body.join("\0") }))
    }
}

impl<'a> FromRequest<'a> for Asked {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        check_idempotency_key(request)?;
        Ok(asked(request)?)
    }
}

/// What every handler needs, from the request alone.
pub fn asked(request: &Request) -> Result<Asked, Problem> {
    let missing = || Problem::internal();
    let doorbook = request.data::<Arc<Doorbook>>().ok_or_else(missing)?.clone();
    let address = request.data::<ClientAddress>().ok_or_else(missing)?;
    let trace = request.data::<TraceId>().ok_or_else(missing)?;
    let span = request.data::<SpanId>().ok_or_else(missing)?;
    let agent = request.header(poem::http::header::USER_AGENT).unwrap_or_default();
    let origin = ClientOrigin::new(address.0, agent, uuid::Uuid::from_bytes(*trace.as_bytes())).in_span(span.0);
    let route = route(request).unwrap_or_default().to_owned();
    Ok(Asked { doorbook, context: Context::stranger(origin), route })
}

/// Runs a use case to its end, even if the client hangs up, and names what came of it.
pub async fn command<T: Send + 'static>(
    case: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Problem> {
    run_to_end(async move { case.await.map_err(Problem::from) }).await
}

/// Collects what is wrong with a request, field by field.
#[derive(Default)]
pub struct Faults(Vec<FieldFault>);

impl Faults {
    pub fn email(&mut self, field: &'static str, text: &str) -> Option<Email> {
        self.keep(Email::parse(text).map_err(|error| FieldFault::new(field, "invalid", error.to_string())))
    }

    pub fn reason(&mut self, text: &str) -> Option<String> {
        self.keep(parse_reason(text))
    }

    pub fn name(&mut self, field: &'static str, text: Option<&str>) -> Option<PersonName> {
        self.keep(
            PersonName::parse(text.unwrap_or_default())
                .map_err(|error| FieldFault::new(field, "invalid", error.to_string())),
        )
    }

    pub fn locale(&mut self, field: &'static str, text: Option<&str>) -> Option<Locale> {
        let text = text?;
        self.keep(Locale::parse(text).ok_or_else(|| FieldFault::new(field, "unknown_locale", "must be one of: en, es")))
    }

    pub fn password(&mut self, field: &'static str, text: String) -> Option<PasswordPlain> {
        self.keep(PasswordPlain::parse(text).map_err(|error| FieldFault::new(field, "invalid", error.to_string())))
    }

    /// An optional field as `parse` reads it; `rule` says what it must be.
    pub fn parsed<T>(
        &mut self,
        field: &'static str,
        text: Option<&str>,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.keep(parse(text?).ok_or_else(|| FieldFault::new(field, "invalid", rule)))
    }

    /// An optional time.
    pub fn time(&mut self, field: &'static str, text: Option<&str>) -> Option<Timestamp> {
        let rule = "must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z";
        self.parsed(field, text, rule, Timestamp::parse_rfc3339)
    }

    /// Whether the refresh token shall go into a cookie.
    pub fn cookie_asked_for(&mut self, field: &'static str, transport: Option<&str>) -> bool {
        if !matches!(transport, None | Some("body" | "cookie")) {
            self.0.push(FieldFault::new(field, "invalid", "must be body or cookie"));
        }
        transport == Some("cookie")
    }

    /// A field that means nothing to this service when it is longer.
    pub fn at_most(&mut self, field: &'static str, text: Option<&str>, characters: usize) {
        if text.is_some_and(|text| text.chars().count() > characters) {
            self.0.push(FieldFault::new(field, "invalid", format!("must hold at most {characters} characters")));
        }
    }

    /// Two fields that must hold the same password; the first is returned.
    pub fn new_password(
        &mut self,
        field: &'static str,
        text: String,
        confirm_field: &'static str,
        confirm: String,
    ) -> Option<PasswordPlain> {
        let (password, repeated) = (self.password(field, text), self.password(confirm_field, confirm));
        match (password, repeated) {
            (Some(password), Some(repeated)) if password.is_repeated_by(&repeated) => Some(password),
            (Some(_), Some(_)) => {
                self.0.push(FieldFault::new(confirm_field, "password_mismatch", "must equal the password"));
                None
            }
            _ => None,
        }
    }

    fn keep<T>(&mut self, parsed: Result<T, FieldFault>) -> Option<T> {
        parsed.map_err(|fault| self.0.push(fault)).ok()
    }

    /// The problem that names all faults.
    pub fn refuse<T>(self) -> Result<T, Problem> {
        Err(Refusal::Invalid(self.0).into())
    }

    pub fn check(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { self.refuse() }
    }
}

/// Refuses a write whose `Idempotency-Key` the framework would drop, being repeated or no text: its sender relies on it.
fn check_idempotency_key(request: &Request) -> Result<(), Problem> {
    let mut keys = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let readable = keys.next().is_none_or(|key| key.to_str().is_ok()) && keys.next().is_none();
    if readable || request.method().is_safe() { Ok(()) } else { Err(bad_key()) }
}

/// Route and key of a request that names itself, before anything of it is known to be right.
pub fn repeated_write(request: &Request) -> Option<(&str, &str)> {
    let key = request.headers().get(IDEMPOTENCY_KEY)?.to_str().ok()?;
    Some((route(request)?, key))
}

fn route(request: &Request) -> Option<&str> {
    Some(request.original_uri().path().strip_prefix(API)?.trim_end_matches('/'))
}

fn bad_key() -> Problem {
    let message = format!("must hold 1 to {KEY_LENGTH_MAX} printable ASCII characters");
    Refusal::Invalid(vec![FieldFault::new(IDEMPOTENCY_KEY, "invalid", message)]).into()
}

/// An optional field: absent or a value, never `null`.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
