//! A stand behind both proxies, and clients that say exactly what they are told to say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorbook_dev::proxy::{Certificate, Front, Proxy};
use doorbook_dev::{Cluster, Stand};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The host of the configuration files.
pub const HOST: &str = "auth.example.com";

/// Where the clients of these tests sit: not the address that proxies connect from.
pub const CLIENT: &str = "127.0.0.9";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub const FRONTS: [Front; 2] = [Front::Nginx, Front::Haproxy];

pub struct Site {
    pub stand: Stand,
    pub proxy: Proxy,
    tls: TlsConnector,
}

impl Site {
    /// An api that trusts 127.0.0.1 alone, in front of it a proxy with a certificate of its own.
    pub async fn start(front: Front, settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let own = [
            ("ALLOWED_HOSTS", HOST),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("SECURE_SSL_REDIRECT", "True"),
            ("MAX_LOGIN_ATTEMPTS", "1000"),
        ];
        let stand = Stand::start_api(cluster, &[&own, settings].concat()).await.unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        let port = stand.base.rsplit(':').next().unwrap().parse().unwrap();
        let pair = Certificate { chain: &chain, key: &key };
        let proxy = Proxy::start(cluster.run(), front, &[port], pair).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.der().to_vec())).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { stand, proxy, tls: TlsConnector::from(Arc::new(config)) }
    }

    pub async fn http(&self) -> Line {
        Line::new(dial(self.proxy.http).await)
    }

    pub async fn https(&self) -> Line {
        let name = ServerName::try_from(HOST).unwrap();
        Line::new(self.tls.connect(name, dial(self.proxy.https).await).await.unwrap())
    }

    /// One request over https, on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.https().await.ask(method, path, headers, body).await
    }

    pub async fn post(&self, path: &str, headers: &str, body: &serde_json::Value) -> Answer {
        self.ask("POST", path, &format!("Content-Type: application/json\r\n{headers}"), &body.to_string()).await
    }
}

async fn dial(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(CLIENT.parse().unwrap(), 0)).unwrap();
    socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap()
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to a proxy.
pub struct Line {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The trace that this answer belongs to.
    pub fn trace(&self) -> &str {
        self.header("traceparent").and_then(|trace| trace.split('-').nth(1)).unwrap_or_default()
    }
}

impl Line {
    fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    pub async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}{length}\r\n{body}").as_bytes()).await;
        self.answer(method == "HEAD").await.unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// A proxy that has refused already takes no more: what it has answered is what counts.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next answer; `None` at the end of the connection or when nothing comes for a while.
    pub async fn answer(&mut self, is_head: bool) -> Option<Answer> {
        timeout(PATIENCE, self.read_answer(is_head)).await.unwrap_or(None)
    }

    /// Whether this comes within a time, in an answer that goes on.
    pub async fn brings(&mut self, text: &str, within: Duration) -> bool {
        let comes = async {
            while !String::from_utf8_lossy(&self.read).contains(text) {
                if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                    return false;
                }
            }
            true
        };
        timeout(within, comes).await.unwrap_or(false)
    }

    /// Every answer that comes until the connection ends or is silent for so long.
    pub async fn answers(&mut self, silence: Duration) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = timeout(silence, self.read_answer(false)).await {
            answers.push(answer);
        }
        answers
    }

    async fn read_answer(&mut self, is_head: bool) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.filter(|_| !is_head).map_or(0, |(_, length)| length.parse().unwrap());
        while self.read.len() < length && self.stream.read_buf(&mut self.read).await.unwrap_or(0) > 0 {}
        let body = self.read.drain(..length.min(self.read.len())).collect();
        Some(Answer { status, headers, body: String::from_utf8(body).unwrap() })
    }
}
