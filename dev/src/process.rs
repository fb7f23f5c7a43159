//! The programs under test: built once, started with a clean environment, killed with the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::process::Command as AsyncCommand;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::guard::Ending;
use crate::marked::MARK;
use crate::run::Run;
use crate::server::{POLL, Process};

/// Variables that a program gets from our own environment; all others would make a test depend on the machine.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// Time for one request for readiness.
const TRY: Duration = Duration::from_secs(2);

/// A program, ready to be started as often as one likes.
#[derive(Clone)]
pub struct Launch {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: Option<PathBuf>,
}

impl Launch {
    /// The program at `binary`.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let binary = binary.into();
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, binary, arguments: Vec::new(), environment: BTreeMap::new(), folder: None }
    }

    /// The workspace's binary called `name`, built if need be.
    pub async fn workspace(name: &str) -> Result<Self> {
        Ok(Self::new(ensure_binaries().await?.join(name)))
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    #[must_use]
    pub fn envs<N: Into<String>, V: Into<String>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        self.environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Lets it work in another folder, whose `.env` it reads.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Starts it in the run's folder, where no `.env` lies, unless another was named.
    pub fn start(&self, run: &Arc<Run>) -> Result<Program> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let mut command = run.command(&self.binary);
        command.env_clear().env(MARK, run.folder());
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(&self.environment).args(&self.arguments);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let log = run.folder().join(format!("{}-{}.log", self.name, COUNT.fetch_add(1, Ordering::Relaxed)));
        let closing = match run.ending() {
            Ending::Keep => Signal::TERM,
            Ending::Remove => Signal::KILL,
        };
        let process = Process::spawn(command, log, closing)?;
        Ok(Program { process, name: self.name.clone(), _run: Arc::clone(run) })
    }
}

/// A started program. Dropping it ends it: by SIGKILL in a test, in order under `cargo dev`.
pub struct Program {
    process: Process,
    name: String,
    _run: Arc<Run>,
}

impl Program {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until `GET {base}/health/ready` answers 200, where `base` is like `http://127.0.0.1:8000`.
    pub async fn wait_ready(&mut self, base: &str, within: Duration) -> Result<()> {
        let client = crate::stand::loopback().timeout(TRY).build().context("cannot make a client")?;
        let url = format!("{base}/health/ready");
        let started = Instant::now();
        let mut last = String::from("no answer");
        while started.elapsed() < within {
            if let Some(status) = self.process.exited()? {
                bail!("{} ended with {status}:\n{}", self.name, self.process.last_words());
            }
            match client.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => last = answer.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            sleep(POLL).await;
        }
        bail!("{} is not ready within {within:?} ({last}):\n{}", self.name, self.process.last_words())
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill().await
    }

    /// SIGTERM; see [`Program::ended`].
    pub fn terminate(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// SIGINT, as Ctrl-C sends it.
    pub fn interrupt(&mut self) -> Result<()> {
        self.process.signal(Signal::INT)
    }

    /// SIGSTOP: it stands still until [`Program::resume`].
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// The exit status, if it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// Waits for the end.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.ended(within).await
    }

    /// What it has printed so far, both outputs.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }
}

/// Builds every binary of the workspace in the profile of the running test, once a process, and returns their folder:
/// so a single test file runs on a fresh checkout.
pub async fn ensure_binaries() -> Result<&'static Path> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(build).await.map(PathBuf::as_path)
}

async fn build() -> Result<PathBuf> {
    let folder = profile_folder()?;
    let target = folder.parent().context("the binaries' folder has no parent")?;
    // Cargo calls the dev profile's folder `debug`, the others' by their name.
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} names no profile", folder.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = AsyncCommand::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .await
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo cannot build the workspace's binaries");
    Ok(folder)
}

/// The folder of this profile's binaries; tests lie one deeper, in `deps`.
pub(crate) fn profile_folder() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("cannot find the running executable")?;
    let folder = executable.parent().context("the executable has no folder")?;
    let deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if deps { folder.parent().context("`deps` has no parent")? } else { folder }.to_owned())
}
