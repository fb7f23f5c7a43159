//! A received mail, and what people and tests look for in one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mail_parser::MessageParser;
use tokio::io::AsyncWriteExt;
use url::Url;

/// Names tried for a mail's file.
const FILES_MAX: u32 = 1_000_000;

/// The addresses of MAIL and RCPT.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    pub from: String,
    pub to: Vec<String>,
}

/// A mail as it was accepted.
#[derive(Clone, Debug)]
pub struct Mail {
    pub envelope: Envelope,
    /// Headers and body, dots unstuffed.
    pub raw: Arc<[u8]>,
    /// When its final dot came.
    pub at: Instant,
    /// The decoded subject; empty if there is none.
    pub subject: String,
    /// The decoded text part; empty if there is none.
    pub text: String,
}

impl Mail {
    pub(super) fn new(envelope: Envelope, raw: Vec<u8>) -> Self {
        let message = MessageParser::default().parse(&raw);
        let subject = message.as_ref().and_then(|message| message.subject()).unwrap_or_default().to_owned();
        let text = message.as_ref().and_then(|message| message.body_text(0)).unwrap_or_default().into_owned();
        Self { envelope, at: Instant::now(), subject, text, raw: raw.into() }
    }

    /// Whether `address` is a recipient of the envelope.
    pub fn is_to(&self, address: &str) -> bool {
        self.envelope.to.iter().any(|recipient| recipient == address)
    }

    /// The first link in the text.
    pub fn link(&self) -> Option<Url> {
        let start = ["https://", "http://"].iter().filter_map(|scheme| self.text.find(scheme)).min()?;
        let rest = &self.text[start..];
        let end = rest.find(|letter: char| letter.is_whitespace() || "<>\"'".contains(letter)).unwrap_or(rest.len());
        Url::parse(rest[..end].trim_end_matches(['.', ',', ')'])).ok()
    }

    /// The `token` in the query of the first link.
    pub fn token(&self) -> Option<String> {
        self.link()?.query_pairs().find(|(name, _)| name == "token").map(|(_, value)| value.into_owned())
    }

    /// Writes it as text to a file of its own, numbered after those already in `folder`.
    pub(super) async fn save(&self, folder: &Path) -> Result<()> {
        let to = self.envelope.to.join(", ");
        let text = format!("To: {to}\nSubject: {}\n\n{}\n", self.subject, self.text);
        let name: String = to.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
        let name: String = name.chars().take(40).collect();
        for number in 1..FILES_MAX {
            let path = folder.join(format!("{number:04}-{name}.txt"));
            match tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
                Ok(mut file) => {
                    file.write_all(text.as_bytes()).await.context("cannot write a mail")?;
                    return file.flush().await.context("cannot write a mail");
                }
            }
        }
        bail!("{} is full", folder.display())
    }
}
