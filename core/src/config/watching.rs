//! How operators watch over the service: alerts, checkpoints of the log, backups.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::mail::is_address;
use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;
use crate::audit::note::Signer;

/// Length of a webhook's secret, in bytes. Source: Standard Webhooks, "Signature scheme".
const WEBHOOK_SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

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
pub struct Alerts {
    pub emails: Vec<String>,
    pub webhook: Option<Webhook>,
    /// None never raises one.
    pub login_failures: Option<u32>,
    pub login_blocks: Option<u32>,
}

#[derive(Debug)]
pub struct Webhook {
    /// A secret, since many such URLs are all it takes to post.
    pub url: Secret,
    pub secret: Secret<Vec<u8>>,
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

impl Alerts {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let address = |text: &str| is_address(text).then(|| text.to_owned());
        let emails = reader.parsed_list(&registry::ALERT_EMAILS, address);
        let webhook = Webhook::read(reader);
        let login_failures = reader.whole(&registry::ALERT_LOGIN_FAILURES);
        let login_blocks = reader.whole(&registry::ALERT_LOGIN_BLOCKS);
        Ok(Self {
            emails: emails?,
            webhook: webhook?,
            login_failures: Some(login_failures?).filter(|count| *count > 0),
            login_blocks: Some(login_blocks?).filter(|count| *count > 0),
        })
    }
}

impl Webhook {
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Refused> {
        let url = reader.secret(&registry::ALERT_WEBHOOK_URL);
        let secret = reader.secret(&registry::ALERT_WEBHOOK_SECRET);
        let (url, secret) = match (url?, secret?) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(reader.missing(&registry::ALERT_WEBHOOK_SECRET)),
            (None, Some(_)) => return Err(reader.missing(&registry::ALERT_WEBHOOK_URL)),
            (Some(url), Some(secret)) => (url, secret),
        };
        let is_https = Url::parse(url.expose()).is_ok_and(|url| url.scheme() == "https" && url.has_host());
        let url = if is_https { Ok(url) } else { Err(reader.refuse(&registry::ALERT_WEBHOOK_URL)) };
        let secret = webhook_secret(secret.expose()).ok_or_else(|| reader.refuse(&registry::ALERT_WEBHOOK_SECRET));
        Ok(Some(Self { url: url?, secret: secret? }))
    }
}

fn webhook_secret(text: &str) -> Option<Secret<Vec<u8>>> {
    let key = STANDARD.decode(text.strip_prefix(WEBHOOK_SECRET_PREFIX)?).ok().map(Secret::new)?;
    WEBHOOK_SECRET_BYTES.contains(&key.expose().len()).then_some(key)
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
    fn a_webhooks_secret_is_as_long_as_the_standard_asks() {
        let secret = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7_u8; length]));
        assert!(webhook_secret(&secret(24)).is_some() && webhook_secret(&secret(64)).is_some());
        for text in [secret(23), secret(65), STANDARD.encode([7; 32]), "whsec_!".to_owned()] {
            assert!(webhook_secret(&text).is_none(), "{text}");
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
