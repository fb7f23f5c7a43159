//! Refreshing and checking tokens, and logging out.

use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::input::{Asked, command, idempotency};
use super::login::TokenAnswer;
use super::{Chapter, Done};
use crate::auth::Signed;
use crate::body::Strict;
use crate::problem::Problem;

pub struct TokenRoutes;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// The newest refresh token of the session.
    #[oai(validator(min_length = 1, max_length = 200))]
    refresh: String,
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
    /// `REFRESH_GRACE_SECONDS`; an older one ends the session. A token that was never ours changes nothing.
    #[oai(path = "/api/auth/token/refresh/", method = "post", operation_id = "refresh")]
    async fn refresh(&self, asked: Asked, body: Strict<RefreshBody>) -> Result<Json<TokenAnswer>, Problem> {
        let tokens = command(async move { asked.doorbook.refresh(&body.0.refresh, &asked.context).await }).await?;
        Ok(Json(tokens.into()))
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
    /// Ends the session of the refresh token: neither of its tokens works any more. Repeating it changes nothing.
    #[oai(path = "/api/auth/logout/", method = "post", operation_id = "logout")]
    async fn logout(&self, asked: Asked, body: Strict<RefreshBody>) -> Result<Done, Problem> {
        command(async move { asked.doorbook.logout(&body.0.refresh, &asked.context).await }).await?;
        Ok(Done::NoContent)
    }

    /// Log out everywhere
    ///
    /// Ends every session of the account, this one too.
    #[oai(path = "/api/auth/logout/all/", method = "post", operation_id = "logout_all")]
    async fn logout_all(
        &self,
        signed: Signed,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
    ) -> Result<Done, Problem> {
        let header = idempotency(key.0, "logout/all", &[])?;
        command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.logout_all(signed.0, header.as_ref(), &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }
}
