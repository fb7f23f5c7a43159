//! Accounts as auditors and admins see them.

use doorbook_core::account::Status;
use doorbook_core::clock::Timestamp;
use doorbook_core::service::admin::{ACCOUNTS_PAGE_MAX, AccountDetail, AccountFilter, AccountView};
use doorbook_core::value::{AccountId, EventId};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};

use super::RoleName;
use crate::auth::Auditor;
use crate::problem::Problem;
use crate::routes::Chapter;
use crate::routes::input::{Asked, Faults, command};

pub struct Accounts;

/// Accounts of a page when no number is asked for.
const PAGE_DEFAULT: u32 = 50;

#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "lowercase")]
pub enum StatusName {
    Active,
    Disabled,
    Frozen,
    Leaving,
    Erased,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Active => Self::Active,
            StatusName::Disabled => Self::Disabled,
            StatusName::Frozen => Self::Frozen,
            StatusName::Leaving => Self::Leaving,
            StatusName::Erased => Self::Erased,
        }
    }
}

#[derive(Object)]
pub struct AdminAccountAnswer {
    id: uuid::Uuid,
    /// Masked for auditors; null once it has been erased.
    email: Option<String>,
    email_verified: bool,
    /// For admins.
    first_name: Option<String>,
    last_name: Option<String>,
    locale: String,
    /// `auditor`, `admin` or none.
    roles: Vec<String>,
    /// `active`, `disabled`, `frozen` (by its owner, with the link of a notice), `leaving` (its owner has asked for its deletion) or
    /// `erased`.
    status: String,
    /// Since when too many failed logins in a row keep everybody out. RFC 3339, UTC, as all times.
    locked_at: Option<String>,
    /// Since when a new password must be set first.
    reset_required_at: Option<String>,
    /// When it will be erased, unless its owner takes that back.
    erase_at: Option<String>,
    created_at: Option<String>,
    last_login_at: Option<String>,
    password_changed_at: Option<String>,
}

#[derive(Object)]
pub struct AccountsAnswer {
    /// Newest first.
    accounts: Vec<AdminAccountAnswer>,
    /// Give it as `before` for the next page; absent on the last.
    #[oai(skip_serializing_if_is_none)]
    next: Option<uuid::Uuid>,
}

#[derive(Object)]
pub struct AdminSessionAnswer {
    id: uuid::Uuid,
    /// What the client called itself when it logged in; for admins.
    device: Option<String>,
    /// Client address of the login; for admins.
    address: Option<String>,
    /// Whether the device was remembered.
    device_remembered: bool,
    created_at: String,
    last_used_at: String,
    /// When the session ends whatever happens.
    expires_at: String,
}

/// Mails that were ordered for the account, by what became of them.
#[derive(Default, Object)]
pub struct MailCounts {
    queued: i64,
    /// Not taken yet; tried again.
    deferred: i64,
    sent: i64,
    failed: i64,
    /// Not needed any more when their turn came.
    suppressed: i64,
}

#[derive(Object)]
pub struct AccountDetailAnswer {
    account: AdminAccountAnswer,
    /// Until when logins are refused after failed ones; null when they are not.
    blocked_until: Option<String>,
    /// Live sessions, newest first.
    sessions: Vec<AdminSessionAnswer>,
    mails: MailCounts,
}

impl From<AccountView> for AdminAccountAnswer {
    fn from(view: AccountView) -> Self {
        Self {
            id: view.id.0,
            email: view.email,
            email_verified: view.email_verified,
            first_name: view.first_name,
            last_name: view.last_name,
            locale: view.locale.as_str().to_owned(),
            roles: view.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            status: view.status.as_str().to_owned(),
            locked_at: view.locked_at.map(Timestamp::rfc3339),
            reset_required_at: view.reset_required_at.map(Timestamp::rfc3339),
            erase_at: view.erase_at.map(Timestamp::rfc3339),
            created_at: view.created_at.map(Timestamp::rfc3339),
            last_login_at: view.last_login_at.map(Timestamp::rfc3339),
            password_changed_at: view.password_changed_at.map(Timestamp::rfc3339),
        }
    }
}

impl MailCounts {
    fn of(counts: &[(String, i64)]) -> Self {
        let count = |state: &str| counts.iter().find(|(name, _)| name == state).map_or(0, |(_, count)| *count);
        Self {
            queued: count("queued"),
            deferred: count("deferred"),
            sent: count("sent"),
            failed: count("failed"),
            suppressed: count("suppressed"),
        }
    }
}

impl From<AccountDetail> for AccountDetailAnswer {
    fn from(detail: AccountDetail) -> Self {
        let sessions = detail.sessions.into_iter().map(|view| AdminSessionAnswer {
            id: view.id.0,
            device: view.user_agent,
            address: view.address,
            device_remembered: view.device_remembered,
            created_at: view.created_at.rfc3339(),
            last_used_at: view.last_used_at.rfc3339(),
            expires_at: view.expires_at.rfc3339(),
        });
        Self {
            account: detail.account.into(),
            blocked_until: detail.blocked_until.map(Timestamp::rfc3339),
            sessions: sessions.collect(),
            mails: MailCounts::of(&detail.mails),
        }
    }
}

#[OpenApi(tag = "Chapter::Administration")]
impl Accounts {
    /// List accounts
    ///
    /// All that is asked for must be so. Addresses are sealed: they are found whole, or by their domain. A search stands in the log, once
    /// an hour for each reader who asks for the same.
    #[oai(path = "/api/admin/accounts/", method = "get", operation_id = "list_accounts")]
    #[expect(clippy::too_many_arguments, reason = "each is one parameter of the query")]
    async fn list(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Query<Option<uuid::Uuid>>,
        /// The whole address.
        #[oai(validator(max_length = 254))]
        email: Query<Option<String>>,
        /// Accounts whose address is of this domain. They come by when their address was set, and a page may be short, or empty, and
        /// still have a next one.
        #[oai(validator(max_length = 253))]
        email_domain: Query<Option<String>>,
        status: Query<Option<StatusName>>,
        role: Query<Option<RoleName>>,
        /// `next` of the page before.
        before: Query<Option<uuid::Uuid>>,
        /// Accounts a page, 1 to 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<AccountsAnswer>, Problem> {
        let mut faults = Faults::default();
        let email = email.0.and_then(|text| faults.email("email", &text));
        faults.check()?;
        let (status, role) = (status.0.map(Status::from), role.0.map(Into::into));
        let filter = AccountFilter { id: id.0.map(AccountId), email, status, role };
        let limit = limit.0.unwrap_or(PAGE_DEFAULT).min(ACCOUNTS_PAGE_MAX);
        if let Some(domain) = email_domain.0 {
            let before = before.0.map(EventId);
            let page =
                asked.doorbook.accounts_of_domain(auditor.0, &domain, &filter, before, limit, &asked.context).await?;
            let accounts = page.accounts.into_iter().map(Into::into).collect();
            return Ok(Json(AccountsAnswer { accounts, next: page.next.map(|event| event.0) }));
        }
        let before = before.0.map(AccountId);
        let views = asked.doorbook.search_accounts(auditor.0, &filter, before, limit, &asked.context).await?;
        let full = views.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = views.last().filter(|_| full).map(|view| view.id.0);
        Ok(Json(AccountsAnswer { accounts: views.into_iter().map(Into::into).collect(), next }))
    }

    /// Read an account
    ///
    /// That it was read stands in the log, once an hour for each reader.
    #[oai(path = "/api/admin/accounts/:id/", method = "get", operation_id = "read_account")]
    async fn read(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
    ) -> Result<Json<AccountDetailAnswer>, Problem> {
        let detail =
            command(async move { asked.doorbook.view_account(auditor.0, AccountId(id.0), &asked.context).await })
                .await?;
        Ok(Json(detail.into()))
    }
}
