//! Numbers of this process, and how they read as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use doorbook_core::store::jobs::Backlog;
use doorbook_core::store::seal::Lag;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number as last read.
#[derive(Default)]
struct Gauge(AtomicI64);

impl Gauge {
    fn set(&self, number: i64) {
        self.0.store(number, Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub struct Metrics {
    /// Jobs handed to Redis.
    pub pushed: Counter,
    /// Jobs run in this process without Redis.
    pub local: Counter,
    pub done: Counter,
    pub retried: Counter,
    pub dead: Counter,
    /// Jobs that were dropped half-way because another worker had taken them.
    pub lost: Counter,
    pub panics: Counter,
    /// Jobs offered again by the sweep.
    pub swept: Counter,
    /// Jobs set aside because their worker died at every start.
    pub quarantined: Counter,
    /// Ends of a lane's worker that nobody asked for.
    pub queue_restarts: Counter,
    pub sealed: Counter,
    /// 1 while Redis answers.
    redis_up: Gauge,
    seal_waiting: Gauge,
    seal_oldest_ms: Gauge,
    seal_overdue: Gauge,
}

impl Metrics {
    pub fn set_redis(&self, up: bool) {
        self.redis_up.set(i64::from(up));
    }

    pub fn set_lag(&self, lag: &Lag) {
        self.seal_waiting.set(lag.waiting);
        self.seal_oldest_ms.set(lag.oldest_ms);
        self.seal_overdue.set(lag.overdue);
    }

    /// Prometheus text format 0.0.4. `None` for `backlog` when the database did not answer: absent says more than zero.
    pub fn render(&self, backlog: Option<&Backlog>) -> String {
        let mut text = String::new();
        for (name, help, counter) in [
            ("jobs_pushed_total", "Jobs handed to Redis.", &self.pushed),
            ("jobs_local_total", "Jobs run without Redis.", &self.local),
            ("jobs_done_total", "Jobs that ended well.", &self.done),
            ("jobs_retried_total", "Attempts that will be repeated.", &self.retried),
            ("jobs_dead_total", "Jobs given up.", &self.dead),
            ("jobs_lost_total", "Jobs taken over by another worker while they ran.", &self.lost),
            ("jobs_panics_total", "Attempts that panicked.", &self.panics),
            ("jobs_swept_total", "Jobs offered again by the sweep.", &self.swept),
            ("jobs_quarantined_total", "Jobs set aside because their worker died at every start.", &self.quarantined),
            ("queue_restarts_total", "Restarts of a lane's worker.", &self.queue_restarts),
            ("sealed_events_total", "Events sealed by this process.", &self.sealed),
        ] {
            line(&mut text, name, "counter", help, counter.get());
        }
        for (name, help, gauge) in [
            ("redis_up", "1 while Redis answers.", &self.redis_up),
            ("seal_waiting_events", "Events not sealed yet, counted up to 10,000.", &self.seal_waiting),
            ("seal_oldest_milliseconds", "Age of the oldest event not sealed yet.", &self.seal_oldest_ms),
            ("seal_overdue_events", "Unsealed events older than 60 s: an alarm.", &self.seal_overdue),
        ] {
            line(&mut text, name, "gauge", help, gauge.get());
        }
        if let Some(backlog) = backlog {
            for (name, help, number) in [
                ("jobs_due", "Jobs not handed over yet, counted up to 100,000.", backlog.due),
                ("jobs_oldest_due_milliseconds", "How long the oldest due job has waited.", backlog.oldest_due_ms),
                ("jobs_outstanding", "Jobs handed over or running.", backlog.outstanding),
                ("jobs_dead", "Jobs that wait for an operator.", backlog.dead),
            ] {
                line(&mut text, name, "gauge", help, number);
            }
        }
        text
    }
}

fn line(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# HELP doorbook_worker_{name} {help}\n# TYPE doorbook_worker_{name} {kind}\ndoorbook_worker_{name} {value}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_without_a_database_leaves_the_backlog_out_instead_of_calling_it_zero() {
        let metrics = Metrics::default();
        metrics.pushed.add(3);
        metrics.set_lag(&Lag { waiting: 7, oldest_ms: 120, overdue: 0 });
        let text = metrics.render(None);
        assert!(text.contains("\ndoorbook_worker_jobs_pushed_total 3\n"));
        assert!(
            text.contains("# TYPE doorbook_worker_seal_waiting_events gauge\ndoorbook_worker_seal_waiting_events 7\n")
        );
        assert!(!text.contains("jobs_due"));
        let backlog = Backlog { due: 5, oldest_due_ms: 1, outstanding: 0, dead: 0 };
        assert!(metrics.render(Some(&backlog)).contains("\ndoorbook_worker_jobs_due 5\n"));
    }
}
