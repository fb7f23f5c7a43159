//! The account as its owner sees and edits it.

use super::append::Batch;
use super::idempotent::IdempotencyHeader;
use super::limits::OWN_CHANGES;
use super::{Context, Doorbook, Refusal, access::Caller};
use crate::account::{Command, Role, decide};
use crate::clock::Timestamp;
use crate::store::keys::identifiers::Bucket;
use crate::store::query::accounts::{self, Loaded};
use crate::value::{AccountId, Locale, PersonName};

/// What `GET profile` answers.
#[derive(Debug)]
pub struct ProfileView {
    pub id: AccountId,
    pub email: String,
    pub email_verified: bool,
    pub first_name: String,
    pub last_name: String,
    pub locale: Locale,
    pub roles: Vec<Role>,
    pub status: &'static str,
    pub created_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    pub password_changed_at: Option<Timestamp>,
}

/// Fields that are given change; the others stay.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    pub first_name: Option<PersonName>,
    pub last_name: Option<PersonName>,
    pub locale: Option<Locale>,
}

impl ProfileView {
    fn of(loaded: Loaded, default_locale: Locale) -> Result<Self, Refusal> {
        let account = loaded.account;
        let profile = account.profile.ok_or(Refusal::Unauthenticated)?;
        Ok(Self {
            id: loaded.id,
            email: profile.email,
            email_verified: account.email_verified_at.is_some(),
            first_name: profile.first_name,
            last_name: profile.last_name,
            locale: account.locale.unwrap_or(default_locale),
            roles: account.roles.into_iter().collect(),
            status: account.status.as_str(),
            created_at: account.created_at,
            last_login_at: loaded.last_login_at,
            password_changed_at: account.password_changed_at,
        })
    }
}

impl Doorbook {
    pub async fn profile(&self, account: AccountId) -> Result<ProfileView, Refusal> {
        let loaded = accounts::by_id(&self.db, &self.vault, account).await?.ok_or(Refusal::Unauthenticated)?;
        ProfileView::of(loaded, self.policy.default_locale)
    }

    /// The profile of the token's holder, under the conditions of [`Self::authenticate`]: checked and read by one statement.
    pub async fn own_profile(&self, token: &str) -> Result<ProfileView, Refusal> {
        let claims = self.claims(token)?;
        let found = accounts::in_force(&self.db, &self.vault, claims.session, claims.account).await?;
        let (loaded, now) = found.ok_or(Refusal::Unauthenticated)?;
        if claims.expires_at <= self.clock.observe(now) {
            return Err(Refusal::Unauthenticated);
        }
        ProfileView::of(loaded, self.policy.default_locale)
    }

    pub async fn update_profile(
        &self,
        caller: Caller,
        change: &ProfileChange,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<ProfileView, Refusal> {
        self.unless_done(header, context, async |_| {
            let bucket = Bucket::new("profile_change", &[caller.account.0.as_bytes()]);
            self.count(&bucket, OWN_CHANGES, &context.origin).await?;
            self.change_profile(caller, change, header, context).await
        })
        .await?;
        self.profile(caller.account).await
    }

    async fn change_profile(
        &self,
        caller: Caller,
        change: &ProfileChange,
        header: Option<&IdempotencyHeader>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.once_within(header, context, async |key| {
            let owner =
                accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
            let command = Command::UpdateProfile {
                locale: change.locale,
                first_name: change.first_name.as_ref().map(|name| name.as_str().to_owned()),
                last_name: change.last_name.as_ref().map(|name| name.as_str().to_owned()),
            };
            crate::failpoint!("profile.read");
            let events = decide(&owner.account, command)?;
            let mut batch = Batch::new(context, self.now());
            if !events.is_empty() {
                batch.account(&owner, events, Some(caller.session))?;
            }
            if batch.is_empty() && key.is_none() {
                return Ok(());
            }
            batch.write.put_idempotency(key, 200, Some(caller.session));
            Ok(batch.commit(self).await?)
        })
        .await
        .map(drop)
    }
}
