//! One connection, byte for byte: for what an HTTP client would tidy up, and for times that no pool disturbs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Longest wait for an answer; the api itself gives up after 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A keep-alive connection, and the client address that it claims as a trusted proxy would.
pub struct Wire {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    host: String,
    pub address: String,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// In the order they came; names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Wire {
    /// Connects to `base`, which is like `http://127.0.0.1:8000`.
    pub async fn open(base: &str, address: &str) -> Self {
        let host = base.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, host, address: address.to_owned() }
    }

    /// `POST` with a JSON body.
    pub async fn post(&mut self, path: &str, body: &Value) -> Reply {
        let headers = [("Content-Type", "application/json")];
        self.send("POST", path, &headers, body.to_string().as_bytes()).await.unwrap()
    }

    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("GET", path, headers, b"").await.unwrap()
    }

    /// Sends one request and reads its answer; `None` when the connection ends without one. A `Host` of its own
    /// replaces the right one.
    pub async fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nX-Forwarded-For: {}\r\n", self.address);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            write!(head, "Host: {}\r\n", self.host).unwrap();
        }
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        self.exchange(&[head.as_bytes(), body].concat(), method == "HEAD").await
    }

    /// Sends these bytes, whatever they are, and reads one answer; `None` when the connection ends without one.
    pub async fn raw(&mut self, bytes: &[u8]) -> Option<Reply> {
        self.exchange(bytes, false).await
    }

    /// What comes after an answer without being asked for; `None` for the end of the connection.
    pub async fn more(&mut self) -> Option<Reply> {
        timeout(ANSWER_WITHIN, Reply::read(&mut self.reader, false)).await.expect("an end in time")
    }

    async fn exchange(&mut self, bytes: &[u8], is_head: bool) -> Option<Reply> {
        let Self { reader, writer, .. } = self;
        let write = async {
            // A server that refuses a large body answers before it has come and closes: the answer is what counts.
            let _ = writer.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        let exchange = async {
            tokio::select! {
                reply = Reply::read(reader, is_head) => reply,
                () = write => unreachable!("writing never ends the exchange"),
            }
        };
        timeout(ANSWER_WITHIN, exchange).await.expect("an answer or an end in time")
    }
}

impl Reply {
    async fn read(reader: &mut BufReader<OwnedReadHalf>, is_head: bool) -> Option<Self> {
        let line = line(reader).await?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = self::line(reader).await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Self { status, headers, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if !is_head && length > 0 {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).await.ok()?;
            reply.body = String::from_utf8(body).unwrap();
        }
        Some(reply)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Status, headers and body without what names this one request: its time and its trace.
    pub fn shown(&self) -> String {
        let trace = self.header("traceparent").and_then(|trace| trace.split('-').nth(1)).unwrap_or("?");
        let mut shown = format!("{}\n", self.status);
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "date") {
            let value = if name == "traceparent" { "…" } else { value };
            writeln!(shown, "{name}: {value}").unwrap();
        }
        shown + "\n" + &self.body.replace(trace, "…")
    }

    /// The problem, which must be a whole one and name this request; its `type` without the folder, and its fields.
    pub fn problem(&self) -> (String, Vec<(String, String)>) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        for field in ["type", "title", "detail", "instance", "trace_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
        }
        assert_eq!(problem["status"], self.status, "{problem}");
        let trace = problem["trace_id"].as_str().unwrap();
        assert!(self.header("traceparent").unwrap().contains(trace), "{problem}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let errors = problem["errors"].as_array().into_iter().flatten();
        let fields = errors.map(|error| (text(&error["field"]), text(&error["code"]))).collect();
        (text(&problem["type"]).trim_start_matches("/problems/").to_owned(), fields)
    }
}

/// One line of the head without its end; `None` at the end of the connection.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}
