//! A real server on a port of its own, and a client that sends exactly the bytes it is told.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use doorbook_api::{
    bearer::bearer_token,
    body::Strict,
    command::run_to_end,
    config::{CookieConfig, FrameOptions, HeaderConfig, Hsts, HttpConfig, SameSite},
    edge::{self, Limits},
    middleware::{client::ClientAddress, trace::TraceId},
    problem::Problem,
    routes::{
        health::{HealthApi, Readiness},
        index::IndexApi,
    },
    server::App,
};
use futures::FutureExt;
use poem::{Request, RequestBody};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, OpenApi, param::Path, payload::Json};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// No test waits longer for an answer or an end.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    email: String,
    password: String,
}

#[derive(Object)]
struct Seen {
    address: String,
    trace_id: String,
}

/// Who holds which token.
#[derive(Clone)]
struct Tokens(Arc<HashMap<String, String>>);

struct Caller(String);

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn security_schemes() -> Vec<&'static str> {
        vec!["bearer"]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let tokens = request.data::<Tokens>().ok_or_else(Problem::internal)?;
        let name = tokens.0.get(bearer_token(request)?).ok_or_else(Problem::unauthorized)?;
        Ok(Self(name.clone()))
    }
}

struct TestApi;

#[OpenApi]
#[expect(clippy::unused_async, reason = "the framework takes async handlers only")]
impl TestApi {
    #[oai(path = "/api/login/", method = "post")]
    async fn login(&self, Strict(credentials): Strict<Credentials>) -> Result<Json<usize>, Problem> {
        run_to_end(async move { Ok(Json(credentials.email.len() + credentials.password.len())) }).await
    }

    #[oai(path = "/api/seen/", method = "get")]
    async fn seen(&self, address: ClientAddress, trace_id: TraceId) -> Json<Seen> {
        Json(Seen { address: address.0.to_string(), trace_id: trace_id.to_string() })
    }

    #[oai(path = "/api/items/:id/", method = "get")]
    async fn item(&self, id: Path<u32>) -> Json<u32> {
        Json(id.0)
    }

    #[oai(path = "/api/blocked/", method = "get")]
    async fn blocked(&self) -> Result<Json<u32>, Problem> {
        Err(Problem::blocked(900))
    }

    #[oai(path = "/api/private/", method = "get")]
    async fn private(&self, caller: Caller) -> Json<String> {
        Json(caller.0)
    }

    #[oai(path = "/api/panic/", method = "get")]
    async fn panic(&self) -> Json<u32> {
        panic!("on purpose: secret detail")
    }

    #[oai(path = "/api/slow/", method = "get")]
    async fn slow(&self) -> Json<u32> {
        sleep(Duration::from_millis(700)).await;
        Json(1)
    }

    #[oai(path = "/api/never/", method = "get")]
    async fn never(&self) -> Json<u32> {
        std::future::pending().await
    }
}

pub fn config() -> HttpConfig {
    HttpConfig {
        allowed_hosts: vec!["localhost".into(), ".example.com".into()],
        trusted_proxies: Vec::new(),
        proxy_scheme_header: (poem::http::HeaderName::from_static("x-forwarded-proto"), "https".into()),
        ssl_redirect: false,
        headers: HeaderConfig {
            hsts: Some(Hsts { seconds: 31_536_000, include_subdomains: true, preload: true }),
            nosniff: true,
            xss_filter: true,
            frame_options: FrameOptions::Deny,
        },
        cookie: CookieConfig { secure: true, http_only: true, same_site: SameSite::Strict },
        cors_allowed_origins: vec!["https://app.example.com".into()],
        request_timeout: Duration::from_secs(2),
        docs: false,
        security_contact: None,
    }
}

/// As `config`, with this machine as a trusted proxy.
pub fn behind_proxy() -> HttpConfig {
    HttpConfig { trusted_proxies: vec!["127.0.0.0/8".parse().expect("a network")], ..config() }
}

pub struct Server {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub serving: JoinHandle<()>,
}

impl Server {
    pub async fn start(config: HttpConfig) -> Self {
        Self::limited(config, Limits::default()).await
    }

    pub async fn limited(config: HttpConfig, limits: Limits) -> Self {
        let ready = Arc::new(|| async { Readiness::Unavailable }.boxed());
        let api = (TestApi, HealthApi { ready }, IndexApi);
        let tokens = HashMap::from([("good".to_owned(), "alice".to_owned())]);
        let app = App::new(api, &config).expect("the app is built").with_data(Tokens(Arc::new(tokens)));
        let app = Arc::new(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(edge::serve(listener, app, limits, async {
            drop(stopped.await);
        }));
        Self { address, stop: Some(stop), serving }
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server accepts")
    }

    /// Sends `bytes` on a connection of its own and reads one answer.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.expect("the server reads");
        Answer::read(&mut stream).await.expect("an answer")
    }

    /// A request with a Host header, further header lines, and no body.
    pub async fn request(&self, line: &str, headers: &str) -> Answer {
        self.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await
    }

    /// A JSON body to the strict route.
    pub async fn post(&self, body: &str) -> Answer {
        let length = body.len();
        let head = "POST /api/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        self.send(format!("{head}Content-Length: {length}\r\n\r\n{body}")).await
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// One answer; `None` when the connection ends before its head is complete.
    pub async fn read(stream: &mut TcpStream) -> Option<Self> {
        timeout(PATIENCE, Self::read_patiently(stream)).await.expect("the server does something in time")
    }

    async fn read_patiently(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("an ASCII head");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, length)| length.parse().expect("a length"));
        let mut body = bytes.split_off(end + 4);
        while body.len() < length && stream.read_buf(&mut body).await.unwrap_or(0) > 0 {}
        Some(Self { status, headers, body: String::from_utf8(body).expect("a UTF-8 body") })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The last part of the problem's type, once everything every problem has was found.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        for name in ["title", "detail", "instance"] {
            assert!(body[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {body}");
        }
        assert_eq!(body["trace_id"].as_str().map(str::len), Some(32));
        assert!(
            self.header("traceparent").is_some_and(|value| value.contains(body["trace_id"].as_str().expect("an id")))
        );
        let kind = body["type"].as_str().expect("a type");
        kind.strip_prefix("/problems/").expect("a path").to_owned()
    }

    /// Field and code of the only refused field.
    pub fn refused_field(&self) -> (String, String) {
        assert_eq!((self.status, self.problem().as_str()), (422, "validation"));
        let body = self.json();
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(1), "{body}");
        let text = |name: &str| body["errors"][0][name].as_str().expect("a string").to_owned();
        (text("field"), text("code"))
    }
}

/// True when the server ends the connection before `limit`, whatever it sends first.
pub async fn ends_within(stream: &mut TcpStream, limit: Duration) -> bool {
    let read_all = async {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
    };
    timeout(limit, read_all).await.is_ok()
}
