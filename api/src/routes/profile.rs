//! The account as its owner sees it, edits it and leaves it.

use doorbook_core::clock::Timestamp;
use doorbook_core::service::profile::{ProfileChange, ProfileView};
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;

use super::input::{Asked, Faults, command, present};
use super::register::MailedToken;
use super::{Chapter, Done};
use crate::auth::{Signed, Unchecked};
use crate::body::Strict;
use crate::problem::Problem;

pub struct Profiles;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileBody {
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

#[derive(Object)]
pub struct AccountAnswer {
    id: uuid::Uuid,
    email: String,
    email_verified: bool,
    first_name: String,
    last_name: String,
    locale: String,
    /// `auditor`, `admin` or none.
    roles: Vec<String>,
    /// `active`; `disabled`, `frozen` and `leaving` accounts have no session.
    status: String,
    /// RFC 3339, UTC.
    created_at: Option<String>,
    last_login_at: Option<String>,
    password_changed_at: Option<String>,
}

impl From<ProfileView> for AccountAnswer {
    fn from(view: ProfileView) -> Self {
        Self {
            id: view.id.0,
            email: view.email,
            email_verified: view.email_verified,
            first_name: view.first_name,
            last_name: view.last_name,
            locale: view.locale.as_str().to_owned(),
            roles: view.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            status: view.status.to_owned(),
            created_at: view.created_at.map(Timestamp::rfc3339),
            last_login_at: view.last_login_at.map(Timestamp::rfc3339),
            password_changed_at: view.password_changed_at.map(Timestamp::rfc3339),
        }
    }
}

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
impl Profiles {
    /// Read the account
    #[oai(path = "/api/auth/profile/", method = "get", operation_id = "read_profile")]
    async fn read(&self, bearer: Unchecked, asked: Asked) -> Result<Json<AccountAnswer>, Problem> {
        Ok(Json(asked.doorbook.own_profile(&bearer.0).await?.into()))
    }

    /// Edit the account
    ///
    /// Fields that are given change; the others stay. At most 60 changes an hour.
    #[oai(path = "/api/auth/profile/", method = "patch", operation_id = "update_profile")]
    async fn update(
        &self,
        signed: Signed,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ProfileBody>,
    ) -> Result<Json<AccountAnswer>, Problem> {
        let body = body.0;
        let fields = [&body.first_name, &body.last_name, &body.locale].map(|field| field.as_deref().unwrap_or("\u{1}"));
        let header = asked.idempotency(key.0, &fields)?;
        let mut faults = Faults::default();
        let mut name = |field, text: Option<&str>| text.and_then(|text| faults.name(field, Some(text)));
        let (first_name, last_name) =
            (name("first_name", body.first_name.as_deref()), name("last_name", body.last_name.as_deref()));
        let locale = faults.locale("locale", body.locale.as_deref());
        faults.check()?;
        let change = ProfileChange { first_name, last_name, locale };
        let view = command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.update_profile(signed.0, &change, header.as_ref(), &context).await
        })
        .await?;
        Ok(Json(view.into()))
    }

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
