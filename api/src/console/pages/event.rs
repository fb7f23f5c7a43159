//! One event: what it says, what led to it and what it led to, whether it is proven.

use doorbook_core::audit::note::hex;
use doorbook_core::service::Refusal;
use doorbook_core::service::audit::{Connected, Inclusion, TrailEntry};
use doorbook_core::terms::Severity;
use doorbook_core::value::EventId;
use maud::{Markup, html};
use poem::{Request, Response};

use super::audit::{actor, rows, words};
use super::mails::HERE as MAILS;
use crate::console::layout::{self, Nav, number, or_none, time};
use crate::console::visit::Visit;
use crate::problem::Problem;
use crate::routes::input::{Faults, command};

pub async fn show(visit: Visit, request: Request) -> Result<Response, Problem> {
    let event = asked_for(&request)?;
    let found = visit.doorbook.trail_event(visit.caller, event, &visit.context).await?;
    render(&visit, found, None).await
}

/// The same with nothing masked, for a reason.
pub async fn reveal(visit: Visit, request: Request) -> Result<Response, Problem> {
    let event = asked_for(&request)?;
    let mut faults = Faults::default();
    let reason = faults.reason(visit.fields.get("reason").unwrap_or_default());
    let Some(reason) = reason else { return faults.refuse() };
    let (doorbook, context, caller) = (visit.doorbook.clone(), visit.context.clone(), visit.caller);
    let revealed = command(async move { doorbook.reveal(caller, event, reason, &context).await }).await?;
    let found = visit.doorbook.trail_event(visit.caller, event, &visit.context).await?;
    render(&visit, found, Some(revealed)).await
}

fn asked_for(request: &Request) -> Result<EventId, Problem> {
    let id = request.raw_path_param("id").and_then(|id| id.parse().ok());
    id.map(EventId).ok_or_else(Problem::not_found)
}

async fn render(visit: &Visit, found: Connected, revealed: Option<TrailEntry>) -> Result<Response, Problem> {
    let proof = match visit.doorbook.prove_inclusion(found.event.id, None).await {
        Ok(proof) => Some(proof),
        Err(Refusal::NotSigned) => None,
        Err(other) => return Err(other.into()),
    };
    let is_revealed = revealed.is_some();
    let event = revealed.unwrap_or(found.event);
    let title = event.name.clone();
    let content = html! {
        (facts(&event))
        (personal(visit, &event, is_revealed))
        section aria-labelledby="payload" {
            h2 #payload { "Payload" }
            @if let Some(words) = words(&event) { p { (words) "." } }
            pre { (serde_json::to_string_pretty(&event.payload).unwrap_or_default()) }
        }
        section aria-labelledby="proof" { h2 #proof { "Proof" } (proven(proof.as_ref())) }
        @if !found.causes.is_empty() {
            section aria-labelledby="causes" { h2 #causes { "What led to it" } (rows(&found.causes, "")) }
        }
        @if !found.caused.is_empty() {
            section aria-labelledby="caused" { h2 #caused { "What it led to" } (rows(&found.caused, "")) }
        }
        @if !found.deliveries.is_empty() {
            section aria-labelledby="mails" {
                h2 #mails { "Mails" }
                table {
                    thead { tr { th scope="col" { "Template" } th scope="col" { "State" } th scope="col" .number { "Tries" } th scope="col" { "The server said" } } }
                    tbody {
                        @for mail in &found.deliveries {
                            tr {
                                th scope="row" { a href={ (MAILS) (mail.id) "/" } { (mail.template) } }
                                td { (mail.state) }
                                td .number { (mail.attempts) }
                                td { (or_none(mail.server_answer.as_deref(), "nothing yet")) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(&title, "", Some(&Nav::of(visit)), &content))
}

fn facts(event: &TrailEntry) -> Markup {
    html! {
        dl .facts {
            div { dt { "At" } dd { (time(event.at)) } }
            div { dt { "Position" } dd { (number(event.position)) } }
            div { dt { "Severity" } dd { (event.severity.map_or("unknown", Severity::as_str)) } }
            div { dt { "Account" } dd {
                @match event.account { Some(account) => (layout::account(account)), None => span .none { "none" } }
            } }
            div { dt { "By" } dd { (actor(event)) } }
            @if let Some(session) = event.session {
                div { dt { "Session" } dd { a href={ "/admin/audit/?session=" (session) } { (layout::id(session)) } } }
            }
            @if let Some(trace) = event.trace { div { dt { "Trace" } dd { code { (trace.simple()) } } } }
            div { dt { "Id" } dd { code { (event.id.0) } } }
        }
    }
}

fn personal(visit: &Visit, event: &TrailEntry, is_revealed: bool) -> Markup {
    let Some(personal) = &event.personal else {
        return html! {
            @if event.erased { p .message { "It had personal data, which has been erased. Its place in the log is proven all the same." } }
        };
    };
    let fields = [
        ("E-mail address", personal.email.as_deref()),
        ("First name", personal.first_name.as_deref()),
        ("Last name", personal.last_name.as_deref()),
        ("Client address", personal.address.as_deref()),
        ("Device", personal.user_agent.as_deref()),
    ];
    html! {
        section aria-labelledby="personal" {
            h2 #personal { "Personal data" }
            @if is_revealed { p .message role="status" { "Shown unmasked. That you looked, and why, is in the trail." } }
            dl .facts {
                @for (name, value) in fields {
                    @if let Some(value) = value.filter(|value| !value.is_empty()) { div { dt { (name) } dd { (value) } } }
                }
            }
            @if !visit.is_admin && !is_revealed {
                form .inline method="post" action={ "/admin/audit/events/" (event.id.0) "/reveal/" } {
                    input type="hidden" name="csrf" value=(visit.csrf);
                    label for="reason" { "Reason" }
                    input #reason name="reason" required maxlength="500" placeholder=(layout::REASON) autocomplete="off";
                    button { "Reveal" }
                }
            }
        }
    }
}

fn proven(proof: Option<&Inclusion>) -> Markup {
    let Some(proof) = proof else {
        return html! { p .message { "No checkpoint covers it yet: one is signed every 1,000 events or 60 seconds." } };
    };
    html! {
        p .good {
            "Under the checkpoint of " (number(proof.checkpoint.size)) " events, signed " (time(proof.checkpoint.signed_at))
            " with the key " code { (proof.checkpoint.key_id) } "."
        }
        details {
            summary { "Leaf, path and note" }
            p { "Leaf " code .hash { (hex(&proof.leaf_hash)) } }
            ol { @for hash in &proof.path { li { code .hash { (hex(hash)) } } } }
            pre { (proof.checkpoint.note) }
        }
    }
}
