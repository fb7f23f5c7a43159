//! How operators watch over the service: checkpoints of the log, backups, and alerts (`alerts`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::alerts::Alerts;
use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;
use crate::audit::note::Signer;

#[derive(Debug)]
pub struct Watching {
    pub alerts: Alerts,
    pub checkpoints: Checkpoints,
    /// Touched by the operator's backup.
    pub backup_stamp_file: Option<PathBuf>,
    /// Of events about attempts and about mails, of the class that may expire.
    pub attempts_retention: Duration,
    pub notifications_retention: Duration,
}

#[derive(Debug)]
pub struct Checkpoints {
    pub sink: Option<CheckpointSink>,
    /// PEM. None: a service key signs.
    pub private_key: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointSink {
    File(PathBuf),
    Https(Url),
}

impl Watching {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let alerts = Alerts::read(reader);
        let checkpoints = Checkpoints::read(reader);
        let backup_stamp_file = reader.text(&registry::BACKUP_STAMP_FILE);
        let attempts_retention = reader.days(&registry::RETENTION_ATTEMPTS_DAYS);
        let notifications_retention = reader.days(&registry::RETENTION_NOTIFICATIONS_DAYS);
        Ok(Self {
            alerts: alerts?,
            checkpoints: checkpoints?,
            backup_stamp_file: backup_stamp_file?.map(PathBuf::from),
            attempts_retention: attempts_retention?,
            notifications_retention: notifications_retention?,
        })
    }
}

impl Checkpoints {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let sink = reader.given_parsed(&registry::CHECKPOINT_SINK, CheckpointSink::parse);
        let private_key = match reader.secret(&registry::CHECKPOINT_PRIVATE_KEY)? {
            Some(key) if !is_ed25519_key(key.expose()) => {
                return Err(reader.refuse(&registry::CHECKPOINT_PRIVATE_KEY));
            }
            other => other,
        };
        Ok(Self { sink: sink?, private_key })
    }
}

impl CheckpointSink {
    fn parse(text: &str) -> Option<Self> {
        if Path::new(text).is_absolute() {
            return Some(Self::File(text.into()));
        }
        let url = Url::parse(text).ok()?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        match url.scheme() {
            "file" => url.to_file_path().ok().map(Self::File),
            "https" if url.has_host() && is_plain => Some(Self::Https(url)),
            _ => None,
        }
    }
}

fn is_ed25519_key(pem: &str) -> bool {
    Signer::from_pem("checkpoint", pem).is_ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_sink_is_a_file_or_https() {
        let file = |path: &str| Some(CheckpointSink::File(path.into()));
        assert_eq!(CheckpointSink::parse("/var/lib/checkpoints"), file("/var/lib/checkpoints"));
        assert_eq!(CheckpointSink::parse("file:///mnt/worm/log"), file("/mnt/worm/log"));
        assert!(matches!(CheckpointSink::parse("https://sink.example.com/doorbook"), Some(CheckpointSink::Https(_))));
        for text in
            ["checkpoints", "http://sink.example.com/", "https://u:p@sink.example.com/", "s3://bucket", "https://"]
        {
            assert_eq!(CheckpointSink::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_an_ed25519_key_signs_checkpoints() {
        let key = Ed25519KeyPair::generate().unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let pem = |body: &[u8]| {
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(body))
        };
        assert!(is_ed25519_key(&pem(der.as_ref())));
        assert!(!is_ed25519_key(&pem(b"other")) && !is_ed25519_key("key"));
    }
}
