//! A child process with a log file, and the start of a server on a port.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::run::{free_port, is_free};

/// Between two looks at a child or a port.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Time in which a server must answer; Postgres may have to replay its log after a kill.
pub(crate) const READY_WITHIN: Duration = Duration::from_mins(1);

/// Time in which a child must end after its closing signal.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Bytes of a log that an error shows.
const LOG_TAIL: usize = 4096;

/// A child with its output in a file. Dropping it sends its closing signal and waits for its end.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    closing: Signal,
}

impl Process {
    /// Starts `command`; both outputs are appended to `log`.
    pub(crate) fn spawn(mut command: Command, log: PathBuf, closing: Signal) -> Result<Self> {
        let open = || -> std::io::Result<(File, File)> {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
            Ok((file.try_clone()?, file))
        };
        let (stdout, stderr) = open().with_context(|| format!("cannot open {}", log.display()))?;
        let child = command
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log, closing })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it has ended.
    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for a child's state")
    }

    /// Sends a signal, unless the child has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        // Not yet waited for, so its pid cannot belong to anyone else.
        kill_process(Pid::from_child(&self.child), signal).context("cannot signal a child")
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if started.elapsed() > within {
                bail!("process {} has not ended within {within:?}", self.pid());
            }
            sleep(POLL).await;
        }
    }

    /// Sends the closing signal and waits for the end.
    pub(crate) async fn close(&mut self) -> Result<ExitStatus> {
        self.signal(self.closing)?;
        self.ended(END_WITHIN).await
    }

    /// SIGKILL, and waits for the end.
    pub(crate) async fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.ended(END_WITHIN).await
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of its log, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log().unwrap_or_else(|error| error.to_string());
        log[log.floor_char_boundary(log.len().saturating_sub(LOG_TAIL))..].to_owned()
    }

    fn close_now(&mut self) -> Result<()> {
        self.signal(self.closing)?;
        let started = Instant::now();
        while self.exited()?.is_none() {
            if started.elapsed() > END_WITHIN {
                self.signal(Signal::KILL)?;
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.close_now() {
            eprintln!("doorbook-dev: cannot end process {}: {error:#}", self.pid());
        }
    }
}

/// What tells one kind of server from another.
pub trait Kind {
    const NAME: &'static str;

    /// Called before each start on `port`.
    fn prepare(&self, _port: u16) -> Result<()> {
        Ok(())
    }
    /// The command that runs it in the foreground on `port` of loopback.
    fn command(&self, port: u16) -> Command;
    /// Where its output goes.
    fn log(&self) -> PathBuf;
    /// The signal that closes it.
    fn closing(&self) -> Signal;
    /// Whether this very server, not a stranger on its port, answers.
    fn answers(&self, port: u16) -> impl Future<Output = bool> + Send;
}

/// Tries to find a port that stays free until the server has bound it.
const PORT_ATTEMPTS: u32 = 8;

/// Between two tries to start a server whose predecessor's children may still hold its files.
const START_AGAIN: Duration = Duration::from_millis(100);

/// A running server, always on the port of its first start.
pub struct Server<K> {
    kind: K,
    port: u16,
    process: Mutex<Process>,
}

enum Started {
    Ready(Process),
    Ended(String),
}

impl<K: Kind> Server<K> {
    /// Starts on a free port and returns when it answers.
    pub(crate) async fn open(kind: K) -> Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            match launch(&kind, port).await? {
                Started::Ready(process) => return Ok(Self { kind, port, process: Mutex::new(process) }),
                Started::Ended(words) if is_free(port) => bail!("{} ended while starting:\n{words}", K::NAME),
                Started::Ended(_) => {}
            }
        }
        bail!("no port for {} stayed free, {PORT_ATTEMPTS} times", K::NAME)
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pid of the server's main process.
    pub async fn pid(&self) -> u32 {
        self.process.lock().await.pid()
    }

    /// Ends it in order, and returns when it has ended.
    pub async fn stop(&self) -> Result<()> {
        self.process.lock().await.close().await.map(drop)
    }

    /// SIGQUIT, upon which Postgres ends at once and without a checkpoint, and returns when it has ended.
    pub async fn crash(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        process.signal(Signal::QUIT)?;
        process.close().await.map(drop)
    }

    /// `kill -9`, and returns when it has ended.
    pub async fn kill(&self) -> Result<()> {
        self.process.lock().await.kill().await.map(drop)
    }

    /// SIGSTOP to the main process. Redis freezes; Postgres accepts no one, while its open sessions go on.
    pub async fn pause(&self) -> Result<()> {
        self.process.lock().await.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub async fn resume(&self) -> Result<()> {
        self.process.lock().await.signal(Signal::CONT)
    }

    /// Starts it again on its port after [`Server::stop`] or [`Server::kill`], and returns when it answers.
    pub async fn start(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        let since = Instant::now();
        ensure!(process.exited()?.is_some(), "{} is running", K::NAME);
        loop {
            match launch(&self.kind, self.port).await? {
                Started::Ready(started) => {
                    *process = started;
                    return Ok(());
                }
                Started::Ended(_) if since.elapsed() < READY_WITHIN => sleep(START_AGAIN).await,
                Started::Ended(words) => bail!("{} does not start again:\n{words}", K::NAME),
            }
        }
    }

    /// [`Server::stop`], then [`Server::start`].
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    pub(crate) const fn kind(&self) -> &K {
        &self.kind
    }
}

async fn launch<K: Kind>(kind: &K, port: u16) -> Result<Started> {
    kind.prepare(port).with_context(|| format!("cannot configure {}", K::NAME))?;
    let mut process = Process::spawn(kind.command(port), kind.log(), kind.closing())?;
    let started = Instant::now();
    while started.elapsed() < READY_WITHIN {
        if process.exited()?.is_some() {
            return Ok(Started::Ended(process.last_words()));
        }
        if kind.answers(port).await {
            return Ok(Started::Ready(process));
        }
        sleep(POLL).await;
    }
    bail!("{} does not answer within {READY_WITHIN:?}:\n{}", K::NAME, process.last_words())
}
