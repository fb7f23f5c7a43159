//! Requests of this process by route.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorbook_core::telemetry::metrics::{Gauge, Histogram, Kind, Page};
use poem::http::Method;

/// All requests of the process.
pub static REQUESTS: Requests = Requests::new();

/// Label of requests that no route matched: their paths are of the clients' choice and without number.
const UNMATCHED: &str = "unmatched";

pub struct Requests {
    in_flight: Gauge,
    /// By route and method.
    series: Mutex<BTreeMap<(String, &'static str), Series>>,
}

#[derive(Default)]
struct Series {
    durations: Histogram,
    statuses: BTreeMap<u16, u64>,
}

impl Requests {
    const fn new() -> Self {
        Self { in_flight: Gauge::new(), series: Mutex::new(BTreeMap::new()) }
    }

    /// One more request in flight, until the value is dropped.
    pub fn enter(&'static self) -> InFlight {
        self.in_flight.add(1);
        InFlight(&self.in_flight)
    }

    /// Counts an answer. `route` is a pattern of ours.
    pub fn record(&self, method: &Method, route: Option<&str>, status: u16, duration: Duration) {
        let key = (route.unwrap_or(UNMATCHED).to_owned(), label(method));
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = series.entry(key).or_default();
        series.durations.record(duration);
        *series.statuses.entry(status).or_default() += 1;
    }

    pub fn render(&self, page: &mut Page) {
        page.gauge("doorbook_http_requests_in_flight", "Requests being answered.", self.in_flight.get());
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "doorbook_http_requests_total";
        page.family(name, Kind::Counter, "Answers by route, method and status; 499 is a client that went away.");
        for ((route, method), series) in &*series {
            for (status, count) in &series.statuses {
                page.sample(&[("route", route), ("method", method), ("status", &status.to_string())], *count);
            }
        }
        let name = "doorbook_http_request_duration_seconds";
        page.family(name, Kind::Histogram, "Time from a request's head to its answer, by route and method.");
        for ((route, method), series) in &*series {
            page.histogram(&[("route", route), ("method", method)], &series.durations);
        }
    }
}

/// A request being answered.
pub struct InFlight(&'static Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Clients may invent methods.
pub fn label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_that_clients_invent_make_no_series() {
        let requests = Requests::new();
        let invented = Method::from_bytes(b"BREW").unwrap();
        for _ in 0..3 {
            requests.record(&invented, None, 404, Duration::from_millis(1));
        }
        let mut page = Page::default();
        requests.render(&mut page);
        let text = page.into_text();
        let line = "doorbook_http_requests_total{route=\"unmatched\",method=\"other\",status=\"404\"} 3";
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(!text.contains("BREW"));
    }
}
