//! The trail: searching it, watching it, taking it away.

use doorbook_core::clock::Timestamp;
use doorbook_core::service::audit::{ROLLED_UP, TrailEntry};
use doorbook_core::terms::Severity;
use maud::{Markup, html};
use poem::{Request, Response};
use serde_json::Value;

use crate::console::fields::Fields;
use crate::console::layout::{self, Nav, id, number, time};
use crate::console::visit::Visit;
use crate::problem::{FieldError, Problem};
use crate::routes::admin::audit::Asking;
use crate::routes::admin::export::{Exported, Wanted};
use crate::routes::admin::stream::{Ending, messages, resume};

/// Entries of a page.
const PAGE: u32 = 50;
const HERE: &str = "/admin/audit/";
/// The field of the live page's stream that names where the page ends.
const BEHIND: &str = "behind";

/// Fields of the search: name, label, example.
const FIELDS: [(&str, &str, &str); 10] = [
    ("account", "Account", "id"),
    ("actor", "Actor", "id of the account that did it"),
    ("type", "Type", "LoginFailed"),
    ("email", "E-mail address", "the whole address"),
    ("email_domain", "E-mail domain", "example.com"),
    ("address", "Client address", "203.0.113.7"),
    ("network", "Network", "203.0.113.0/24"),
    ("session", "Session", "id"),
    ("from", "From", "2026-01-31T00:00:00Z"),
    ("to", "Before", "2026-02-01T00:00:00Z"),
];

/// Searches that are asked for every day.
const SAVED: [(&str, &str); 6] = [
    ("Warnings", "severity=warning"),
    ("Failed logins", "type=LoginFailed"),
    ("Blocks", "type=LoginBlocked"),
    ("Disabled accounts", "type=AccountDisabled"),
    ("Roles granted", "type=RoleGranted"),
    ("Personal data revealed", "type=PersonalDataRevealed"),
];

pub async fn search(visit: Visit, _: Request) -> Result<Response, Problem> {
    let nav = Nav::of(&visit);
    let fields = &visit.fields;
    let cursor = fields.get("cursor");
    let found = match fields.read::<Asking>().and_then(Asking::parse) {
        Ok(filter) => visit
            .doorbook
            .search_trail(visit.caller, &filter, cursor, PAGE, &visit.context)
            .await
            .map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    let page = match found {
        Ok(page) => page,
        Err(problem) if !problem.words().2.is_empty() => {
            let content = form(fields, problem.words().2);
            let mut response = layout::page("Trail", HERE, Some(&nav), &content);
            response.set_status(problem.status());
            return Ok(response);
        }
        Err(problem) => return Err(problem),
    };
    let is_empty = if page.next.is_some() {
        "Nothing on this page. Go on: there may be more further down."
    } else {
        "Nothing matches."
    };
    let content = html! {
        (form(fields, &[]))
        section aria-label="Events" {
            (rows(&page.entries, is_empty))
            p .pages {
                @if cursor.is_some() { a href={ (HERE) "?" (fields.query(&[("cursor", "")])) } { "Newest" } " " }
                @if let Some(next) = &page.next {
                    a rel="next" href={ (HERE) "?" (fields.query(&[("cursor", next)])) } { "Earlier" }
                }
            }
        }
    };
    Ok(layout::page("Trail", HERE, Some(&nav), &content))
}

/// New events as they are sealed. The script asks for them; without it, the page says how else to see them.
pub async fn live(visit: Visit, _: Request) -> Result<Response, Problem> {
    let filter = visit.fields.read::<Asking>()?.parse()?;
    let (newest, behind) = visit.doorbook.tail(visit.caller, &filter, PAGE, &visit.context).await?;
    let content = html! {
        p #live-state role="status" data-stream={ "/admin/audit/stream/?" (visit.fields.query(&[(BEHIND, &behind)])) } {
            "Without scripts this page shows what was newest when it was loaded."
        }
        (rows(&newest, "Nothing yet."))
    };
    Ok(layout::page("Live trail", HERE, Some(&Nav::of(&visit)), &content))
}

/// What the script of the live page asks for: the stream of the API, each event as a row of the table.
pub async fn stream(visit: Visit, request: Request) -> Result<Response, Problem> {
    let ending = request.data::<Ending>().cloned().ok_or_else(Problem::internal)?;
    // A stream that was cut off goes on where it was; one that begins, behind what its page shows.
    let behind = resume(&request)?.or_else(|| visit.fields.get(BEHIND).map(str::to_owned));
    let filter = visit.fields.read::<Asking>()?.parse()?;
    let until = visit.doorbook.token_end(&visit.access)?;
    let Visit { doorbook, caller, context, .. } = visit;
    let opened = doorbook.open_stream(caller, filter, behind.as_deref(), until, &context).await?;
    Ok(messages(opened, ending, |entry| row(&entry).into_string()))
}

pub async fn export(visit: Visit, _: Request) -> Result<Exported, Problem> {
    visit.fields.read::<Wanted>()?.export(&visit.doorbook, visit.caller, &visit.context).await
}

fn form(fields: &Fields, errors: &[FieldError]) -> Markup {
    let severity = fields.get("severity").unwrap_or_default();
    html! {
        nav .saved aria-label="Saved searches" {
            @for (name, query) in SAVED { a href={ (HERE) "?" (query) } { (name) } }
            a href="/admin/audit/live/" { "Live" }
        }
        @if !errors.is_empty() {
            div .error role="alert" {
                ul { @for error in errors { li { strong { (error.field) } ": " (error.message) } } }
            }
        }
        details .filters open[!errors.is_empty() || !fields.query(&[("cursor", "")]).is_empty()] {
            summary { "Search" }
            form method="get" action=(HERE) role="search" {
                div .grid {
                    @for (name, label, example) in FIELDS {
                        div {
                            label for=(name) { (label) }
                            input id=(name) name=(name) value=[fields.get(name)] placeholder=(example) autocomplete="off"
                                aria-invalid=[errors.iter().any(|error| error.field == name).then_some("true")];
                        }
                    }
                    div {
                        label for="severity" { "Severity, this or higher" }
                        select #severity name="severity" {
                            option value="" { "any" }
                            @for level in Severity::ALL {
                                option value=(level.as_str()) selected[level.as_str() == severity] { (level.as_str()) }
                            }
                        }
                    }
                }
                button .primary { "Search" }
                button name="format" value="csv" formaction="/admin/audit/export/" { "Export CSV" }
                button name="format" value="ndjson" formaction="/admin/audit/export/" { "Export NDJSON" }
                p .hint {
                    "All fields that are filled in must hold. Personal data is sealed, so it is found whole or not at all. "
                    "The address of this page keeps the search: bookmark or share it. A search and an export are events themselves. "
                    "An export that breaks off is not whole: of more than 100,000 events, ask for spans of time."
                }
            }
        }
    }
}

/// A table of events, newest first.
pub fn rows(entries: &[TrailEntry], empty: &str) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Events" {
            table .trail {
                thead {
                    tr {
                        th scope="col" { "At" }
                        th scope="col" { "Event" }
                        th scope="col" { "Account" }
                        th scope="col" { "By" }
                        th scope="col" { "From" }
                        th scope="col" { "Details" }
                    }
                }
                tbody { @for entry in entries { (row(entry)) } }
            }
        }
        @if entries.is_empty() { p .empty { (empty) } }
    }
}

pub fn row(entry: &TrailEntry) -> Markup {
    let level = entry.severity.map_or("unknown", Severity::as_str);
    let address = entry.personal.as_ref().and_then(|personal| personal.address.as_deref());
    html! {
        tr class=(level) {
            td { (time(entry.at)) }
            td {
                a href={ "/admin/audit/events/" (entry.id.0) "/" } { (entry.name) }
                @if level != "info" { " " span class={ "level " (level) } { (level) } }
            }
            td { @if let Some(account) = entry.account { (layout::account(account)) } }
            td { (actor(entry)) }
            td {
                @if let Some(address) = address { (address) } @else if entry.erased { span .none { "erased" } }
            }
            td .details {
                @match words(entry) { Some(words) => (words), None => (summary(&entry.payload)) }
            }
        }
    }
}

/// Who did it.
pub fn actor(entry: &TrailEntry) -> Markup {
    match entry.actor {
        Some(actor) if entry.account == Some(actor) => html! { "the owner" },
        Some(actor) => layout::account(actor),
        None => html! { (entry.actor_kind) },
    }
}

/// What an event that stands for many says, in words.
pub fn words(entry: &TrailEntry) -> Option<Markup> {
    if entry.name != ROLLED_UP {
        return None;
    }
    let [attempts, identifiers, networks, blocks, from] =
        ["attempts", "identifiers", "networks", "blocks", "from"].map(|name| entry.payload[name].as_i64());
    let (attempts, identifiers, blocks) = (number(attempts?), number(identifiers?), number(blocks?));
    let (networks, from) = (number(networks?), Timestamp::from_micros(from?));
    let network = entry.personal.as_ref().and_then(|personal| personal.address.as_deref());
    Some(html! {
        (attempts) " failed logins at " (identifiers) " addresses without an account, from "
        @match network { Some(network) => { "the network " (network) } None => { "networks: " (networks) } }
        "; blocks begun: " (blocks) "; in the minute from " (time(from))
    })
}

/// The plain fields of a payload in one line; the event's page has all of it.
fn summary(payload: &Value) -> Markup {
    let plain = payload.as_object().into_iter().flatten().filter_map(|(name, value)| match value {
        Value::String(text) => {
            uuid::Uuid::parse_str(text).map_or_else(|_| Some((name, html! { (text) })), |uuid| Some((name, id(uuid))))
        }
        Value::Number(_) | Value::Bool(_) => Some((name, html! { (value.to_string()) })),
        Value::Array(items) if items.iter().all(Value::is_string) && !items.is_empty() => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            Some((name, html! { (items.join(", ")) }))
        }
        _ => None,
    });
    html! { @for (name, value) in plain { span .pair { span .key { (name) } " " (value) } " " } }
}
