//! Accounts as auditors and admins see them. Auditors see who it is, not what it is called: addresses are masked, names and places
//! left out. Nobody sees a password, a hash or a token.

use std::collections::HashMap;

use uuid::Uuid;

use crate::account::{Account, Profile, Role, Status};
use crate::clock::Timestamp;
use crate::operator::OperatorEvent;
use crate::service::access::{Caller, Sight};
use crate::service::limits::identifier_bucket;
use crate::service::sessions::SessionView;
use crate::service::{Context, Doorbook, Refusal};
use crate::store::keys::identifiers::Bucket;
use crate::store::query::accounts::{Filter, Loaded};
use crate::store::query::{accounts, deliveries};
use crate::value::{AccountId, Email, Locale};

/// Most accounts of one page.
pub const ACCOUNTS_PAGE_MAX: u32 = 100;

/// Which accounts are asked for. All that is given must be so.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    pub id: Option<AccountId>,
    pub email: Option<Email>,
    pub status: Option<Status>,
    pub role: Option<Role>,
}

/// An account as somebody with a role sees it; what is erased or not for him to see is `None`.
#[derive(Debug)]
pub struct AccountView {
    pub id: AccountId,
    pub email: Option<String>,
    pub email_verified: bool,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub locale: Locale,
    pub roles: Vec<Role>,
    pub status: Status,
    pub locked_at: Option<Timestamp>,
    pub reset_required_at: Option<Timestamp>,
    pub erase_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    pub password_changed_at: Option<Timestamp>,
}

#[derive(Debug)]
pub struct AccountDetail {
    pub account: AccountView,
    /// Until when guesses at the password are refused.
    pub blocked_until: Option<Timestamp>,
    pub sessions: Vec<SessionView>,
    /// How many mails were ordered for it, by what became of them.
    pub mails: Vec<(String, i64)>,
}

impl AccountView {
    pub(super) fn of(
        id: AccountId,
        account: Account,
        last_login_at: Option<Timestamp>,
        sight: Sight,
        default_locale: Locale,
    ) -> Self {
        let (email, first_name, last_name) = match (account.profile, sight) {
            (None, _) => (None, None, None),
            (Some(Profile { email, first_name, last_name }), Sight::Plain) => {
                (Some(email), Some(first_name), Some(last_name))
            }
            (Some(profile), Sight::Masked) => {
                (Email::parse(&profile.email).ok().map(|email| email.masked()), None, None)
            }
        };
        Self {
            id,
            email,
            email_verified: account.email_verified_at.is_some(),
            first_name,
            last_name,
            locale: account.locale.unwrap_or(default_locale),
            roles: account.roles.into_iter().collect(),
            status: account.status,
            locked_at: account.locked_at,
            reset_required_at: account.reset_required_at,
            erase_at: account.erase_at,
            created_at: account.created_at,
            last_login_at,
            password_changed_at: account.password_changed_at,
        }
    }
}

impl Doorbook {
    /// A page of accounts, newest first, older than `before`, as an operator sees them.
    pub async fn list_accounts(&self, before: Option<AccountId>, limit: u32) -> Result<Vec<AccountView>, Refusal> {
        self.page_of_accounts(&AccountFilter::default(), before, limit, Sight::Plain).await
    }

    /// A page of the accounts that are asked for, newest first, older than `before`. That somebody searched is an event, once an hour for
    /// each who searches for the same.
    pub async fn search_accounts(
        &self,
        caller: Caller,
        filter: &AccountFilter,
        before: Option<AccountId>,
        limit: u32,
        context: &Context,
    ) -> Result<Vec<AccountView>, Refusal> {
        self.note_search(caller, filter, None, context).await?;
        let sight = self.sight(caller).await?;
        self.page_of_accounts(filter, before, limit, sight).await
    }

    /// Tells the trail that accounts are searched for, with the names of what they are searched by.
    pub(super) async fn note_search(
        &self,
        caller: Caller,
        filter: &AccountFilter,
        domain: Option<&str>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let id = filter.id.map(|id| id.0.to_string()).unwrap_or_default();
        let email = filter.email.as_ref().map(Email::normal_form).unwrap_or_default();
        let (status, role) = (filter.status.map_or("", Status::as_str), filter.role.map_or("", Role::as_str));
        let given = [
            ("id", id.as_str()),
            ("email", email),
            ("email_domain", domain.unwrap_or_default()),
            ("status", status),
            ("role", role),
        ];
        let fields = given.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| *name);
        let searched = OperatorEvent::AuditSearched {
            fields: std::iter::once("accounts").chain(fields).map(str::to_owned).collect(),
        };
        let parts: Vec<&[u8]> = std::iter::once(caller.account.0.as_bytes().as_slice())
            .chain(given.map(|(_, value)| value.as_bytes()))
            .collect();
        self.note_hourly(caller, &Bucket::new("accounts", &parts), filter.id, searched, context).await
    }

    /// Those of these accounts that there are, in this order.
    pub async fn accounts_of_ids(&self, caller: Caller, ids: &[Uuid]) -> Result<Vec<AccountView>, Refusal> {
        let (sight, locale) = (self.sight(caller).await?, self.policy.default_locale);
        let mut listed: HashMap<AccountId, _> =
            accounts::of_ids(&self.db, &self.vault, ids).await?.into_iter().map(|it| (it.id, it)).collect();
        let view = |id: &Uuid| {
            let it = listed.remove(&AccountId(*id))?;
            Some(AccountView::of(it.id, it.account, it.last_login_at, sight, locale))
        };
        Ok(ids.iter().filter_map(view).collect())
    }

    async fn page_of_accounts(
        &self,
        filter: &AccountFilter,
        before: Option<AccountId>,
        limit: u32,
        sight: Sight,
    ) -> Result<Vec<AccountView>, Refusal> {
        let mut only = filter.id;
        if let Some(email) = &filter.email {
            let found = self.find_account(email).await?;
            if found.is_none() || only.is_some_and(|id| found != Some(id)) {
                return Ok(Vec::new());
            }
            only = found;
        }
        let limit = i64::from(limit.clamp(1, ACCOUNTS_PAGE_MAX));
        let filter = Filter { only, before, status: filter.status, role: filter.role };
        let listed = accounts::listed(&self.db, &self.vault, &filter, limit).await?;
        let locale = self.policy.default_locale;
        let view =
            |loaded: accounts::Listed| AccountView::of(loaded.id, loaded.account, loaded.last_login_at, sight, locale);
        Ok(listed.into_iter().map(view).collect())
    }

    /// One account with its sessions and limits. That it was looked at is an event.
    pub async fn view_account(
        &self,
        caller: Caller,
        account: AccountId,
        context: &Context,
    ) -> Result<AccountDetail, Refusal> {
        let sight = self.sight(caller).await?;
        let loaded = accounts::by_id(&self.db, &self.vault, account).await?.ok_or(Refusal::NotFound)?;
        let bucket = Bucket::new("viewed", &[caller.account.0.as_bytes(), account.0.as_bytes()]);
        self.note_hourly(caller, &bucket, Some(account), OperatorEvent::AccountViewed, context).await?;
        let bucket = loaded.email().map(|email| identifier_bucket("login", &email));
        let blocked_until = match bucket {
            Some(bucket) => self.blocked_until(&loaded, &bucket).await?,
            None => None,
        };
        let mut sessions = self.session_views(account, loaded.data_key.as_ref()).await?;
        for session in sessions.iter_mut().filter(|_| sight == Sight::Masked) {
            (session.address, session.user_agent) = (None, None);
        }
        let mails = deliveries::counts(&self.db, account).await?;
        let Loaded { account: state, last_login_at, .. } = loaded;
        let account = AccountView::of(account, state, last_login_at, sight, self.policy.default_locale);
        Ok(AccountDetail { account, blocked_until, sessions, mails })
    }
}
