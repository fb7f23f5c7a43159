//! Request bodies: JSON read strictly, within bounds, and refused without repeating what was sent.

use std::time::Duration;

use futures::StreamExt;
use poem::{
    Body, Request, RequestBody,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{ParsePayload, Payload},
    registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use tokio::time::{Instant, timeout_at};

use crate::{
    middleware::timeout::Deadline,
    problem::{FieldError, Problem},
};

/// Largest body read, in bytes. The largest legal one, a registration, stays under 8 KiB.
pub const BODY_MAX: usize = 64 * 1024;

/// Longest time for a body to arrive in full.
pub const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// Longest part of an unknown field's name that is repeated to its sender, in characters.
pub const FIELD_NAME_MAX: usize = 64;

/// A JSON body. `T` derives `poem_openapi::Object` for the document and `serde::Deserialize` with
/// `#[serde(deny_unknown_fields)]` for the reading; it must not use `#[serde(flatten)]`, which switches that off.
/// Rules of the `oai(validator)` attribute only document: the domain's parsers enforce.
pub struct Strict<T>(pub T);

impl<T: Type> Payload for Strict<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        is_json(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned> ParsePayload for Strict<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        check_headers(request.headers())?;
        let bytes = read(body.take()?, deadline(request)).await?;
        Ok(Self(parse(&bytes)?))
    }
}

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Strict<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Self as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: <Self as Payload>::schema_ref() }],
            required: Self::IS_REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        <Self as ParsePayload>::from_request(request, body).await
    }
}

/// `application/json`, with no parameter but `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    essence
        && parts.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

/// Refuses what can be refused before the first byte of the body.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return Err(Problem::unsupported_media_type());
    };
    if headers.contains_key(header::CONTENT_ENCODING) || !content_type.to_str().is_ok_and(is_json) {
        return Err(Problem::unsupported_media_type());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_MAX as u64) {
        return Err(Problem::payload_too_large());
    }
    Ok(())
}

pub(crate) fn deadline(request: &Request) -> Instant {
    let own = Instant::now() + BODY_DEADLINE;
    request.data::<Deadline>().map_or(own, |request| own.min(request.for_body()))
}

/// Reads at most `BODY_MAX` bytes, counting what comes and not what was announced.
pub(crate) async fn read(body: Body, deadline: Instant) -> Result<Vec<u8>, Problem> {
    let collect = async {
        let mut bytes = Vec::new();
        let mut stream = body.into_bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                tracing::debug!(%error, "a body broke off");
                Problem::bad_request()
            })?;
            if bytes.len() + chunk.len() > BODY_MAX {
                return Err(Problem::payload_too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    timeout_at(deadline, collect).await.unwrap_or_else(|_| Err(Problem::request_timeout()))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The syntax first: text that breaks off later is malformed, whatever its first field is.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|_| Problem::malformed_json())?;
    // serde would fill a struct from an array too, by position.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        let error = FieldError::new("", "invalid_type", "An object is expected.");
        return Err(Problem::validation(vec![error]));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| refusal(&error))
}

/// What the parser said, in our words. Its own text quotes the input.
fn refusal(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    if error.inner().classify() != Category::Data {
        return Problem::malformed_json();
    }
    let text = error.inner().to_string();
    let path = error.path().to_string();
    let field = if let Some(name) = quoted(&text, "missing field `") {
        FieldError::new(join(&path, name), "required", "This field is required.")
    } else if let Some(name) = quoted(&text, "unknown field `") {
        FieldError::new(join(&path, name), "unknown_field", "This field is not known here.")
    } else if let Some(name) = quoted(&text, "duplicate field `") {
        FieldError::new(join(&path, name), "duplicate_field", "This field is given more than once.")
    } else if text.starts_with("invalid type") {
        FieldError::new(join(&path, ""), "invalid_type", expected(&text))
    } else {
        FieldError::new(join(&path, ""), "invalid", own_rule(&text))
    };
    Problem::validation(vec![field])
}

/// What stands behind the value in the words of the parser, which end with the place.
fn expected(text: &str) -> &'static str {
    let (before, _) = text.rsplit_once(" at line ").unwrap_or((text, ""));
    match before.rsplit_once(", expected ").map(|(_, expected)| expected) {
        Some("a string") => "must be a string",
        Some("a boolean") => "must be true or false",
        Some("a sequence") => "must be a list",
        _ => "This value has the wrong type.",
    }
}

/// A rule that a type of ours tells. They all begin so, and quote nothing.
fn own_rule(text: &str) -> String {
    let (rule, _) = text.rsplit_once(" at line ").unwrap_or((text, ""));
    if rule.starts_with("must be one of: ") { rule.to_owned() } else { "This value is not acceptable.".to_owned() }
}

/// The name after `prefix`, up to the backtick that serde closes it with.
fn quoted<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(prefix)?;
    let end = ["`, expected ", "`, there are no fields", "` at line "].iter().filter_map(|end| rest.find(end)).min()?;
    Some(&rest[..end])
}

/// The path of the parser, `.` at the top, with `name` as its last part unless it ends so already.
fn join(path: &str, name: &str) -> String {
    let path = if path == "." { "" } else { path };
    let last = path.rsplit('.').next().unwrap_or(path);
    let joined = match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) if last == name => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    };
    joined.chars().take(FIELD_NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        email: String,
        password: String,
        #[serde(default)]
        device: Option<Device>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Device {
        name: String,
    }

    fn refused(json: &str) -> (Option<String>, Option<String>) {
        let problem = parse::<Login>(json.as_bytes()).expect_err(json);
        let body = futures::executor::block_on(problem.render("/", None).into_body().into_string()).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let error = &body["errors"][0];
        (error["field"].as_str().map(str::to_owned), error["code"].as_str().map(str::to_owned))
    }

    fn named(field: &str, code: &str) -> (Option<String>, Option<String>) {
        (Some(field.to_owned()), Some(code.to_owned()))
    }

    #[test]
    fn a_body_with_exactly_the_known_fields_is_read() {
        let login: Login = parse(br#" {"password":"p","email":"e"} "#).unwrap();
        assert_eq!(login, Login { email: "e".into(), password: "p".into(), device: None });
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        assert_eq!(refused(r#"{"email":"e"}"#), named("password", "required"));
        assert_eq!(refused(r#"{"email":"e","password":1}"#), named("password", "invalid_type"));
        assert_eq!(refused(r#"{"email":"e","password":null}"#), named("password", "invalid_type"));
        assert_eq!(refused(r#"{"email":"e","password":"p","is_admin":true}"#), named("is_admin", "unknown_field"));
        assert_eq!(refused(r#"{"email":"e","email":"f","password":"p"}"#), named("email", "duplicate_field"));
        assert_eq!(refused(r#"{"email":"e","password":"p","device":{}}"#), named("device.name", "required"));
        assert_eq!(refused(r#"{"email":"e","password":"p","device":{"x":1}}"#), named("device.x", "unknown_field"));
        assert_eq!(
            refused(r#"{"email":"e","password":"p","device":{"name":"a","name":"b"}}"#),
            named("device.name", "duplicate_field")
        );
        assert_eq!(refused("[\"e\",\"p\"]"), named("", "invalid_type"));
        assert_eq!(refused("\"text\""), named("", "invalid_type"));
        let long = "x".repeat(500);
        assert_eq!(refused(&format!(r#"{{"{long}":1}}"#)).0.map(|field| field.len()), Some(FIELD_NAME_MAX));
    }

    #[test]
    fn the_rule_is_told_and_the_value_is_not() {
        let said = |body: &str| {
            let problem = parse::<Login>(body.as_bytes()).unwrap_err();
            problem.words().2[0].message.clone()
        };
        assert_eq!(said(r#"{"email":"e","password":1}"#), "must be a string");
        assert_eq!(said(r#"{"email":"e","password":["canary, expected a boolean"]}"#), "must be a string");
        assert_eq!(own_rule("must be one of: auditor, admin at line 1 column 9"), "must be one of: auditor, admin");
        assert_eq!(own_rule("canary at line 1 column 9"), "This value is not acceptable.");
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in ["", " ", "{", "{]", r#"{"email":"e","password":"p"}x"#, "{'email':1}", "\u{feff}{}", "nul", "{}{}"]
        {
            assert_eq!(parse::<Login>(text.as_bytes()), Err(Problem::malformed_json()), "{text:?}");
        }
        assert_eq!(parse::<Login>(b"{\"email\":\"\xff\"}"), Err(Problem::malformed_json()));
    }

    #[test]
    fn only_json_in_utf_8_is_a_json_media_type() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/json; charset=utf-16",
            "application/problem+json",
            "application/jsonx",
            "application/json;",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
