//! A bounded load of HTTP requests: a closed loop of clients, each with one connection, that send their next request when the answer
//! to the last one is there.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How often a client may be turned away, and its pause before it asks again.
const TURNED_AWAY_MAX: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Longest that one answer may take; the api itself gives up after 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// When a client ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many requests of its own.
    Requests(usize),
    /// With the first answer that comes so long after the start of all.
    Elapsed(Duration),
}

/// How the clients behave.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub until: Until,
    /// A new connection for each request, as `ab` makes them.
    pub reconnect: bool,
}

/// What a client sends, made of the body of the last answer, which is empty at first.
pub trait Script: FnMut(&[u8]) -> Result<Vec<u8>> + Send + 'static {}

impl<F: FnMut(&[u8]) -> Result<Vec<u8>> + Send + 'static> Script for F {}

/// What has come of it. Every answer was a 200, or a 503 and the request was repeated: another one is an error of the whole load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of each request that was answered, sorted.
    times: Vec<Duration>,
    /// Answers 503.
    pub turned_away: usize,
    elapsed: Duration,
}

impl Outcome {
    pub fn requests(&self) -> usize {
        self.times.len()
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        float(self.times.len()) / self.elapsed.as_secs_f64()
    }

    pub fn mean(&self) -> Duration {
        self.times.iter().sum::<Duration>().div_f64(float(self.times.len().max(1)))
    }

    /// The time that this part of the requests, in percent, stayed within.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).copied().unwrap_or_default()
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
        write!(f, "{} turned away", self.turned_away)
    }
}

/// Exact below 2^32 requests.
fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Load {
    /// Lets one client a script ask the server at `base`, which is like `http://127.0.0.1:8000`.
    pub async fn run<S: Script>(self, base: &str, scripts: Vec<S>) -> Result<Outcome> {
        let host = base.strip_prefix("http://").context("only plain HTTP is spoken here")?;
        let started = Instant::now();
        let mut clients = JoinSet::new();
        for script in scripts {
            let client = Client { host: host.to_owned(), connection: None, buffer: Vec::new(), load: self };
            clients.spawn(client.work(script, started));
        }
        let mut outcome = Outcome::default();
        while let Some(ended) = clients.join_next().await {
            let mut client = ended??;
            outcome.times.append(&mut client.times);
            outcome.turned_away += client.turned_away;
        }
        outcome.elapsed = started.elapsed();
        outcome.times.sort_unstable();
        Ok(outcome)
    }
}

struct Client {
    host: String,
    connection: Option<TcpStream>,
    buffer: Vec<u8>,
    load: Load,
}

impl Client {
    async fn work<S: Script>(mut self, mut script: S, started: Instant) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut request = script(&[])?;
        loop {
            match self.load.until {
                Until::Requests(most) if outcome.times.len() >= most => return Ok(outcome),
                Until::Elapsed(most) if started.elapsed() >= most => return Ok(outcome),
                _ => {}
            }
            let sent = Instant::now();
            let answer = timeout(ANSWER_WITHIN, self.exchange(&request)).await.context("no answer in time")?;
            if let Some(body) = answer? {
                outcome.times.push(sent.elapsed());
                request = script(&self.buffer[body])?;
            } else {
                outcome.turned_away += 1;
                ensure!(outcome.turned_away <= TURNED_AWAY_MAX, "turned away {TURNED_AWAY_MAX} times");
                sleep(PAUSE).await;
            }
        }
    }

    /// Where in the buffer the body of the answer stands; `None` for a 503.
    async fn exchange(&mut self, request: &[u8]) -> Result<Option<Range<usize>>> {
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
            match &known {
                Some((is_ok, body)) if self.buffer.len() >= body.end => return Ok(is_ok.then(|| body.clone())),
                _ => {}
            }
            ensure!(connection.read_buf(&mut self.buffer).await? > 0, "the connection ended within an answer");
        }
    }
}

/// Whether it is a 200 and no 503, and where the body will stand, once the head is there whole.
fn head(answer: &[u8]) -> Result<Option<(bool, Range<usize>)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..end]).context("the head is no text")?;
    let is_ok = text.starts_with("HTTP/1.1 200");
    ensure!(is_ok || text.starts_with("HTTP/1.1 503"), "not a 200: {}", String::from_utf8_lossy(answer));
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let start = end + END.len();
    Ok(Some((is_ok, start..start + length.context("the answer has no length")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_where_the_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(head(answer).unwrap(), Some((true, answer.len() - 2..answer.len())));
        assert_eq!(head(&answer[..answer.len() - 4]).unwrap(), None);
        assert!(!head(b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap().0);
        assert!(head(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let outcome = Outcome {
            times: (1..=200).map(Duration::from_millis).collect(),
            turned_away: 0,
            elapsed: Duration::from_secs(2),
        };
        assert_eq!(outcome.percentile(99), Duration::from_millis(198));
        assert_eq!(outcome.percentile(100), Duration::from_millis(200));
        assert!((outcome.rate() - 100.0).abs() < 1e-9);
        assert_eq!(outcome.mean(), Duration::from_micros(100_500));
    }
}
