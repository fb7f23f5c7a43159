//! Random passwords of one run, each in a file that only its owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Random bytes of a password; 192 bits, 32 characters that need no quoting in SQL, in a URL or in redis.conf.
const PASSWORD_BYTES: usize = 24;

/// The folder of password files.
pub(crate) struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The password called `name`, made on first use and the same ever after.
    pub(crate) fn get(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        let password = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = random().context("cannot read /dev/urandom")?;
                write_private(&path, &made)?;
                made
            }
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Ok(password)
    }
}

/// A password, base64url without padding.
pub(crate) fn random() -> io::Result<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Writes a file that its owner alone reads, replacing an older one in one step: a crash leaves no half of it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
