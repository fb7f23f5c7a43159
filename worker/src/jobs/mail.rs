//! Sends one delivery: is it still needed, what does it say, does the server take it?

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use doorbook_core::clock::Timestamp;
use doorbook_core::service::Doorbook;
use doorbook_core::service::alert_mail::{AlertTo, ReadyAlert};
use doorbook_core::service::append::MailContext;
use doorbook_core::service::mail::{Prepared, ReadyMail, message_id};
use doorbook_core::store::jobs::Claimed;
use doorbook_core::store::query::deliveries::DeliveryRow;
use doorbook_core::value::{self, DeliveryId};
use doorbook_mail::{
    Alert, Device, Link, Locale, MessageError, MessageId, Origin, OutgoingMail, OwnWording, Recipient, Remedy,
    RenderError, Sender, Template, Transport,
};
use time::OffsetDateTime;
use url::Url;

use super::frontend::Frontend;
use super::{Outlets, Told, Verdict, webhook};
use crate::pacing::{Pacing, Passage};

/// Mails in a row that no server took before the heartbeat calls mail failing: one greylisted recipient is not enough.
const FAILING_FROM: u32 = 3;

/// The way out of mails: server, sender and the pages that links lead to.
pub struct Post {
    transport: Transport,
    sender: Sender,
    frontend: Frontend,
    own: OwnWording,
    pacing: Pacing,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    known: bool,
    deferred: u32,
    since: Option<Timestamp>,
}

impl Post {
    pub fn new(transport: Transport, sender: Sender, frontend: Url, own: OwnWording) -> Self {
        Self {
            transport,
            sender,
            frontend: Frontend(frontend),
            own,
            pacing: Pacing::default(),
            health: Mutex::default(),
        }
    }

    /// What the heartbeat says of mail: `unknown` until the first one, `ok`, or `failing since` and a time.
    pub fn state(&self) -> String {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match health.since {
            Some(since) if health.deferred >= FAILING_FROM => format!("failing since {}", since.rfc3339()),
            _ if health.known => "ok".to_owned(),
            _ => "unknown".to_owned(),
        }
    }

    fn note(&self, taken: bool, now: Timestamp) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if taken {
            *health = Health { known: true, ..Health::default() };
        } else {
            health.deferred += 1;
            health.since.get_or_insert(now);
        }
    }
}

pub async fn run(doorbook: &Doorbook, outlets: &Outlets, job: &Claimed) -> Told {
    match doorbook.delivery(DeliveryId(job.reference)).await {
        Ok(Some(row)) => Told { verdict: send(doorbook, outlets, job, &row).await, delivery: Some(row) },
        Ok(None) => Verdict::Unneeded { reason: "no_delivery" }.into(),
        Err(error) => Verdict::retry(&error).into(),
    }
}

async fn send(doorbook: &Doorbook, outlets: &Outlets, job: &Claimed, row: &DeliveryRow) -> Verdict {
    let post = &outlets.post;
    let composed = match doorbook.prepare_mail(row).await {
        Ok(Prepared::Send(mail)) => compose(&mail, post),
        Ok(Prepared::Alert(ready)) => match &ready.to {
            AlertTo::Operator(address) => compose_alert(&ready, address, post),
            AlertTo::Webhook => return webhook::run(doorbook, outlets.hook.as_ref(), &ready.alert).await,
        },
        Ok(Prepared::Unneeded { reason }) => return Verdict::Unneeded { reason },
        Ok(Prepared::Settled) => return Verdict::Done,
        Err(error) => return Verdict::retry(&error),
    };
    let message = match composed {
        Ok(message) => message,
        Err(ComposeError::Recipient) => return Verdict::Refused { answer: ComposeError::Recipient.to_string() },
        Err(error) => return Verdict::retry(&error),
    };
    match post.pacing.send(doorbook, &post.transport, &message, job).await {
        Ok(Passage { verdict, taken }) => {
            if let Some(taken) = taken {
                post.note(taken, doorbook.clock.now());
            }
            verdict
        }
        Err(error) => Verdict::retry(&error),
    }
}

#[derive(Debug, thiserror::Error)]
enum ComposeError {
    /// May come from a newer release that is being rolled out: the mail waits for a worker that knows it.
    #[error("this release has no wording for the template {0:?}")]
    Wording(String),
    #[error("the delivery of template {0:?} has no token")]
    Token(String),
    #[error("the recipient's address cannot be written into a message")]
    Recipient,
    #[error(transparent)]
    Message(MessageError),
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl From<MessageError> for ComposeError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Recipient => Self::Recipient,
            other => Self::Message(other),
        }
    }
}

fn compose(mail: &ReadyMail, post: &Post) -> Result<OutgoingMail, ComposeError> {
    let locale = match mail.locale {
        value::Locale::En => Locale::En,
        value::Locale::Es => Locale::Es,
    };
    let recipient = Recipient { first_name: Some(&mail.first_name) };
    let host = post.frontend.host();
    let rendered = post.own.render(&template(mail, &post.frontend)?, locale, &recipient, host)?;
    // The delivery's own time: every attempt makes the same message, byte for byte but for the multipart boundary.
    let id = MessageId::parse(&message_id(mail.delivery, &mail.template, host))?;
    Ok(OutgoingMail::compose(&post.sender, &mail.to, &id, utc(mail.created_at), &rendered)?)
}

fn compose_alert(ready: &ReadyAlert, to: &str, post: &Post) -> Result<OutgoingMail, ComposeError> {
    let ReadyAlert { delivery, template, alert, created_at, .. } = ready;
    let account = alert.account.map(|id| format!("Account: {id}"));
    let actor = alert.actor.map(|id| format!("Done by: {id}"));
    let follower = alert.follower.as_ref().map(|name| format!("View: {name}"));
    let words = Template::SecurityAlert(Alert {
        at: utc(alert.at),
        about: alert.about().to_owned(),
        rule: alert.rule.clone(),
        severity: alert.severity.as_str().to_owned(),
        subjects: [account, actor, follower].into_iter().flatten().collect(),
        count: alert.evidence.count,
        threshold: alert.evidence.threshold,
        seconds: alert.evidence.seconds,
        id: alert.id.to_string(),
    });
    if words.name() != template {
        return Err(ComposeError::Wording(template.clone()));
    }
    let host = post.frontend.host();
    let rendered = post.own.render(&words, Locale::En, &Recipient::default(), host)?;
    let id = MessageId::parse(&message_id(*delivery, template, host))?;
    Ok(OutgoingMail::compose(&post.sender, to, &id, utc(*created_at), &rendered)?)
}

fn template(mail: &ReadyMail, frontend: &Frontend) -> Result<Template, ComposeError> {
    let link = |path: &str| {
        let (_, token) = mail.token.as_ref().ok_or_else(|| ComposeError::Token(mail.template.clone()))?;
        Ok::<Link, ComposeError>(frontend.with_token(path, token.expose()))
    };
    let MailContext { at, address, user_agent, about } = &mail.context;
    let origin = Origin { at: utc(*at), address: client_address(address), device: Device::of(user_agent) };
    let role = || about.clone().unwrap_or_default();
    let reset_page = || frontend.page("reset-password");
    let remedy = || match link("not-me") {
        Ok(link) => Remedy::NotMe { link, valid_days: valid(mail, DAY_SECONDS) },
        Err(_) => Remedy::ResetPage(reset_page()),
    };
    let (valid_hours, valid_days) = (valid(mail, HOUR_SECONDS), valid(mail, DAY_SECONDS));
    let new_address = || mail.account_email.clone();
    Ok(match mail.template.as_str() {
        "verify" => Template::Verify { origin, link: link("verify-email")?, valid_hours },
        "registration_attempt" => Template::RegistrationAttempt { origin, reset_page: frontend.page("reset-password") },
        "registration_unverified" => {
            Template::RegistrationUnverified { origin, link: link("reset-password")?, valid_hours }
        }
        "reset" => Template::Reset { link: link("reset-password")?, valid_hours },
        "reset_forced" => Template::ResetForced { link: link("reset-password")?, valid_hours },
        "reset_frozen" => Template::ResetFrozen { link: link("reset-password")?, valid_hours },
        "password_changed" => Template::PasswordChanged { origin, remedy: remedy() },
        "password_reset_done" => Template::PasswordResetDone { origin, remedy: remedy() },
        "email_change_confirm" => Template::EmailChangeConfirm { link: link("confirm-email")?, valid_hours },
        "email_change_notice" => {
            Template::EmailChangeNotice { origin, new_address: new_address(), undo: link("undo-email")?, valid_days }
        }
        "email_changed" => Template::EmailChanged { origin, new_address: new_address(), reset_page: reset_page() },
        "email_change_undone" => Template::EmailChangeUndone { origin, remedy: remedy() },
        "deletion_requested" => Template::DeletionRequested { origin, cancel: link("cancel-deletion")?, valid_days },
        "token_reused" => Template::TokenReused { origin, remedy: remedy() },
        "login_new_place" => Template::LoginNewPlace { origin, remedy: remedy() },
        "login_after_failures" => Template::LoginAfterFailures { origin, remedy: remedy() },
        "login_blocked" => Template::LoginBlocked { origin, remedy: remedy() },
        "account_locked" => Template::AccountLocked { origin, remedy: remedy() },
        "role_granted" => Template::RoleGranted { origin, role: role(), remedy: remedy() },
        "role_revoked" => Template::RoleRevoked { origin, role: role(), remedy: remedy() },
        unknown => return Err(ComposeError::Wording(unknown.to_owned())),
    })
}

const HOUR_SECONDS: u64 = 3_600;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

/// Life of the mail's link from the delivery's beginning, in whole units; what a rounded clock has taken away is given back.
fn valid(mail: &ReadyMail, unit_seconds: u64) -> u32 {
    let life = mail.token_expires_at.map_or(0, |end| end.since(mail.created_at).as_secs());
    u32::try_from((life + unit_seconds / 2) / unit_seconds).unwrap_or(u32::MAX)
}

fn utc(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.micros()) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// What the system did by itself comes from no address.
fn client_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorbook_core::store::project::tokens::TokenKind;
    use doorbook_core::token::keys::{RootRing, Use};
    use doorbook_core::token::opaque;
    use uuid::Uuid;

    use super::*;

    const CREATED: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn post(frontend: &str) -> Post {
        let sender = Sender::parse("Doorbook <no-reply@mail.example.com>").unwrap();
        Post::new(Transport::console(), sender, Url::parse(frontend).unwrap(), OwnWording::default())
    }

    fn mail(template: &str, kind: Option<(TokenKind, Use)>) -> ReadyMail {
        let ring = RootRing::new(&[1; 50], &[]);
        let token = kind.map(|(kind, purpose)| {
            (kind, opaque::derive(&ring, purpose, ring.current_id(), Uuid::from_u128(7), 0, &[3; 16]).unwrap())
        });
        ReadyMail {
            delivery: DeliveryId(Uuid::from_u128(5)),
            template: template.to_owned(),
            to: "ana@example.org".to_owned(),
            locale: value::Locale::En,
            first_name: "Ana".to_owned(),
            account_email: "ana@example.org".to_owned(),
            token,
            token_expires_at: Some(CREATED.plus(Duration::from_secs(3_599))),
            context: MailContext {
                at: CREATED,
                address: "203.0.113.9".to_owned(),
                user_agent: String::new(),
                about: None,
            },
            created_at: CREATED,
        }
    }

    /// The message with the soft line breaks of quoted-printable undone.
    fn text(message: &OutgoingMail) -> String {
        String::from_utf8(message.as_bytes().to_vec()).unwrap().replace("=\r\n", "").replace("=3D", "=")
    }

    #[test]
    fn every_link_starts_with_the_frontend_and_carries_the_token_of_its_use() {
        let post = post("https://app.example.com/account");
        for (name, kind, purpose, start) in [
            ("verify", TokenKind::Verify, Use::Verify, "https://app.example.com/account/verify-email?token=dbv_"),
            ("reset", TokenKind::Reset, Use::Reset, "https://app.example.com/account/reset-password?token=dbp_"),
            ("reset_forced", TokenKind::Reset, Use::Reset, "https://app.example.com/account/reset-password?token=dbp_"),
            (
                "registration_unverified",
                TokenKind::Reset,
                Use::Reset,
                "https://app.example.com/account/reset-password?token=dbp_",
            ),
            (
                "email_change_confirm",
                TokenKind::Change,
                Use::Change,
                "https://app.example.com/account/confirm-email?token=dbe_",
            ),
            (
                "email_change_notice",
                TokenKind::Undo,
                Use::Undo,
                "https://app.example.com/account/undo-email?token=dbu_",
            ),
            (
                "deletion_requested",
                TokenKind::Cancel,
                Use::Cancel,
                "https://app.example.com/account/cancel-deletion?token=dbc_",
            ),
            ("reset_frozen", TokenKind::Reset, Use::Reset, "https://app.example.com/account/reset-password?token=dbp_"),
            ("password_changed", TokenKind::NotMe, Use::NotMe, "https://app.example.com/account/not-me?token=dbn_"),
        ] {
            let mail = mail(name, Some((kind, purpose)));
            let message = text(&compose(&mail, &post).unwrap());
            let token = mail.token.as_ref().unwrap().1.expose();
            assert!(message.contains(start) && message.contains(token), "{name}: {message}");
        }
    }

    #[test]
    fn every_notice_names_the_device_and_has_the_link_to_close_the_account() {
        let post = post("https://app.example.com");
        for name in
            ["password_reset_done", "email_change_undone", "token_reused", "login_new_place", "login_after_failures"]
                .into_iter()
                .chain(["login_blocked", "account_locked", "role_granted", "role_revoked"])
        {
            let mut mail = mail(name, Some((TokenKind::NotMe, Use::NotMe)));
            mail.context.user_agent =
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned();
            mail.context.about = Some("auditor".to_owned());
            let message = text(&compose(&mail, &post).unwrap());
            assert!(message.contains("https://app.example.com/not-me?token=dbn_"), "{name}: {message}");
            let told = if name.starts_with("role") { "auditor" } else { "203.0.113.9 (Firefox on Linux)" };
            assert!(message.contains(told), "{name}: {message}");
        }
    }

    #[test]
    fn a_notice_whose_link_can_be_used_no_more_leads_to_the_page_for_a_new_password() {
        let message = text(&compose(&mail("token_reused", None), &post("https://app.example.com")).unwrap());
        assert!(message.contains("https://app.example.com/reset-password\r\n"), "{message}");
        assert!(!message.contains("not-me"), "{message}");
    }

    #[test]
    fn two_attempts_carry_the_same_message_id_and_date() {
        let post = post("https://app.example.com");
        let mail = mail("reset", Some((TokenKind::Reset, Use::Reset)));
        let (first, second) = (compose(&mail, &post).unwrap(), compose(&mail, &post).unwrap());
        assert_eq!(first.message_id(), second.message_id());
        assert_eq!(first.message_id().as_str(), "<00000000-0000-0000-0000-000000000005.reset@app.example.com>");
        let date =
            |message: &OutgoingMail| text(message).lines().find(|line| line.starts_with("Date:")).map(str::to_owned);
        assert_eq!(date(&first), date(&second));
        assert!(date(&first).is_some());
    }

    #[test]
    fn a_link_that_lives_an_hour_less_a_rounding_says_one_hour() {
        assert_eq!(valid(&mail("reset", None), HOUR_SECONDS), 1);
    }

    #[test]
    fn a_template_of_a_newer_release_waits_and_one_without_its_token_is_not_sent() {
        let post = post("https://app.example.com");
        assert!(matches!(compose(&mail("telegram", None), &post), Err(ComposeError::Wording(_))));
        assert!(matches!(compose(&mail("reset", None), &post), Err(ComposeError::Token(_))));
    }

    #[test]
    fn mail_is_failing_after_three_in_a_row_and_ok_after_one_that_was_taken() {
        let post = post("https://app.example.com");
        assert_eq!(post.state(), "unknown");
        for _ in 0..2 {
            post.note(false, CREATED);
        }
        assert_eq!(post.state(), "unknown");
        post.note(false, CREATED.plus(Duration::from_mins(1)));
        assert_eq!(post.state(), format!("failing since {}", CREATED.rfc3339()));
        post.note(true, CREATED);
        assert_eq!(post.state(), "ok");
    }
}
