//! One account: how it is, its sessions, what happened to it, and what an admin may do about it.

use doorbook_core::account::{Role, Status};
use doorbook_core::password::PasswordPlain;
use doorbook_core::service::access::Right;
use doorbook_core::service::admin::{AccountDetail, AccountView, Intervention, Order};
use doorbook_core::service::audit::Filter;
use doorbook_core::value::{AccountId, SessionId};
use maud::{Markup, html};
use poem::{Request, Response};

use super::accounts::{roles, state};
use super::audit::rows;
use super::mails::HERE as MAILS;
use crate::console::layout::{self, Nav, number, or_none, time, time_or};
use crate::console::see_other;
use crate::console::visit::Visit;
use crate::problem::Problem;
use crate::routes::input::{Faults, command};

/// Events of the timeline; the trail has the rest.
const TIMELINE: u32 = 50;
const HERE: &str = "/admin/accounts/";
/// Fields of an order that are carried through the question for the password.
const CARRIED: [&str; 3] = ["reason", "role", "session"];

/// An order as the page offers it.
struct Offer {
    /// Last part of its path.
    path: &'static str,
    name: &'static str,
    /// What it does, for whoever hesitates.
    effect: &'static str,
}

const DISABLE: Offer =
    Offer { path: "disable", name: "Disable", effect: "Ends its sessions and refuses its logins until it is enabled." };
const ENABLE: Offer = Offer { path: "enable", name: "Enable", effect: "Lets it log in again." };
const UNLOCK: Offer = Offer {
    path: "unlock",
    name: "Unlock",
    effect: "Lifts the lock of a hundred failed logins in a row, and blocks that time would lift.",
};
const FORCE_RESET: Offer = Offer {
    path: "force-reset",
    name: "Force a reset",
    effect: "Ends all sessions; the owner is mailed a link to set another password.",
};
const ERASE: Offer = Offer {
    path: "erase",
    name: "Erase",
    effect: "At once and for good: nothing tells any more who it was. Its events and their proofs stay.",
};
const REVOKE_SESSIONS: Offer =
    Offer { path: "revoke-sessions", name: "End all sessions", effect: "Whoever is logged in must log in again." };

pub async fn show(visit: Visit, request: Request) -> Result<Response, Problem> {
    let account = asked_for(&request)?;
    let (doorbook, context, caller) = (visit.doorbook.clone(), visit.context.clone(), visit.caller);
    let detail = command(async move { doorbook.view_account(caller, account, &context).await }).await?;
    let receipt = match detail.account.status {
        Status::Erased if visit.is_admin => Some(visit.doorbook.erasure_receipt(account).await?),
        _ => None,
    };
    let filter = Filter { account: Some(account), ..Filter::default() };
    let timeline = visit.doorbook.newest(visit.caller, &filter, TIMELINE).await?;
    let page = html! {
        @if visit.fields.get("done").is_some() { p .message role="status" { "Done. It stands in the trail, with your reason." } }
        (facts(&detail))
        @if let Some(receipt) = &receipt {
            section aria-labelledby="receipt" {
                h2 #receipt { "Receipt of the erasure" }
                p {
                    "Erased " (time(receipt.erased_at)) ". Backups of the keys from before are to be deleted by "
                    (time(receipt.backups_until)) "; until then they still hold its key."
                }
                pre { (receipt.note) }
            }
        } @else if visit.is_admin {
            (orders(&visit, &detail.account))
        }
        section aria-labelledby="sessions" { h2 #sessions { "Live sessions" } (sessions(&visit, &detail)) }
        section aria-labelledby="timeline" {
            h2 #timeline { "Timeline" }
            (rows(&timeline, "Nothing has been sealed yet."))
            p .pages {
                a href={ "/admin/audit/?account=" (account.0) } { "Search its whole trail" }
                a href={ (HERE) (account) "/refusals/" } { "Why logins were refused" }
                a href={ (HERE) (account) "/past/" } { "As it was at another time" }
            }
        }
    };
    Ok(layout::page("Account", HERE, Some(&Nav::of(&visit)), &page))
}

/// Carries out one order. The dangerous ones ask for the password first, with the same form once more.
pub async fn order(visit: Visit, request: Request) -> Result<Response, Problem> {
    let account = asked_for(&request)?;
    visit.doorbook.admit(visit.caller, Right::Administer, &visit.context).await?;
    let path = request.raw_path_param("order").unwrap_or_default().to_owned();
    let fields = visit.fields.clone();
    let mut faults = Faults::default();
    let role = faults.parsed("role", fields.get("role"), "must be one of: auditor, admin", Role::parse);
    let session = faults.parsed("session", fields.get("session"), "must be a UUID", |id| id.parse().ok());
    let password = fields.get("password").map(|text| faults.password("password", text.to_owned()));
    let Some(reason) = faults.reason(fields.get("reason").unwrap_or_default()) else { return faults.refuse() };
    faults.check()?;
    if let Some(Some(password)) = password
        && let Err(problem) = step_up(&visit, password).await
    {
        return Ok(ask_again(&visit, account, &path, Some(&problem)));
    }
    let what = match (path.as_str(), role, session) {
        ("end-session", _, Some(session)) => What::EndSession(SessionId(session)),
        (path, role, _) => What::Order(intervention(path, role).ok_or_else(Problem::not_found)?),
    };
    match give(&visit, account, what, reason).await {
        Ok(()) => Ok(see_other(&format!("{HERE}{account}/?done={path}"))),
        Err(problem) if problem == Problem::step_up_required() => Ok(ask_again(&visit, account, &path, None)),
        Err(problem) => Err(problem),
    }
}

enum What {
    Order(Intervention),
    EndSession(SessionId),
}

async fn give(visit: &Visit, account: AccountId, what: What, reason: String) -> Result<(), Problem> {
    let (doorbook, context, caller) = (visit.doorbook.clone(), visit.context.clone(), visit.caller);
    command(async move {
        match what {
            What::Order(what) => doorbook.administer(caller, account, &Order::new(what, reason), None, &context).await,
            What::EndSession(session) => {
                doorbook.end_session_of(caller, account, session, &reason, None, &context).await
            }
        }
    })
    .await
}

async fn step_up(visit: &Visit, password: PasswordPlain) -> Result<(), Problem> {
    let (doorbook, context, caller) = (visit.doorbook.clone(), visit.context.clone(), visit.caller);
    command(async move { doorbook.step_up(caller, &password, &context).await }).await
}

fn intervention(path: &str, role: Option<Role>) -> Option<Intervention> {
    Some(match (path, role) {
        ("disable", _) => Intervention::Disable,
        ("enable", _) => Intervention::Enable,
        ("unlock", _) => Intervention::Unlock,
        ("force-reset", _) => Intervention::ForceReset,
        ("erase", _) => Intervention::Erase,
        ("revoke-sessions", _) => Intervention::RevokeSessions,
        ("grant-role", Some(role)) => Intervention::GrantRole(role),
        ("revoke-role", Some(role)) => Intervention::RevokeRole(role),
        _ => return None,
    })
}

pub fn asked_for(request: &Request) -> Result<AccountId, Problem> {
    let id = request.raw_path_param("id").and_then(|id| id.parse().ok());
    id.map(AccountId).ok_or_else(Problem::not_found)
}

fn ask_again(visit: &Visit, account: AccountId, path: &str, problem: Option<&Problem>) -> Response {
    let wrong = problem.map(|problem| {
        let (_, detail, errors) = problem.words();
        errors.first().map_or_else(|| detail.to_owned(), |error| format!("The password {}.", error.message))
    });
    let content = html! {
        form .card method="post" action={ (HERE) (account) "/" (path) "/" } {
            p { "You signed in a while ago. Give your password again to go on." }
            @if let Some(wrong) = wrong { p .error role="alert" { (wrong) } }
            input type="hidden" name="csrf" value=(visit.csrf);
            @for (name, value) in visit.fields.of(&CARRIED) { input type="hidden" name=(name) value=(value); }
            label for="password" { "Password" }
            input #password type="password" name="password" autocomplete="current-password" required autofocus;
            button .primary { "Go on" }
            p { a href={ (HERE) (account) "/" } { "Leave it" } }
        }
    };
    let mut response = layout::page("Your password", HERE, Some(&Nav::of(visit)), &content);
    response.set_status(problem.map_or(Problem::step_up_required().status(), Problem::status));
    response
}

fn facts(detail: &AccountDetail) -> Markup {
    let account = &detail.account;
    let name = [account.first_name.as_deref(), account.last_name.as_deref()].into_iter().flatten();
    let name = name.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    html! {
        dl .facts {
            div { dt { "Id" } dd { code { (account.id.0) } } }
            div { dt { "E-mail address" } dd { (or_none(account.email.as_deref(), "erased")) } }
            @if !name.is_empty() { div { dt { "Name" } dd { (name) } } }
            div { dt { "Status" } dd { (state(account)) } }
            div { dt { "Roles" } dd { (or_none(Some(roles(account).as_str()).filter(|roles| !roles.is_empty()), "none")) } }
            @if let Some(until) = detail.blocked_until { div .bad { dt { "Blocked until" } dd { (time(until)) } } }
            @if let Some(at) = account.locked_at { div .bad { dt { "Locked since" } dd { (time(at)) } } }
            div { dt { "Locale" } dd { (account.locale.as_str()) } }
            div { dt { "Created" } dd { (time_or(account.created_at, "unknown")) } }
            div { dt { "Last login" } dd { (time_or(account.last_login_at, "never")) } }
            div { dt { "Password changed" } dd { (time_or(account.password_changed_at, "never")) } }
            div { dt { "Mails" } dd {
                @if detail.mails.is_empty() { span .none { "none" } }
                @for (state, count) in &detail.mails {
                    a .pair href={ (MAILS) "?account=" (account.id.0) "&state=" (state) } { (number(*count)) " " (state) } " "
                }
            } }
        }
    }
}

fn orders(visit: &Visit, account: &AccountView) -> Markup {
    let status = if account.status == Status::Active { DISABLE } else { ENABLE };
    let offers = [status, UNLOCK, FORCE_RESET, REVOKE_SESSIONS, ERASE];
    html! {
        section aria-labelledby="orders" {
            h2 #orders { "Actions" }
            div .orders {
                @for offer in &offers { (form(visit, account.id, offer, &html! {})) }
                @for role in [Role::Auditor, Role::Admin] { (role_form(visit, account, role)) }
            }
        }
    }
}

fn role_form(visit: &Visit, account: &AccountView, role: Role) -> Markup {
    let hidden = html! { input type="hidden" name="role" value=(role.as_str()); };
    let offer = match (account.roles.contains(&role), role) {
        (true, Role::Auditor) => Offer { path: "revoke-role", name: "Revoke auditor", effect: "No trail any more." },
        (true, Role::Admin) => Offer { path: "revoke-role", name: "Revoke admin", effect: "No orders any more." },
        (false, Role::Auditor) => {
            Offer { path: "grant-role", name: "Make auditor", effect: "Reads the trail, with masks." }
        }
        (false, Role::Admin) => {
            Offer { path: "grant-role", name: "Make admin", effect: "Reads all and may change accounts." }
        }
    };
    form(visit, account.id, &offer, &hidden)
}

fn form(visit: &Visit, account: AccountId, offer: &Offer, hidden: &Markup) -> Markup {
    html! {
        details .order {
            summary { (offer.name) }
            form method="post" action={ (HERE) (account) "/" (offer.path) "/" } {
                p .hint { (offer.effect) }
                input type="hidden" name="csrf" value=(visit.csrf);
                (hidden)
                label { "Reason" input name="reason" required maxlength="500" placeholder=(layout::REASON) autocomplete="off"; }
                button .primary { (offer.name) }
            }
        }
    }
}

fn sessions(visit: &Visit, detail: &AccountDetail) -> Markup {
    if detail.sessions.is_empty() {
        return html! { p .empty { "Nobody is logged in." } };
    }
    html! {
        div .scroll tabindex="0" role="region" aria-labelledby="sessions" {
            table {
                thead {
                    tr {
                        th scope="col" { "Began" }
                        th scope="col" { "Last used" }
                        th scope="col" { "Ends" }
                        @if visit.is_admin { th scope="col" { "From" } th scope="col" { "Device" } th scope="col" { "End it" } }
                    }
                }
                tbody {
                    @for session in &detail.sessions {
                        tr {
                            td { a href={ "/admin/audit/?session=" (session.id.0) } { (time(session.created_at)) } }
                            td { (time(session.last_used_at)) }
                            td { (time(session.expires_at)) }
                            @if visit.is_admin {
                                td { (or_none(session.address.as_deref(), "unknown")) }
                                td { (or_none(session.user_agent.as_deref(), "unknown")) }
                                td {
                                    (form(visit, detail.account.id,
                                        &Offer { path: "end-session", name: "End", effect: "This one only." },
                                        &html! { input type="hidden" name="session" value=(session.id.0); }))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
