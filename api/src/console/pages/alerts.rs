//! Alerts: what looks like an attack or an abuse of rights, and who has looked into it.

use doorbook_core::alert::Rule;
use doorbook_core::service::alert_list::AlertView;
use doorbook_core::value::EventId;
use maud::{Markup, html};
use poem::{Request, Response};

use crate::console::layout::{self, Nav, number, time};
use crate::console::see_other;
use crate::console::visit::Visit;
use crate::problem::Problem;
use crate::routes::admin::alerts::{filter, next};
use crate::routes::input::{Faults, command};

const PAGE: u32 = 50;
pub const HERE: &str = "/admin/alerts/";

pub async fn list(visit: Visit, _: Request) -> Result<Response, Problem> {
    let fields = &visit.fields;
    let acknowledged = match fields.get("acknowledged") {
        Some("true") => Some(true),
        Some("all") => None,
        _ => Some(false),
    };
    let asked = filter(fields.get("rule"), fields.get("severity"), acknowledged)?;
    let before = fields.get("before").and_then(|id| id.parse().ok()).map(EventId);
    let found = visit.doorbook.list_alerts(visit.caller, asked, before, PAGE, &visit.context).await?;
    let content = html! {
        (form(&visit))
        @if found.is_empty() { p .empty { "None." } }
        @for view in &found { (card(&visit, view)) }
        @if let Some(next) = next(&found, PAGE) {
            p .pages { a rel="next" href={ (HERE) "?" (fields.query(&[("before", &next.to_string())])) } { "Earlier" } }
        }
    };
    Ok(layout::page("Alerts", HERE, Some(&Nav::of(&visit)), &content))
}

/// Says who has looked into one, and comes back to the list.
pub async fn acknowledge(visit: Visit, request: Request) -> Result<Response, Problem> {
    let id = request.raw_path_param("id").and_then(|id| id.parse().ok());
    let id = id.map(EventId).ok_or_else(Problem::not_found)?;
    let mut faults = Faults::default();
    let reason = faults.reason(visit.fields.get("reason").unwrap_or_default());
    let Some(reason) = reason else { return faults.refuse() };
    let Visit { doorbook, caller, context, .. } = visit;
    command(async move { doorbook.acknowledge_alert(caller, id, &reason, &context).await }).await?;
    Ok(see_other(HERE))
}

fn form(visit: &Visit) -> Markup {
    let [rule, severity, acknowledged] =
        ["rule", "severity", "acknowledged"].map(|name| visit.fields.get(name).unwrap_or_default());
    let severities = [("", "any"), ("warning", "warning or higher"), ("critical", "critical")];
    let states = [("", "open"), ("true", "acknowledged"), ("all", "all")];
    html! {
        form method="get" action=(HERE) role="search" { div .grid {
            div { label for="rule" { "Rule" } select #rule name="rule" {
                option value="" { "any" }
                @for other in Rule::ALL {
                    option value=(other.as_str()) selected[other.as_str() == rule] { (other.as_str()) }
                }
            } }
            div { label for="severity" { "Severity" } select #severity name="severity" {
                @for (value, name) in severities { option value=(value) selected[value == severity] { (name) } }
            } }
            div { label for="acknowledged" { "State" } select #acknowledged name="acknowledged" {
                @for (value, name) in states { option value=(value) selected[value == acknowledged] { (name) } }
            } }
        } button .primary { "Show" } }
    }
}

fn card(visit: &Visit, view: &AlertView) -> Markup {
    let AlertView { alert, acknowledged } = view;
    let id = alert.id.to_string();
    let reason = format!("reason-{id}");
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (alert.about()) }
            dl .facts {
                div { dt { "At" } dd { (time(alert.at)) } }
                div { dt { "Severity" } dd { span class={ "level " (alert.severity.as_str()) } { (alert.severity.as_str()) } } }
                div { dt { "Rule" } dd { code { (alert.rule) } } }
                @if let Some(account) = alert.account { div { dt { "Account" } dd { (layout::account(account.0)) } } }
                @if let Some(actor) = alert.actor { div { dt { "By" } dd { (layout::account(actor.0)) } } }
                @if let Some(follower) = &alert.follower { div { dt { "View" } dd { (follower) } } }
                div { dt { "Counted" } dd {
                    (number(i64::try_from(alert.evidence.count).unwrap_or(i64::MAX)))
                    @if alert.evidence.seconds > 0 {
                        " in " (alert.evidence.seconds / 60) " minutes; the threshold is " (alert.evidence.threshold)
                    }
                } }
                div { dt { "Event" } dd { a href={ "/admin/audit/events/" (id) "/" } { (layout::id(alert.id.0)) } } }
                @if !alert.evidence.events.is_empty() {
                    div { dt { "Rests on" } dd {
                        @for event in &alert.evidence.events {
                            a href={ "/admin/audit/events/" (event.0) "/" } { (layout::id(event.0)) } " "
                        }
                    } }
                }
            }
            @if let Some(note) = acknowledged {
                p .message {
                    "Acknowledged " (time(note.at))
                    @if let Some(by) = note.by { " by " (layout::account(by.0)) }
                    ": " (note.reason)
                }
            } @else {
                form .inline method="post" action={ (HERE) (id) "/acknowledge/" } {
                    input type="hidden" name="csrf" value=(visit.csrf);
                    label for=(reason) { "What came of it" }
                    input id=(reason) name="reason" required maxlength="500" placeholder=(layout::REASON) autocomplete="off";
                    button { "Acknowledge" }
                }
            }
        }
    }
}
