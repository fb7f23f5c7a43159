//! Files that a deployment writes or that tell of it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use doorbook_core::config::check::Line;
use doorbook_core::config::{LogFile, Logging, Watching};

use super::deploy::unseen;

const LOG: &str = "log file";
const BACKUP: &str = "last backup";

/// Oldest backup that is still one a day, with time for a long one. Ours.
const BACKUP_AGE_MAX: Duration = Duration::from_hours(26);

/// Clocks of two machines may differ by so much.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_mins(5);

pub fn log_file(logging: Option<&Logging>) -> Line {
    let Some(logging) = logging else { return unseen(LOG, "a setting beside it was refused") };
    let Some(file) = &logging.file else { return Line::ok(LOG, "none: the console alone") };
    match write_probe(file) {
        Ok(()) => Line::ok(LOG, "writable for this user; api and worker may run as another"),
        Err(error) => Line::fail(LOG, format!("{error}: make LOG_FILE's folder, and let the processes write there")),
    }
}

/// Rotation renames, so the folder must be writable, and an existing file appendable. Leaves nothing behind.
fn write_probe(file: &LogFile) -> io::Result<()> {
    let folder = file.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = folder.join(format!(".doorbook-check-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)?;
    for path in ["api", "worker"].map(|process| file.of(process)).iter().filter(|path| path.exists()) {
        OpenOptions::new().append(true).open(path)?;
    }
    Ok(())
}

pub fn last_backup(watching: Option<&Watching>) -> Line {
    let Some(watching) = watching else { return unseen(BACKUP, "a setting beside it was refused") };
    let Some(path) = &watching.backup_stamp_file else {
        return Line::warn(BACKUP, "unknown: set BACKUP_STAMP_FILE to a file that the backup touches");
    };
    match fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(at) => age(super::now().into(), at),
        Err(error) => Line::fail(BACKUP, format!("BACKUP_STAMP_FILE: {error}: has a backup succeeded yet?")),
    }
}

fn age(now: SystemTime, backup: SystemTime) -> Line {
    match now.duration_since(backup) {
        Ok(age) if age <= BACKUP_AGE_MAX => Line::ok(BACKUP, format!("{} hours ago", age.as_secs() / 3_600)),
        Ok(age) => Line::fail(BACKUP, format!("{} hours ago: look why none succeeded since", age.as_secs() / 3_600)),
        Err(ahead) if ahead.duration() <= CLOCK_DIFFERENCE_MAX => Line::ok(BACKUP, "just now"),
        Err(_) => Line::fail(BACKUP, "BACKUP_STAMP_FILE is from the future: check the clocks"),
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::config::check::Verdict;

    use super::*;

    #[test]
    fn a_backup_is_good_for_a_day_and_a_little() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let ago = |hours: u64| age(now, now - Duration::from_hours(hours)).verdict;
        assert_eq!((ago(0), ago(26), ago(27)), (Verdict::Ok, Verdict::Ok, Verdict::Fail));
        assert_eq!(age(now, now + Duration::from_mins(1)).verdict, Verdict::Ok);
        assert_eq!(age(now, now + Duration::from_hours(1)).verdict, Verdict::Fail);
    }
}
