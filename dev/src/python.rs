//! Python programs: each lives in an environment of its own below the target folder, with packages in exactly the versions of a list.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::checks::ROOT;
use crate::process::profile_folder;

/// The folder of the environment's programs, `python` among them. It is made if it is not there in these versions.
pub async fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let requirements = Path::new(ROOT).join(requirements);
    let wanted = fs::read_to_string(&requirements).with_context(|| format!("cannot read the versions of {name}"))?;
    let folder = profile_folder()?.parent().context("the binaries' folder has no parent")?.to_owned();
    let environment = folder.join(name);
    let (programs, stamp) = (environment.join("bin"), environment.join("versions"));
    let lock = File::create(folder.join(format!("{name}.lock"))).context("cannot make a lock")?;
    lock.lock().context("cannot wait for another installation")?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(programs);
    }
    if environment.exists() {
        fs::remove_dir_all(&environment).with_context(|| format!("cannot remove an earlier {name}"))?;
    }
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        .await
        .context("Python 3 with venv is needed")?;
    let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
    succeed(Command::new(programs.join("pip")).args(quiet).arg(&requirements)).await?;
    fs::write(&stamp, wanted).context("cannot note the versions")?;
    Ok(programs)
}

async fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
