//! Refreshing and checking tokens, and logging out.

use doorbook_core::service::Refusal;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;

use super::Chapter;
use super::input::{Asked, command, present};
use super::login::Welcome;
use crate::auth::Signed;
use crate::body::Strict;
use crate::cookie::{CLEAR_SITE_DATA, CookieMode};
use crate::problem::{FieldError, Problem};

pub struct TokenRoutes;

/// Longest refresh token looked at, in bytes; ours have 74.
const REFRESH_MAX: usize = 200;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// The newest refresh token of the session. Left out in cookie mode, where the cookie brings it.
    #[oai(validator(min_length = 1, max_length = 200))]
    #[serde(default, deserialize_with = "present")]
    refresh: Option<String>,
}

/// Where a refresh token was presented.
enum Presented {
    Body(String),
    /// With the token that proves our own page.
    Cookie(String, String),
}

impl RefreshBody {
    /// The body's token, else the cookie's with all that a cookie must be accompanied by.
    fn presented(self, mode: &CookieMode) -> Result<Presented, Problem> {
        let refuse = |code, message: &str| Err(Problem::validation(vec![FieldError::new("refresh", code, message)]));
        match self.refresh {
            Some(token) if token.is_empty() || token.len() > REFRESH_MAX => {
                refuse("invalid", "No refresh token is empty or so long.")
            }
            Some(token) => Ok(Presented::Body(token)),
            None if mode.refresh.is_some() || mode.has_lost_cookie() => {
                mode.proven().map(|(refresh, csrf)| Presented::Cookie(refresh, csrf))
            }
            None => refuse("required", "This field is required."),
        }
    }
}

#[derive(Object)]
pub struct CsrfAnswer {
    /// The value of `X-CSRF-Token` for refreshing and logging out.
    csrf: String,
}

#[derive(ApiResponse)]
pub enum LoggedOut {
    /// Done.
    #[oai(status = 204)]
    NoContent(
        /// In cookie mode: takes the refresh token away.
        #[oai(header = "Set-Cookie")]
        Option<String>,
        /// In cookie mode: what the browser shall forget.
        #[oai(header = "Clear-Site-Data")]
        Option<String>,
    ),
}

impl LoggedOut {
    /// Tells the browser to forget, when it came with a cookie.
    fn forgetting(mode: &CookieMode, by_cookie: bool) -> Self {
        if by_cookie {
            Self::NoContent(Some(mode.cookie.clear()), Some(CLEAR_SITE_DATA.to_owned()))
        } else {
            Self::NoContent(None, None)
        }
    }
}

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyBody {
    /// An access token.
    #[oai(validator(min_length = 1, max_length = 2048))]
    token: String,
}

#[derive(Object)]
pub struct VerifyAnswer {
    /// Account the token speaks for.
    account_id: uuid::Uuid,
    session_id: uuid::Uuid,
}

#[OpenApi(tag = "Chapter::Sessions")]
impl TokenRoutes {
    /// Refresh
    ///
    /// Spends the refresh token and answers with a new pair. The token just spent gets the same successor again for
    /// `REFRESH_GRACE_SECONDS`; an older one ends the session. A token that was never ours changes nothing. In cookie mode the
    /// body is `{}`, and `X-CSRF-Token` and an allowed Origin are demanded; 401 when the cookie is gone, which it is at the
    /// session's end.
    #[oai(path = "/api/auth/token/refresh/", method = "post", operation_id = "refresh")]
    async fn refresh(
        &self,
        asked: Asked,
        mode: CookieMode,
        /// In cookie mode: `csrf` of the login.
        #[oai(name = "X-CSRF-Token", validator(max_length = 200))]
        _csrf: Header<Option<String>>,
        body: Strict<RefreshBody>,
    ) -> Result<Welcome, Problem> {
        let presented = body.0.presented(&mode)?;
        command(async move {
            let (doorbook, context) = (asked.doorbook, asked.context);
            match presented {
                Presented::Body(token) => Ok(Welcome::in_body(doorbook.refresh(&token, &context).await?)),
                Presented::Cookie(token, csrf) => {
                    doorbook.check_csrf(&token, &csrf, &context).await?;
                    Ok(Welcome::in_cookie(doorbook.refresh(&token, &context).await?, mode.cookie))
                }
            }
        })
        .await
    }

    /// Check an access token
    ///
    /// 200 while the token, its session and its account are in force.
    #[oai(path = "/api/auth/token/verify/", method = "post", operation_id = "verify_token")]
    async fn verify(&self, asked: Asked, body: Strict<VerifyBody>) -> Result<Json<VerifyAnswer>, Problem> {
        let caller = asked.doorbook.authenticate(&body.0.token).await?;
        Ok(Json(VerifyAnswer { account_id: caller.account.0, session_id: caller.session.0 }))
    }

    /// Log out
    ///
    /// Ends the session of the refresh token: neither of its tokens works any more. Repeating it changes nothing. In cookie mode
    /// the body is `{}`, `X-CSRF-Token` and an allowed Origin are demanded, and the browser is told to forget what it holds; with
    /// that header and no cookie there is nothing to end, and all is well.
    #[oai(path = "/api/auth/logout/", method = "post", operation_id = "logout")]
    async fn logout(
        &self,
        asked: Asked,
        mode: CookieMode,
        /// In cookie mode: `csrf` of the login.
        #[oai(name = "X-CSRF-Token", validator(max_length = 200))]
        _csrf: Header<Option<String>>,
        body: Strict<RefreshBody>,
    ) -> Result<LoggedOut, Problem> {
        if body.0.refresh.is_none() && mode.has_lost_cookie() {
            mode.no_foreign_page()?;
            return Ok(LoggedOut::forgetting(&mode, false));
        }
        let presented = body.0.presented(&mode)?;
        let by_cookie = matches!(presented, Presented::Cookie(..));
        command(async move {
            let (doorbook, context) = (asked.doorbook, asked.context);
            match presented {
                Presented::Body(token) => doorbook.logout(&token, &context).await,
                Presented::Cookie(token, csrf) => match doorbook.check_csrf(&token, &csrf, &context).await {
                    Ok(()) => doorbook.logout(&token, &context).await,
                    // A cookie that was never ours ends no session and is taken away like any other.
                    Err(Refusal::Unauthenticated) => Ok(()),
                    Err(refusal) => Err(refusal),
                },
            }
        })
        .await?;
        Ok(LoggedOut::forgetting(&mode, by_cookie))
    }

    /// Renew the token against forged requests
    ///
    /// Cookie mode only: tells the value of `X-CSRF-Token` for the session of the cookie, as after a page was loaded anew.
    #[oai(path = "/api/auth/csrf/", method = "get", operation_id = "csrf")]
    async fn csrf(&self, asked: Asked, mode: CookieMode) -> Result<Json<CsrfAnswer>, Problem> {
        mode.no_foreign_page()?;
        let refresh = mode.refresh.ok_or_else(Problem::unauthorized)?;
        let csrf = asked.doorbook.csrf_token(&refresh).await?;
        Ok(Json(CsrfAnswer { csrf: csrf.expose().to_owned() }))
    }

    /// Log out everywhere
    ///
    /// Ends every session of the account, this one too. At most 60 times an hour.
    #[oai(path = "/api/auth/logout/all/", method = "post", operation_id = "logout_all")]
    async fn logout_all(
        &self,
        signed: Signed,
        asked: Asked,
        mode: CookieMode,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
    ) -> Result<LoggedOut, Problem> {
        let header = asked.idempotency(key.0, &[])?;
        command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.logout_all(signed.0, header.as_ref(), &context).await
        })
        .await?;
        Ok(LoggedOut::forgetting(&mode, mode.refresh.is_some()))
    }
}
