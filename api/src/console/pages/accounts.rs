//! Finding accounts.

use doorbook_core::account::{Role, Status};
use doorbook_core::service::admin::{AccountFilter, AccountView};
use doorbook_core::value::{AccountId, EventId};
use maud::{Markup, html};
use poem::{Request, Response};

use crate::console::fields::Fields;
use crate::console::layout::{self, Nav, id, or_none, time_or};
use crate::console::visit::Visit;
use crate::problem::{FieldError, Problem};
use crate::routes::input::Faults;

const PAGE: u32 = 50;
const HERE: &str = "/admin/accounts/";
const STATUSES: [Status; 5] = [Status::Active, Status::Disabled, Status::Frozen, Status::Leaving, Status::Erased];
const ROLES: [Role; 2] = [Role::Auditor, Role::Admin];

pub async fn list(visit: Visit, _: Request) -> Result<Response, Problem> {
    let nav = Nav::of(&visit);
    let fields = &visit.fields;
    let found = match filter(fields) {
        Ok(filter) => search(&visit, &filter).await,
        Err(problem) => Err(problem),
    };
    let (found, next) = match found {
        Ok(found) => found,
        Err(problem) if !problem.words().2.is_empty() => {
            let mut response = layout::page("Accounts", HERE, Some(&nav), &form(fields, problem.words().2));
            response.set_status(problem.status());
            return Ok(response);
        }
        Err(problem) => return Err(problem),
    };
    let empty =
        if next.is_some() { "None on this page. Go on: there may be more." } else { "No account is like that." };
    let content = html! {
        (form(fields, &[]))
        section aria-label="Accounts found" {
            @if found.is_empty() { p .empty { (empty) } } @else { (table(&found)) }
            @if let Some(next) = next {
                p .pages { a rel="next" href={ (HERE) "?" (fields.query(&[("before", &next)])) } { "Earlier" } }
            }
        }
    };
    Ok(layout::page("Accounts", HERE, Some(&nav), &content))
}

/// A page, and where the next one begins.
async fn search(visit: &Visit, filter: &AccountFilter) -> Result<(Vec<AccountView>, Option<String>), Problem> {
    let before = visit.fields.get("before").and_then(|id| id.parse().ok());
    if let Some(domain) = visit.fields.get("email_domain") {
        let before = before.map(EventId);
        let page =
            visit.doorbook.accounts_of_domain(visit.caller, domain, filter, before, PAGE, &visit.context).await?;
        return Ok((page.accounts, page.next.map(|event| event.0.to_string())));
    }
    let found =
        visit.doorbook.search_accounts(visit.caller, filter, before.map(AccountId), PAGE, &visit.context).await?;
    let next = found.last().filter(|_| found.len() >= PAGE as usize).map(|last| last.id.0.to_string());
    Ok((found, next))
}

fn filter(fields: &Fields) -> Result<AccountFilter, Problem> {
    let mut faults = Faults::default();
    let id = faults.parsed("id", fields.get("id"), "must be a UUID", |id| id.parse().ok());
    let email = fields.get("email").and_then(|text| faults.email("email", text));
    let status = faults.parsed(
        "status",
        fields.get("status"),
        "must be one of: active, disabled, frozen, leaving, erased",
        Status::parse,
    );
    let role = faults.parsed("role", fields.get("role"), "must be one of: auditor, admin", Role::parse);
    faults.check()?;
    Ok(AccountFilter { id: id.map(AccountId), email, status, role })
}

fn form(fields: &Fields, errors: &[FieldError]) -> Markup {
    let selected = |name, value| fields.get(name) == Some(value);
    html! {
        @if !errors.is_empty() {
            div .error role="alert" {
                ul { @for error in errors { li { strong { (error.field) } ": " (error.message) } } }
            }
        }
        form method="get" action=(HERE) role="search" {
            div .grid {
                div {
                    label for="email" { "E-mail address" }
                    input #email type="search" name="email" value=[fields.get("email")] placeholder="the whole address" autocomplete="off";
                }
                div {
                    label for="email_domain" { "E-mail domain" }
                    input #email_domain name="email_domain" value=[fields.get("email_domain")] placeholder="example.com" autocomplete="off";
                }
                div { label for="id" { "Id" } input #id name="id" value=[fields.get("id")] autocomplete="off"; }
                div {
                    label for="status" { "Status" }
                    select #status name="status" {
                        option value="" { "any" }
                        @for status in STATUSES {
                            option value=(status.as_str()) selected[selected("status", status.as_str())] { (status.as_str()) }
                        }
                    }
                }
                div {
                    label for="role" { "Role" }
                    select #role name="role" {
                        option value="" { "any" }
                        @for role in ROLES {
                            option value=(role.as_str()) selected[selected("role", role.as_str())] { (role.as_str()) }
                        }
                    }
                }
            }
            button .primary { "Search" }
            p .hint { "Addresses are sealed: they are found whole, or by their domain." }
        }
    }
}

fn table(accounts: &[AccountView]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Accounts" {
            table {
                thead {
                    tr {
                        th scope="col" { "Account" }
                        th scope="col" { "E-mail address" }
                        th scope="col" { "Status" }
                        th scope="col" { "Roles" }
                        th scope="col" { "Created" }
                        th scope="col" { "Last login" }
                    }
                }
                tbody {
                    @for account in accounts {
                        tr {
                            td { a href={ (HERE) (account.id.0) "/" } { (id(account.id.0)) } }
                            td { (or_none(account.email.as_deref(), "erased")) }
                            td { (state(account)) }
                            td { (roles(account)) }
                            td { (time_or(account.created_at, "unknown")) }
                            td { (time_or(account.last_login_at, "never")) }
                        }
                    }
                }
            }
        }
    }
}

/// Status, with what keeps the owner out.
pub fn state(account: &AccountView) -> Markup {
    html! {
        span class={ "state " (account.status.as_str()) } { (account.status.as_str()) }
        @if account.locked_at.is_some() { " " span .state.locked { "locked" } }
        @if account.reset_required_at.is_some() { " " span .state.locked { "reset required" } }
        @if !account.email_verified { " " span .state { "unverified" } }
    }
}

pub fn roles(account: &AccountView) -> String {
    account.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}
