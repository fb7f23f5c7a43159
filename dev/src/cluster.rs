//! Postgres and Redis of one run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use tokio::sync::OnceCell;

use crate::database::{Logins, Role};
use crate::install;
use crate::pgbouncer::PgBouncer;
use crate::postgres::{self, Postgres};
use crate::process::ensure_binaries;
use crate::redis::{DATABASES, Redis};
use crate::run::Run;
use crate::secret::Secrets;
use crate::server::Server;

/// How to start a cluster.
pub struct Options {
    /// The `doorbook-dev` binary, which is run as the guard.
    pub guard: PathBuf,
    /// Whether what is committed survives a kill of the machine; slower.
    pub durable: bool,
    /// The checkout's `.dev` folder, whose data stays. `None`: a temporary folder, removed at the end.
    pub dot_dev: Option<PathBuf>,
    /// A Redis that forgets everything when it ends, beside a durable Postgres.
    pub forgetful_redis: bool,
    /// Another folder for Postgres' data than the run's: a small file system that a test fills.
    pub postgres_folder: Option<PathBuf>,
    /// Sessions that Postgres lets in at once.
    pub connections: u32,
    /// Postgres' shared buffers.
    pub shared_buffers_mib: u64,
}

/// Sessions at once: every test of a process has its own database and pools on one server.
const CONNECTIONS: u32 = 200;

/// Postgres' own default: enough for what a test writes.
const SHARED_BUFFERS_MIB: u64 = 128;

impl Options {
    /// For tests: temporary and fast.
    pub fn temporary(guard: impl Into<PathBuf>) -> Self {
        Self {
            guard: guard.into(),
            durable: false,
            dot_dev: None,
            forgetful_redis: false,
            postgres_folder: None,
            connections: CONNECTIONS,
            shared_buffers_mib: SHARED_BUFFERS_MIB,
        }
    }

    /// For development: data stays under `dot_dev` and is written with care.
    pub fn kept(guard: impl Into<PathBuf>, dot_dev: impl Into<PathBuf>) -> Self {
        Self { durable: true, dot_dev: Some(dot_dev.into()), ..Self::temporary(guard) }
    }
}

/// Both servers, running, and a pooler once somebody asks for it. Dropping it ends them.
pub struct Cluster {
    // First: it ends before the server it has sessions of.
    pooler: OnceCell<Server<PgBouncer>>,
    postgres: Server<Postgres>,
    redis: Server<Redis>,
    redis_databases: AtomicU32,
    pub(crate) logins: OnceCell<Logins>,
    pub(crate) secrets: Secrets,
    // Last: its guard looks for survivors when the servers have ended in order.
    run: Arc<Run>,
}

impl Cluster {
    /// Starts both servers side by side and returns when both answer.
    pub async fn start(options: Options) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(install::tools).await??;
        let run = Arc::new(match &options.dot_dev {
            Some(dot_dev) => Run::kept(dot_dev, &options.guard)?,
            None => Run::temporary(&options.guard)?,
        });
        let secrets = Secrets::open(run.folder().join("secrets"))?;
        let place = options.postgres_folder.unwrap_or_else(|| run.folder().to_owned());
        let keeps = options.durable && !options.forgetful_redis;
        let settings = postgres::Settings {
            durable: options.durable,
            connections: options.connections,
            shared_buffers_mib: options.shared_buffers_mib,
        };
        let (postgres, redis) = tokio::try_join!(
            Postgres::open(Arc::clone(&run), tools.postgres_bin, &place, secrets.get("postgres")?, settings),
            Redis::open(Arc::clone(&run), tools.redis_server, secrets.get("redis")?, keeps),
        )?;
        let redis_databases = AtomicU32::new(0);
        Ok(Self { pooler: OnceCell::new(), postgres, redis, redis_databases, logins: OnceCell::new(), secrets, run })
    }

    /// The one cluster of this test process, started on first use; it ends with the process. Builds the workspace's
    /// binaries first, since its guard is one of them.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                let guard = ensure_binaries().await?.join("doorbook-dev");
                Self::start(Options::temporary(guard)).await
            })
            .await
            .context("cannot start the servers of this test process")
    }

    /// The Postgres server: its pid, and its faults.
    pub fn postgres(&self) -> &Server<Postgres> {
        &self.postgres
    }

    /// The Redis server: its pid, and its faults.
    pub fn redis(&self) -> &Server<Redis> {
        &self.redis
    }

    /// PgBouncer in transaction mode before Postgres, started on first use.
    pub async fn pooler(&self) -> Result<&Server<PgBouncer>> {
        let start = async || {
            let executable = tokio::task::spawn_blocking(install::pgbouncer).await??;
            let logins = Role::ALL.iter().map(|role| {
                let login = role.login();
                Ok((login.to_owned(), self.secrets.get(login)?))
            });
            let logins = logins.collect::<Result<Vec<_>>>()?;
            let password = self.secrets.get("pgbouncer")?;
            PgBouncer::open(Arc::clone(&self.run), executable, self.postgres.port(), password, &logins).await
        };
        self.pooler.get_or_try_init(start).await
    }

    /// A client program of the running Postgres' own version, such as `pg_dump`.
    pub fn postgres_tool(&self, name: &str) -> Result<PathBuf> {
        self.postgres.kind().tool(name)
    }

    /// A URL for Postgres' superuser.
    pub fn superuser_url(&self, database: &str) -> String {
        self.postgres.kind().superuser_url(self.postgres.port(), database)
    }

    /// A URL for the numbered Redis database, 0 to 1023.
    pub fn redis_url(&self, database: u32) -> String {
        self.redis.kind().url(self.redis.port(), database)
    }

    /// A URL for a numbered Redis database that no one else of this cluster gets. Number 0 is never handed out.
    pub fn fresh_redis_url(&self) -> Result<String> {
        let number = self.redis_databases.fetch_add(1, Ordering::Relaxed) + 1;
        ensure!(number < DATABASES, "all {DATABASES} Redis databases are handed out");
        Ok(self.redis_url(number))
    }

    /// The run that programs are started in.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }
}
