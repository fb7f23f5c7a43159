//! One mail: how it stands, what happened to it, and what an admin may do about it.

use doorbook_core::service::access::Right;
use doorbook_core::service::admin::{Audience, MailEvent, MailStory, MailView};
use doorbook_core::value::DeliveryId;
use maud::{Markup, html};
use poem::{Request, Response};

use super::mails::{HERE, state, to};
use crate::console::layout::{self, Nav, id, or_none, time, time_or};
use crate::console::see_other;
use crate::console::visit::Visit;
use crate::problem::Problem;
use crate::routes::input::{Faults, command};

pub async fn show(visit: Visit, request: Request) -> Result<Response, Problem> {
    let mail = asked_for(&request)?;
    let nav = Nav::of(&visit);
    let (doorbook, context, caller) = (visit.doorbook.clone(), visit.context.clone(), visit.caller);
    let MailStory { mail, events } = command(async move { doorbook.view_mail(caller, mail, &context).await }).await?;
    let page = html! {
        @if visit.fields.get("done").is_some() { p .message role="status" { "Done. It stands in the story below, with your reason." } }
        (facts(&mail))
        @if visit.is_admin { (orders(&visit, &mail)) }
        section aria-labelledby="story" { h2 #story { "What happened to it" } (story(&events)) }
    };
    Ok(layout::page("Mail", HERE, Some(&nav), &page))
}

/// Has it sent anew, or calls it off.
pub async fn order(visit: Visit, request: Request) -> Result<Response, Problem> {
    let mail = asked_for(&request)?;
    visit.doorbook.admit(visit.caller, Right::Administer, &visit.context).await?;
    let what = request.raw_path_param("order").unwrap_or_default().to_owned();
    let mut faults = Faults::default();
    let Some(reason) = faults.reason(visit.fields.get("reason").unwrap_or_default()) else { return faults.refuse() };
    let (doorbook, context, caller) = (visit.doorbook, visit.context, visit.caller);
    let shown = match what.as_str() {
        "resend" => command(async move { doorbook.resend_mail(caller, mail, &reason, None, &context).await }).await?,
        "cancel" => {
            command(async move { doorbook.cancel_mail(caller, mail, &reason, None, &context).await }).await?;
            mail
        }
        _ => return Err(Problem::not_found()),
    };
    Ok(see_other(&format!("{HERE}{shown}/?done={what}")))
}

fn asked_for(request: &Request) -> Result<DeliveryId, Problem> {
    let id = request.raw_path_param("id").and_then(|id| id.parse().ok());
    id.map(DeliveryId).ok_or_else(Problem::not_found)
}

fn facts(mail: &MailView) -> Markup {
    let link = |other: DeliveryId| html! { a href={ (HERE) (other) "/" } { (id(other.0)) } };
    html! {
        dl .facts {
            div { dt { "Template" } dd { (mail.template) } }
            div { dt { "To" } dd { (to(mail)) } }
            @if let Some(account) = mail.account { div { dt { "Account" } dd { (layout::account(account.0)) } } }
            div { dt { "Promised by" } dd { a href={ "/admin/audit/events/" (mail.event) "/" } { (id(mail.event.0)) } } }
            div { dt { "State" } dd { (state(mail)) } }
            div { dt { "Tries" } dd { (mail.attempts) } }
            div { dt { "Queued" } dd { (time(mail.queued_at)) } }
            div { dt { "Next try" } dd { (time_or(mail.next_try_at, "none")) } }
            div { dt { "Settled" } dd { (time_or(mail.settled_at, "not yet")) } }
            div { dt { "The server said" } dd { (or_none(mail.server_answer.as_deref(), "nothing yet")) } }
            @if let Some(other) = mail.repeats { div { dt { "Sent instead of" } dd { (link(other)) } } }
            @if let Some(other) = mail.repeated_by { div { dt { "Sent anew as" } dd { (link(other)) } } }
            div { dt { "Message-ID" } dd { code { (mail.message_id) } } }
            div { dt { "Id" } dd { code { (mail.id) } } }
        }
    }
}

/// What may be done about it as it stands; what has changed meanwhile is refused in words.
fn orders(visit: &Visit, mail: &MailView) -> Markup {
    // What tells operators of an alert is theirs to call off.
    let may_be_called_off = mail.audience == Audience::Owner && !mail.state.is_settled() && !mail.is_being_sent;
    let resend = if mail.state.is_settled() {
        "As another mail, with the same wording and link, if that can still be used."
    } else {
        "Now, instead of at its next try."
    };
    html! {
        section aria-labelledby="orders" {
            h2 #orders { "Actions" }
            div .orders {
                (form(visit, mail, "resend", "Send it anew", resend))
                @if may_be_called_off { (form(visit, mail, "cancel", "Call it off", "Nobody is sent it; it can be sent anew later.")) }
            }
        }
    }
}

fn form(visit: &Visit, mail: &MailView, path: &str, name: &str, effect: &str) -> Markup {
    html! {
        details .order {
            summary { (name) }
            form method="post" action={ (HERE) (mail.id) "/" (path) "/" } {
                p .hint { (effect) }
                input type="hidden" name="csrf" value=(visit.csrf);
                label { "Reason" input name="reason" required maxlength="500" placeholder=(layout::REASON) autocomplete="off"; }
                button .primary { (name) }
            }
        }
    }
}

fn story(events: &[MailEvent]) -> Markup {
    let said = |event: &MailEvent, field: &str| event.payload[field].as_str().map(str::to_owned);
    html! {
        div .scroll tabindex="0" role="region" aria-labelledby="story" {
            table {
                thead {
                    tr {
                        th scope="col" { "At" }
                        th scope="col" { "Event" }
                        th scope="col" { "By" }
                        th scope="col" { "Because" }
                    }
                }
                tbody {
                    @for event in events {
                        tr {
                            td { (time(event.at)) }
                            th scope="row" { a href={ "/admin/audit/events/" (event.id) "/" } { (event.name) } }
                            td { @match event.actor { Some(actor) => (layout::account(actor)), None => (event.actor_kind) } }
                            td { (or_none(said(event, "words").or_else(|| said(event, "reason")).as_deref(), "")) }
                        }
                    }
                }
            }
        }
    }
}
