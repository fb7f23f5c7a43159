//! An account's past: as it was at a time, what changed between two, and why its logins were refused.

use doorbook_core::clock::Timestamp;
use doorbook_core::service::audit::{Difference, Ended, EventRef, Pending, RefusalView, StateView};
use doorbook_core::value::EventId;
use maud::{Markup, html};
use poem::{Request, Response};

use super::account::asked_for;
use crate::console::layout::{self, Nav, or_none, time, time_or};
use crate::console::visit::Visit;
use crate::problem::Problem;
use crate::routes::input::Faults;

const HERE: &str = "/admin/accounts/";
/// Refusals of a page.
const PAGE: u32 = 20;
const RULE: &str = "must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z";

/// The account at one time; with a second one, what changed between them.
pub async fn show(visit: Visit, request: Request) -> Result<Response, Problem> {
    let account = asked_for(&request)?;
    let mut faults = Faults::default();
    let at = faults.parsed("at", visit.fields.get("at"), RULE, Timestamp::parse_rfc3339);
    let until = faults.parsed("until", visit.fields.get("until"), RULE, Timestamp::parse_rfc3339);
    faults.check()?;
    let state = visit.doorbook.account_state(visit.caller, account, at, &visit.context).await?;
    let difference = match (at, until) {
        (Some(at), Some(until)) => {
            Some(visit.doorbook.account_difference(visit.caller, account, at, until, &visit.context).await?)
        }
        _ => None,
    };
    let content = html! {
        form method="get" action={ (HERE) (account) "/past/" } {
            div .grid {
                div {
                    label for="at" { "At" }
                    input #at name="at" value=(state.at.rfc3339()) placeholder="2026-01-31T12:00:00Z" autocomplete="off";
                }
                div {
                    label for="until" { "Compared with" }
                    input #until name="until" value=[visit.fields.get("until")] placeholder="2026-02-28T12:00:00Z" autocomplete="off";
                }
            }
            button .primary { "Show" }
            p .hint { "Folded from its sealed events, by nothing else." }
        }
        (facts(&state))
        @if let Some(difference) = &difference { (changes(difference)) }
        p .pages { a href={ (HERE) (account) "/" } { "The account today" } }
    };
    Ok(layout::page("The account as it was", HERE, Some(&Nav::of(&visit)), &content))
}

fn facts(state: &StateView) -> Markup {
    let roles = state.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
    let personal = |text: &Option<String>| or_none(text.as_deref(), if state.erased { "erased" } else { "none" });
    let times = [
        ("Verified", state.email_verified_at),
        ("Created", state.created_at),
        ("Last login", state.last_login_at),
        ("Password changed", state.password_changed_at),
        ("Locked since", state.locked_at),
        ("Blocked until", state.blocked_until),
        ("Reset required since", state.reset_required_at),
    ];
    html! {
        dl .facts {
            div { dt { "Status" } dd { (state.status) } }
            div { dt { "E-mail address" } dd { (personal(&state.email)) } }
            div { dt { "Roles" } dd { (or_none(Some(roles.as_str()).filter(|roles| !roles.is_empty()), "none")) } }
            @for (name, at) in times { div { dt { (name) } dd { (time_or(at, "not")) } } }
            div { dt { "Last event of its own" } dd {
                @match &state.last_event { Some(event) => (reference(event)), None => span .none { "none" } }
            } }
            div { dt { "Sessions" } dd {
                @if state.sessions.is_empty() { span .none { "none" } }
                @for session in &state.sessions { a href={ "/admin/audit/?session=" (session.id.0) } { (time(session.begun.at)) } " " }
            } }
            div { dt { "Waiting for its owner" } dd {
                @if state.pending.is_empty() { span .none { "nothing" } }
                @for pending in &state.pending { (waiting(pending)) " " }
            } }
        }
    }
}

fn waiting(pending: &Pending) -> Markup {
    html! {
        span .pair {
            (pending.what.as_str())
            @if let Some(email) = &pending.new_email { " to " (email) }
            " since " (time(pending.since))
        }
    }
}

fn changes(difference: &Difference) -> Markup {
    html! {
        section aria-labelledby="changes" {
            h2 #changes { "What changed until " (time(difference.to)) }
            @if difference.changes.is_empty() {
                p .empty { "Nothing that did not change back." }
            } @else {
                div .scroll tabindex="0" role="region" aria-labelledby="changes" {
                    table {
                        thead { tr { th scope="col" { "Field" } th scope="col" { "Before" } th scope="col" { "After" } th scope="col" { "By" } } }
                        tbody {
                            @for change in &difference.changes {
                                @let otherwise = if change.erased { "erased" } else { "none" };
                                tr {
                                    th scope="row" { (change.field) }
                                    td { (or_none(change.before.as_deref(), otherwise)) }
                                    td { (or_none(change.after.as_deref(), otherwise)) }
                                    td { @for event in &change.events { (reference(event)) " " } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Why logins were refused, the newest first.
pub async fn refusals(visit: Visit, request: Request) -> Result<Response, Problem> {
    let account = asked_for(&request)?;
    let before = visit.fields.get("before").and_then(|id| id.parse().ok()).map(EventId);
    let page = visit.doorbook.login_refusals(visit.caller, account, before, PAGE, &visit.context).await?;
    let rule = page.rule;
    let content = html! {
        p .hint {
            "Today's rule: " (rule.max) " failures within " (rule.window.as_secs() / 60) " minutes block for "
            (rule.block.as_secs() / 60) " minutes."
        }
        section aria-label="Refusals" {
            @if page.refusals.is_empty() {
                p .empty { "No login of this account was refused." }
            } @else {
                div .scroll tabindex="0" role="region" aria-label="Refusals, as a table" {
                    table {
                        thead { tr { th scope="col" { "At" } th scope="col" { "Because" } th scope="col" { "Led to by" } th scope="col" { "Until" } th scope="col" { "Ended by" } } }
                        tbody { @for refusal in &page.refusals { (refused(refusal)) } }
                    }
                }
            }
            @if let Some(next) = page.next {
                p .pages { a rel="next" href={ (HERE) (account) "/refusals/?before=" (next.0) } { "Earlier" } }
            }
        }
        p .pages { a href={ (HERE) (account) "/" } { "The account" } }
    };
    Ok(layout::page("Refused logins", HERE, Some(&Nav::of(&visit)), &content))
}

fn refused(refusal: &RefusalView) -> Markup {
    html! {
        tr {
            td { a href={ "/admin/audit/events/" (refusal.event.id.0) "/" } { (time(refusal.event.at)) } }
            td { (refusal.ground.as_str().replace('_', " ")) }
            td {
                @if refusal.because.is_empty() { span .none { "itself" } }
                @for event in &refusal.because { (reference(event)) " " }
            }
            td { (time_or(refusal.until, "no time")) }
            td {
                @match &refusal.ended {
                    Ended::Not => span .none { "nothing yet" },
                    Ended::ByTime(at) => { "time, " (time(*at)) }
                    Ended::By(event) => (reference(event)),
                }
            }
        }
    }
}

fn reference(event: &EventRef) -> Markup {
    html! { span .pair { a href={ "/admin/audit/events/" (event.id.0) "/" } { (event.name) } " " (time(event.at)) } }
}
