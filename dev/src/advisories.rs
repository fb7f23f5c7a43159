//! Known vulnerabilities of what the lock file names, from a copy of RustSec's database: what is published changes without any
//! change of ours, so this is no part of every build. `ADVISORY_DB` names the copy; without it nothing is checked, and said so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::checks::ROOT;
use crate::prepare::cargo;

/// The variable that names a checkout of RustSec's advisory-db.
const ADVISORY_DB: &str = "ADVISORY_DB";

/// Name under which cargo-deny looks for its default database. Source: what version 0.20.2 makes of the database's URL.
const CACHED_AS: &str = "advisory-db-3157b0e258782691";

/// Checks the lock file, and that no exception of `deny.toml` has run out. `None`: not run, because there is no database.
pub fn check() -> Result<Option<()>> {
    let Some(database) = std::env::var_os(ADVISORY_DB).map(PathBuf::from) else {
        println!("not run: {ADVISORY_DB} names no checkout of RustSec's advisory-db");
        return Ok(None);
    };
    let today = today()?;
    for (id, until) in exceptions()? {
        ensure!(
            until >= today,
            "the exception for {id} in deny.toml ended on {until}: update, or give a new reason and date"
        );
    }
    let database = database.canonicalize().with_context(|| format!("{ADVISORY_DB}: no such folder"))?;
    let folder = Path::new(ROOT).join("target/advisories");
    fs::create_dir_all(&folder).context("cannot make a folder below target")?;
    let link = folder.join(CACHED_AS);
    if link.is_symlink() {
        fs::remove_file(&link).context("cannot remove an old link")?;
    }
    symlink(&database, &link).context("cannot link to the database")?;
    let place = format!("[advisories]\ndb-path = \"{}\"", folder.canonicalize().context("no folder")?.display());
    let configuration = folder.join("deny.toml");
    fs::write(&configuration, rules()?.replacen("[advisories]", &place, 1)).context("cannot write a configuration")?;
    let status = Command::new(cargo())
        .args(["deny", "--offline", "--log-level", "error", "--config"])
        .arg(&configuration)
        .args(["check", "advisories"])
        .current_dir(ROOT)
        .status()
        .context("cannot run cargo deny")?;
    ensure!(status.success(), "there are advisories against what Cargo.lock names");
    Ok(Some(()))
}

/// Advisories that `deny.toml` leaves out, with the last day on which it may: `reason = "…; until 2027-02-28"`.
pub fn exceptions() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for line in rules()?.lines().filter(|line| line.contains("id = \"RUSTSEC-")) {
        let id = line.split('"').nth(1).unwrap_or_default().to_owned();
        let until = line.split_once("; until ").and_then(|(_, rest)| rest.get(..10));
        let until = until.with_context(|| format!("deny.toml: the exception for {id} has no end"))?;
        let is_date = until.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        ensure!(is_date, "deny.toml: the exception for {id} ends on {until}, which is no date");
        found.push((id, until.to_owned()));
    }
    Ok(found)
}

fn rules() -> Result<String> {
    fs::read_to_string(Path::new(ROOT).join("deny.toml")).context("cannot read deny.toml")
}

/// The day by UTC, as `deny.toml` writes days.
pub fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%F"]).output().context("cannot run date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
