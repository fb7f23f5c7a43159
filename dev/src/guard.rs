//! The guard of a run: a small process in its own session that outlives its owner. Its standard input is a pipe whose
//! other end only the owner holds; when that ends, by exit, panic or SIGKILL, the guard stops what the run started.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::marked::{self, Kind, Marked};

/// What the guard does with the run's folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// A test: nothing is worth saving, so everything is stopped at once and the folder removed.
    Remove,
    /// Development: programs and servers end in order and the data stays.
    Keep,
}

impl Ending {
    /// Time a process gets before SIGKILL. Postgres writes a checkpoint when its data is kept.
    const fn patience(self) -> Duration {
        match self {
            Self::Remove => Duration::from_secs(5),
            Self::Keep => Duration::from_secs(20),
        }
    }

    const fn signal(self, kind: Kind) -> Signal {
        match (self, kind) {
            // SIGINT is Postgres' fast shutdown, SIGQUIT its immediate one; SIGKILL would leak its shared memory.
            (Self::Keep, Kind::Postgres) => Signal::INT,
            (Self::Remove, Kind::Postgres) => Signal::QUIT,
            (Self::Keep, Kind::Redis | Kind::Program) => Signal::TERM,
            (Self::Remove, Kind::Redis | Kind::Program) => Signal::KILL,
        }
    }
}

/// Between two looks at the processes of a run.
const POLL: Duration = Duration::from_millis(20);

/// A process between fork and exec does not carry the mark yet: nothing may be found twice, this far apart.
const SETTLE: Duration = Duration::from_millis(50);

/// The line by which a guard says that it is in its own session and safe from signals to the owner's group.
const READY: &str = "ready";

/// The owner's end. Dropping it ends the run and waits until the guard has cleaned up.
pub(crate) struct Guard {
    child: Child,
    leash: Option<ChildStdin>,
}

impl Guard {
    /// Starts `executable guard`, this package's own binary.
    pub(crate) fn start(executable: &Path, folder: &Path, ending: Ending) -> Result<Self> {
        let mut command = Command::new(executable);
        command.arg("guard").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        if ending == Ending::Keep {
            command.arg("--keep");
        }
        let mut child = command.spawn().with_context(|| format!("cannot start the guard {}", executable.display()))?;
        let leash = child.stdin.take();
        let stdout = child.stdout.take().context("the guard has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot hear the guard")?;
        ensure!(line.trim() == READY, "the guard {} ended at once", executable.display());
        Ok(Self { child, leash })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.leash.take());
        if let Err(error) = self.child.wait() {
            eprintln!("doorbook-dev: cannot wait for the guard: {error}");
        }
    }
}

/// The guard's whole life.
pub fn watch(folder: &Path, ending: Ending) -> Result<()> {
    rustix::process::setsid().context("cannot open a session")?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{READY}").and_then(|()| stdout.flush()).context("the owner is gone")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).context("cannot wait for the owner")?;
    stop_all(folder, ending)?;
    if ending == Ending::Remove {
        remove(folder, ending.patience())?;
    }
    Ok(())
}

/// Stops every process of the run in `folder`: programs first, for a server that ends under a program only makes noise.
pub(crate) fn stop_all(folder: &Path, ending: Ending) -> Result<()> {
    stop(folder, ending, |process| process.kind == Kind::Program)?;
    stop(folder, ending, |_| true)
}

fn stop(folder: &Path, ending: Ending, wanted: impl Fn(&Marked) -> bool) -> Result<()> {
    let alive = || -> Result<Vec<Marked>> {
        let all = marked::processes(folder).context("cannot list processes")?;
        Ok(all.into_iter().filter(|process| wanted(process)).collect())
    };
    let mut asked = Vec::new();
    let mut quiet = false;
    let started = Instant::now();
    while started.elapsed() < 2 * ending.patience() {
        let processes = alive()?;
        if processes.is_empty() {
            if quiet {
                return Ok(());
            }
            quiet = true;
            sleep(SETTLE);
            continue;
        }
        quiet = false;
        let late = started.elapsed() > ending.patience();
        for process in processes {
            if late {
                process.signal(Signal::KILL);
            } else if !asked.contains(&process.pid) {
                process.signal(ending.signal(process.kind));
                asked.push(process.pid);
            }
        }
        sleep(POLL);
    }
    bail!("processes of {} do not end", folder.display())
}

/// Removes the folder. Children of a killed Postgres may still write for a moment, so a full folder is tried again.
pub(crate) fn remove(folder: &Path, patience: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if started.elapsed() < patience => sleep(POLL),
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", folder.display())),
        }
    }
}
