//! Whom the worker tells of what looks like an attack, and from where on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::mail::is_address;
use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;
use crate::alert::Thresholds;

/// Length of a webhook's secret, in bytes. Source: Standard Webhooks, "Signature scheme".
const WEBHOOK_SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

#[derive(Debug)]
pub struct Alerts {
    pub emails: Vec<String>,
    pub webhook: Option<Webhook>,
    pub thresholds: Thresholds,
}

#[derive(Debug)]
pub struct Webhook {
    /// A secret, since many such URLs are all it takes to post.
    pub url: Secret,
    pub secret: Secret<Vec<u8>>,
}

impl Alerts {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let address = |text: &str| is_address(text).then(|| text.to_owned());
        let emails = reader.parsed_list(&registry::ALERT_EMAILS, address);
        let webhook = Webhook::read(reader);
        let thresholds = thresholds(reader);
        Ok(Self { emails: emails?, webhook: webhook?, thresholds: thresholds? })
    }
}

/// From where on rules speak; 0 switches one off.
fn thresholds(reader: &mut Reader<'_>) -> Result<Thresholds, Refused> {
    let window = reader.minutes(&registry::ALERT_WINDOW_MINUTES);
    let long_window = reader.hours(&registry::ALERT_LONG_WINDOW_HOURS);
    let quiet = reader.minutes(&registry::ALERT_QUIET_MINUTES);
    let surge_min = reader.whole(&registry::ALERT_SURGE_MIN);
    let fresh_role = reader.minutes(&registry::ALERT_FRESH_ROLE_MINUTES);
    let mut unless_zero = |variable| reader.whole(variable).map(|number| Some(number).filter(|number| *number > 0));
    let account_failures = unless_zero(&registry::ALERT_ACCOUNT_FAILURES);
    let network_accounts = unless_zero(&registry::ALERT_NETWORK_ACCOUNTS);
    let login_failures = unless_zero(&registry::ALERT_LOGIN_FAILURES);
    let login_blocks = unless_zero(&registry::ALERT_LOGIN_BLOCKS);
    let surge_factor = unless_zero(&registry::ALERT_SURGE_FACTOR);
    let resets = unless_zero(&registry::ALERT_RESETS);
    let registrations = unless_zero(&registry::ALERT_REGISTRATIONS);
    let orders = unless_zero(&registry::ALERT_ORDERS);
    let reveals = unless_zero(&registry::ALERT_REVEALS);
    let mail_failure_percent = unless_zero(&registry::ALERT_MAIL_FAILURE_PERCENT);
    Ok(Thresholds {
        window: window?,
        long_window: long_window?,
        quiet: quiet?,
        account_failures: account_failures?,
        network_accounts: network_accounts?,
        login_failures: login_failures?,
        login_blocks: login_blocks?,
        surge_factor: surge_factor?,
        surge_min: surge_min?,
        resets: resets?,
        registrations: registrations?,
        fresh_role: Some(fresh_role?).filter(|lasts| !lasts.is_zero()),
        orders: orders?,
        reveals: reveals?,
        mail_failure_percent: mail_failure_percent?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhooks_secret_is_as_long_as_the_standard_asks() {
        let secret = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7_u8; length]));
        assert!(webhook_secret(&secret(24)).is_some() && webhook_secret(&secret(64)).is_some());
        for text in [secret(23), secret(65), STANDARD.encode([7; 32]), "whsec_!".to_owned()] {
            assert!(webhook_secret(&text).is_none(), "{text}");
        }
    }
}
