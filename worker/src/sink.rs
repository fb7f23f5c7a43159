//! Where checkpoints go outside the database: a file that grows, or a server that takes them by POST.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorbook_core::config::CheckpointSink;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

/// A server that takes longer to take a few hundred bytes has not taken them.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What follows a whole checkpoint in the file. Without it the last write was broken off.
const END: &[u8; 2] = b"\n\n";

#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("the file cannot be written: {0}")]
    File(#[from] io::Error),
    #[error("the server cannot be reached: {0}")]
    Server(reqwest::Error),
    #[error("the server answered {0}")]
    Refused(StatusCode),
}

pub enum Sink {
    File(PathBuf),
    Https(Client, Url),
}

impl Sink {
    pub fn open(sink: &CheckpointSink) -> Result<Self, SinkError> {
        Ok(match sink {
            CheckpointSink::File(path) => Self::File(path.clone()),
            CheckpointSink::Https(url) => {
                let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).https_only(true);
                Self::Https(client.build().map_err(SinkError::Server)?, url.clone())
            }
        })
    }

    /// Returns once this checkpoint will still be there after a loss of power, or the server has taken it.
    pub async fn write(&self, note: String) -> Result<(), SinkError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let written = tokio::task::spawn_blocking(move || append(&path, &note)).await;
                Ok(written.map_err(io::Error::other)??)
            }
            Self::Https(client, url) => {
                let request = client.post(url.clone()).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(note);
                // The URL may be all that it takes to post.
                let answer = request.send().await.map_err(|error| SinkError::Server(error.without_url()))?;
                if answer.status().is_success() { Ok(()) } else { Err(SinkError::Refused(answer.status())) }
            }
        }
    }
}

fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    let mut text = Vec::with_capacity(note.len() + 2 * END.len());
    if length > 0 {
        let mut end = [0; END.len()];
        if length >= 2 {
            file.seek(SeekFrom::End(-2))?;
            file.read_exact(&mut end)?;
        }
        if end != *END {
            text.extend_from_slice(END);
        }
    }
    text.extend_from_slice(note.as_bytes());
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    if length == 0
        && let Some(folder) = path.parent()
    {
        // The name of a new file is the folder's.
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_is_ended_before_the_next_checkpoint() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sink-test");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("checkpoints-{}", std::process::id()));
        let note = "log\n1\nroot\n\n\u{2014} log sig\n";
        append(&path, note).unwrap();
        append(&path, note).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{note}\n{note}\n"));
        std::fs::write(&path, "log\n1\nro").unwrap();
        append(&path, note).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("log\n1\nro\n\n{note}\n"));
        std::fs::write(&path, "l").unwrap();
        append(&path, note).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("l\n\n{note}\n"));
        std::fs::remove_file(&path).unwrap();
    }
}
