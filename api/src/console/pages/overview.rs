//! The first page: how much happened when, who is under attack, what was done by hand.

use doorbook_core::service::audit::{Overview, ROLLED_UP, Series, Span, Suspect};
use doorbook_core::value::AccountId;
use maud::{Markup, html};
use poem::{Request, Response};

use super::audit::rows;
use crate::console::HOME;
use crate::console::layout::{self, Nav, number, or_none, time, trusted};
use crate::console::plot::{Axes, SWATCHES, svg};
use crate::console::visit::Visit;
use crate::problem::Problem;

/// The plots: title, and the events that each draws.
const PLOTS: [(&str, &[&str]); 3] = [
    ("Logins, failures and blocks", &["LoggedIn", "LoginFailed", "LoginBlocked", ROLLED_UP]),
    ("Registrations and resets", &["Registered", "PasswordResetRequested", "PasswordReset"]),
    ("Mails", &["MailSent", "MailFailed"]),
];

pub async fn show(visit: Visit, _: Request) -> Result<Response, Problem> {
    let asked = visit.fields.get("span").map(Span::parse);
    let span = asked.unwrap_or_default().unwrap_or_default();
    let overview = visit.doorbook.overview(visit.caller, span, &visit.context).await?;
    let targets: Vec<_> = overview.accounts.iter().map(|suspect| suspect.whom.0).collect();
    let targets = visit.doorbook.accounts_of_ids(visit.caller, &targets).await?;
    let name = |id: &AccountId| targets.iter().find(|account| account.id == *id)?.email.as_deref();
    let content = html! {
        (open(&overview))
        nav .spans aria-label="Range" {
            @for other in Span::ALL {
                a href={ (HOME) "?span=" (other.as_str()) } aria-current=[(other == span).then_some("true")] {
                    (other.as_str())
                }
            }
        }
        div .plots {
            @for (title, names) in PLOTS { (plot(title, names, &overview)) }
        }
        div .columns {
            section aria-labelledby="addresses" {
                h2 #addresses { "Addresses with most attempts" }
                (suspects(&overview.addresses, "Address", |address| html! {
                    a href={ "/admin/audit/?address=" (address) } { (address) }
                }))
            }
            section aria-labelledby="targets" {
                h2 #targets { "Accounts with most attempts" }
                (suspects(&overview.accounts, "Account", |account| html! {
                    (layout::account(account.0)) " " (or_none(name(account), "erased"))
                }))
            }
        }
        section aria-labelledby="warnings" {
            h2 #warnings { "Newest warnings and interventions" }
            (rows(&overview.warnings, "Nothing that asks for attention."))
            p { a href="/admin/audit/?severity=warning" { "All of them" } }
        }
    };
    Ok(layout::page("Overview", HOME, Some(&Nav::of(&visit)), &content))
}

/// What nobody has looked into yet.
fn open(overview: &Overview) -> Markup {
    html! {
        section aria-labelledby="alerts" {
            h2 #alerts { "Open alerts" }
            @if overview.alerts.is_empty() { p .empty { "None." } } @else {
                ul {
                    @for view in &overview.alerts {
                        li {
                            span class={ "level " (view.alert.severity.as_str()) } { (view.alert.severity.as_str()) } " "
                            a href={ (super::alerts::HERE) "#" (view.alert.id.0) } { (view.alert.about()) } ", " (time(view.alert.at))
                        }
                    }
                }
                p { a href=(super::alerts::HERE) { "All " (number(overview.open_alerts)) } }
            }
        }
    }
}

fn plot(title: &str, names: &[&str], overview: &Overview) -> Markup {
    let series: Vec<&Series> = overview.series.iter().filter(|series| names.contains(&series.name)).collect();
    let hours = overview.step.as_secs() / 3_600;
    let unit = match hours {
        1 => "events per hour".to_owned(),
        24 => "events per day".to_owned(),
        hours => format!("events per {hours} hours"),
    };
    let step_seconds = i64::try_from(overview.step.as_secs()).unwrap_or(3_600);
    let axes = Axes { from: overview.from, step_seconds, unit };
    let sum = |series: &Series| number(series.counts.iter().sum());
    html! {
        figure .plot {
            figcaption {
                h2 { (title) }
                ul .legend {
                    @for (series, swatch) in series.iter().zip(SWATCHES) {
                        li { span class={ "swatch " (swatch) } {} (series.name) " " span .sum { (sum(series)) } }
                    }
                }
            }
            @if let Some(drawing) = svg(&axes, &series) {
                div .drawing role="img" aria-label={ (title) ", " (axes.unit) ". The table below has the same numbers." } {
                    (trusted(drawing))
                }
            }
            details {
                summary { "As a table" }
                div .scroll tabindex="0" role="region" aria-label={ (title) ", as a table" } {
                    table {
                        thead { tr { th scope="col" { "From" } @for series in &series { th scope="col" .number { (series.name) } } } }
                        tbody {
                            @for index in (0..series.first().map_or(0, |series| series.counts.len())).rev() {
                                tr {
                                    th scope="row" { (time(axes.start(index))) }
                                    @for series in &series {
                                        td .number { (number(series.counts.get(index).copied().unwrap_or(0))) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn suspects<T>(suspects: &[Suspect<T>], what: &str, show: impl Fn(&T) -> Markup) -> Markup {
    if suspects.is_empty() {
        return html! { p .empty { "No failed attempts in this range." } };
    }
    html! {
        div .scroll tabindex="0" role="region" aria-label={ (what) ", attempts" } { table {
            thead { tr { th scope="col" { (what) } th scope="col" .number { "Attempts" } th scope="col" { "Last" } } }
            tbody {
                @for suspect in suspects {
                    tr {
                        td { (show(&suspect.whom)) }
                        td .number { (number(suspect.events)) }
                        td { (time(suspect.last_at)) }
                    }
                }
            }
        } }
    }
}
