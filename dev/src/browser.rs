//! A real browser: Chromium of the system, driven by the tests under `e2e/`, which run in Node.js.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::checks::ROOT;
use crate::install;

/// Runs one file of `e2e/` to its end; what it printed. An error when a test of it fails.
pub async fn run(file: &str, environment: &[(&str, &str)]) -> Result<String> {
    let chromium = tokio::task::spawn_blocking(install::chromium).await.context("the installer panicked")??;
    let folder = modules().await?;
    let output = Command::new("node")
        .args(["--test", "--test-reporter=spec"])
        .arg(folder.join(file))
        .env("CHROMIUM", chromium)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("Node.js is needed")?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{file} failed:\n{text}");
    Ok(text)
}

/// `e2e/` with its modules in exactly the versions of the lock file.
async fn modules() -> Result<PathBuf> {
    let folder = Path::new(ROOT).join("e2e");
    let wanted = fs::read_to_string(folder.join("package-lock.json")).context("cannot read the versions of modules")?;
    let lock = File::create(std::env::temp_dir().join("doorbook-e2e.lock")).context("cannot make a lock")?;
    lock.lock().context("cannot wait for another installation")?;
    let stamp = folder.join("node_modules/.doorbook-versions");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    tokio::task::spawn_blocking(install::npm).await.context("the installer panicked")??;
    let output = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .await
        .context("npm is needed")?;
    ensure!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(&stamp, wanted).context("cannot note the versions")?;
    Ok(folder)
}
