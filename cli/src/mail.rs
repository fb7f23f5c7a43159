//! Mails: whether they leave, what became of each, and having one sent anew or calling it off. Each order is an event by an operator, with
//! a reason.

mod preview;

use std::io::Write;

use anyhow::anyhow;
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use doorbook_core::clock::Timestamp;
use doorbook_core::notification::MailState;
use doorbook_core::service::Refusal;
use doorbook_core::service::admin::{Audience, MAILS_PAGE_MAX, MailEvent, MailFilter, MailView};
use doorbook_core::value::{AccountId, DeliveryId};
use uuid::Uuid;

use crate::account::{operator, reason};
use crate::{Outcome, check, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Send a test mail with the settings in force, and say what the server answered
    Test { address: String },
    /// Show a mail with example values, by the templates in force; sends nothing
    Preview(preview::Args),
    /// List mails, newest first
    List {
        /// Only those that stand so
        #[arg(long, value_parser = state())]
        state: Option<MailState>,
        /// Only those of the account with this id
        #[arg(long, value_name = "ID")]
        account: Option<Uuid>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Print one mail and what happened to it
    Show { id: Uuid },
    /// Have a mail sent anew: at once when it waits for its next try, else as another mail with the same link
    Resend(Target),
    /// Call a mail off that has not been sent
    Cancel(Target),
}

#[derive(clap::Args)]
pub struct Target {
    id: Uuid,
    /// Stands in the event: why this is done
    #[arg(long, value_parser = reason)]
    reason: String,
}

fn state() -> impl TypedValueParser<Value = MailState> {
    PossibleValuesParser::new(MailState::ALL.map(MailState::as_str))
        .try_map(|name| MailState::parse(&name).ok_or("no such state"))
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Test { address } => return check::test_mail(&address, out).await,
        Command::Preview(args) => preview::run(&args, out)?,
        Command::List { state, account, limit } => {
            let filter = MailFilter { account: account.map(AccountId), state, template: None };
            list(&filter, limit, out).await?;
        }
        Command::Show { id } => show(DeliveryId(id), out).await?,
        Command::Resend(Target { id, reason }) => {
            let doorbook = settings::doorbook().await?;
            let sent = doorbook.order_mail(DeliveryId(id), &reason, &operator()).await.map_err(explain)?;
            let how = if sent.0 == id { "is due now" } else { "is queued instead of it" };
            writeln!(out, "mail {sent} {how}.")?;
        }
        Command::Cancel(Target { id, reason }) => {
            let doorbook = settings::doorbook().await?;
            doorbook.call_mail_off(DeliveryId(id), &reason, &operator()).await.map_err(explain)?;
            writeln!(out, "mail {id} is called off.")?;
        }
    }
    Ok(Outcome::Done)
}

async fn list(filter: &MailFilter, limit: u32, out: &mut impl Write) -> anyhow::Result<()> {
    let doorbook = settings::doorbook().await?;
    let (mut before, mut left) = (None, limit);
    while left > 0 {
        let page = doorbook.list_mails(filter, before, left.min(MAILS_PAGE_MAX)).await.map_err(explain)?;
        for mail in &page {
            line(mail, out)?;
        }
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// A mail server's answer is somebody else's text: it is escaped before it reaches the terminal.
fn line(mail: &MailView, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{}  {}  {:<10}  {:<24}  {} tries  {}  {}",
        mail.id,
        mail.queued_at.rfc3339(),
        mail.state.as_str(),
        mail.template,
        mail.attempts,
        to(mail),
        answer(mail)
    )
}

/// Where it goes: the URL of a webhook is a secret.
fn to(mail: &MailView) -> String {
    match (mail.audience, &mail.to) {
        (Audience::Webhook, _) => "ALERT_WEBHOOK_URL".to_owned(),
        (_, Some(to)) => to.escape_debug().to_string(),
        (_, None) => "(gone)".to_owned(),
    }
}

fn answer(mail: &MailView) -> impl std::fmt::Display {
    mail.server_answer.as_deref().unwrap_or("-").escape_debug()
}

async fn show(id: DeliveryId, out: &mut impl Write) -> anyhow::Result<()> {
    let story = settings::doorbook().await?.mail_by_id(id).await.map_err(explain)?;
    let mail = &story.mail;
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), Timestamp::rfc3339);
    let other = |mail: Option<DeliveryId>| mail.map_or_else(|| "-".to_owned(), |mail| mail.to_string());
    let being_sent = if mail.is_being_sent { ", being sent" } else { "" };
    let rows = [
        ("mail", mail.id.to_string()),
        ("template", mail.template.clone()),
        ("to", to(mail)),
        ("account", mail.account.map_or_else(|| "-".to_owned(), |account| account.to_string())),
        ("promised by", format!("event {}", mail.event)),
        ("state", format!("{}{being_sent}", mail.state.as_str())),
        ("tries", mail.attempts.to_string()),
        ("queued", mail.queued_at.rfc3339()),
        ("next try", time(mail.next_try_at)),
        ("settled", time(mail.settled_at)),
        ("answer", answer(mail).to_string()),
        ("message-id", mail.message_id.clone()),
        ("instead of", other(mail.repeats)),
        ("anew as", other(mail.repeated_by)),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<11} {value}")?;
    }
    for event in &story.events {
        told(event, out)?;
    }
    Ok(())
}

/// The payload is JSON: what it quotes cannot reach the terminal as control characters.
fn told(event: &MailEvent, out: &mut impl Write) -> std::io::Result<()> {
    let actor = event.actor.map_or_else(String::new, |id| format!(" {id}"));
    writeln!(out, "{}  {}  {}{actor}  {}", event.at.rfc3339(), event.name, event.actor_kind, event.payload)
}

/// What the operator is told.
pub fn explain(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Mail(why) => anyhow!("{why}"),
        Refusal::NotFound => anyhow!("there is no such mail"),
        other => anyhow::Error::new(other).context("the mail is as it was"),
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::value::EventId;

    use super::*;

    #[test]
    fn what_a_mail_server_answers_cannot_steer_the_terminal() {
        let mail = MailView {
            id: DeliveryId(Uuid::nil()),
            event: EventId(Uuid::nil()),
            template: "verify".into(),
            audience: Audience::Owner,
            account: Some(AccountId(Uuid::nil())),
            to: None,
            state: MailState::Failed,
            attempts: 1,
            next_try_at: None,
            is_being_sent: false,
            server_answer: Some("550 no\u{1b}[2J\r\nsuch".into()),
            message_id: String::new(),
            queued_at: Timestamp::from_seconds(0),
            settled_at: None,
            repeats: None,
            repeated_by: None,
        };
        let mut out = Vec::new();
        line(&mail, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("550 no\\u{1b}[2J\\r\\nsuch\n"), "{text:?}");
    }
}
