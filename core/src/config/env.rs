//! The process environment and `.env`: the only file that reads either.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::dotenv;
use super::fault::{Fault, Faults};

/// Largest `.env` or `X_FILE` read, in bytes: room for any key, and a device or a wrong path cannot fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Read from the working directory, as the service that Doorbook replaces did.
const DOTENV_PATH: &str = ".env";

/// What builds with failpoints do at them. No setting: no release has any.
#[cfg(feature = "failpoints")]
pub(crate) fn failpoints() -> String {
    std::env::var("DOORBOOK_FAILPOINTS").unwrap_or_default()
}

/// The input of all settings: a map, so that tests need not touch the process.
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process, and those of `.env` that the process does not set itself.
    pub fn of_process() -> Result<Self, Faults> {
        Self::of_process_and(Path::new(DOTENV_PATH))
    }

    fn of_process_and(dotenv_path: &Path) -> Result<Self, Faults> {
        // A name that is not UTF-8 is none of ours; a value that is not is refused when it is read.
        let process = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut environment = Self(process.collect());
        environment.fill_from(dotenv_path)?;
        Ok(environment)
    }

    /// What the text of a `.env` file sets, without the process.
    pub fn of_dotenv(text: &str) -> Result<Self, Faults> {
        Ok(dotenv::parse(text)?.into_iter().collect())
    }

    /// Adds what the file sets and the environment does not. A file that does not exist adds nothing.
    fn fill_from(&mut self, dotenv_path: &Path) -> Result<(), Faults> {
        let refuse = |rule: &'static str| Faults::new(vec![Fault { variable: DOTENV_PATH.into(), rule: rule.into() }]);
        let text = match read_text(dotenv_path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(refuse("must be UTF-8 text of at most 1 MiB"));
            }
            Err(_) => return Err(refuse("is present but cannot be read")),
        };
        for (name, value) in dotenv::parse(&text)? {
            self.0.entry(name).or_insert_with(|| value.into());
        }
        Ok(())
    }

    /// Names of all variables, set by whomever.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// The text of a small file, wiped when dropped since it may hold secrets.
pub(super) fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    // Room for the whole file from the start: a buffer that grows leaves copies behind.
    let file = std::fs::File::open(path)?;
    let room = file.metadata()?.len().min(FILE_BYTES_MAX) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(room).map_err(io::Error::other)?);
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bytes.zeroize();
        return Err(io::ErrorKind::InvalidData.into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A file of its own for one test, removed at the end.
    struct TestFile(PathBuf);

    impl TestFile {
        fn with(test: &str, content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("doorbook-env-{test}-{}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            Self(path)
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn the_file_never_overrides_the_real_environment() {
        let file = TestFile::with("override", b"A=file\nB=file\n");
        let mut environment = Environment::from_iter([("A", "process")]);
        environment.fill_from(&file.0).unwrap();
        assert_eq!(environment.get("A"), Some(OsStr::new("process")));
        assert_eq!(environment.get("B"), Some(OsStr::new("file")));
    }

    #[test]
    fn a_file_that_does_not_exist_is_no_fault() {
        let mut environment = Environment::from_iter([("A", "process")]);
        environment.fill_from(Path::new("no-such-directory/.env")).unwrap();
        assert_eq!(environment.0.len(), 1);
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_without_showing_it() {
        let file = TestFile::with("binary", b"SECRET_KEY=canary\xff\xfe");
        let faults = Environment::from_iter([("A", "process")]).fill_from(&file.0).unwrap_err();
        assert!(faults.to_string().starts_with(".env: "), "{faults}");
        assert!(!faults.to_string().contains("canary"));
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let file = TestFile::with("large", &vec![b'#'; 1024 * 1024 + 1]);
        assert!(Environment::from_iter([("A", "process")]).fill_from(&file.0).is_err());
    }

    #[test]
    fn the_process_environment_is_read() {
        let environment = Environment::of_process_and(Path::new("no-such-directory/.env")).unwrap();
        assert_eq!(environment.get("PATH"), std::env::var_os("PATH").as_deref());
    }
}
