//! Errors and panics, reported to Sentry. A report says where in our code something went wrong and in
//! which trace; it never holds a field of a log line, a panic's formatted text or anything else that may come from a request.

use std::fmt;
use std::sync::Arc;

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::OWN_TARGETS;
use super::envelopes::{Envelopes, Kind, hex};
use super::metrics::{REPORTS_LOST, REPORTS_SENT};
use super::panics;
use crate::config::Sentry;
use crate::token::random;

/// What fails again and again is known after the first report.
const ENVELOPES: Kind = Kind {
    thread: "reports",
    item: "event",
    waiting_max: 64,
    a_minute_max: 60,
    sent: &REPORTS_SENT,
    lost: &REPORTS_LOST,
};
/// Words of our own sentences are shorter; what is longer may be a token.
const WORD_MAX: usize = 20;

/// Makes a report of every error line of our own code.
#[derive(Clone)]
pub(super) struct Reports {
    process_name: &'static str,
    envelopes: Envelopes,
}

impl Reports {
    pub(super) fn start(sentry: Arc<Sentry>, process_name: &'static str) -> std::io::Result<Self> {
        let envelopes = Envelopes::start(sentry, &ENVELOPES)?;
        Ok(Self { process_name, envelopes })
    }

    /// Waits a moment for what was handed over.
    pub(super) fn flush(&self) {
        self.envelopes.flush();
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
        self.envelopes.send(report);
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
