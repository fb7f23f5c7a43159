//! The console at `/admin/`: what auditors and admins see in a browser. Pages are made here, whole, and work without a script; what
//! they show and do is what the documented routes show and do, through the same use cases.

mod assets;
mod fields;
mod layout;
mod pages;
mod plot;
mod visit;

use poem::{Response, Route, get, http::StatusCode, post};

use crate::{config::CookieConfig, problem::Problem};
use pages::{account, accounts, alerts, audit, checkpoints, event, mail, mails, overview, past, sign_in, system};
use visit::{Keys, open, order, page};

/// Where everybody begins.
const HOME: &str = "/admin/";

/// Every path with the methods that it answers.
pub const PATHS: [(&str, &str); 23] = [
    ("/admin", "GET"),
    ("/admin/login", "GET, POST"),
    ("/admin/logout", "POST"),
    ("/admin/accounts", "GET"),
    ("/admin/accounts/:id", "GET"),
    ("/admin/accounts/:id/:order", "POST"),
    ("/admin/alerts", "GET"),
    ("/admin/alerts/:id/acknowledge", "POST"),
    ("/admin/mails", "GET"),
    ("/admin/mails/:id", "GET"),
    ("/admin/mails/:id/:order", "POST"),
    ("/admin/audit", "GET"),
    ("/admin/accounts/:id/past", "GET"),
    ("/admin/accounts/:id/refusals", "GET"),
    ("/admin/audit/live", "GET"),
    ("/admin/audit/stream", "GET"),
    ("/admin/audit/export", "GET"),
    ("/admin/audit/events/:id", "GET"),
    ("/admin/audit/events/:id/reveal", "POST"),
    ("/admin/checkpoints", "GET"),
    ("/admin/system", "GET"),
    ("/admin/assets/:name", "GET"),
    ("/admin/*rest", "GET"),
];

/// Adds the console to the other routes.
pub fn add(route: Route, cookie: CookieConfig) -> Route {
    let keys = Keys::new(cookie);
    route
        .at("/admin", get(page(keys, overview::show)))
        .at("/admin/login", get(open(keys, sign_in::ask)).post(open(keys, sign_in::sign_in)))
        .at("/admin/logout", post(order(keys, sign_in::sign_out)))
        .at("/admin/accounts", get(page(keys, accounts::list)))
        .at("/admin/accounts/:id", get(page(keys, account::show)))
        .at("/admin/accounts/:id/past", get(page(keys, past::show)))
        .at("/admin/accounts/:id/refusals", get(page(keys, past::refusals)))
        .at("/admin/accounts/:id/:order", post(order(keys, account::order)))
        .at("/admin/alerts", get(page(keys, alerts::list)))
        .at("/admin/alerts/:id/acknowledge", post(order(keys, alerts::acknowledge)))
        .at("/admin/mails", get(page(keys, mails::list)))
        .at("/admin/mails/:id", get(page(keys, mail::show)))
        .at("/admin/mails/:id/:order", post(order(keys, mail::order)))
        .at("/admin/audit", get(page(keys, audit::search)))
        .at("/admin/audit/live", get(page(keys, audit::live)))
        .at("/admin/audit/stream", get(page(keys, audit::stream)))
        .at("/admin/audit/export", get(page(keys, audit::export)))
        .at("/admin/audit/events/:id", get(page(keys, event::show)))
        .at("/admin/audit/events/:id/reveal", post(order(keys, event::reveal)))
        .at("/admin/checkpoints", get(page(keys, checkpoints::list)))
        .at("/admin/system", get(page(keys, system::show)))
        .at("/admin/assets/:name", get(poem::endpoint::make_sync(|request| assets::serve(&request))))
        .at("/admin/*rest", get(page(keys, |_, _| async { Err::<Response, _>(Problem::not_found()) })))
}

/// To another page, which the browser asks for with GET.
fn see_other(path: &str) -> Response {
    Response::builder().status(StatusCode::SEE_OTHER).header("Location", path).finish()
}
