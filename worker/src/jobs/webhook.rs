//! Posts one alert to ALERT_WEBHOOK_URL, signed as Standard Webhooks says. The id is the alert's: whoever gets it twice can tell.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorbook_core::config::Webhook;
use doorbook_core::service::Doorbook;
use doorbook_core::service::alerts::Raised;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use serde::Serialize;

use super::Verdict;

/// Who takes longer has not taken it. Source: Standard Webhooks, 15 to 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(15);
/// What has happened; names the shape of the body.
const KIND: &str = "security.alert.raised";

/// The way to the receiver of alerts.
pub struct Hook {
    client: Client,
    url: String,
    key: hmac::Key,
}

impl Hook {
    pub fn open(webhook: &Webhook) -> Result<Self, reqwest::Error> {
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).https_only(true).build()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, webhook.secret.expose());
        Ok(Self { client, url: webhook.url.expose().clone(), key })
    }

    /// Signs what is sent, when, under which id: none of them can be taken for another's.
    fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }

    async fn post(&self, id: &str, seconds: i64, body: String) -> Verdict {
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", self.signature(id, seconds, &body))
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Verdict::Sent { answer: answer.status().to_string() },
            Ok(answer) => Verdict::Deferred { answer: format!("ALERT_WEBHOOK_URL answered {}", answer.status()) },
            // The URL may be all that it takes to post.
            Err(error) => Verdict::Deferred { answer: format!("ALERT_WEBHOOK_URL: {}", error.without_url()) },
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'a>,
}

/// The event, and what it means. Numbers and ids: no address, no name, no network.
#[derive(Serialize)]
struct Data<'a> {
    id: String,
    rule: &'a str,
    about: &'a str,
    severity: &'static str,
    account: Option<String>,
    actor: Option<String>,
    follower: Option<&'a str>,
    count: u64,
    threshold: u64,
    seconds: u64,
    events: Vec<String>,
}

impl<'a> From<&'a Raised> for Body<'a> {
    fn from(alert: &'a Raised) -> Self {
        let evidence = &alert.evidence;
        Self {
            kind: KIND,
            timestamp: alert.at.rfc3339(),
            data: Data {
                id: alert.id.to_string(),
                rule: &alert.rule,
                about: alert.about(),
                severity: alert.severity.as_str(),
                account: alert.account.map(|account| account.to_string()),
                actor: alert.actor.map(|actor| actor.to_string()),
                follower: alert.follower.as_deref(),
                count: evidence.count,
                threshold: evidence.threshold,
                seconds: evidence.seconds,
                events: evidence.events.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

pub async fn run(doorbook: &Doorbook, hook: Option<&Hook>, alert: &Raised) -> Verdict {
    // Read from the same setting as the need.
    let Some(hook) = hook else { return Verdict::Unneeded { reason: "address_removed" } };
    match serde_json::to_string(&Body::from(alert)) {
        Ok(body) => hook.post(&alert.id.to_string(), doorbook.clock.now().seconds(), body).await,
        Err(error) => Verdict::retry(&error),
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::config::Secret;

    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // Computed with Python's hmac module.
        let webhook = Webhook {
            url: Secret::new("https://hooks.example.com/".to_owned()),
            secret: Secret::new(b"0123456789abcdef0123456789abcdef".to_vec()),
        };
        let hook = Hook::open(&webhook).unwrap();
        let signature = hook.signature("msg_1", 1_674_087_231, r#"{"a":1}"#);
        assert_eq!(signature, "v1,c9lhjcxcymv8/2VlKN9YRwiXq2vINjMBBrf/LxiKlvQ=");
    }
}
