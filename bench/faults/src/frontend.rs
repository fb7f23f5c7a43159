//! One operation over HTTP, as a frontend would do it: sent again while its outcome is unknown, and written down either way.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::ledger::{Attempt, Intent, Ledger, Outcome};

/// How often an operation of unknown outcome is sent, and the pause between.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// What is sent.
pub struct Asked<'a> {
    pub method: Method,
    pub path: &'static str,
    pub body: Value,
    pub access: Option<&'a str>,
    /// Whether it may be sent again. A login may not: it would be another one.
    pub again: bool,
}

impl<'a> Asked<'a> {
    pub const fn post(path: &'static str, body: Value) -> Self {
        Self { method: Method::POST, path, body, access: None, again: true }
    }

    pub fn with(self, access: &'a str) -> Self {
        Self { access: Some(access), ..self }
    }
}

/// What has come of an operation.
#[derive(Debug)]
pub struct Told {
    pub outcome: Outcome,
    /// The last status; 0 for none.
    pub status: u16,
    pub body: Value,
}

/// Does one operation at one of these addresses, which are like `http://127.0.0.1:8000`, and leaves its end to the caller.
pub async fn ask(
    ledger: &Ledger,
    http: &reqwest::Client,
    bases: &[String],
    intent: Intent,
    asked: &Asked<'_>,
) -> Result<(usize, Told)> {
    let (number, trace) = ledger.begin(intent)?;
    let mut told = Told { outcome: Outcome::Unknown, status: 0, body: Value::Null };
    let mut was_open = false;
    for attempt in 0..if asked.again { TRIES } else { 1 } {
        if attempt > 0 {
            sleep(PAUSE).await;
        }
        let base = &bases[(number + attempt) % bases.len()];
        told = send(ledger, number, trace, http, base, asked).await;
        match told.outcome {
            Outcome::Unknown => was_open = true,
            // The one before may have been done: what is refused is its repetition.
            Outcome::Refused if was_open => {
                told.outcome = Outcome::Unknown;
                break;
            }
            Outcome::Done | Outcome::Refused => break,
        }
    }
    Ok((number, told))
}

async fn send(
    ledger: &Ledger,
    number: usize,
    trace: Uuid,
    http: &reqwest::Client,
    base: &str,
    asked: &Asked<'_>,
) -> Told {
    let mut request = http
        .request(asked.method.clone(), format!("{base}{}", asked.path))
        .header("traceparent", format!("00-{}-0000000000000001-01", trace.simple()))
        .header("Idempotency-Key", trace.to_string());
    if let Some(access) = asked.access {
        request = request.bearer_auth(access);
    }
    if !asked.body.is_null() {
        request = request.json(&asked.body);
    }
    let (begun, started) = (ledger.now(), Instant::now());
    let mut attempt = Attempt { begun, took: Duration::ZERO, status: None, retry_after: None, is_problem: false };
    let mut body = Value::Null;
    if let Ok(response) = request.send().await {
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        attempt.retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
        attempt.is_problem = header("content-type").is_some_and(|media| media.starts_with("application/problem+json"));
        // An answer that breaks off tells nothing.
        if let Ok(bytes) = response.bytes().await {
            attempt.status = Some(status);
            body = serde_json::from_slice(&bytes).unwrap_or_default();
        }
    }
    attempt.took = started.elapsed();
    let status = attempt.status.unwrap_or_default();
    ledger.attempt(number, attempt);
    let outcome = match status {
        200..=299 => Outcome::Done,
        400..=499 => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    Told { outcome, status, body }
}
