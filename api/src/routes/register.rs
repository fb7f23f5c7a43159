//! Registering an account and proving its address.

use doorbook_core::service::register::Registration;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;

use super::input::{Asked, Faults, command, present};
use super::{Accepted, Chapter, Done};
use crate::body::Strict;
use crate::command::on_the_grid;
use crate::problem::Problem;

pub struct Register;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    /// E-mail address of the account, at most 254 bytes (RFC 5321).
    #[oai(validator(min_length = 3, max_length = 254))]
    email: String,
    /// New password; `GET /api/auth/password/rules/` tells the rules in force.
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: String,
    /// The same password again.
    #[oai(validator(min_length = 1, max_length = 1024))]
    password_confirm: String,
    #[oai(validator(max_length = 150))]
    #[serde(default, deserialize_with = "present")]
    first_name: Option<String>,
    #[oai(validator(max_length = 150))]
    #[serde(default, deserialize_with = "present")]
    last_name: Option<String>,
    /// Language of mails: `en` or `es`.
    #[oai(validator(max_length = 35))]
    #[serde(default, deserialize_with = "present")]
    locale: Option<String>,
}

#[derive(Enum)]
#[oai(rename_all = "snake_case")]
pub enum RegisterStatus {
    CheckMail,
}

#[derive(Object)]
pub struct RegisterAnswer {
    /// Always `check_mail`: whether the address was free is told to its owner only.
    status: RegisterStatus,
    /// The address as it was given.
    email: String,
}

#[derive(ApiResponse)]
pub enum Registered {
    /// Taken in. The same answer for a free and a taken address.
    #[oai(status = 201)]
    Created(Json<RegisterAnswer>),
}

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailedToken {
    /// The token from the mailed link.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub token: String,
}

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailBody {
    /// E-mail address, at most 254 bytes.
    #[oai(validator(min_length = 3, max_length = 254))]
    pub email: String,
}

#[OpenApi(tag = "Chapter::Accounts")]
impl Register {
    /// Register an account
    ///
    /// The address gets a mail with a link that verifies it. At most three registrations an hour from one client address.
    #[oai(path = "/api/auth/register/", method = "post", operation_id = "register")]
    async fn register(
        &self,
        asked: Asked,
        /// Repeats with the same key within 24 hours have happened once.
        #[oai(name = "Idempotency-Key", validator(max_length = 255))]
        key: Header<Option<String>>,
        body: Strict<RegisterBody>,
    ) -> Result<Registered, Problem> {
        let body = body.0;
        let (given, first, last) = (
            body.email.clone(),
            body.first_name.clone().unwrap_or_default(),
            body.last_name.clone().unwrap_or_default(),
        );
        let idempotency =
            asked.idempotency(key.0, &[&given, &first, &last, body.locale.as_deref().unwrap_or_default()])?;
        let mut faults = Faults::default();
        let email = faults.email("email", &body.email);
        let password = faults.new_password("password", body.password, "password_confirm", body.password_confirm);
        let first_name = faults.name("first_name", body.first_name.as_deref());
        let last_name = faults.name("last_name", body.last_name.as_deref());
        let locale = faults.locale("locale", body.locale.as_deref());
        let (Some(email), Some(password), Some(first_name), Some(last_name)) = (email, password, first_name, last_name)
        else {
            return faults.refuse();
        };
        faults.check()?;
        let registration = Registration { email, password, first_name, last_name, locale, idempotency };
        command(async move { asked.doorbook.register(registration, &asked.context).await }).await?;
        Ok(Registered::Created(Json(RegisterAnswer { status: RegisterStatus::CheckMail, email: given })))
    }

    /// Verify the address
    ///
    /// Spends the token of the mailed link. Repeating it is refused like any token that is not valid any more.
    #[oai(path = "/api/auth/email/verify/", method = "post", operation_id = "verify_email")]
    async fn verify(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<MailedToken>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.token])?;
        command(async move { asked.doorbook.verify_email(&body.0.token, header.as_ref(), &asked.context).await })
            .await?;
        Ok(Done::NoContent)
    }

    /// Send the verification mail again
    ///
    /// Always 202. At most three mails an hour to one address.
    #[oai(path = "/api/auth/email/verify/resend/", method = "post", operation_id = "resend_verification")]
    async fn resend(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<EmailBody>,
    ) -> Result<Accepted, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.email])?;
        let mut faults = Faults::default();
        let Some(email) = faults.email("email", &body.0.email) else { return faults.refuse() };
        let case = async move { asked.doorbook.resend_verification(&email, header.as_ref(), &asked.context).await };
        Box::pin(on_the_grid(command(case))).await?;
        Ok(Accepted::Accepted)
    }
}
