//! A share of the requests, told to Sentry: which route, how it ended, how long it took. Nothing else of a request leaves the process.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::envelopes::{Envelopes, Kind, hex};
use super::metrics::{TRANSACTIONS_LOST, TRANSACTIONS_SENT};
use super::unix_time;
use crate::config::Sentry;
use crate::token::random;

/// Ten a second: a flood of requests shall not use up what Sentry takes in a month.
const ENVELOPES: Kind = Kind {
    thread: "transactions",
    item: "transaction",
    waiting_max: 256,
    a_minute_max: 600,
    sent: &TRANSACTIONS_SENT,
    lost: &TRANSACTIONS_LOST,
};

/// Those of the process; empty when nothing is sampled.
static TRANSACTIONS: OnceLock<Transactions> = OnceLock::new();

#[derive(Clone)]
pub(super) struct Transactions {
    process_name: &'static str,
    rate: f64,
    envelopes: Envelopes,
}

/// An answered request.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    pub trace_id: &'a [u8; 16],
    pub span_id: u64,
    /// One of ours: clients may invent methods.
    pub method: &'a str,
    /// The route's pattern; none when no route matched.
    pub route: Option<&'a str>,
    pub status: u16,
    pub duration: Duration,
}

impl Transactions {
    /// `None` when no request is to be sampled.
    pub(super) fn start(sentry: &Arc<Sentry>, process_name: &'static str) -> std::io::Result<Option<Self>> {
        if sentry.traces_sample_rate <= 0.0 {
            return Ok(None);
        }
        let envelopes = Envelopes::start(Arc::clone(sentry), &ENVELOPES)?;
        let transactions = Self { process_name, rate: sentry.traces_sample_rate, envelopes };
        Ok(Some(TRANSACTIONS.get_or_init(|| transactions).clone()))
    }

    pub(super) fn flush(&self) {
        self.envelopes.flush();
    }
}

/// Tells Sentry of a request, if chance picks it. A client that names its own trace cannot choose to be picked.
pub fn record(request: Answered<'_>) {
    let Some(transactions) = TRANSACTIONS.get() else { return };
    if is_picked(u32::from_be_bytes(random()), transactions.rate) {
        transactions.envelopes.send(transaction(request, transactions.process_name, unix_time()));
    }
}

fn is_picked(chance: u32, rate: f64) -> bool {
    f64::from(chance) < rate * (f64::from(u32::MAX) + 1.0)
}

/// Source: Sentry's developer documentation, "Transaction Payloads".
fn transaction(request: Answered<'_>, process_name: &str, now: Duration) -> Value {
    let name = format!("{} {}", request.method, request.route.unwrap_or("unmatched"));
    json!({
        "type": "transaction",
        "transaction": name,
        "transaction_info": { "source": "route" },
        "start_timestamp": now.saturating_sub(request.duration).as_secs_f64(),
        "timestamp": now.as_secs_f64(),
        "contexts": {
            "trace": {
                "trace_id": hex(request.trace_id),
                "span_id": hex(&request.span_id.to_be_bytes()),
                "op": "http.server",
                "status": outcome(request.status),
            },
            "response": { "status_code": request.status },
        },
        "spans": [],
        "tags": { "process": process_name },
    })
}

/// Source: Sentry's developer documentation, "Span Status".
fn outcome(status: u16) -> &'static str {
    match status {
        ..=399 => "ok",
        401 => "unauthenticated",
        403 => "permission_denied",
        404 => "not_found",
        409 => "already_exists",
        429 => "resource_exhausted",
        499 => "cancelled",
        503 => "unavailable",
        504 => "deadline_exceeded",
        400..=499 => "invalid_argument",
        _ => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_one_picks_every_request_of_zero_none_and_between_its_share() {
        for chance in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(is_picked(chance, 1.0) && !is_picked(chance, 0.0), "{chance}");
        }
        let tenth = u32::MAX / 10;
        assert!(is_picked(tenth - 1, 0.1) && !is_picked(tenth + 1, 0.1));
    }

    #[test]
    fn a_request_without_a_route_has_no_name_that_its_client_chose() {
        let (trace_id, duration) = ([7; 16], Duration::from_millis(250));
        let request = Answered { trace_id: &trace_id, span_id: 1, method: "GET", route: None, status: 404, duration };
        let told = transaction(request, "api", Duration::from_secs(10));
        assert_eq!(
            (&told["transaction"], &told["contexts"]["trace"]["status"]),
            (&json!("GET unmatched"), &json!("not_found"))
        );
        assert_eq!((&told["start_timestamp"], &told["timestamp"]), (&json!(9.75), &json!(10.0)));
    }
}
