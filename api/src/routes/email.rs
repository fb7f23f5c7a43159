//! Changing the address of an account, and what its mailbox may say of notices.

use poem_openapi::param::Header;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::input::{Asked, Faults, command};
use super::register::MailedToken;
use super::{Accepted, Chapter, Done};
use crate::auth::Signed;
use crate::body::Strict;
use crate::problem::Problem;

pub struct Emails;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailChangeBody {
    /// The account's password.
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: String,
    /// The address to change to, at most 254 bytes.
    #[oai(validator(min_length = 3, max_length = 254))]
    new_email: String,
}

#[OpenApi(tag = "Chapter::Accounts")]
impl Emails {
    /// Ask to change the address
    ///
    /// The new address gets a link that confirms it within 24 hours.
    #[oai(path = "/api/auth/email/change/", method = "post", operation_id = "request_email_change")]
    async fn change(
        &self,
        signed: Signed,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<EmailChangeBody>,
    ) -> Result<Accepted, Problem> {
        let body = body.0;
        let header = asked.idempotency(key.0, &[&body.new_email])?;
        let mut faults = Faults::default();
        let (email, password) =
            (faults.email("new_email", &body.new_email), faults.password("password", body.password));
        let (Some(email), Some(password)) = (email, password) else { return faults.refuse() };
        command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.request_email_change(signed.0, &password, &email, header.as_ref(), &context).await
        })
        .await?;
        Ok(Accepted::Accepted)
    }

    /// Confirm the new address
    ///
    /// The old address is told; for seven days it can take the account back and, if it had been confirmed, stays reserved meanwhile.
    #[oai(path = "/api/auth/email/change/confirm/", method = "post", operation_id = "confirm_email_change")]
    async fn confirm(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<MailedToken>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.token])?;
        command(
            async move { asked.doorbook.confirm_email_change(&body.0.token, header.as_ref(), &asked.context).await },
        )
        .await?;
        Ok(Done::NoContent)
    }

    /// Undo a change of address
    ///
    /// The token went to the old address. That address is the account's again, and every session ends.
    #[oai(path = "/api/auth/email/change/undo/", method = "post", operation_id = "undo_email_change")]
    async fn undo(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<MailedToken>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.token])?;
        command(async move { asked.doorbook.undo_email_change(&body.0.token, header.as_ref(), &asked.context).await })
            .await?;
        Ok(Done::NoContent)
    }
    /// Say that it was not you
    ///
    /// The token came with a notice of something that its reader has not done. The account is closed to everybody: all sessions end, no
    /// device is known any more, pending changes and a deletion are off. The mailbox that the notice went to is sent a link to set a new
    /// password, which opens the account again; where that was the account's address before, it is so again.
    #[oai(path = "/api/auth/not-me/", method = "post", operation_id = "not_me")]
    async fn not_me(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<MailedToken>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.token])?;
        command(async move { asked.doorbook.freeze(&body.0.token, header.as_ref(), &asked.context).await }).await?;
        Ok(Done::NoContent)
    }
}
