//! Errors and panics, reported to Sentry by its envelope protocol. A report says where in our code something went wrong and in
//! which trace; it never holds a field of a log line, a panic's formatted text or anything else that may come from a request.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::OWN_TARGETS;
use super::metrics::{REPORTS_LOST, REPORTS_SENT};
use super::panics;
use crate::config::Sentry;
use crate::token::random;

/// Reports that wait for the server; more are dropped.
const WAITING_MAX: usize = 64;
/// Most reports a minute: what fails again and again is known after the first.
const A_MINUTE_MAX: usize = 60;
const MINUTE: Duration = Duration::from_mins(1);
/// Longest time for handing one report over.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// At the end of the process the server gets this long for what still waits.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// Words of our own sentences are shorter; what is longer may be a token.
const WORD_MAX: usize = 20;

enum Message {
    Report(Value),
    Flush(SyncSender<()>),
}

/// Makes a report of every error line of our own code.
#[derive(Clone)]
pub(super) struct Reports {
    process_name: &'static str,
    sender: SyncSender<Message>,
}

impl Reports {
    pub(super) fn start(sentry: Arc<Sentry>, process_name: &'static str) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("reports".to_owned()).spawn(move || serve(&sentry, &receiver))?;
        Ok(Self { process_name, sender })
    }

    /// Waits a moment for what was handed over.
    pub(super) fn flush(&self) {
        let (sender, receiver) = sync_channel(1);
        if self.sender.try_send(Message::Flush(sender)).is_ok() {
            let _ = receiver.recv_timeout(FLUSH_WITHIN);
        }
    }
}

impl<S> Layer<S> for Reports
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut trace = TraceField(None);
        attributes.record(&mut trace);
        if let (Some(trace), Some(span)) = (trace.0, context.span(id)) {
            span.extensions_mut().insert(TraceOf(trace));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() != Level::ERROR || !metadata.target().starts_with(OWN_TARGETS) {
            return;
        }
        let trace = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .find_map(|span| span.extensions().get::<TraceOf>().map(|trace| trace.0.clone()));
        let mut words = Words::default();
        event.record(&mut words);
        let place = words.location.unwrap_or_else(|| {
            format!("{}:{}", metadata.file().unwrap_or("unknown"), metadata.line().unwrap_or_default())
        });
        let is_panic = metadata.target() == panics::TARGET;
        let mut report = json!({
            "level": if is_panic { "fatal" } else { "error" },
            "logger": metadata.target(),
            "message": { "formatted": words.message },
            "fingerprint": [&place],
            "tags": { "process": self.process_name, "place": place },
        });
        if let Some(trace) = trace {
            let [span] = [random::<8>()].map(|bytes| hex(&bytes));
            report["contexts"] = json!({ "trace": { "trace_id": trace, "span_id": span } });
        }
        if self.sender.try_send(Message::Report(report)).is_err() {
            REPORTS_LOST.add(1);
        }
    }
}

/// The trace of a span, for the error lines inside.
struct TraceOf(String);

/// Finds the field that names the trace.
struct TraceField(Option<String>);

impl Visit for TraceField {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "trace_id" | "trace") {
            let text = format!("{value:?}").replace('-', "");
            self.0 = Some(text).filter(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}

/// What of an event's fields may be reported: the sentence, without what was put into it, and a panic's place.
#[derive(Default)]
struct Words {
    message: String,
    location: Option<String>,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == panics::LOCATION {
            self.location = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = plain(&format!("{value:?}"));
        }
    }
}

/// Keeps words of letters; anything with a digit or a sign in it, or as long as a token, may be data.
fn plain(text: &str) -> String {
    let words = text.split_ascii_whitespace().map(|word| {
        let letters = word.trim_matches(|sign: char| matches!(sign, '.' | ',' | ';' | ':' | '\'' | '(' | ')' | '`'));
        let is_word =
            letters.len() <= WORD_MAX && letters.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'\'');
        if is_word { word } else { "…" }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the thread does until the process ends.
fn serve(sentry: &Sentry, messages: &Receiver<Message>) {
    let client = Client::builder().timeout(SEND_WITHIN).redirect(reqwest::redirect::Policy::none()).build();
    if let Err(error) = &client {
        tracing::warn!(target: "doorbook::log", %error, "errors cannot be reported");
    }
    let mut sent = VecDeque::new();
    let mut paused_until: Option<Instant> = None;
    while let Ok(message) = messages.recv() {
        let report = match message {
            Message::Report(report) => report,
            Message::Flush(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        let now = Instant::now();
        while sent.front().is_some_and(|at: &Instant| now.duration_since(*at) > MINUTE) {
            sent.pop_front();
        }
        let Ok(client) = &client else {
            REPORTS_LOST.add(1);
            continue;
        };
        if sent.len() >= A_MINUTE_MAX || paused_until.is_some_and(|until| now < until) {
            REPORTS_LOST.add(1);
            continue;
        }
        sent.push_back(now);
        match post(client, sentry, report) {
            Ok(status) if status.is_success() => REPORTS_SENT.add(1),
            Ok(StatusCode::TOO_MANY_REQUESTS) => {
                REPORTS_LOST.add(1);
                paused_until = Some(now + MINUTE);
            }
            Ok(_) | Err(_) => REPORTS_LOST.add(1),
        }
    }
}

fn post(client: &Client, sentry: &Sentry, mut report: Value) -> reqwest::Result<StatusCode> {
    let id = hex(&random::<16>());
    report["event_id"] = json!(id);
    report["platform"] = json!("other");
    report["environment"] = json!(sentry.environment);
    report["release"] = json!(format!("doorbook@{}", sentry.release));
    let body = report.to_string();
    let envelope = format!(
        "{}\n{}\n{body}\n",
        json!({ "event_id": id }),
        json!({ "type": "event", "length": body.len(), "content_type": "application/json" })
    );
    let version = env!("CARGO_PKG_VERSION");
    let key = sentry.key.expose();
    let response = client
        .post(sentry.endpoint.clone())
        .header("Content-Type", "application/x-sentry-envelope")
        .header("X-Sentry-Auth", format!("Sentry sentry_version=7, sentry_client=doorbook/{version}, sentry_key={key}"))
        .body(envelope)
        .send()?;
    Ok(response.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_of_a_sentence_are_reported() {
        assert_eq!(
            plain("the outcome could not be written; the job will run again"),
            "the outcome could not be written; the job will run again"
        );
        let told =
            plain("no ana@example.com dbr_abc from 192.0.2.7 with abcdefghijklmnopqrstuvwxyz p4ssword \"quoted\"");
        assert_eq!(told, "no … … from … with … … …");
    }
}
