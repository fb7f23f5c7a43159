//! The whole service on private servers: api and worker as separate processes, as an operator would run them.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::process::{Launch, Program};
use crate::run::{Run, free_port};
use crate::{Cluster, Database, Role, Sink};

/// Time for a process to be ready; a debug build on a busy machine needs a few seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Where links in mails lead.
pub const FRONTEND_URL: &str = "http://localhost:3000";

/// What both processes are started with.
pub struct Wiring<'a> {
    pub database: &'a str,
    pub worker_database: &'a str,
    pub migrate_database: &'a str,
    pub redis: &'a str,
    pub mail_port: u16,
    pub api_port: u16,
    pub secret_key: &'a str,
    pub jwt_secret_key: &'a str,
}

impl Wiring<'_> {
    /// The environment of api and worker, in development.
    pub fn environment(&self) -> Result<Vec<(String, String)>> {
        let [api_ops, worker_ops] = [free_port()?, free_port()?];
        let pairs = [
            ("DEBUG", "True".to_owned()),
            ("SECRET_KEY", self.secret_key.to_owned()),
            ("JWT_SECRET_KEY", self.jwt_secret_key.to_owned()),
            ("DATABASE_URL", self.database.to_owned()),
            ("WORKER_DATABASE_URL", self.worker_database.to_owned()),
            ("DATABASE_MIGRATE_URL", self.migrate_database.to_owned()),
            ("REDIS_URL", self.redis.to_owned()),
            ("EMAIL_BACKEND", "smtp".to_owned()),
            ("EMAIL_HOST", "127.0.0.1".to_owned()),
            ("EMAIL_PORT", self.mail_port.to_string()),
            ("EMAIL_USE_TLS", "False".to_owned()),
            ("DEFAULT_FROM_EMAIL", "Doorbook <noreply@doorbook.test>".to_owned()),
            ("FRONTEND_URL", FRONTEND_URL.to_owned()),
            ("API_BIND", format!("127.0.0.1:{}", self.api_port)),
            ("API_OPS_BIND", format!("127.0.0.1:{api_ops}")),
            ("WORKER_OPS_BIND", format!("127.0.0.1:{worker_ops}")),
        ];
        Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Keys that no test needs to keep secret.
const TEST_SECRET_KEY: &str = "Zt8vL2mN5pR9tY3wZ6bC1dF4gH7jK0sA8uE2iO5xQ9nM3vB6kD1cX4rT7yU0iP3o";
const TEST_JWT_SECRET_KEY: &str = "zT4kP7wQ1nX8cV5bJ2mH6gF9dS3aL0yRuE";

/// A test's own service: database, mail sink, api and worker.
pub struct Stand {
    pub database: Database,
    pub sink: Sink,
    pub base: String,
    pub api: Program,
    pub worker: Option<Program>,
    pub redis_url: String,
    /// What api and worker need to know of a pooler; empty without one.
    pub pooling: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    run: Arc<Run>,
}

impl Stand {
    /// Api and worker with cheap hashes, so that a test is not about hashing.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_with(cluster, &[]).await
    }

    /// The same with further settings; they win.
    pub async fn start_with(cluster: &Cluster, settings: &[(&str, &str)]) -> Result<Self> {
        let mut stand = Self::start_api(cluster, settings).await?;
        stand.start_worker().await?;
        Ok(stand)
    }

    /// Without a worker. Behind a pooler when `DOORBOOK_POOLER=transaction` asks for it.
    pub async fn start_api(cluster: &Cluster, settings: &[(&str, &str)]) -> Result<Self> {
        let is_pooled = std::env::var(POOLER).is_ok_and(|mode| mode == "transaction");
        let database = Database::fresh(cluster).await?;
        let pooling = if is_pooled { pooling(cluster, &database).await? } else { Vec::new() };
        Self::on(cluster, database, pooling, settings).await
    }

    /// Without a worker, behind a pooler in transaction mode.
    pub async fn start_pooled(cluster: &Cluster, settings: &[(&str, &str)]) -> Result<Self> {
        let database = Database::fresh(cluster).await?;
        let pooling = pooling(cluster, &database).await?;
        Self::on(cluster, database, pooling, settings).await
    }

    /// Without a worker. All processes reach Postgres at this port of loopback, behind which may be another server later.
    pub async fn start_at(cluster: &Cluster, port: u16, settings: &[(&str, &str)]) -> Result<Self> {
        let database = Database::fresh(cluster).await?;
        let urls = database.settings_at(port);
        let settings = urls.iter().map(|(name, url)| (*name, url.as_str())).chain(settings.iter().copied());
        let settings = settings.collect::<Vec<_>>();
        Self::on(cluster, database, Vec::new(), &settings).await
    }

    async fn on(
        cluster: &Cluster,
        database: Database,
        pooling: Vec<(String, String)>,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let sink = Sink::start(None).await?;
        let (redis_url, api_port) = (cluster.fresh_redis_url()?, free_port()?);
        let urls = [Role::Api, Role::Worker, Role::Migrator].map(|role| database.url_for(role));
        let wiring = Wiring {
            database: &urls[0],
            worker_database: &urls[1],
            migrate_database: &urls[2],
            redis: &redis_url,
            mail_port: sink.port(),
            api_port,
            secret_key: TEST_SECRET_KEY,
            jwt_secret_key: TEST_JWT_SECRET_KEY,
        };
        let mut environment = wiring.environment()?;
        environment.extend(pooling.iter().cloned());
        let cheap = [("ARGON2_MEMORY_KIB", "64"), ("ARGON2_TIME_COST", "1"), ("ARGON2_PARALLELISM", "1")];
        environment.extend(cheap.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let run = Arc::clone(cluster.run());
        let base = format!("http://127.0.0.1:{api_port}");
        let api = launch("doorbook-api", &environment, &run, &base).await?;
        Ok(Self { database, sink, base, api, worker: None, redis_url, pooling, environment, run })
    }

    /// Starts the worker, again after it has ended.
    pub async fn start_worker(&mut self) -> Result<()> {
        let program =
            Launch::workspace("doorbook-worker").await?.envs(self.environment.iter().cloned()).start(&self.run)?;
        self.worker = Some(program);
        Ok(())
    }

    /// One more api process on the same database; its base URL.
    pub async fn another_api(&self) -> Result<(Program, String)> {
        self.another_api_with(&[]).await
    }

    /// One more api process with further settings.
    pub async fn another_api_with(&self, settings: &[(&str, &str)]) -> Result<(Program, String)> {
        let base = format!("http://127.0.0.1:{}", free_port()?);
        Ok((self.api_at(&base, settings).await?, base))
    }

    /// An api process with further settings at an address of its own or of one that has ended.
    pub async fn api_at(&self, base: &str, settings: &[(&str, &str)]) -> Result<Program> {
        let bind = base.strip_prefix("http://").context("the address is none of ours")?;
        let mut environment = self.environment_with(settings);
        environment.extend([
            ("API_BIND".to_owned(), bind.to_owned()),
            ("API_OPS_BIND".to_owned(), format!("127.0.0.1:{}", free_port()?)),
        ]);
        launch("doorbook-api", &environment, &self.run, base).await
    }

    fn environment_with(&self, settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let further = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.iter().cloned().chain(further).collect()
    }

    /// Starts the api anew on its port.
    pub async fn restart_api(&mut self) -> Result<()> {
        self.api = launch("doorbook-api", &self.environment, &self.run, &self.base).await?;
        Ok(())
    }

    /// Runs the `doorbook` command with these arguments in the same environment; its standard output.
    pub async fn doorbook(&self, arguments: &[&str]) -> Result<String> {
        self.doorbook_with(arguments, &[]).await
    }

    /// The same with further settings.
    pub async fn doorbook_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Result<String> {
        doorbook(&self.run, &self.environment_with(settings), arguments, "").await
    }

    /// Starts the `doorbook` command in the same environment with further settings; for one that fails, or is killed.
    pub async fn start_doorbook(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Program> {
        let launch = Launch::workspace("doorbook").await?.envs(self.environment.iter().cloned());
        let launch = launch.envs(settings.iter().copied());
        arguments.iter().fold(launch, |launch, argument| launch.arg(*argument)).start(&self.run)
    }

    /// What the api was started with; of a variable that is there twice the last counts.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }
}

/// Whether stands are behind a pooler: `transaction`.
const POOLER: &str = "DOORBOOK_POOLER";

/// Settings of api and worker behind a pooler.
async fn pooling(cluster: &Cluster, database: &Database) -> Result<Vec<(String, String)>> {
    let port = cluster.pooler().await?.port();
    let pairs = [
        ("DATABASE_URL", database.url_at(port, Role::Api)),
        ("WORKER_DATABASE_URL", database.url_at(port, Role::Worker)),
        ("DATABASE_DIRECT_URL", database.url_for(Role::Worker)),
        ("DATABASE_POOLER", "transaction".to_owned()),
    ];
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Runs the `doorbook` command with `input`; what it printed, or an error with what it complained of.
pub async fn doorbook(
    run: &Arc<Run>,
    environment: &[(String, String)],
    arguments: &[&str],
    input: &str,
) -> Result<String> {
    let binary = crate::ensure_binaries().await?.join("doorbook");
    let mut command = tokio::process::Command::from(run.command(&binary));
    command.env_clear().envs(environment.iter().cloned()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that asks for no input may have ended already.
            stdin.write_all(input.as_bytes()).await.or_else(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })?;
        }
        child.wait_with_output().await
    };
    let output = run.await.with_context(|| format!("cannot run {}", binary.display()))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("doorbook {}: {}: {stdout}{stderr}", arguments.join(" "), output.status);
    }
    Ok(stdout.into_owned())
}

/// Starts a process and waits until it is ready, worker or no worker.
pub async fn launch(name: &str, environment: &[(String, String)], run: &Arc<Run>, base: &str) -> Result<Program> {
    let mut program = Launch::workspace(name).await?.envs(environment.iter().cloned()).start(run)?;
    if let Err(error) = program.wait_ready(base, READY_WITHIN).await {
        bail!("{error:#}\n{}", program.log().unwrap_or_default());
    }
    Ok(program)
}

/// A client of the api, as a frontend would be one. Each has a client address of its own choice.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    address: String,
    bearer: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// `Null` for an empty body, a string for what is no JSON document.
    pub body: Value,
}

impl Answer {
    /// A string field of the body; empty when it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// A client of what runs here. A proxy of the developer's environment knows nothing of our loopback, and the machine's certificates, which
/// every client would read anew, are of no use there.
pub fn loopback() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().tls_certs_only([])
}

impl Client {
    /// # Panics
    /// When no HTTP client can be made at all.
    #[expect(clippy::expect_used, reason = "development and tests cannot go on without an HTTP client")]
    pub fn new(base: &str) -> Self {
        let http = loopback().build().expect("an HTTP client can be made");
        Self { http, base: base.to_owned(), address: "203.0.113.7".to_owned(), bearer: None }
    }

    /// The same client seen from another address: the api trusts our loopback as its proxy.
    #[must_use]
    pub fn from_address(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.clone() }
    }

    #[must_use]
    pub fn with_token(&self, access: &str) -> Self {
        Self { bearer: Some(access.to_owned()), ..self.clone() }
    }

    /// The same client at another api process.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(Method::PATCH, path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, None, &[]).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).header("X-Forwarded-For", &self.address);
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.with_context(|| format!("no answer from {path}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.context("the answer broke off")?;
        let media = headers.get("content-type").and_then(|media| media.to_str().ok()).unwrap_or_default();
        let body = if bytes.is_empty() {
            Value::Null
        } else if media.starts_with("text/csv") || media.starts_with("application/x-ndjson") {
            String::from_utf8(bytes.to_vec()).context("no text")?.into()
        } else {
            serde_json::from_slice(&bytes).context("no JSON")?
        };
        Ok(Answer { status, headers, body })
    }
}
