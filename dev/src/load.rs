//! A bounded load of HTTP requests over kept connections. In a closed loop each client sends its next request when the answer to the
//! last one is there. In an open loop requests are due at a fixed rate, whatever the server does, and the time of each counts from
//! when it was due: a server that stands still for a second is seen by all requests of that second, not by the one that waited.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

/// How often a client may be turned away, and its pause before it asks again.
const TURNED_AWAY_MAX: u64 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Longest that one answer may take; the api itself gives up after 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Longest time that is told apart from longer ones: an open loop may fall behind by more than one answer takes.
const LONGEST_MICROS: u64 = 600_000_000;

/// When a client ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many requests of its own.
    Requests(usize),
    /// With the first answer that comes so long after the start of all.
    Elapsed(Duration),
}

/// When a request is due.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When the answer to the client's last one is there.
    Closed,
    /// So many a second of all clients together, the first at once. The timer is right to a millisecond and never early.
    Open(f64),
}

/// When a client that is turned away with a 503 goes on, with what its script says to an empty answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surplus {
    /// Never: it is an error, as the times of the others would say nothing of who was refused.
    Fail,
    /// After a pause; and it gives up at last.
    Pause,
    /// At once.
    GoOn,
}

/// How the clients behave.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub until: Until,
    pub pace: Pace,
    pub surplus: Surplus,
    /// A new connection for each request, as `ab` makes them.
    pub reconnect: bool,
}

/// What a client sends, made of the body of the last answer, which is empty at first and behind a 503.
pub trait Script: FnMut(&[u8]) -> Result<Vec<u8>> + Send + 'static {}

impl<F: FnMut(&[u8]) -> Result<Vec<u8>> + Send + 'static> Script for F {}

/// What has come of it. Every answer was a 2xx or a 503: another one is an error of the whole load.
#[derive(Debug)]
pub struct Outcome {
    /// Microseconds of each request that was answered with a 2xx; and in an open loop, up to the end, of each that was due and could not be sent.
    answered: Histogram<u64>,
    /// Microseconds of each 503.
    turned_away: Histogram<u64>,
    elapsed: Duration,
}

impl Outcome {
    fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_max(LONGEST_MICROS, 3).map_err(|error| anyhow!("{error}"));
        Ok(Self { answered: histogram()?, turned_away: histogram()?, elapsed: Duration::ZERO })
    }

    pub fn requests(&self) -> u64 {
        self.answered.len()
    }

    /// Answers 503.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.len()
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        float(self.answered.len()) / self.elapsed.as_secs_f64()
    }

    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.answered.mean() / 1e6)
    }

    /// The time that this part of the requests, in percent, stayed within; right to a thousandth.
    pub fn percentile(&self, percent: u32) -> Duration {
        Duration::from_micros(self.answered.value_at_quantile(f64::from(percent) / 100.0))
    }

    /// The same of the answers 503.
    pub fn percentile_turned_away(&self, percent: u32) -> Duration {
        Duration::from_micros(self.turned_away.value_at_quantile(f64::from(percent) / 100.0))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, rate, mean) = (self.requests(), self.rate(), self.mean());
        let [p50, p99, most] = [50, 99, 100].map(|percent| self.percentile(percent));
        write!(
            f,
            "{count} requests, {rate:.0}/s, mean {mean:.1?}, p50 {p50:.1?}, p99 {p99:.1?}, longest {most:.1?}, "
        )?;
        write!(f, "{} turned away", self.turned_away())
    }
}

/// Exact below 2^32 requests.
fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Load {
    /// A closed loop on kept connections, with a pause after a 503.
    pub const fn closed(until: Until) -> Self {
        Self { until, pace: Pace::Closed, surplus: Surplus::Pause, reconnect: false }
    }

    /// Lets one client a script ask the server at `base`, which is like `http://127.0.0.1:8000`.
    pub async fn run<S: Script>(self, base: &str, scripts: Vec<S>) -> Result<Outcome> {
        let host = base.strip_prefix("http://").context("only plain HTTP is spoken here")?;
        let due = Due { started: Instant::now(), next: Arc::default() };
        let mut clients = JoinSet::new();
        for script in scripts {
            let client = Client { host: host.to_owned(), connection: None, buffer: Vec::new(), load: self };
            clients.spawn(client.work(script, due.clone()));
        }
        let mut outcome = Outcome::new()?;
        while let Some(ended) = clients.join_next().await {
            let client = ended??;
            outcome.answered.add(&client.answered).map_err(|error| anyhow!("{error}"))?;
            outcome.turned_away.add(&client.turned_away).map_err(|error| anyhow!("{error}"))?;
        }
        outcome.elapsed = due.started.elapsed();
        Ok(outcome)
    }
}

/// When requests are due, for all clients of a load.
#[derive(Clone)]
struct Due {
    started: Instant,
    /// Number of the next request of an open loop.
    next: Arc<AtomicU32>,
}

impl Due {
    /// Waits until the next request is due; since when it is.
    async fn next(&self, pace: Pace) -> Instant {
        match pace {
            Pace::Closed => Instant::now(),
            Pace::Open(rate) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let due = self.started + Duration::from_secs_f64(f64::from(number) / rate);
                sleep_until(due.into()).await;
                due
            }
        }
    }
}

struct Client {
    host: String,
    connection: Option<TcpStream>,
    buffer: Vec<u8>,
    load: Load,
}

/// What the head of an answer says.
#[derive(PartialEq, Eq, Debug)]
struct Head {
    /// No 503, then.
    is_success: bool,
    /// The server ends the connection behind this answer.
    is_last: bool,
    /// Where the body will stand.
    body: Range<usize>,
}

impl Client {
    async fn work<S: Script>(mut self, mut script: S, due: Due) -> Result<Outcome> {
        let mut outcome = Outcome::new()?;
        let mut request = script(&[])?;
        loop {
            if matches!(self.load.until, Until::Requests(most) if outcome.answered.len() >= most as u64) {
                return Ok(outcome);
            }
            let since = due.next(self.load.pace).await;
            if let Until::Elapsed(most) = self.load.until {
                if since.duration_since(due.started) >= most {
                    return Ok(outcome);
                }
                // What was due and nobody had time to send has waited for so long at least.
                if matches!(self.load.pace, Pace::Open(_)) && due.started.elapsed() >= most {
                    outcome.answered.saturating_record(micros(since));
                    continue;
                }
            }
            let answer = timeout(ANSWER_WITHIN, self.exchange(&request)).await.context("no answer in time")??;
            let micros = micros(since);
            if answer.is_success {
                outcome.answered.saturating_record(micros);
                request = script(&self.buffer[answer.body])?;
                continue;
            }
            outcome.turned_away.saturating_record(micros);
            match self.load.surplus {
                Surplus::Fail => bail!("turned away after {} answers", outcome.requests()),
                Surplus::Pause => {
                    ensure!(outcome.turned_away() <= TURNED_AWAY_MAX, "turned away {TURNED_AWAY_MAX} times");
                    sleep(PAUSE).await;
                }
                Surplus::GoOn => {}
            }
            request = script(&[])?;
        }
    }

    /// Sends the request and reads the answer into the buffer.
    async fn exchange(&mut self, request: &[u8]) -> Result<Head> {
        if self.load.reconnect {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            connection @ None => {
                let fresh = TcpStream::connect(&self.host).await.context("no connection")?;
                fresh.set_nodelay(true)?;
                connection.insert(fresh)
            }
        };
        connection.write_all(request).await?;
        self.buffer.clear();
        let mut known = None;
        loop {
            if known.is_none() {
                known = head(&self.buffer)?;
            }
            if known.as_ref().is_some_and(|head| self.buffer.len() >= head.body.end) {
                break;
            }
            ensure!(connection.read_buf(&mut self.buffer).await? > 0, "the connection ended within an answer");
        }
        let head = known.context("an answer without a head")?;
        if head.is_last {
            self.connection = None;
        }
        Ok(head)
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What the head says, once it is there whole.
fn head(answer: &[u8]) -> Result<Option<Head>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..end]).context("the head is no text")?;
    let is_success = text.starts_with("HTTP/1.1 2");
    ensure!(
        is_success || text.starts_with("HTTP/1.1 503"),
        "neither a success nor a 503: {}",
        String::from_utf8_lossy(answer)
    );
    let field = |wanted: &str| {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
    };
    let is_last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let is_empty = text.starts_with("HTTP/1.1 204");
    let length = if is_empty { Some(0) } else { field("content-length").and_then(|length| length.parse().ok()) };
    let start = end + END.len();
    let length: usize = length.context("the answer has no length")?;
    Ok(Some(Head { is_success, is_last, body: start..start + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_where_the_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let body = answer.len() - 2..answer.len();
        assert_eq!(head(answer).unwrap(), Some(Head { is_success: true, is_last: false, body }));
        assert_eq!(head(&answer[..answer.len() - 4]).unwrap(), None);
        let turned_away = head(b"HTTP/1.1 503 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap();
        assert!(!turned_away.is_success && turned_away.is_last);
        assert!(head(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().body, 27..27);
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let mut outcome = Outcome::new().unwrap();
        for millis in 1..=200 {
            outcome.answered.record(millis * 1_000).unwrap();
        }
        outcome.elapsed = Duration::from_secs(2);
        for (percent, millis) in [(50, 100), (99, 198), (100, 200)] {
            let (found, wanted) = (outcome.percentile(percent), Duration::from_millis(millis));
            assert!(found.abs_diff(wanted) <= wanted / 1_000, "{percent}: {found:?}");
        }
        assert!((outcome.rate() - 100.0).abs() < 1e-9);
        assert!(outcome.mean().abs_diff(Duration::from_micros(100_500)) < Duration::from_micros(101));
    }

    /// Answers at once, but stands still for a second before its fifth answer.
    async fn halting_server() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            for answer in 1.. {
                if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
                if answer == 5 {
                    sleep(Duration::from_secs(1)).await;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        });
        base
    }

    /// A hundred requests a second to that server, by one client.
    async fn asked_for(lasting: Duration) -> Outcome {
        let script = |_: &[u8]| Ok(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
        let load = Load { pace: Pace::Open(100.0), ..Load::closed(Until::Elapsed(lasting)) };
        load.run(&halting_server().await, vec![script]).await.unwrap()
    }

    /// Were the time counted from the sending, one request alone would have waited.
    #[tokio::test]
    async fn an_open_loop_counts_what_waits_behind_a_server_that_stands_still() {
        let outcome = asked_for(Duration::from_secs(2)).await;
        // A hundred requests were due within the second; their mean wait is half of it.
        assert!(outcome.percentile(75) > Duration::from_millis(200), "{outcome}");
        assert_eq!(outcome.requests(), 200, "{outcome}");
    }

    /// Were the time over with the last answer, nobody would see what had to wait for it.
    #[tokio::test]
    async fn an_open_loop_counts_what_was_due_and_could_not_be_sent_any_more() {
        let outcome = asked_for(Duration::from_millis(500)).await;
        assert_eq!(outcome.requests(), 50, "{outcome}");
        assert!(outcome.percentile(50) > Duration::from_millis(500), "{outcome}");
    }
}
