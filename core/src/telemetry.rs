//! What a process tells of itself: log lines, numbers, errors and traces. Logging is one line an event to the console, safe to show
//! on a terminal whatever a client sent, and to a file if one is set.

mod console;
mod envelopes;
mod file;
pub mod metrics;
mod otlp;
mod panics;
mod reports;
pub mod traces;
pub mod transactions;

use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry};

use self::file::LogFile;
use self::metrics::LOG_CONSOLE_FAILURES;
use self::reports::Reports;
use self::traces::Traces;
use self::transactions::Transactions;
use crate::config::{LogFormat, Logging, Settings};

/// Beginning of the targets of this project's own packages.
const OWN_TARGETS: &str = "doorbook";

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("logging was set up before: {0}")]
    Logging(#[from] TryInitError),
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// Kept until the end of the process; what still waits is handed over then, within seconds. Drop it outside of any runtime.
pub struct Telemetry {
    file: Option<LogFile>,
    reports: Option<Reports>,
    transactions: Option<Transactions>,
    traces: Option<Traces>,
}

impl Drop for Telemetry {
    /// All at once: each receiver may take its whole time, and the process is to end.
    fn drop(&mut self) {
        let parts: [&(dyn Fn() + Sync); 4] = [
            &|| self.traces.iter().for_each(Traces::flush),
            &|| self.reports.iter().for_each(Reports::flush),
            &|| self.transactions.iter().for_each(Transactions::flush),
            &|| self.file.iter().for_each(LogFile::flush),
        ];
        thread::scope(|scope| {
            for part in parts {
                // Without a thread there is no time to wait in either.
                let _ = thread::Builder::new().spawn_scoped(scope, part);
            }
        });
    }
}

/// Sets up logging, reports and traces for the whole process, whose name every line carries. Fails if it was set up before.
pub fn init(settings: &Settings, process_name: &'static str) -> Result<Telemetry, InitError> {
    metrics::start();
    let (logging, monitoring) = (&settings.logging, &settings.monitoring);
    let file = logging.file.as_ref().map(|file| LogFile::start(file, process_name)).transpose()?;
    let reports = monitoring.sentry.clone().map(|sentry| Reports::start(sentry, process_name)).transpose()?;
    let transactions = monitoring.sentry.as_ref().map(|sentry| Transactions::start(sentry, process_name));
    let transactions = transactions.transpose()?.flatten();
    // A machine without certificates has no client for https: no reason to stand still.
    let traces = monitoring.otlp_endpoint.as_ref().map(|url| Traces::start(url, process_name)).transpose();
    let (traces, no_traces) = traces.map_or_else(|error| (None, Some(error)), |traces| (traces, None));
    let output = Output { file: file.clone() };
    let of_reports = |metadata: &Metadata<'_>| {
        let is_meant = if metadata.is_span() { Level::INFO } else { Level::ERROR };
        metadata.target().starts_with(OWN_TARGETS) && *metadata.level() <= is_meant
    };
    // Without the hint, these layers would have every debug line of every library made.
    let of_reports = filter_fn(of_reports).with_max_level_hint(LevelFilter::INFO);
    lines(logging, process_name, move || output.clone())
        .with(reports.clone().map(|reports| reports.with_filter(of_reports)))
        .with(traces.as_ref().map(Traces::layer))
        .try_init()?;
    panics::install();
    if let Some(error) = no_traces {
        tracing::error!(target: "doorbook::log", %error, "traces are not sent");
    }
    Ok(Telemetry { file, reports, transactions, traces })
}

/// What leaves the process by OTLP and to Sentry carries the machine's time, as log lines do.
fn unix_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "telemetry goes on while the database, and its clock, is away")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Every line goes to the console, and to the file if there is one. Neither can fail: a service does not stop for its log.
#[derive(Clone)]
struct Output {
    file: Option<LogFile>,
}

impl io::Write for Output {
    /// The formatter hands over whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if console::write(line).is_err() {
            LOG_CONSOLE_FAILURES.add(1);
        }
        if let Some(file) = &self.file {
            file.write(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines<W>(
    logging: &Logging,
    process_name: &'static str,
    writer: W,
) -> impl Subscriber + for<'l> LookupSpan<'l> + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Below info, libraries tell of bodies, headers and statements. Only our own code is known to keep secrets out.
    let filter =
        Targets::new().with_default(logging.level.min(LevelFilter::INFO)).with_target(OWN_TARGETS, logging.level);
    // A line that cannot be written is counted; the library would print to the console, which may be what failed.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match logging.format {
        LogFormat::Json => {
            let inner = Format::default().json().flatten_event(true).with_span_list(false);
            Box::new(layer.fmt_fields(JsonFields::new()).event_format(JsonLine { inner, process_name }))
        }
        LogFormat::Console => Box::new(layer.event_format(ConsoleLine { inner: Format::default(), process_name })),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

/// `{"process":"api","timestamp":…}`.
struct JsonLine {
    inner: Format<Json>,
    process_name: &'static str,
}

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let members = line.trim_end().strip_prefix('{').ok_or(fmt::Error)?;
        write!(writer, "{{\"process\":\"{}\",", self.process_name)?;
        write_escaped(&mut writer, members)?;
        writer.write_char('\n')
    }
}

/// `api 2025-01-01T00:00:00Z INFO …`.
struct ConsoleLine {
    inner: Format<Full>,
    process_name: &'static str,
}

impl<S> FormatEvent<S, DefaultFields> for ConsoleLine
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    DefaultFields: for<'w> FormatFields<'w>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{} ", self.process_name)?;
        write_escaped(&mut writer, line.trim_end_matches('\n'))?;
        writer.write_char('\n')
    }
}

/// Writes control characters, line separators and marks that reverse the direction of text as `\u001b`: they could
/// forge a line, drive a terminal or show another text than was logged. In JSON they occur in strings only, where this
/// escape means the same character.
fn write_escaped(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        if is_unsafe(character) {
            write!(writer, "\\u{:04x}", u32::from(character))?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::LogEmail;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `act` runs.
    fn logged(format: LogFormat, level: LevelFilter, act: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let logging = Logging { format, level, email: LogEmail::Masked, file: None };
        tracing::subscriber::with_default(lines(&logging, "api", move || writer.clone()), act);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const HOSTILE: &str = "a\u{1b}[31m\r\nINFO forged\u{9b}2J\u{7f}\u{61c}\u{202e}\u{2028}\"}";

    fn log_hostile_text() {
        tracing::info_span!("request", path = HOSTILE).in_scope(|| tracing::info!(agent = HOSTILE, "said {HOSTILE}"));
    }

    #[test]
    fn a_json_line_is_one_object_that_names_the_process_and_keeps_the_text() {
        let log = logged(LogFormat::Json, LevelFilter::INFO, log_hostile_text);
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["process"], "api");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], format!("said {HOSTILE}"));
        assert_eq!(line["agent"], HOSTILE);
        assert_eq!(line["span"]["path"], HOSTILE);
    }

    #[test]
    fn no_format_lets_a_control_character_or_a_second_line_through() {
        for format in [LogFormat::Json, LogFormat::Console] {
            let log = logged(format, LevelFilter::INFO, log_hostile_text);
            let line = log.strip_suffix('\n').unwrap();
            assert!(line.contains("said a"), "{log}");
            assert!(!line.contains(is_unsafe), "{log:?}");
        }
    }

    #[test]
    fn a_console_line_begins_with_the_process() {
        let log = logged(LogFormat::Console, LevelFilter::INFO, || tracing::info!("hello"));
        assert!(log.starts_with("api ") && log.ends_with("hello\n"), "{log}");
    }

    #[test]
    fn debug_lines_come_from_our_own_code_only() {
        let log = logged(LogFormat::Console, LevelFilter::DEBUG, || {
            tracing::debug!("ours");
            tracing::debug!(target: "hyper::proto", "theirs");
            tracing::info!(target: "hyper::proto", "their news");
        });
        assert!(log.contains("ours") && log.contains("their news") && !log.contains("theirs"), "{log}");
    }

    #[test]
    fn a_level_silences_what_is_less_serious() {
        let log = logged(LogFormat::Console, LevelFilter::WARN, || {
            tracing::info!("quiet");
            tracing::info!(target: "hyper::proto", "quiet");
            tracing::warn!("loud");
        });
        assert!(log.contains("loud") && !log.contains("quiet"), "{log}");
    }
}
