//! A private Postgres: its own data folder, loopback only, passwords (SCRAM) for everyone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::guard::Ending;
use crate::run::Run;
use crate::secret;
use crate::server::{Kind, Server};

/// Time for one try to connect.
const TRY: Duration = Duration::from_secs(2);

/// The superuser that initdb makes.
pub(crate) const SUPERUSER: &str = "postgres";

/// What differs between servers.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Whether what is committed survives a kill of the machine.
    pub(crate) durable: bool,
    /// Sessions at once.
    pub(crate) connections: u32,
    /// Memory for what it read and wrote last.
    pub(crate) shared_buffers_mib: u64,
}

/// What makes a server a Postgres.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) run: Arc<Run>,
    pub(crate) bin: PathBuf,
    /// Its log lies beside it.
    pub(crate) data: PathBuf,
    pub(crate) password: String,
    pub(crate) settings: Settings,
}

impl Postgres {
    /// Makes the data folder in `place`, unless it exists, and starts the server. `bin` holds `initdb` and `postgres`.
    pub(crate) async fn open(
        run: Arc<Run>,
        bin: PathBuf,
        place: &Path,
        password: String,
        settings: Settings,
    ) -> Result<Server<Self>> {
        let data = place.join("postgres");
        let postgres = Self { run, bin, data, password, settings };
        if !postgres.data.exists() {
            postgres.init().await.context("cannot make a Postgres data folder")?;
        }
        Server::open(postgres).await
    }

    /// A program that lies beside the server, or beside what a link in `bin` stands for.
    pub(crate) fn tool(&self, name: &str) -> Result<PathBuf> {
        let server = self.bin.join("postgres");
        let places = [server.with_file_name(name), server.canonicalize()?.with_file_name(name)];
        places.into_iter().find(|path| path.is_file()).with_context(|| format!("no {name} beside {}", server.display()))
    }

    /// A URL for `user` on the server at `port`.
    pub(crate) fn url(port: u16, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
    }

    pub(crate) fn superuser_url(&self, port: u16, database: &str) -> String {
        Self::url(port, SUPERUSER, &self.password, database)
    }

    /// Runs initdb beside the final name, so that an interrupted one is never taken for a data folder.
    async fn init(&self) -> Result<()> {
        let fresh = self.data.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).context("cannot remove an interrupted initdb")?;
        }
        fs::create_dir(&fresh).context("cannot create the folder")?;
        self.run.hand_over(&fresh)?;
        let password = self.run.folder().join("initdb.password");
        secret::write_private(&password, &self.password)?;
        self.run.hand_over(&password)?;
        let mut command = self.run.unprivileged(self.bin.join("initdb"));
        // The C locale exists everywhere and sorts alike on every machine.
        command
            .args(["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(&fresh);
        let output = tokio::task::spawn_blocking(move || command.output()).await?.context("cannot run initdb")?;
        fs::remove_file(&password).context("cannot remove initdb's password file")?;
        ensure!(output.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(&fresh, &self.data).context("cannot rename the new data folder")
    }
}

impl Kind for Postgres {
    const NAME: &'static str = "Postgres";

    fn command(&self, port: u16) -> Command {
        let mut command = self.run.unprivileged(self.bin.join("postgres"));
        command.arg("-D").arg(&self.data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        let connections = format!("max_connections={}", self.settings.connections);
        let buffers = format!("shared_buffers={}MB", self.settings.shared_buffers_mib);
        let settings = ["unix_socket_directories=", "timezone=UTC", "log_timezone=UTC"];
        let careless = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];
        for setting in settings.iter().chain(careless.iter().filter(|_| !self.settings.durable)) {
            command.args(["-c", setting]);
        }
        command.args(["-c", &connections, "-c", &buffers]);
        command
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn closing(&self) -> Signal {
        match self.run.ending() {
            Ending::Keep => Signal::INT,
            Ending::Remove => Signal::QUIT,
        }
    }

    async fn answers(&self, port: u16) -> bool {
        // Our random password is accepted by our own server alone.
        let url = self.superuser_url(port, SUPERUSER);
        match timeout(TRY, PgConnection::connect(&url)).await {
            Ok(Ok(connection)) => connection.close().await.is_ok(),
            _ => false,
        }
    }
}
