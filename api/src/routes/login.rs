//! Logging in.

use doorbook_core::service::login::{Login, Tokens};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;

use super::Chapter;
use super::input::{Asked, Faults, command, present};
use crate::body::Strict;
use crate::problem::Problem;

pub struct Logins;

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
}

#[derive(Enum)]
pub enum TokenType {
    Bearer,
}

#[derive(Object)]
pub struct TokenAnswer {
    /// Access token: a JWT for `Authorization: Bearer`.
    access: String,
    /// Refresh token: opaque, spent by its next use.
    refresh: String,
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
            refresh: tokens.refresh.expose().to_owned(),
            token_type: TokenType::Bearer,
            expires_in: tokens.expires_in.as_secs(),
            session_id: tokens.session.0,
            device_token: tokens.device.map(|device| device.expose().to_owned()),
        }
    }
}

#[OpenApi(tag = "Chapter::Sessions")]
impl Logins {
    /// Log in
    ///
    /// One wording for an unknown address, a wrong password and a disabled account. Five failures of one address within five
    /// minutes block it for fifteen, whatever the password; a reset lifts the block.
    #[oai(path = "/api/auth/login/", method = "post", operation_id = "login")]
    async fn login(&self, asked: Asked, body: Strict<LoginBody>) -> Result<Json<TokenAnswer>, Problem> {
        let body = body.0;
        let mut faults = Faults::default();
        let (email, password) = (faults.email("email", &body.email), faults.password("password", body.password));
        let (Some(email), Some(password)) = (email, password) else { return faults.refuse() };
        let login = Login {
            email,
            password,
            remember_device: body.remember_device.unwrap_or(false),
            device_token: body.device_token,
        };
        let tokens = command(async move { asked.doorbook.login(&login, &asked.context).await }).await?;
        Ok(Json(tokens.into()))
    }
}
