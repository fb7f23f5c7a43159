//! One run: a folder, a guard, and the commands that belong to it.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use doorbook_core::token;

use crate::guard::{self, Ending, Guard};
use crate::marked::MARK;
use crate::place::{self, User};

/// Everything started through [`Run::command`] ends with the run, however the run ends.
pub struct Run {
    folder: PathBuf,
    user: Option<User>,
    ending: Ending,
    _guard: Guard,
    _lock: Option<File>,
}

impl Run {
    /// A run of tests in a folder of its own, removed at the end. `guard` is the `doorbook-dev` binary.
    pub fn temporary(guard: &Path) -> Result<Self> {
        let folder = place::temporary()?;
        Self::open(folder.clone(), guard, Ending::Remove).inspect_err(|_| {
            // Nothing was started, so no guard will remove it; the error at hand is the one to report.
            drop(std::fs::remove_dir(&folder));
        })
    }

    /// A run whose data stays, for the checkout whose `.dev` folder this is. What an earlier run left alive is stopped:
    /// two runs on the same data would destroy it.
    pub fn kept(dot_dev: &Path, guard: &Path) -> Result<Self> {
        let folder = place::kept(dot_dev)?;
        let lock = lock(&folder)?;
        guard::stop_all(&folder, Ending::Keep)?;
        Ok(Self { _lock: Some(lock), ..Self::open(folder, guard, Ending::Keep)? })
    }

    fn open(folder: PathBuf, guard: &Path, ending: Ending) -> Result<Self> {
        let user = place::server_user()?;
        let guard = Guard::start(guard, &folder, ending)?;
        Ok(Self { folder, user, ending, _guard: guard, _lock: None })
    }

    /// The folder of this run's data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) const fn ending(&self) -> Ending {
        self.ending
    }

    /// A command of this run. It has its own process group, so a Ctrl-C in the terminal reaches its owner alone and the
    /// owner ends things in order.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(MARK, &self.folder).current_dir(&self.folder).stdin(Stdio::null()).process_group(0);
        command
    }

    /// A command that runs as an unprivileged user when we are root.
    pub(crate) fn unprivileged(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Gives a file or folder to the user of [`Run::unprivileged`].
    pub(crate) fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("cannot change the owner of {}", path.display()))
    }
}

/// Holds the lock of a kept folder, which ends with the process that holds it.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `cargo dev` is running on {}", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// A loopback port that nobody uses, given out once by this process. It lies below those that the kernel gives to connections (from 32768
/// on under Linux): one of them would take it now and then before its server does.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    // Other processes begin elsewhere.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(u16::from_be_bytes(token::random())));
    let mut ports = (0..COUNT).map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT);
    ports.find(|port| is_free(*port)).context("no port of loopback is free")
}

/// Whether `port` of loopback can be bound now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
