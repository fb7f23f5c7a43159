//! Who looks at a page: a session of its own in two cookies, renewed as any other client renews its own. A form counts only with the
//! session's token against forged requests and from our own origin.

use std::future::Future;
use std::sync::Arc;

use doorbook_core::service::access::{Caller, Right};
use doorbook_core::service::login::Tokens;
use doorbook_core::service::{Context, Doorbook, Refusal};
use poem::endpoint::make;
use poem::http::HeaderValue;
use poem::http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, SET_COOKIE};
use poem::{Endpoint, IntoResponse, Request, Response};

use super::fields::Fields;
use super::{HOME, layout, see_other};
use crate::config::CookieConfig;
use crate::cookie::TokenCookie;
use crate::middleware::cors::CallerOrigin;
use crate::middleware::trace::TraceId;
use crate::problem::Problem;
use crate::routes::input::{asked, command};

/// Longest refresh token and longest access token looked at, in bytes; ours have 74 and at most 1,500.
const REFRESH_MAX: usize = 200;
const ACCESS_MAX: usize = 4_096;

/// Nothing but our own style sheet, scripts and forms. Plots are part of the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'",
);
/// A browser tells its origin with a form only where it may tell its referrer.
const REFERRER: HeaderValue = HeaderValue::from_static("same-origin");

/// The cookies of a session in the console.
#[derive(Clone, Copy)]
pub struct Keys {
    refresh: TokenCookie,
    access: TokenCookie,
}

impl Keys {
    pub const fn new(config: CookieConfig) -> Self {
        Self {
            refresh: TokenCookie::new(config, "doorbook-console", REFRESH_MAX),
            access: TokenCookie::new(config, "doorbook-console-access", ACCESS_MAX),
        }
    }

    /// What hands a session to the browser.
    pub fn hand(self, tokens: &Tokens) -> Vec<String> {
        vec![
            self.refresh.set(tokens.refresh.expose(), tokens.session_left.as_secs()),
            self.access.set(&tokens.access, tokens.expires_in.as_secs()),
        ]
    }

    pub fn take_away(self) -> Vec<String> {
        vec![self.refresh.clear(), self.access.clear()]
    }
}

/// Somebody who may read the trail.
#[derive(Clone)]
pub struct Visit {
    pub doorbook: Arc<Doorbook>,
    /// Of the caller.
    pub context: Context,
    pub caller: Caller,
    pub is_admin: bool,
    /// Goes into every form.
    pub csrf: String,
    pub keys: Keys,
    pub refresh: String,
    pub access: String,
    /// Fields of the query, or of the form.
    pub fields: Arc<Fields>,
}

/// What is known before anybody has signed in.
pub struct Stranger {
    pub doorbook: Arc<Doorbook>,
    pub context: Context,
    pub keys: Keys,
    /// The refresh token of a session that the console has in this browser.
    pub held: Option<String>,
    pub fields: Fields,
    pub origin: CallerOrigin,
}

/// A page for somebody who has signed in.
pub fn page<R, F, T>(keys: Keys, show: F) -> impl Endpoint<Output = Response> + 'static
where
    R: IntoResponse + 'static,
    F: Fn(Visit, Request) -> T + Send + Sync + 'static,
    T: Future<Output = Result<R, Problem>> + Send + 'static,
{
    signed_in(keys, false, show)
}

/// What a form of a page asks for.
pub fn order<R, F, T>(keys: Keys, carry_out: F) -> impl Endpoint<Output = Response> + 'static
where
    R: IntoResponse + 'static,
    F: Fn(Visit, Request) -> T + Send + Sync + 'static,
    T: Future<Output = Result<R, Problem>> + Send + 'static,
{
    signed_in(keys, true, carry_out)
}

fn signed_in<R, F, T>(keys: Keys, is_order: bool, answer: F) -> impl Endpoint<Output = Response> + 'static
where
    R: IntoResponse + 'static,
    F: Fn(Visit, Request) -> T + Send + Sync + 'static,
    T: Future<Output = Result<R, Problem>> + Send + 'static,
{
    let answer = Arc::new(answer);
    make(move |mut request| {
        let answer = Arc::clone(&answer);
        async move {
            let (path, trace) = told(&request);
            let back = if is_order { HOME.to_owned() } else { target(&request) };
            let is_known = keys.refresh.find(&request).is_some();
            let (visit, cookies) = match Box::pin(enter(keys, &mut request, is_order)).await {
                Ok(entered) => entered,
                Err(NoEntry { problem, .. }) if problem == Problem::unauthorized() => {
                    // Whoever follows a link of another site brings no cookies, and may well have a session.
                    let over = if is_known { keys.take_away() } else { Vec::new() };
                    return Ok(dressed(to_login(&back), &over));
                }
                Err(NoEntry { problem, cookies }) => {
                    return Ok(dressed(layout::refused(&problem, &path, trace, None), &cookies));
                }
            };
            let nav = layout::Nav::of(&visit);
            let response = match Box::pin(answer(visit, request)).await {
                Ok(response) => response.into_response(),
                // A page has no place for the password; the login has, and leads back.
                Err(problem) if problem == Problem::step_up_required() && !is_order => to_login(&back),
                Err(problem) => layout::refused(&problem, &path, trace, Some(&nav)),
            };
            Ok::<_, poem::Error>(dressed(response, &cookies))
        }
    })
}

fn to_login(back: &str) -> Response {
    let query = serde_urlencoded::to_string([("next", back)]).unwrap_or_default();
    see_other(&format!("{HOME}login/?{query}"))
}

/// A page for whoever comes.
pub fn open<R, F, T>(keys: Keys, answer: F) -> impl Endpoint<Output = Response> + 'static
where
    R: IntoResponse + 'static,
    F: Fn(Stranger) -> T + Send + Sync + 'static,
    T: Future<Output = Result<R, Problem>> + Send + 'static,
{
    let answer = Arc::new(answer);
    make(move |mut request| {
        let answer = Arc::clone(&answer);
        async move {
            let (path, trace) = told(&request);
            let response = match stranger(keys, &mut request).await {
                Ok(stranger) => answer(stranger).await.map(IntoResponse::into_response),
                Err(problem) => Err(problem),
            };
            let response = response.unwrap_or_else(|problem| layout::refused(&problem, &path, trace, None));
            Ok::<_, poem::Error>(dressed(response, &[]))
        }
    })
}

async fn stranger(keys: Keys, request: &mut Request) -> Result<Stranger, Problem> {
    let asked = asked(request)?;
    let origin = *request.data::<CallerOrigin>().ok_or_else(Problem::internal)?;
    let is_post = request.method() == poem::http::Method::POST;
    let fields = if is_post { Fields::of_form(request).await? } else { Fields::of_query(request)? };
    let held = keys.refresh.find(request);
    Ok(Stranger { doorbook: asked.doorbook, context: asked.context, keys, held, fields, origin })
}

/// Why somebody is not let in. Tokens that have been renewed by then go to the browser all the same: the spent ones, shown again, would
/// end the session as stolen.
struct NoEntry {
    problem: Problem,
    cookies: Vec<String>,
}

impl<P: Into<Problem>> From<P> for NoEntry {
    fn from(problem: P) -> Self {
        Self { problem: problem.into(), cookies: Vec::new() }
    }
}

/// The visit, and the cookies that its renewal asks for. `unauthorized` when there is no session.
async fn enter(keys: Keys, request: &mut Request, is_order: bool) -> Result<(Visit, Vec<String>), NoEntry> {
    let refresh = keys.refresh.find(request).ok_or_else(Problem::unauthorized)?;
    let access = keys.access.find(request);
    let Stranger { doorbook, context, fields, origin, .. } = stranger(keys, request).await?;
    if is_order {
        if origin != CallerOrigin::Own {
            return Err(Problem::origin_not_allowed().into());
        }
        let csrf = fields.get("csrf").ok_or_else(Problem::forged)?;
        doorbook.check_csrf(&refresh, csrf, &context).await?;
    }
    let known = match access {
        Some(access) => doorbook.authenticate(&access).await.map(Some).or_else(lapsed)?.map(|caller| (caller, access)),
        None => None,
    };
    let (held, cookies) = match known {
        Some((caller, access)) => (Ok((caller, access, refresh)), Vec::new()),
        None => renew(keys, &doorbook, refresh, &context).await?,
    };
    let entered = async {
        let (caller, access, refresh) = held?;
        doorbook.admit(caller, Right::Audit, &context).await?;
        let is_admin = doorbook.may(caller, Right::Administer).await?;
        let csrf = doorbook.csrf_token(&refresh).await?.expose().to_owned();
        Ok::<_, Problem>((caller, is_admin, csrf, access, refresh))
    };
    match entered.await {
        Ok((caller, is_admin, csrf, access, refresh)) => {
            let (context, fields) = (context.acting(caller.account), Arc::new(fields));
            Ok((Visit { doorbook, context, caller, is_admin, csrf, keys, refresh, access, fields }, cookies))
        }
        Err(problem) => Err(NoEntry { problem, cookies }),
    }
}

/// An access token that has run out is renewed; whatever else is wrong is told.
fn lapsed(refusal: Refusal) -> Result<Option<Caller>, Refusal> {
    if matches!(refusal, Refusal::Unauthenticated) { Ok(None) } else { Err(refusal) }
}

/// Who it is, and the tokens that are in force from now on.
type Held = Result<(Caller, String, String), Problem>;

/// Trades the refresh token for the next one; its cookies are there whatever becomes of the rest.
async fn renew(
    keys: Keys,
    doorbook: &Arc<Doorbook>,
    refresh: String,
    context: &Context,
) -> Result<(Held, Vec<String>), Problem> {
    let (of, context) = (Arc::clone(doorbook), context.clone());
    let tokens = command(async move { of.refresh(&refresh, &context).await }).await?;
    let caller = doorbook.authenticate(&tokens.access).await.map_err(Problem::from);
    let cookies = keys.hand(&tokens);
    let refresh = tokens.refresh.expose().to_owned();
    Ok((caller.map(|caller| (caller, tokens.access, refresh)), cookies))
}

fn told(request: &Request) -> (String, Option<TraceId>) {
    (request.original_uri().path().to_owned(), request.data::<TraceId>().copied())
}

/// The page asked for, to come back to.
fn target(request: &Request) -> String {
    request.original_uri().path_and_query().map_or_else(|| HOME.to_owned(), ToString::to_string)
}

/// What every page of the console says to the browser beside itself.
fn dressed(mut response: Response, cookies: &[String]) -> Response {
    let headers = response.headers_mut();
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.insert(REFERRER_POLICY, REFERRER);
    debug_assert!(headers.get(LOCATION).is_none_or(|to| to.as_bytes().starts_with(b"/admin/")));
    with_cookies(response, cookies)
}

pub fn with_cookies(mut response: Response, cookies: &[String]) -> Response {
    for cookie in cookies.iter().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
