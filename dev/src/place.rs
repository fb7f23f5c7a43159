//! Where the data of a run lies, and as whom its servers run.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use uuid::Uuid;

use crate::secret;

/// The user that servers run as when we are root: Postgres refuses to run as root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Users to run servers as, best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// `None` unless we are root.
pub(crate) fn server_user() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    for name in UNPRIVILEGED {
        if let (Some(uid), Some(gid)) = (id("-u", name)?, id("-g", name)?) {
            return Ok(Some(User { uid, gid }));
        }
    }
    bail!("running as root, and there is no user {} to run Postgres as", UNPRIVILEGED.join(" or "))
}

fn id(what: &str, name: &str) -> Result<Option<u32>> {
    let output = Command::new("id").args([what, name]).output().context("cannot run id")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success()))
}

/// Makes a folder of our own below the system's temporary one.
pub(crate) fn temporary() -> Result<PathBuf> {
    let name = secret::random().context("cannot read /dev/urandom")?;
    let folder = std::env::temp_dir().join(format!("doorbook-test-{name}"));
    create(&folder)?;
    ensure!(
        server_user()?.is_none() || traversable(&folder),
        "{} cannot be entered by an unprivileged user; set TMPDIR to a folder that can",
        folder.display()
    );
    Ok(folder)
}

/// The folder for the servers of the checkout whose `.dev` this is: `.dev` itself, or, when the servers' user cannot
/// enter that (a checkout in root's home), one below the temporary folder, to which `.dev/place` points.
pub(crate) fn kept(dot_dev: &Path) -> Result<PathBuf> {
    create(dot_dev)?;
    let dot_dev = dot_dev.canonicalize().with_context(|| format!("cannot resolve {}", dot_dev.display()))?;
    if server_user()?.is_none() || traversable(&dot_dev) {
        return Ok(dot_dev);
    }
    let folder = elsewhere(&dot_dev);
    create(&folder)?;
    let pointer = dot_dev.join("place");
    fs::write(&pointer, format!("{}\n", folder.display()))
        .with_context(|| format!("cannot write {}", pointer.display()))?;
    Ok(folder)
}

/// The place below the temporary folder that stands for `dot_dev`; the same for the same path.
pub(crate) fn elsewhere(dot_dev: &Path) -> PathBuf {
    let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, dot_dev.as_os_str().as_encoded_bytes());
    std::env::temp_dir().join(format!("doorbook-{}", name.simple()))
}

/// Creates a folder that others may pass through but not list; an existing one must be ours, since anyone may have put
/// one (or a link) at a name below the temporary folder.
fn create(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o711).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", folder.display()));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    ensure!(
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw(),
        "{} is not a folder of this user",
        folder.display()
    );
    Ok(())
}

fn traversable(folder: &Path) -> bool {
    const OTHERS_MAY_PASS: u32 = 0o001;
    folder
        .ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|found| found.permissions().mode() & OTHERS_MAY_PASS != 0))
}
