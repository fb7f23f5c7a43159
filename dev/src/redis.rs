//! A private Redis (or Valkey): loopback only, with a password.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::guard::Ending;
use crate::run::Run;
use crate::secret;
use crate::server::{Kind, Server};

/// Numbered databases: one for each test of a process.
pub(crate) const DATABASES: u32 = 1024;

/// Time for one try to connect.
const TRY: Duration = Duration::from_secs(2);

/// What makes a server a Redis.
pub struct Redis {
    run: Arc<Run>,
    executable: PathBuf,
    password: String,
}

impl Redis {
    /// Writes the configuration and starts the server; with `durable` it keeps an append-only file.
    pub(crate) async fn open(
        run: Arc<Run>,
        executable: PathBuf,
        password: String,
        durable: bool,
    ) -> Result<Server<Self>> {
        let redis = Self { run, executable, password };
        redis.configure(durable).context("cannot configure Redis")?;
        Server::open(redis).await
    }

    pub(crate) fn url(&self, port: u16, database: u32) -> String {
        format!("redis://:{}@127.0.0.1:{port}/{database}", self.password)
    }

    fn configure(&self, durable: bool) -> Result<()> {
        let data = self.run.folder().join("redis");
        if !data.exists() {
            DirBuilder::new().mode(0o700).create(&data).with_context(|| format!("cannot create {}", data.display()))?;
        }
        self.run.hand_over(&data)?;
        let append_only = if durable { "yes" } else { "no" };
        // Without its own title a process keeps the command line and environment by which the guard knows it.
        let text = format!(
            "bind 127.0.0.1\n\
             dir \"{dir}\"\n\
             requirepass {password}\n\
             databases {DATABASES}\n\
             maxmemory-policy noeviction\n\
             save \"\"\n\
             appendonly {append_only}\n\
             appendfsync everysec\n\
             daemonize no\n\
             set-proc-title no\n",
            dir = data.display(),
            password = self.password,
        );
        let path = self.configuration();
        secret::write_private(&path, &text)?;
        self.run.hand_over(&path)
    }

    fn configuration(&self) -> PathBuf {
        self.run.folder().join("redis.conf")
    }

    async fn ping(&self, port: u16) -> std::io::Result<bool> {
        const ANSWER: &[u8] = b"+OK\r\n+PONG\r\n";
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("AUTH {}\r\nPING\r\n", self.password).as_bytes()).await?;
        let mut answer = [0; ANSWER.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer == ANSWER)
    }
}

impl Kind for Redis {
    const NAME: &'static str = "Redis";

    fn command(&self, port: u16) -> Command {
        let mut command = self.run.unprivileged(&self.executable);
        command.arg(self.configuration()).args(["--port", &port.to_string()]);
        command
    }

    fn log(&self) -> PathBuf {
        self.run.folder().join("redis.log")
    }

    fn closing(&self) -> Signal {
        match self.run.ending() {
            Ending::Keep => Signal::TERM,
            Ending::Remove => Signal::KILL,
        }
    }

    async fn answers(&self, port: u16) -> bool {
        // Our random password is accepted by our own server alone.
        matches!(timeout(TRY, self.ping(port)).await, Ok(Ok(true)))
    }
}
