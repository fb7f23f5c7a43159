//! What every page shares.

use doorbook_core::clock::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use poem::Response;
use poem::http::HeaderValue;
use poem::http::header::CONTENT_TYPE;

use super::HOME;
use super::assets::{ICON, SCRIPT, STYLE};
use super::visit::Visit;
use crate::middleware::trace::TraceId;
use crate::problem::Problem;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

const PLACES: [(&str, &str); 7] = [
    (HOME, "Overview"),
    ("/admin/accounts/", "Accounts"),
    ("/admin/mails/", "Mails"),
    ("/admin/audit/", "Trail"),
    ("/admin/alerts/", "Alerts"),
    ("/admin/checkpoints/", "Checkpoints"),
    ("/admin/system/", "System"),
];

/// What the head of a page shows to somebody who has signed in.
pub struct Nav {
    csrf: String,
    is_admin: bool,
}

impl Nav {
    pub fn of(visit: &Visit) -> Self {
        Self { csrf: visit.csrf.clone(), is_admin: visit.is_admin }
    }
}

/// What a reason is asked for as. It is plain in the log for good.
pub const REASON: &str = "a case, not a person";

/// A page as it is sent.
pub fn page(title: &str, here: &str, nav: Option<&Nav>, content: &Markup) -> Response {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex, nofollow";
                title { (title) " · Doorbook" }
                link rel="icon" type="image/svg+xml" href=(ICON.path());
                link rel="stylesheet" href=(STYLE.path());
                script src=(SCRIPT.path()) defer {}
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                header {
                    a .brand href=(HOME) { "Doorbook" }
                    @if let Some(nav) = nav { (navigation(nav, here)) }
                }
                main #main tabindex="-1" {
                    h1 { (title) }
                    (content)
                }
                footer { "Times are UTC, by the database's clock." }
            }
        }
    };
    let mut response = Response::builder().body(document.into_string());
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response
}

fn navigation(nav: &Nav, here: &str) -> Markup {
    html! {
        nav aria-label="Console" {
            ul {
                @for (path, name) in PLACES {
                    li { a href=(path) aria-current=[(path == here).then_some("page")] { (name) } }
                }
            }
        }
        form .out method="post" action="/admin/logout/" {
            input type="hidden" name="csrf" value=(nav.csrf);
            span .role { (if nav.is_admin { "admin" } else { "auditor" }) }
            button { "Sign out" }
        }
    }
}

/// The page that says why something was not done.
pub fn refused(problem: &Problem, path: &str, trace: Option<TraceId>, nav: Option<&Nav>) -> Response {
    let (title, detail, errors) = problem.words();
    let content = html! {
        p .error role="alert" { (detail) }
        @if !errors.is_empty() {
            ul .errors {
                @for error in errors { li { code { (error.field) } " " (error.message) } }
            }
        }
        @if let Some(trace) = trace { p .hint { "Reference for the service's logs: " code { (trace.to_string()) } } }
        p { a href=(HOME) { "To the overview" } }
    };
    let mut response = problem.render(path, trace);
    let page = page(title, "", nav, &content);
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response.headers_mut().remove(poem::http::header::WWW_AUTHENTICATE);
    response.set_body(page.into_body());
    response
}

/// A time for people and for programs.
pub fn time(at: Timestamp) -> Markup {
    let text = at.rfc3339();
    let (day, rest) = text.split_once('T').unwrap_or((&text, ""));
    let clock = rest.get(..8).unwrap_or(rest);
    html! { time datetime=(text) { (day) " " span .clock { (clock) } } }
}

/// A time that may not have come.
pub fn time_or(at: Option<Timestamp>, otherwise: &str) -> Markup {
    at.map_or_else(|| html! { span .none { (otherwise) } }, time)
}

/// An id, short; whole for those who point at it or copy it.
pub fn id(id: uuid::Uuid) -> Markup {
    let text = id.to_string();
    // The last digits are random, the first are the time.
    let (head, tail) = text.split_at(text.len() - 8);
    html! { code .id title=(text) { span .head { (head) } (tail) } }
}

pub fn account(account: uuid::Uuid) -> Markup {
    html! { a href={ "/admin/accounts/" (account) "/" } { (id(account)) } }
}

pub fn or_none(text: Option<&str>, otherwise: &str) -> Markup {
    text.map_or_else(|| html! { span .none { (otherwise) } }, |text| html! { (text) })
}

/// `1234567` as `1,234,567`.
pub fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// Markup that a library of ours has made.
pub const fn trusted(markup: String) -> PreEscaped<String> {
    PreEscaped(markup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (value, expected) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (-1_000, "-1,000")]
        {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn what_comes_from_outside_stays_text() {
        let markup = or_none(Some("<script>alert(1)</script>"), "none").into_string();
        assert_eq!(markup, "&lt;script&gt;alert(1)&lt;/script&gt;");
    }
}
