use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::account::{Account, Credential, Role, Status};
use crate::clock::Timestamp;
use crate::store::keys::lookup::EmailKeys;
use crate::store::keys::{DataKey, Vault, WrappedKey};
use crate::store::{Db, StoreError};
use crate::value::{AccountId, CredentialId, Locale, SessionId};

/// An account as a command decides on it.
pub struct Loaded {
    pub id: AccountId,
    /// Version of its stream: what the command's write must find again.
    pub version: i64,
    pub account: Account,
    pub secret: Option<String>,
    /// Sessions ever begun: what the next login must find again.
    pub logins: i64,
    pub last_login_at: Option<Timestamp>,
    /// `None` once its personal data has been erased.
    pub data_key: Option<DataKey>,
}

struct Row {
    found: bool,
    account_id: Uuid,
    stream_version: i64,
    session_epoch: i64,
    logins: i64,
    profile: Option<Vec<u8>>,
    locale: String,
    status: String,
    roles: Vec<String>,
    email_verified_at: Option<Timestamp>,
    locked_at: Option<Timestamp>,
    created_at: Timestamp,
    password_changed_at: Option<Timestamp>,
    last_login_at: Option<Timestamp>,
    reset_required_at: Option<Timestamp>,
    erase_at: Option<Timestamp>,
    credential_id: Option<Uuid>,
    credential_version: Option<i32>,
    secret: Option<String>,
    key_id: Option<Uuid>,
    wrapped: Option<Vec<u8>>,
    wrapped_by: Option<String>,
    now: Timestamp,
}

impl Row {
    async fn load(self, db: &Db, vault: &Vault) -> Result<Loaded, StoreError> {
        let account_id = self.account_id;
        let odd = |what: &str| StoreError::Inconsistent(format!("account {account_id}: {what}"));
        let data_key = match (self.key_id, self.wrapped, self.wrapped_by) {
            (Some(id), Some(wrapped), Some(wrapped_by)) => {
                Some(vault.open_data_key(db, &WrappedKey { id, wrapped, wrapped_by }).await?)
            }
            _ => None,
        };
        let profile = match (&self.profile, &data_key) {
            (Some(sealed), Some(key)) => Some(key.key.open_json(self.account_id, sealed)?),
            _ => None,
        };
        let mut roles = BTreeSet::new();
        for role in &self.roles {
            roles.insert(Role::parse(role).ok_or_else(|| odd("unknown role"))?);
        }
        let credential = self
            .credential_id
            .zip(self.credential_version)
            .map(|(id, version)| Credential { id: CredentialId(id), version: u32::try_from(version).unwrap_or(0) });
        let account = Account {
            status: Status::parse(&self.status).ok_or_else(|| odd("unknown status"))?,
            locale: Some(Locale::parse(&self.locale).ok_or_else(|| odd("unknown locale"))?),
            roles,
            profile,
            email_verified_at: self.email_verified_at,
            locked_at: self.locked_at,
            created_at: Some(self.created_at),
            password_changed_at: self.password_changed_at,
            credential,
            reset_required_at: self.reset_required_at,
            erase_at: self.erase_at,
            session_epoch: self.session_epoch,
        };
        Ok(Loaded {
            id: AccountId(self.account_id),
            version: self.stream_version,
            account,
            secret: self.secret,
            logins: self.logins,
            last_login_at: self.last_login_at,
            data_key,
        })
    }
}

/// The account with this id.
pub async fn by_id(db: &Db, vault: &Vault, account: AccountId) -> Result<Option<Loaded>, StoreError> {
    find(db, vault, &[], account.0).await
}

/// The account whose current address has this key.
pub async fn by_email(db: &Db, vault: &Vault, email: &EmailKeys) -> Result<Option<Loaded>, StoreError> {
    find(db, vault, &email.values(), vault.nobody().key.id).await
}

/// The account of an address or, without one, of an id. Where there is none, the same indexes are searched and the personal data
/// of nobody is opened: how long it takes must not tell whether there is one.
async fn find(db: &Db, vault: &Vault, email_keys: &[Vec<u8>], account: Uuid) -> Result<Option<Loaded>, StoreError> {
    let nobody = vault.nobody();
    // Materialized, or the planner looks the address up anew for each of the four tables.
    let row = sqlx::query_as!(
        Row,
        r#"with w as materialized (
               select coalesce((select e.account_id from account_emails e where e.email_key = any($1) and e.state = 'current' limit 1), $2) as id
           )
           select a.account_id is not null as "found!", coalesce(a.account_id, $3) as "account_id!",
                  coalesce(s.version, 0) as "stream_version!", coalesce(s.session_epoch, 0) as "session_epoch!",
                  coalesce(s.logins, 0) as "logins!", case when a.account_id is null then $4 else a.profile end as profile,
                  coalesce(a.locale, 'en') as "locale!", coalesce(a.status, 'active') as "status!",
                  coalesce(a.roles, '{}') as "roles!", a.email_verified_at as "email_verified_at?: Timestamp",
                  a.locked_at as "locked_at?: Timestamp", coalesce(a.created_at, 'epoch') as "created_at!: Timestamp",
                  a.password_changed_at as "password_changed_at?: Timestamp", a.last_login_at as "last_login_at?: Timestamp",
                  a.reset_required_at as "reset_required_at?: Timestamp", a.erase_at as "erase_at?: Timestamp",
                  c.credential_id as "credential_id?", c.version as "credential_version?", c.secret as "secret?",
                  case when a.account_id is null then $3 else k.key_id end as key_id,
                  case when a.account_id is null then $5 else k.wrapped end as wrapped,
                  case when a.account_id is null then $6 else k.wrapped_by end as wrapped_by,
                  clock_timestamp() as "now!: Timestamp"
           from w
           left join accounts a on a.account_id = w.id
           left join streams s on s.stream_id = w.id
           left join credentials c on c.account_id = w.id and c.kind = 'password'
           left join keys.data_keys k on k.account_id = w.id"#,
        email_keys,
        account,
        nobody.key.id,
        nobody.profile,
        nobody.key.wrapped,
        nobody.key.wrapped_by
    )
    .fetch_one(db)
    .await?;
    let found = row.found;
    Ok(Some(row.load(db, vault).await?).filter(|_| found))
}

/// The account of a session, without its secret, if both are in force: the same as `sessions::standing`. And the database's time. Every
/// request with a token asks this or that, so it is four reads by primary key and nothing else.
pub async fn in_force(
    db: &Db,
    vault: &Vault,
    session: SessionId,
    account: AccountId,
) -> Result<Option<(Loaded, Timestamp)>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"select true as "found!", a.account_id, g.version as stream_version, g.session_epoch, g.logins, a.profile, a.locale, a.status,
                  a.roles, a.email_verified_at as "email_verified_at: Timestamp", a.locked_at as "locked_at: Timestamp",
                  a.created_at as "created_at: Timestamp", a.password_changed_at as "password_changed_at: Timestamp",
                  a.last_login_at as "last_login_at: Timestamp", a.reset_required_at as "reset_required_at: Timestamp",
                  a.erase_at as "erase_at: Timestamp", null::uuid as credential_id, null::int as credential_version, null::text as secret,
                  k.key_id as "key_id?", k.wrapped as "wrapped?", k.wrapped_by as "wrapped_by?", clock_timestamp() as "now!: Timestamp"
           from sessions s
           join streams g on g.stream_id = s.account_id and g.session_epoch = s.session_epoch
           join accounts a on a.account_id = s.account_id and a.status = 'active'
           left join keys.data_keys k on k.account_id = s.account_id
           where s.session_id = $1 and s.account_id is not distinct from $2 and num_nonnulls(s.revoked_at) = 0 and s.absolute_end > clock_timestamp()
             and (s.idle_end is null or s.idle_end > clock_timestamp())"#,
        session.0,
        account.0
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let now = row.now;
    Ok(Some((row.load(db, vault).await?, now)))
}

/// Whether nobody may register this address now: it has an account, or a change that can still be undone reserves it.
pub async fn email_taken(db: &Db, email: &EmailKeys, now: Timestamp) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from account_emails where email_key = any($1) and (state = 'current' or reserved_until > $2)) as "taken!""#,
        &email.values(),
        now as Timestamp
    )
    .fetch_one(db)
    .await?)
}

/// Whose this address is now, current or reserved.
pub async fn email_owner(db: &Db, email: &EmailKeys, now: Timestamp) -> Result<Option<AccountId>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select account_id as "id: AccountId" from account_emails where email_key = any($1) and (state = 'current' or reserved_until > $2) limit 1"#,
        &email.values(),
        now as Timestamp
    )
    .fetch_optional(db)
    .await?)
}

/// What an account may do beyond its own affairs, as of now; nothing when there is no such account.
pub async fn roles(db: &Db, account: AccountId) -> Result<Vec<Role>, StoreError> {
    let roles = sqlx::query_scalar!("select roles from accounts where account_id = $1", account.0)
        .fetch_optional(db)
        .await?
        .unwrap_or_default();
    let unknown = || StoreError::Inconsistent(format!("account {account}: unknown role"));
    roles.iter().map(|role| Role::parse(role).ok_or_else(unknown)).collect()
}

/// Whether somebody else than `account` is an active admin, and the version of the guard at which that was so.
pub struct OtherAdmins {
    pub any: bool,
    pub version: i64,
}

pub async fn admins_but(db: &Db, account: AccountId) -> Result<OtherAdmins, StoreError> {
    Ok(sqlx::query_as!(
        OtherAdmins,
        r#"select version, exists (
               select 1 from accounts
               where roles <> '{}' and 'admin' = any(roles) and status = 'active' and account_id <> $1
           ) as "any!" from role_guards where role = 'admin'"#,
        account.0
    )
    .fetch_one(db)
    .await?)
}

/// Active accounts without roles that are older than `life`, never verified and never logged in to, oldest first, at most `limit`. By
/// the age of their ids: an account that was brought over is as old as it is here.
pub async fn unverified(db: &Db, life: Duration, limit: i64) -> Result<Vec<AccountId>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select account_id as "id: AccountId" from accounts
           where email_verified_at is null and last_login_at is null and status = 'active' and roles = '{}'
             and account_id < uuid7_floor(now() - $1 * interval '1 second')
           order by account_id limit $2"#,
        life.as_secs_f64(),
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Which accounts a list is about. All that is given must be so.
#[derive(Clone, Copy)]
pub struct Filter {
    pub only: Option<AccountId>,
    pub before: Option<AccountId>,
    pub status: Option<Status>,
    pub role: Option<Role>,
}

/// An account in a list: to be looked at, not to be decided on.
pub struct Listed {
    pub id: AccountId,
    pub account: Account,
    pub last_login_at: Option<Timestamp>,
    pub data_key: Option<DataKey>,
}

/// Accounts, newest first, at most `limit`.
pub async fn listed(db: &Db, vault: &Vault, filter: &Filter, limit: i64) -> Result<Vec<Listed>, StoreError> {
    of_ids(db, vault, &ids(db, filter, limit).await?).await
}

/// Those of these accounts that there are, newest first.
pub async fn of_ids(db: &Db, vault: &Vault, ids: &[Uuid]) -> Result<Vec<Listed>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select true as "found!", a.account_id as "account_id!", s.version as "stream_version!", s.session_epoch as "session_epoch!",
                  s.logins as "logins!", a.profile, a.locale as "locale!", a.status as "status!", a.roles as "roles!",
                  a.email_verified_at as "email_verified_at?: Timestamp", a.locked_at as "locked_at?: Timestamp",
                  a.created_at as "created_at!: Timestamp", a.password_changed_at as "password_changed_at?: Timestamp",
                  a.last_login_at as "last_login_at?: Timestamp", a.reset_required_at as "reset_required_at?: Timestamp", a.erase_at as "erase_at?: Timestamp",
                  null::uuid as "credential_id?", null::integer as "credential_version?", null::text as "secret?",
                  k.key_id as "key_id?", k.wrapped as "wrapped?", k.wrapped_by as "wrapped_by?", clock_timestamp() as "now!: Timestamp"
           from accounts a join streams s on s.stream_id = a.account_id left join keys.data_keys k on k.account_id = a.account_id
           where a.account_id = any($1) order by a.account_id desc"#,
        ids
    )
    .fetch_all(db)
    .await?;
    let mut listed = Vec::with_capacity(rows.len());
    for row in rows {
        let Loaded { id, account, last_login_at, data_key, .. } = row.load(db, vault).await?;
        listed.push(Listed { id, account, last_login_at, data_key });
    }
    Ok(listed)
}

/// Whom a list is about. One query for each way to them that an index knows: a single one for everything would be planned without knowing
/// what it is asked, and read everybody.
async fn ids(db: &Db, filter: &Filter, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let before = filter.before.map_or(Uuid::max(), |id| id.0);
    let (status, role) = (filter.status.map(Status::as_str), filter.role.map(Role::as_str));
    let ids = match (filter.only, filter.role, filter.status) {
        (Some(only), ..) => {
            sqlx::query_scalar!(
                "select account_id from accounts
                 where account_id = $1 and account_id < $2 and ($3::text is null or status = $3)
                   and ($4::text is null or $4 = any(roles))",
                only.0,
                before,
                status,
                role
            )
            .fetch_all(db)
            .await?
        }
        (_, Some(role), _) => {
            sqlx::query_scalar!(
                "select account_id from accounts
                 where roles <> '{}' and $1 = any(roles) and ($2::text is null or status = $2) and account_id < $3
                 order by account_id desc limit $4",
                role.as_str(),
                status,
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
        (_, None, None | Some(Status::Active)) => {
            sqlx::query_scalar!(
                "select account_id from accounts
                 where ($1::text is null or status = $1) and account_id < $2
                 order by account_id desc limit $3",
                status,
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
        (_, None, Some(status)) => {
            sqlx::query_scalar!(
                "select account_id from accounts
                 where status <> 'active' and status = $1 and account_id < $2
                 order by account_id desc limit $3",
                status.as_str(),
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
    };
    Ok(ids)
}
