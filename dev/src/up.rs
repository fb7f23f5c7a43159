//! `cargo dev`: everything a developer needs, started in order, until Ctrl-C.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, Options};
use crate::database::{Database, Role};
use crate::guard::{self, Ending};
use crate::place;
use crate::process::{Launch, Program};
use crate::run::{Run, free_port, is_free, lock};
use crate::secret::{self, Secrets};
use crate::sink::Sink;
use crate::stand::{Wiring, doorbook, launch};
use crate::tour::Tour;

/// Port of the api, if it is free.
const API_PORT: u16 = 8000;

/// Time to remove the data of `.dev`.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);

/// Where a checkout's data lies, unless told otherwise.
pub const DOT_DEV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.dev");

/// Where the programs find their servers.
pub struct Servers {
    /// URL of the api's login; the next two are the worker's and the owner's.
    pub database: String,
    pub worker_database: String,
    pub migrate_database: String,
    pub redis: String,
    pub mail_folder: PathBuf,
    // Dropped, they end: the mail sink first, then the cluster.
    sink: Sink,
    _cluster: Option<Cluster>,
    run: Arc<Run>,
    secrets: Secrets,
}

/// The admin account of development.
const ADMIN: &str = "admin@example.com";

/// What is done once everything runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Wait for Ctrl-C.
    Wait,
    /// Walk through the main job and end.
    Tour,
}

/// Starts everything, prints where it is, and waits for Ctrl-C or SIGTERM, or takes the tour; then ends it in order and keeps the
/// data.
pub async fn up(dot_dev: &Path, then: Then) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let work = async {
        let servers = servers(dot_dev).await?;
        let service = serve(&servers, dot_dev).await?;
        print(&servers, &service)?;
        if then == Then::Tour {
            let owner = PgPool::connect(&servers.migrate_database).await.context("cannot read the log")?;
            let person = secret::random().context("cannot read /dev/urandom")?;
            let person: String = person.bytes().map(|byte| format!("{byte:02x}")).take(4).collect();
            return Tour::new(&service.base, &servers.sink, owner, &person).run().await;
        }
        std::future::pending::<()>().await;
        anyhow::Ok(())
    };
    // Dropping `work`, at whatever step it is, ends what it has started.
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// The servers that `DATABASE_URL` and `REDIS_URL` name, or, if neither is set, our own.
async fn servers(dot_dev: &Path) -> Result<Servers> {
    let guard = std::env::current_exe().context("cannot find the running executable")?;
    let mail_folder = dot_dev.join("mail");
    let sink = Sink::start(Some(mail_folder.clone())).await?;
    let theirs = (std::env::var("DATABASE_URL"), std::env::var("REDIS_URL"));
    ensure!(theirs.0.is_ok() == theirs.1.is_ok(), "set both DATABASE_URL and REDIS_URL, or neither");
    if let (Ok(database), Ok(redis)) = theirs {
        let other = |name| std::env::var(name).unwrap_or_else(|_| database.clone());
        let (worker_database, migrate_database) = (other("WORKER_DATABASE_URL"), other("DATABASE_MIGRATE_URL"));
        let run = Arc::new(Run::kept(dot_dev, &guard)?);
        let secrets = Secrets::open(run.folder().join("secrets"))?;
        doorbook_core::store::migrate(&migrate_database).await.context("cannot migrate")?;
        return Ok(Servers {
            database,
            worker_database,
            migrate_database,
            redis,
            mail_folder,
            sink,
            _cluster: None,
            run,
            secrets,
        });
    }
    let cluster = Cluster::start(Options::kept(guard, dot_dev)).await?;
    let database = Database::kept(&cluster).await?;
    let secrets = Secrets::open(cluster.run().folder().join("secrets"))?;
    Ok(Servers {
        database: database.url_for(Role::Api),
        worker_database: database.url_for(Role::Worker),
        migrate_database: database.url_for(Role::Migrator),
        redis: cluster.redis_url(0),
        mail_folder,
        sink,
        run: Arc::clone(cluster.run()),
        _cluster: Some(cluster),
        secrets,
    })
}

/// Api and worker of `cargo dev`, and how to reach them.
struct Service {
    base: String,
    admin_password: String,
    // Dropped, they end.
    _api: Program,
    _worker: Program,
}

/// Starts api and worker with the checkout's own development keys and makes the admin account.
async fn serve(servers: &Servers, dot_dev: &Path) -> Result<Service> {
    let key = |name: &str| servers.secrets.get(name);
    let secret_key = format!("{}{}", key("secret-key-1")?, key("secret-key-2")?);
    let jwt_secret_key = format!("{}{}", key("jwt-secret-key-1")?, key("jwt-secret-key-2")?);
    let mut api_port = if is_free(API_PORT) { API_PORT } else { free_port()? };
    let (environment, base, api) = loop {
        let wiring = Wiring {
            database: &servers.database,
            worker_database: &servers.worker_database,
            migrate_database: &servers.migrate_database,
            redis: &servers.redis,
            mail_port: servers.sink.port(),
            api_port,
            secret_key: &secret_key,
            jwt_secret_key: &jwt_secret_key,
        };
        let mut environment = wiring.environment()?;
        environment.push(("LOG_FORMAT".to_owned(), "console".to_owned()));
        let base = format!("http://localhost:{api_port}");
        match launch("doorbook-api", &environment, &servers.run, &base).await {
            Ok(api) => break (environment, base, api),
            // Somebody else, such as a second `cargo dev`, has taken the port between our look and the api's.
            Err(_) if !is_free(api_port) => api_port = free_port()?,
            Err(error) => return Err(error),
        }
    };
    write_env(dot_dev, &environment)?;
    let worker = Launch::workspace("doorbook-worker").await?.envs(environment.iter().cloned()).start(&servers.run)?;
    let admin_password = key("admin")?;
    make_admin(servers, &environment, &admin_password).await?;
    Ok(Service { base, admin_password, _api: api, _worker: worker })
}

/// The environment of the processes as a file, so that a developer can start one of them by hand.
fn write_env(dot_dev: &Path, environment: &[(String, String)]) -> Result<()> {
    let lines: Vec<String> = environment.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
    secret::write_private(&dot_dev.join("env"), &lines.concat())
}

async fn make_admin(servers: &Servers, environment: &[(String, String)], password: &str) -> Result<()> {
    let accounts = doorbook(&servers.run, environment, &["account", "list"], "").await?;
    if accounts.contains(ADMIN) {
        return Ok(());
    }
    let create = ["account", "create", ADMIN, "--role", "admin", "--password-stdin"];
    doorbook(&servers.run, environment, &create, password).await.map(drop)
}

fn print(servers: &Servers, service: &Service) -> Result<()> {
    let (base, password) = (&service.base, &service.admin_password);
    let text = format!(
        "api       {base}/api/auth/\n\
         docs      {base}/docs/\n\
         console   {base}/admin/\n\
         admin     {ADMIN}, password {password}\n\
         mail      readable text, one file a mail, in {}\n\
         database  {}\n\
         redis     {}\n\
         logs      {}\n\
         Ctrl-C ends everything; the data stays until `cargo dev -- reset`.\n",
        servers.mail_folder.display(),
        servers.migrate_database,
        servers.redis,
        servers.run.folder().display(),
    );
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot print")
}

/// Empties `.dev`: what still runs there is stopped, the data is removed.
pub fn reset(dot_dev: &Path) -> Result<()> {
    if !dot_dev.exists() {
        return Ok(());
    }
    let folder = place::kept(dot_dev)?;
    let _lock = lock(&folder)?;
    guard::stop_all(&folder, Ending::Remove)?;
    let children = fs::read_dir(dot_dev).with_context(|| format!("cannot read {}", dot_dev.display()))?;
    for child in children {
        let path = child.context("cannot read .dev")?.path();
        let removed = if path.is_dir() { guard::remove(&path, REMOVE_WITHIN) } else { remove_file(&path) };
        removed?;
    }
    if folder.canonicalize().ok() == dot_dev.canonicalize().ok() {
        return Ok(());
    }
    guard::remove(&folder, REMOVE_WITHIN)
}

fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}
