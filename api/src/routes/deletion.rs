//! Leaving: an account is erased at its owner's wish, after a while in which he may take that back.

use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;

use super::input::{Asked, Faults, command};
use super::register::MailedToken;
use super::{Chapter, Done};
use crate::auth::Signed;
use crate::body::Strict;
use crate::problem::Problem;

pub struct Deletions;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletionBody {
    /// The account's password.
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: String,
}

#[derive(Object)]
pub struct DeletionAnswer {
    /// When the account is erased, unless that is taken back. RFC 3339, UTC.
    erase_at: String,
}

#[derive(ApiResponse)]
pub enum Leaving {
    /// Taken in: every session is over.
    #[oai(status = 202)]
    Accepted(Json<DeletionAnswer>),
}

#[OpenApi(tag = "Chapter::Accounts")]
impl Deletions {
    /// Delete the account
    ///
    /// Every session ends at once, and nobody can log in. The owner is mailed a link that takes it back; when the grace period is over, all
    /// that is about the person is erased for good. The last active admin stays: 409.
    #[oai(path = "/api/auth/profile/", method = "delete", operation_id = "delete_profile")]
    async fn delete(
        &self,
        signed: Signed,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<DeletionBody>,
    ) -> Result<Leaving, Problem> {
        let header = asked.idempotency(key.0, &[])?;
        let mut faults = Faults::default();
        let Some(password) = faults.password("password", body.0.password) else { return faults.refuse() };
        let erase_at = command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.request_deletion(signed.0, &password, header.as_ref(), &context).await
        })
        .await?;
        Ok(Leaving::Accepted(Json(DeletionAnswer { erase_at: erase_at.rfc3339() })))
    }

    /// Keep the account
    ///
    /// The token went to the account's address. Its owner may log in again; sessions that were ended stay so.
    #[oai(path = "/api/auth/profile/deletion/cancel/", method = "post", operation_id = "cancel_deletion")]
    async fn cancel(
        &self,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<MailedToken>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.token])?;
        command(async move { asked.doorbook.cancel_deletion(&body.0.token, header.as_ref(), &asked.context).await })
            .await?;
        Ok(Done::NoContent)
    }
}
