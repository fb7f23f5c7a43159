//! Password rules, change and reset.

use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::input::{Asked, Faults, command};
use super::register::EmailBody;
use super::{Accepted, Chapter, Done};
use crate::auth::Signed;
use crate::body::Strict;
use crate::command::on_the_grid;
use crate::problem::Problem;

pub struct Passwords;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeBody {
    #[oai(validator(min_length = 1, max_length = 1024))]
    current_password: String,
    #[oai(validator(min_length = 1, max_length = 1024))]
    new_password: String,
    #[oai(validator(min_length = 1, max_length = 1024))]
    new_password_confirm: String,
}

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetBody {
    /// The token from the mailed link.
    #[oai(validator(min_length = 1, max_length = 200))]
    token: String,
    #[oai(validator(min_length = 1, max_length = 1024))]
    new_password: String,
    #[oai(validator(min_length = 1, max_length = 1024))]
    new_password_confirm: String,
}

#[derive(Object)]
pub struct RulesAnswer {
    /// Fewest characters (Unicode code points).
    min_length: u32,
    /// Most characters.
    max_length: u32,
    /// Checks in force, by the codes their refusals carry.
    codes: Vec<String>,
}

#[OpenApi(tag = "Chapter::Passwords")]
#[expect(clippy::unused_async, reason = "the framework takes async handlers only")]
impl Passwords {
    /// Read the password rules
    #[oai(path = "/api/auth/password/rules/", method = "get", operation_id = "password_rules")]
    async fn rules(&self, asked: Asked) -> Json<RulesAnswer> {
        let policy = &asked.doorbook.policy.password;
        Json(RulesAnswer {
            min_length: u32::try_from(policy.min_length).unwrap_or(u32::MAX),
            max_length: u32::try_from(doorbook_core::password::LENGTH_MAX).unwrap_or(u32::MAX),
            codes: policy.validators.iter().map(|validator| validator.code().to_owned()).collect(),
        })
    }

    /// Change the password
    ///
    /// Every other session ends; this one stays. A wrong current password counts like a failed login. At most 20 changes an hour.
    #[oai(path = "/api/auth/password/change/", method = "post", operation_id = "change_password")]
    async fn change(
        &self,
        signed: Signed,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ChangeBody>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[])?;
        let body = body.0;
        let mut faults = Faults::default();
        let current = faults.password("current_password", body.current_password);
        let new =
            faults.new_password("new_password", body.new_password, "new_password_confirm", body.new_password_confirm);
        let (Some(current), Some(new)) = (current, new) else { return faults.refuse() };
        command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.change_password(signed.0, &current, &new, header.as_ref(), &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }

    /// Ask for a reset mail
    ///
    /// Always 202, with or without an account. At most three mails an hour to one address.
    #[oai(path = "/api/auth/password/reset/", method = "post", operation_id = "request_reset")]
    async fn reset(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<EmailBody>,
    ) -> Result<Accepted, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.email])?;
        let mut faults = Faults::default();
        let Some(email) = faults.email("email", &body.0.email) else { return faults.refuse() };
        let case = async move { asked.doorbook.request_reset(&email, header.as_ref(), &asked.context).await };
        Box::pin(on_the_grid(command(case))).await?;
        Ok(Accepted::Accepted)
    }

    /// Set a new password with a mailed token
    ///
    /// Works once, ends every session, lifts blocks and locks, and logs nobody in.
    #[oai(path = "/api/auth/password/reset/confirm/", method = "post", operation_id = "confirm_reset")]
    async fn confirm(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ResetBody>,
    ) -> Result<Done, Problem> {
        let body = body.0;
        let header = asked.idempotency(key.0, &[&body.token])?;
        let mut faults = Faults::default();
        let new =
            faults.new_password("new_password", body.new_password, "new_password_confirm", body.new_password_confirm);
        let Some(new) = new else { return faults.refuse() };
        command(async move { asked.doorbook.confirm_reset(&body.token, &new, header.as_ref(), &asked.context).await })
            .await?;
        Ok(Done::NoContent)
    }
}
