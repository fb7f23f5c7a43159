//! Mails as files.

use std::io;
use std::path::Path;

use time::UtcOffset;
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use super::{Accepted, SendError};
use crate::message::OutgoingMail;

/// Only the owner reads: the mails have valid links in them.
const MODE: u32 = 0o600;

pub(super) async fn send(folder: &Path, mail: &OutgoingMail) -> Result<Accepted, SendError> {
    let name = file_name(mail);
    match write(folder, &name, mail.as_bytes()).await {
        Ok(()) => Ok(Accepted { server_answer: format!("written to {name}") }),
        Err(error) => Err(deferred(&error)),
    }
}

pub(super) async fn check(folder: &Path) -> Result<(), SendError> {
    fs::create_dir_all(folder).await.map_err(|error| deferred(&error))
}

/// Under a hidden name first, then renamed: who watches the folder never sees half a mail. No fsync: nobody's mail is
/// lost with a development folder.
async fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder).await?;
    let unfinished = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(MODE).open(&unfinished).await?;
    file.write_all(bytes).await?;
    file.flush().await?;
    drop(file);
    fs::rename(&unfinished, folder.join(name)).await
}

/// Sorts by the mail's date; a repeated attempt with the same date and Message-ID replaces the file.
fn file_name(mail: &OutgoingMail) -> String {
    let at = mail.date.to_offset(UtcOffset::UTC);
    // Of an id's characters only these are harmless in a file name everywhere; no path can come out of it.
    let id: String = mail
        .message_id
        .as_str()
        .trim_matches(['<', '>'])
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.@".contains(c) { c } else { '_' })
        .collect();
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}.{:06}Z-{id}.eml",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

fn deferred(error: &io::Error) -> SendError {
    SendError::Deferred { answer: format!("mail folder: {error}") }
}
