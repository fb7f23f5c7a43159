//! Finds the processes of one run. Every process of a run carries the run's folder in its environment, so it is known
//! even when its starter died between starting it and noting its pid, and a reused pid is never mistaken for it.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Name of the environment variable whose value is the run's folder.
pub(crate) const MARK: &str = "DOORBOOK_DEV_RUN";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Postgres,
    Redis,
    Program,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Marked {
    pub(crate) pid: Pid,
    pub(crate) kind: Kind,
}

impl Marked {
    /// Sends a signal. A process that is already gone is no error: that is what was wanted.
    pub(crate) fn signal(self, signal: Signal) {
        if let Err(error) = kill_process(self.pid, signal)
            && error != rustix::io::Errno::SRCH
        {
            eprintln!("doorbook-dev: cannot signal process {}: {error}", self.pid.as_raw_nonzero());
        }
    }
}

/// What a process is, by its command line; `None` for Postgres' own children, which only their parent may stop.
fn kind(command: &str) -> Option<Kind> {
    let program = command.split(' ').next().unwrap_or_default();
    match program.rsplit('/').next().unwrap_or_default() {
        "postgres" => Some(Kind::Postgres),
        name if name.starts_with("postgres:") => None,
        "redis-server" | "valkey-server" => Some(Kind::Redis),
        _ => Some(Kind::Program),
    }
}

/// The living processes of the run in `folder`.
#[cfg(target_os = "linux")]
pub(crate) fn processes(folder: &Path) -> std::io::Result<Vec<Marked>> {
    let mark = format!("{MARK}={}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        // A process that ends meanwhile, or that belongs to someone else, cannot be read: not ours.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if !environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            continue;
        }
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        found.extend(kind(&command).map(|kind| Marked { pid, kind }));
    }
    Ok(found)
}

/// The living processes of the run in `folder`: `ps -E` prints the environment behind the command.
#[cfg(not(target_os = "linux"))]
pub(crate) fn processes(folder: &Path) -> std::io::Result<Vec<Marked>> {
    let mark = format!(" {MARK}={} ", folder.display());
    let listing = std::process::Command::new("ps").args(["-axEww", "-o", "pid=,command="]).output()?;
    let listing = String::from_utf8_lossy(&listing.stdout);
    let marked = listing.lines().filter(|line| format!("{line} ").contains(&mark)).filter_map(|line| {
        let (pid, command) = line.trim_start().split_once(' ')?;
        Some(Marked { pid: Pid::from_raw(pid.parse().ok()?)?, kind: kind(command.trim_start())? })
    });
    Ok(marked.collect())
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind};

    #[test]
    fn a_command_line_tells_servers_from_programs_and_leaves_the_children_of_postgres_alone() {
        assert_eq!(kind("/usr/lib/postgresql/15/bin/postgres -D /x"), Some(Kind::Postgres));
        assert_eq!(kind("postgres: checkpointer "), None);
        assert_eq!(kind("/usr/bin/redis-server /x/redis.conf"), Some(Kind::Redis));
        assert_eq!(kind("valkey-server /x/redis.conf"), Some(Kind::Redis));
        assert_eq!(kind("/target/debug/doorbook-api "), Some(Kind::Program));
    }
}
