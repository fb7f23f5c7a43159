//! The log file: renamed by size, written by a thread of its own. A disk that is full or slow costs lines of the file, which are
//! counted, and never a request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::metrics::LOG_FILE_FAILURES;
use crate::config;

/// Lines that may wait for the disk. With some 300 bytes a line these are a few megabytes.
const WAITING_MAX: usize = 8_192;
/// A file that could not be written is tried again after this time at the earliest.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// At the end of the process the disk gets this long for what still waits.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
/// Lines hold addresses of clients: not for every user of the machine.
const MODE: u32 = 0o640;

enum Message {
    Line(Vec<u8>),
    /// Answered when every line before it has been written or given up.
    Flush(SyncSender<()>),
}

/// The way to the file; cheap to clone.
#[derive(Clone)]
pub(super) struct LogFile(SyncSender<Message>);

impl LogFile {
    /// The file of one process. Nothing is opened yet.
    pub(super) fn start(settings: &config::LogFile, process_name: &str) -> io::Result<Self> {
        let file = Rotating {
            path: settings.of(process_name),
            max_bytes: settings.max_bytes,
            backups: settings.backups,
            open: None,
        };
        let (sender, receiver) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("log-file".to_owned()).spawn(move || serve(file, &receiver))?;
        Ok(Self(sender))
    }

    /// Hands a line over; never waits.
    pub(super) fn write(&self, line: &[u8]) {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            LOG_FILE_FAILURES.add(1);
        }
    }

    /// Waits a moment for what was handed over.
    pub(super) fn flush(&self) {
        let (sender, receiver) = sync_channel(1);
        if self.0.try_send(Message::Flush(sender)).is_ok() {
            // Whether the disk took it in time changes nothing at the end.
            let _ = receiver.recv_timeout(FLUSH_WITHIN);
        }
    }
}

/// What the thread does until the process ends.
fn serve(mut file: Rotating, messages: &Receiver<Message>) {
    let mut failed_at: Option<Instant> = None;
    let mut lost: u64 = 0;
    while let Ok(message) = messages.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::Flush(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        let written = match failed_at {
            Some(at) if at.elapsed() < RETRY_AFTER => None,
            _ => Some(file.write(&line)),
        };
        if let Some(Ok(())) = written {
            if failed_at.take().is_some() {
                tracing::info!(target: "doorbook::log", lost, "the log file is written again");
                lost = 0;
            }
            continue;
        }
        LOG_FILE_FAILURES.add(1);
        lost += 1;
        if let Some(Err(error)) = written {
            // One line when it begins, on the console; the counter tells the rest.
            if failed_at.replace(Instant::now()).is_none() {
                tracing::error!(target: "doorbook::log", %error, "the log file cannot be written: lines go to the console alone");
            }
        }
    }
}

struct Rotating {
    path: PathBuf,
    max_bytes: u64,
    backups: u32,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and number: another name for the file.
    identity: (u64, u64),
}

impl Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let result = self.try_write(line);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut length = self.current()?;
        if self.is_full(length, line.len()) {
            self.rotate()?;
            length = self.current()?;
        }
        let Some(open) = &mut self.open else { return Err(ErrorKind::NotFound.into()) };
        open.file.write_all(line).inspect_err(|_| {
            // Half a line would spoil the next one. The length is read before each write, so this cuts what is ours.
            let _ = open.file.set_len(length);
        })
    }

    fn is_full(&self, length: u64, more: usize) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.max_bytes > 0 && self.backups > 0 && length > 0 && length.saturating_add(more) > self.max_bytes
    }

    /// Opens the file if it is not open, or if somebody else has renamed it meanwhile; its length.
    fn current(&mut self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Ok(found) if self.open.as_ref().is_some_and(|open| open.identity == identity(&found)) => {
                return Ok(found.len());
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(&self.path)?;
        let found = file.metadata()?;
        self.open = Some(Open { file, identity: identity(&found) });
        Ok(found.len())
    }

    /// Renames `.1` to `.2` and so on, the oldest being replaced, and the file itself to `.1`.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        // Two processes of one kind on one machine may want this at once; the second finds another file at the path.
        open.file.lock()?;
        if fs::metadata(&self.path).is_ok_and(|found| identity(&found) == open.identity) {
            for number in (1..self.backups).rev() {
                rename(&self.numbered(number), &self.numbered(number + 1))?;
            }
            rename(&self.path, &self.numbered(1))?;
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is gone after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/log-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, max_bytes: u64, backups: u32) -> Rotating {
            Rotating { path: self.0.join("a.log"), max_bytes, backups, open: None }
        }

        fn texts(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    /// Breaks when `core/src/telemetry/file.rs`: `(1..self.backups).rev()` → `1..self.backups`.
    #[test]
    fn a_full_file_moves_on_by_one_number_and_the_oldest_goes() {
        let folder = Folder::new("numbers");
        let mut file = folder.file(8, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        assert_eq!(folder.texts(), pairs(&[("a.log", "five\n"), ("a.log.1", "four\n"), ("a.log.2", "three\n")]));
    }

    #[test]
    fn a_line_that_is_too_long_has_a_file_of_its_own_and_nothing_is_renamed_without_backups() {
        let folder = Folder::new("long");
        let mut file = folder.file(4, 1);
        for line in ["a line that is too long\n", "two\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        assert_eq!(folder.texts(), pairs(&[("a.log", "two\n"), ("a.log.1", "a line that is too long\n")]));
        for (max_bytes, backups) in [(0, 5), (4, 0)] {
            folder.file(max_bytes, backups).write(b"three\n").unwrap();
        }
        assert_eq!(folder.texts()[0].1, "two\nthree\nthree\n");
    }

    /// Breaks when `core/src/telemetry/file.rs`: `Ok(found) if self.open.as_ref().is_some_and(|open| open.identity == identity(&found)) => {` → `Ok(found) if self.open.is_some() => {`.
    #[test]
    fn a_file_that_another_process_has_renamed_is_left_to_it() {
        let folder = Folder::new("renamed");
        let (mut ours, mut theirs) = (folder.file(8, 3), folder.file(8, 3));
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            ours.write(line.as_bytes()).unwrap();
            theirs.write(line.as_bytes()).unwrap();
        }
        let expected = [("a.log", "four\n"), ("a.log.1", "four\n"), ("a.log.2", "three\n"), ("a.log.3", "three\n")];
        assert_eq!(folder.texts(), pairs(&expected));
    }
}
