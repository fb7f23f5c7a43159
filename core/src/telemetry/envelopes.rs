//! The way to Sentry: its envelope protocol, a thread and a bound for each kind of message, so that neither takes the other's place.
//! A server that is away costs what it does not take, which is counted, and nothing else.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use super::metrics::Counter;
use crate::config::Sentry;
use crate::token::random;

const MINUTE: Duration = Duration::from_mins(1);
/// Longest time for handing one envelope over.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// At the end of the process the server gets this long for what still waits.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// What is sent, and how much of it.
pub(super) struct Kind {
    pub(super) thread: &'static str,
    /// Its name in the protocol.
    pub(super) item: &'static str,
    /// Waiting for the server; more are dropped.
    pub(super) waiting_max: usize,
    pub(super) a_minute_max: usize,
    pub(super) sent: &'static Counter,
    /// Not taken: the server was away, refused it, or there was too much.
    pub(super) lost: &'static Counter,
}

enum Message {
    Item(Value),
    Flush(SyncSender<()>),
}

/// The way for one kind; cheap to clone.
#[derive(Clone)]
pub(super) struct Envelopes {
    sender: SyncSender<Message>,
    lost: &'static Counter,
}

impl Envelopes {
    pub(super) fn start(sentry: Arc<Sentry>, kind: &'static Kind) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(kind.waiting_max);
        thread::Builder::new().name(kind.thread.to_owned()).spawn(move || serve(&sentry, kind, &receiver))?;
        Ok(Self { sender, lost: kind.lost })
    }

    /// Hands it over; never waits.
    pub(super) fn send(&self, item: Value) {
        if self.sender.try_send(Message::Item(item)).is_err() {
            self.lost.add(1);
        }
    }

    /// Waits a moment for what was handed over.
    pub(super) fn flush(&self) {
        let (sender, receiver) = sync_channel(1);
        if self.sender.try_send(Message::Flush(sender)).is_ok() {
            let _ = receiver.recv_timeout(FLUSH_WITHIN);
        }
    }
}

/// What the thread does until the process ends.
fn serve(sentry: &Sentry, kind: &Kind, messages: &Receiver<Message>) {
    let client = Client::builder().timeout(SEND_WITHIN).redirect(reqwest::redirect::Policy::none()).build();
    if let Err(error) = &client {
        tracing::warn!(target: "doorbook::log", %error, "nothing can be sent to Sentry");
    }
    let mut sent = VecDeque::new();
    let mut paused_until: Option<Instant> = None;
    while let Ok(message) = messages.recv() {
        let item = match message {
            Message::Item(item) => item,
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
            kind.lost.add(1);
            continue;
        };
        if sent.len() >= kind.a_minute_max || paused_until.is_some_and(|until| now < until) {
            kind.lost.add(1);
            continue;
        }
        sent.push_back(now);
        match post(client, sentry, kind.item, item) {
            Ok(status) if status.is_success() => kind.sent.add(1),
            Ok(StatusCode::TOO_MANY_REQUESTS) => {
                kind.lost.add(1);
                paused_until = Some(now + MINUTE);
            }
            Ok(_) | Err(_) => kind.lost.add(1),
        }
    }
}

fn post(client: &Client, sentry: &Sentry, kind: &str, mut item: Value) -> reqwest::Result<StatusCode> {
    let id = hex(&random::<16>());
    item["event_id"] = json!(id);
    item["platform"] = json!("other");
    item["environment"] = json!(sentry.environment);
    item["release"] = json!(format!("doorbook@{}", sentry.release));
    let body = item.to_string();
    let envelope = format!(
        "{}\n{}\n{body}\n",
        json!({ "event_id": id }),
        json!({ "type": kind, "length": body.len(), "content_type": "application/json" })
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
