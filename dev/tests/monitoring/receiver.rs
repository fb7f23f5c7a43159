//! An HTTP server that takes whatever is posted to it, as Sentry or a collector of traces would.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Debug)]
pub struct Posted {
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// Listens until the test's runtime ends.
pub struct Receiver {
    pub base: String,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let shared = Arc::clone(&posted);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(conversation(stream, Arc::clone(&shared)));
            }
        });
        Self { base, posted }
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// The bodies of what was posted to this path.
    pub fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let line = format!("POST {path} HTTP/1.1");
        let posted = self.posted().into_iter().filter(|posted| posted.head.starts_with(&line));
        posted.map(|posted| posted.body).collect()
    }
}

async fn conversation(mut stream: TcpStream, posted: Arc<Mutex<Vec<Posted>>>) {
    let mut bytes = Vec::new();
    loop {
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            let whole = end + 4 + length.unwrap_or(0);
            if bytes.len() < whole {
                break;
            }
            let body = bytes[end + 4..whole].to_vec();
            bytes.drain(..whole);
            posted.lock().unwrap().push(Posted { head, body });
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
}
