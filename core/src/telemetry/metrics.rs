//! Numbers of this process. One page of them is read both ways: as Prometheus text, whose conventions the names follow (base
//! units, `_total` for what only grows), and pushed by OTLP.

mod page;
mod push;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use self::page::{Kind, MEDIA_TYPE, Number, Page};
pub use self::push::Push;
use crate::clock::Timestamp;

/// Lines that the console did not take.
pub static LOG_CONSOLE_FAILURES: Counter = Counter::new();
/// Lines that the log file did not take.
pub static LOG_FILE_FAILURES: Counter = Counter::new();
pub static PANICS: Counter = Counter::new();
/// Reports of errors that were taken by their server.
pub static REPORTS_SENT: Counter = Counter::new();
/// Reports that were not: the server was away, refused them, or there were too many.
pub static REPORTS_LOST: Counter = Counter::new();
/// Sampled requests that Sentry was told of.
pub static TRANSACTIONS_SENT: Counter = Counter::new();
pub static TRANSACTIONS_LOST: Counter = Counter::new();
pub static SPANS_SENT: Counter = Counter::new();
pub static SPANS_LOST: Counter = Counter::new();
pub static PUSHES_SENT: Counter = Counter::new();
pub static PUSHES_LOST: Counter = Counter::new();
/// Waits for a database connection that were longer than they should be.
pub static POOL_SLOW: Counter = Counter::new();
pub static LOGINS: Logins = Logins::new();
/// Blocks of an identifier that began.
pub static LOGIN_BLOCKS: Counter = Counter::new();

static STARTED: OnceLock<Instant> = OnceLock::new();

/// Marks the start of the process.
pub(super) fn start() {
    STARTED.get_or_init(Instant::now);
}

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number as last read.
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    pub fn set(&self, number: i64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub fn add(&self, number: i64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How logins ended.
pub struct Logins([Counter; LOGIN_OUTCOMES.len()]);

#[derive(Clone, Copy)]
pub enum LoginOutcome {
    Success,
    Failed,
    /// The identifier is blocked.
    Blocked,
    /// Too many from one network.
    Limited,
    /// Surplus in flight, or the hashing queue is full.
    Busy,
    /// The service could not decide.
    Error,
}

const LOGIN_OUTCOMES: [&str; 6] = ["success", "failed", "blocked", "limited", "busy", "error"];

impl Logins {
    const fn new() -> Self {
        Self([const { Counter::new() }; LOGIN_OUTCOMES.len()])
    }

    pub fn count(&self, outcome: LoginOutcome) {
        self.0[outcome as usize].add(1);
    }
}

/// Upper bounds of the buckets of durations, in seconds: a hash takes a tenth, a request may take fifteen.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0];

/// Durations by size.
#[derive(Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len()],
    count: Counter,
    micros: Counter,
}

/// A histogram as it was read at one moment.
struct Snapshot {
    /// Of each bucket alone.
    buckets: [u64; BOUNDS.len()],
    /// Never below the sum of the buckets.
    count: u64,
    seconds: f64,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket].add(1);
        }
        self.count.add(1);
        self.micros.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    fn snapshot(&self) -> Snapshot {
        let buckets = self.buckets.each_ref().map(Counter::get);
        // Read last, so that it is never below a bucket that was read before.
        let count = self.count.get().max(buckets.iter().sum());
        Snapshot { buckets, count, seconds: Duration::from_micros(self.micros.get()).as_secs_f64() }
    }
}

impl Page {
    /// What every process tells of itself. `now` is the database's time, once it is known.
    pub fn process(&mut self, process_name: &str, now: Option<Timestamp>) {
        self.family("doorbook_build_info", Kind::Gauge, "Always 1: which program of which release this is.");
        let labels = [("process", process_name), ("version", env!("CARGO_PKG_VERSION"))];
        self.sample(&labels, 1);
        if let Some(started) = now.and_then(started_at) {
            self.gauge("process_start_time_seconds", "When the process started, as Unix time.", started);
        }
        if let Some(bytes) = resident_bytes() {
            self.gauge("process_resident_memory_bytes", "Memory of the process.", bytes);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.gauge("process_open_fds", "Open file descriptors.", open.count());
        }
        self.family("doorbook_log_write_failures_total", Kind::Counter, "Log lines that could not be written.");
        for (sink, counter) in [("console", &LOG_CONSOLE_FAILURES), ("file", &LOG_FILE_FAILURES)] {
            self.sample(&[("sink", sink)], counter.get());
        }
        self.counter("doorbook_panics_total", "Panics; the process lives on.", PANICS.get());
        self.outcomes("doorbook_error_reports_total", "Errors reported to Sentry.", &REPORTS_SENT, &REPORTS_LOST);
        let help = "Sampled requests reported to Sentry.";
        self.outcomes("doorbook_transactions_total", help, &TRANSACTIONS_SENT, &TRANSACTIONS_LOST);
        self.outcomes("doorbook_trace_spans_total", "Spans sent to the collector.", &SPANS_SENT, &SPANS_LOST);
        let help = "Pages of these numbers pushed to the collector.";
        self.outcomes("doorbook_metric_pushes_total", help, &PUSHES_SENT, &PUSHES_LOST);
    }

    fn outcomes(&mut self, name: &str, help: &'static str, sent: &Counter, lost: &Counter) {
        self.family(name, Kind::Counter, help);
        for (outcome, counter) in [("sent", sent), ("lost", lost)] {
            self.sample(&[("outcome", outcome)], counter.get());
        }
    }

    /// Logins of this process.
    pub fn logins(&mut self) {
        self.family("doorbook_logins_total", Kind::Counter, "Logins by outcome.");
        for (outcome, counter) in LOGIN_OUTCOMES.iter().zip(&LOGINS.0) {
            self.sample(&[("outcome", outcome)], counter.get());
        }
        self.counter("doorbook_login_blocks_total", "Blocks of an identifier that began.", LOGIN_BLOCKS.get());
    }
}

/// Fixed once it is known: a value that moves would look like a restart.
fn started_at(now: Timestamp) -> Option<i64> {
    static AT: OnceLock<i64> = OnceLock::new();
    let started = STARTED.get()?;
    Some(*AT.get_or_init(|| now.minus(started.elapsed()).micros() / 1_000_000))
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}
