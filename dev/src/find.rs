//! Finds installed servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest Postgres that the service supports.
pub(crate) const POSTGRES_OLDEST: u32 = 15;

/// Folders outside PATH where packages put servers; `*` stands for one component with a version in it.
const USUAL: [&str; 12] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/sbin",
];

/// Folders where packages put libfaketime.
const FAKETIME: [&str; 3] = ["/usr/lib/*/faketime", "/usr/lib64/faketime", "/usr/lib/faketime"];

/// Names of a Redis server, best first.
const REDIS_NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// The folder with `initdb` and `postgres` of the newest supported version.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let versioned = folders().into_iter().filter(complete).filter_map(|folder| Some((version(&folder)?, folder)));
    versioned.filter(|(version, _)| *version >= POSTGRES_OLDEST).max().map(|(_, folder)| folder)
}

/// The Redis or Valkey executable.
pub(crate) fn redis_server() -> Option<PathBuf> {
    let folders = folders();
    let mut candidates = REDIS_NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|path| path.is_file())
}

/// An executable on PATH or in the usual places.
pub(crate) fn executable(name: &str) -> Option<PathBuf> {
    folders().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The library that shows a process another time, in the form for programs with threads.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = FAKETIME.iter().flat_map(|pattern| expand(Path::new(pattern)));
    folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|path| path.is_file())
}

fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(USUAL.iter().flat_map(|pattern| expand(Path::new(pattern)))).collect()
}

/// Folders that match a pattern with `*` in at most one component.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        let part = part.to_string_lossy();
        found = match part.split_once('*') {
            None => found.iter().map(|folder| folder.join(&*part)).collect(),
            Some((start, end)) => found.iter().flat_map(|folder| matches(folder, start, end)).collect(),
        };
    }
    found
}

fn matches(folder: &Path, start: &str, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(start) && name.ends_with(end)).map(|name| folder.join(name)).collect()
}

fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`, `… 18beta1`.
fn major(text: &str) -> Option<u32> {
    let after = text.split_once("(PostgreSQL) ")?.1;
    after.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{expand, major};
    use std::path::Path;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(major("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn a_star_stands_for_any_version_in_one_component() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("s*c/lib.rs");
        assert_eq!(expand(&crates), [Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")]);
        assert!(expand(Path::new("/no such folder/*/bin")).is_empty());
    }
}
