//! Signing in and out.

use doorbook_core::password::PasswordPlain;
use doorbook_core::service::access::Right;
use doorbook_core::service::login::Login;
use doorbook_core::value::Email;
use maud::html;
use poem::http::HeaderValue;
use poem::{Request, Response};

use crate::command::refused_on_the_grid;
use crate::console::visit::{Keys, Stranger, Visit, with_cookies};
use crate::console::{HOME, layout, see_other};
use crate::cookie::CLEAR_SITE_DATA;
use crate::middleware::cors::CallerOrigin;
use crate::problem::Problem;
use crate::routes::input::command;

/// The empty form.
pub async fn ask(stranger: Stranger) -> Result<Response, Problem> {
    Ok(form(&destination(&stranger), "", None))
}

/// A login like any other. Somebody without a role gets a session, as everywhere, which ends at once.
pub async fn sign_in(stranger: Stranger) -> Result<Response, Problem> {
    if stranger.origin != CallerOrigin::Own {
        return Err(Problem::origin_not_allowed());
    }
    let next = destination(&stranger);
    let Stranger { doorbook, context, keys, held, fields, .. } = stranger;
    let written = fields.get("email").unwrap_or_default().to_owned();
    let password = PasswordPlain::parse(fields.get("password").unwrap_or_default().to_owned());
    let (Ok(email), Ok(password)) = (Email::parse(&written), password) else {
        return Ok(again(&next, &written, &Problem::invalid_credentials()));
    };
    let entered = Box::pin(refused_on_the_grid(command(async move {
        let login = Login { email, password, remember_device: false, device_token: None };
        let tokens = doorbook.login(&login, &context).await?;
        let caller = doorbook.authenticate(&tokens.access).await?;
        if let Err(refused) = doorbook.admit(caller, Right::Audit, &context).await {
            doorbook.logout(tokens.refresh.expose(), &context).await?;
            return Err(refused);
        }
        // Its cookie is overwritten: nobody could end it from here any more.
        if let Some(held) = held
            && let Err(error) = doorbook.logout(&held, &context).await
        {
            tracing::info!(%error, "the session of the console before this one goes on");
        }
        Ok(keys.hand(&tokens))
    })))
    .await;
    match entered {
        Ok(cookies) => Ok(with_cookies(see_other(&next), &cookies)),
        Err(problem) if problem.status().is_client_error() => Ok(again(&next, &written, &problem)),
        Err(problem) => Err(problem),
    }
}

pub async fn sign_out(visit: Visit, _: Request) -> Result<Response, Problem> {
    let Visit { doorbook, context, keys, refresh, .. } = visit;
    command(async move { doorbook.logout(&refresh, &context).await }).await?;
    let mut response = forgotten(keys);
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static(CLEAR_SITE_DATA));
    Ok(response)
}

fn forgotten(keys: Keys) -> Response {
    with_cookies(see_other(&format!("{HOME}login/")), &keys.take_away())
}

/// Where to go afterwards: a page of the console and nothing else, whoever wrote the link.
fn destination(stranger: &Stranger) -> String {
    let next = stranger.fields.get("next").unwrap_or(HOME);
    let is_ours = next.starts_with(HOME) && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { next.to_owned() } else { HOME.to_owned() }
}

fn again(next: &str, email: &str, problem: &Problem) -> Response {
    let mut response = form(next, email, Some(problem.words().1));
    response.set_status(problem.status());
    response
}

fn form(next: &str, email: &str, error: Option<&str>) -> Response {
    let content = html! {
        form .card method="post" action="/admin/login/" {
            @if let Some(error) = error { p .error role="alert" { (error) } }
            input type="hidden" name="next" value=(next);
            label for="email" { "E-mail address" }
            input #email type="email" name="email" value=(email) autocomplete="username" required autofocus;
            label for="password" { "Password" }
            input #password type="password" name="password" autocomplete="current-password" required;
            button .primary { "Sign in" }
            @if error.is_none() { p { a href=(next) { "Signed in already? Go on." } } }
            p .hint { "For accounts with the role auditor or admin." }
        }
    };
    layout::page("Sign in", "", None, &content)
}
