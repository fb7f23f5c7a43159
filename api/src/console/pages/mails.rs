//! Finding mails.

use doorbook_core::notification::MailState;
use doorbook_core::service::admin::{Audience, MailFilter, MailView};
use doorbook_core::value::{AccountId, DeliveryId};
use maud::{Markup, html};
use poem::{Request, Response};

use crate::console::fields::Fields;
use crate::console::layout::{self, Nav, or_none, time, time_or};
use crate::console::visit::Visit;
use crate::problem::{FieldError, Problem};
use crate::routes::input::{Faults, command};

const PAGE: u32 = 50;
pub const HERE: &str = "/admin/mails/";

pub async fn list(visit: Visit, _: Request) -> Result<Response, Problem> {
    let nav = Nav::of(&visit);
    let fields = visit.fields.clone();
    let (filter, before) = match asked_for(&fields) {
        Ok(asked) => asked,
        Err(problem) => {
            let mut response = layout::page("Mails", HERE, Some(&nav), &form(&fields, problem.words().2));
            response.set_status(problem.status());
            return Ok(response);
        }
    };
    let found =
        command(async move { visit.doorbook.search_mails(visit.caller, &filter, before, PAGE, &visit.context).await })
            .await?;
    let next = found.last().filter(|_| found.len() >= PAGE as usize).map(|last| last.id.to_string());
    let content = html! {
        (form(&fields, &[]))
        section aria-label="Mails found" {
            @if found.is_empty() { p .empty { "No mail is like that." } } @else { (table(&found)) }
            @if let Some(next) = next {
                p .pages { a rel="next" href={ (HERE) "?" (fields.query(&[("before", &next)])) } { "Earlier" } }
            }
        }
    };
    Ok(layout::page("Mails", HERE, Some(&nav), &content))
}

fn asked_for(fields: &Fields) -> Result<(MailFilter, Option<DeliveryId>), Problem> {
    let mut faults = Faults::default();
    let account = faults.parsed("account", fields.get("account"), "must be a UUID", |id| id.parse().ok());
    let rule = "must be one of: queued, deferred, sent, failed, suppressed";
    let state = faults.parsed("state", fields.get("state"), rule, MailState::parse);
    let before = faults.parsed("before", fields.get("before"), "must be a UUID", |id| id.parse().ok());
    faults.check()?;
    let template = fields.get("template").map(str::to_owned);
    Ok((MailFilter { account: account.map(AccountId), state, template }, before.map(DeliveryId)))
}

fn form(fields: &Fields, errors: &[FieldError]) -> Markup {
    html! {
        @if !errors.is_empty() {
            div .error role="alert" {
                ul { @for error in errors { li { strong { (error.field) } ": " (error.message) } } }
            }
        }
        form method="get" action=(HERE) role="search" {
            div .grid {
                div { label for="account" { "Account" } input #account name="account" value=[fields.get("account")] placeholder="its id" autocomplete="off"; }
                div {
                    label for="state" { "State" }
                    select #state name="state" {
                        option value="" { "any" }
                        @for state in MailState::ALL {
                            option value=(state.as_str()) selected[fields.get("state") == Some(state.as_str())] { (state.as_str()) }
                        }
                    }
                }
                div {
                    label for="template" { "Template" }
                    input #template name="template" value=[fields.get("template")] placeholder="verify" maxlength="64" autocomplete="off";
                }
            }
            button .primary { "Search" }
            p .hint { "Newest first. What a mail says, and the link that it may carry, nobody sees but its recipient." }
        }
    }
}

fn table(mails: &[MailView]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Mails" {
            table {
                thead {
                    tr {
                        th scope="col" { "Queued" }
                        th scope="col" { "Template" }
                        th scope="col" { "To" }
                        th scope="col" { "Account" }
                        th scope="col" { "State" }
                        th scope="col" .number { "Tries" }
                        th scope="col" { "Next try" }
                        th scope="col" { "The server said" }
                    }
                }
                tbody {
                    @for mail in mails {
                        tr {
                            td { a href={ (HERE) (mail.id) "/" } { (time(mail.queued_at)) } }
                            td { (mail.template) }
                            td { (to(mail)) }
                            td { @match mail.account { Some(account) => (layout::account(account.0)), None => (mail.audience.as_str()) } }
                            td { (state(mail)) }
                            td .number { (mail.attempts) }
                            td { (time_or(mail.next_try_at, "none")) }
                            td { (or_none(mail.server_answer.as_deref(), "nothing yet")) }
                        }
                    }
                }
            }
        }
    }
}

/// Where it goes.
pub fn to(mail: &MailView) -> Markup {
    match mail.audience {
        Audience::Owner | Audience::Operator => html! { (or_none(mail.to.as_deref(), "nobody: the mailbox is gone")) },
        Audience::Webhook => html! { code { "ALERT_WEBHOOK_URL" } },
    }
}

/// How it stands, and whether a worker is at it.
pub fn state(mail: &MailView) -> Markup {
    html! {
        span class={ "state " (mail.state.as_str()) } { (mail.state.as_str()) }
        @if mail.is_being_sent { " " span .state { "being sent" } }
    }
}
