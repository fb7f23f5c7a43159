//! Logging in.

use doorbook_core::service::login::{Login, Tokens};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;

use super::Chapter;
use super::input::{Asked, Faults, command, present};
use crate::body::Strict;
use crate::command::refused_on_the_grid;
use crate::cookie::{CookieMode, TokenCookie};
use crate::problem::Problem;

pub struct Logins;

/// Longest device token looked at, in characters; ours have 74.
const DEVICE_TOKEN_MAX: usize = 200;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// E-mail address of the account.
    #[oai(validator(min_length = 3, max_length = 254))]
    email: String,
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: String,
    /// Ask for a `device_token`. A device that sends it with later logins has a bucket of failures of its own, so that nobody
    /// else's failures lock it out.
    #[serde(default, deserialize_with = "present")]
    remember_device: Option<bool>,
    /// The `device_token` of an earlier login from this device.
    #[oai(validator(max_length = 200))]
    #[serde(default, deserialize_with = "present")]
    device_token: Option<String>,
    /// Where the refresh token goes: `body`, the default, or `cookie`, for browsers on the same site.
    #[oai(validator(max_length = 6, pattern = "^(body|cookie)$"))]
    #[serde(default, deserialize_with = "present")]
    transport: Option<String>,
}

#[derive(Enum)]
pub enum TokenType {
    Bearer,
}

#[derive(Object)]
pub struct TokenAnswer {
    /// Access token: a JWT for `Authorization: Bearer`.
    access: String,
    /// Refresh token: opaque, spent by its next use. Absent in cookie mode.
    #[oai(skip_serializing_if_is_none)]
    refresh: Option<String>,
    /// In cookie mode: the value of `X-CSRF-Token` for refreshing and logging out.
    #[oai(skip_serializing_if_is_none)]
    csrf: Option<String>,
    token_type: TokenType,
    /// Life of the access token, in seconds.
    expires_in: u64,
    session_id: uuid::Uuid,
    /// Only when `remember_device` was asked for on a device not known yet.
    #[oai(skip_serializing_if_is_none)]
    device_token: Option<String>,
}

impl From<Tokens> for TokenAnswer {
    fn from(tokens: Tokens) -> Self {
        Self {
            access: tokens.access,
            refresh: Some(tokens.refresh.expose().to_owned()),
            csrf: None,
            token_type: TokenType::Bearer,
            expires_in: tokens.expires_in.as_secs(),
            session_id: tokens.session.0,
            device_token: tokens.device.map(|device| device.expose().to_owned()),
        }
    }
}

#[derive(ApiResponse)]
pub enum Welcome {
    /// Tokens of the session.
    #[oai(status = 200)]
    Ok(
        Json<TokenAnswer>,
        /// In cookie mode: the refresh token.
        #[oai(header = "Set-Cookie")]
        Option<String>,
    ),
}

impl Welcome {
    pub fn in_body(tokens: Tokens) -> Self {
        Self::Ok(Json(tokens.into()), None)
    }

    pub fn in_cookie(tokens: Tokens, cookie: TokenCookie) -> Self {
        let csrf = tokens.csrf.expose().to_owned();
        let set = cookie.set(tokens.refresh.expose(), tokens.session_left.as_secs());
        Self::Ok(Json(TokenAnswer { refresh: None, csrf: Some(csrf), ..tokens.into() }), Some(set))
    }
}

#[OpenApi(tag = "Chapter::Sessions")]
impl Logins {
    /// Log in
    ///
    /// One wording for an unknown address, a wrong password and a disabled account. Five failures of one address within five
    /// minutes block it for fifteen, whatever the password; a reset lifts the block. With `"transport": "cookie"` the refresh
    /// token comes in the cookie `__Host-doorbook-refresh` alone, and the body carries `csrf`.
    #[oai(path = "/api/auth/login/", method = "post", operation_id = "login")]
    async fn login(&self, asked: Asked, mode: CookieMode, body: Strict<LoginBody>) -> Result<Welcome, Problem> {
        let body = body.0;
        let mut faults = Faults::default();
        let in_cookie = faults.cookie_asked_for("transport", body.transport.as_deref());
        if in_cookie {
            mode.no_foreign_page()?;
        }
        let (email, password) = (faults.email("email", &body.email), faults.password("password", body.password));
        faults.at_most("device_token", body.device_token.as_deref(), DEVICE_TOKEN_MAX);
        let (Some(email), Some(password)) = (email, password) else { return faults.refuse() };
        faults.check()?;
        let login = Login {
            email,
            password,
            remember_device: body.remember_device.unwrap_or(false),
            device_token: body.device_token,
        };
        let case = async move {
            let tokens = asked.doorbook.login(&login, &asked.context).await?;
            Ok(if in_cookie { Welcome::in_cookie(tokens, mode.cookie) } else { Welcome::in_body(tokens) })
        };
        Box::pin(refused_on_the_grid(command(case))).await
    }
}
