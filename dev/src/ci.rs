//! `cargo dev -- ci`: the checks of a change, with the minutes of each phase.

use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::advisories;
use crate::prepare::cargo;

/// Version of cargo-deny that the checks use; installed when it is not there.
const DENY_VERSION: &str = "0.20.2";

/// A phase: its name and the commands that must succeed, each as arguments of cargo.
const PHASES: &[(&str, &[&[&str]])] = &[
    ("format", &[&["fmt", "--all", "--check"]]),
    ("queries", &[&["run", "--quiet", "--bin", "doorbook-dev", "--", "prepare", "--check"]]),
    ("lint", &[&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]]),
    ("test", &[&["test", "--no-fail-fast"]]),
    ("tour", &[&["run", "--quiet", "--bin", "doorbook-dev", "--", "--folder", ".dev/ci", "--tour"]]),
    ("faults", &[&["run", "--quiet", "--bin", "doorbook-faults", "--", "short", "--seed", "1"]]),
    ("licences, bans, sources", &[&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]]),
];

/// Runs every phase, also after one has failed, and fails if any did.
pub fn ci() -> Result<()> {
    let mut failed = Vec::new();
    let mut minutes = Vec::new();
    // More than one a core: most tests wait for a server half of their time.
    let threads = available_parallelism().context("cannot count the cores")?.get() + 1;
    install_deny()?;
    for (name, commands) in PHASES {
        println!("\n━━ {name}");
        let started = Instant::now();
        for arguments in *commands {
            let status = Command::new(cargo())
                .args(*arguments)
                // A phase sees what a developer's shell would give it, not what cargo gave this program.
                .env_remove("CARGO_MANIFEST_DIR")
                .env_remove("DATABASE_URL")
                .env("RUST_TEST_THREADS", threads.to_string())
                .status()
                .context("cannot run cargo")?;
            if !status.success() {
                failed.push(*name);
            }
        }
        minutes.push((*name, started.elapsed()));
    }
    println!("\n━━ advisories");
    let started = Instant::now();
    match advisories::check() {
        Ok(Some(())) => minutes.push(("advisories", started.elapsed())),
        Ok(None) => {}
        Err(error) => {
            eprintln!("{error:#}");
            failed.push("advisories");
        }
    }
    println!("\n━━ minutes a phase");
    for (name, elapsed) in &minutes {
        println!("{:>6.1}  {name}", in_minutes(*elapsed));
    }
    println!("{:>6.1}  all", in_minutes(minutes.iter().map(|(_, elapsed)| *elapsed).sum()));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn in_minutes(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() / 60.0
}

fn install_deny() -> Result<()> {
    let found = Command::new(cargo()).args(["deny", "--version"]).output();
    if found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(DENY_VERSION)) {
        return Ok(());
    }
    println!("installing cargo-deny {DENY_VERSION}");
    // Unoptimised: it runs for seconds, and is built for minutes otherwise.
    let status = Command::new(cargo())
        .args(["install", "--quiet", "--locked", "--debug", "cargo-deny", "--version", DENY_VERSION])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo-deny cannot be installed");
    Ok(())
}
