//! What a deployment's database is like: for `doorbook check`, not for the service.

use std::time::Duration;

use sqlx::{ConnectOptions as _, PgConnection};

use super::StoreError;
use super::db::options;

/// Time for the first connection and its login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the server says of itself to this login.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one answer of the server, asked for by its name")]
pub struct Server {
    /// As `150004` for 15.4.
    pub version: i32,
    pub fsync: bool,
    pub full_page_writes: bool,
    /// `on`, `local`, `remote_write`, `remote_apply` or `off`.
    pub synchronous_commit: String,
    /// A standby takes no writes.
    pub in_recovery: bool,
    /// Whether this connection is encrypted.
    pub is_encrypted: bool,
    /// Whether the server was reached over the network of another machine.
    pub is_remote: bool,
}

/// What a login may do to the log and the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one right, asked for by its name")]
pub struct Rights {
    pub login: String,
    pub is_superuser: bool,
    /// Owns the log, and so may change it and drop it.
    pub owns_log: bool,
    /// May change or delete events.
    pub rewrites_log: bool,
    pub appends: bool,
    /// May stamp positions: the worker alone.
    pub seals: bool,
    pub reads_keys: bool,
    /// May delete the keys of personal data: the shredder alone.
    pub shreds: bool,
}

/// One connection with the login of `url`.
pub async fn connect(url: &str) -> Result<PgConnection, StoreError> {
    let options = options(url)?;
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

pub async fn server(db: &mut PgConnection) -> Result<Server, StoreError> {
    Ok(sqlx::query_as!(
        Server,
        r#"select current_setting('server_version_num')::integer as "version!",
                  current_setting('fsync')::boolean as "fsync!",
                  current_setting('full_page_writes')::boolean as "full_page_writes!",
                  current_setting('synchronous_commit') as "synchronous_commit!",
                  pg_is_in_recovery() as "in_recovery!",
                  coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as "is_encrypted!",
                  coalesce(inet_client_addr() <> inet_server_addr(), false) as "is_remote!""#
    )
    .fetch_one(db)
    .await?)
}

/// Fails on a database that is not migrated.
pub async fn rights(db: &mut PgConnection) -> Result<Rights, StoreError> {
    Ok(sqlx::query_as!(
        Rights,
        r#"select current_user::text as "login!",
                  (select rolsuper from pg_roles where rolname = current_user) as "is_superuser!",
                  (select pg_has_role(relowner, 'usage') from pg_class where oid = 'events'::regclass) as "owns_log!",
                  has_any_column_privilege('events', 'update') or has_table_privilege('events', 'delete, truncate')
                      as "rewrites_log!",
                  has_any_column_privilege('events', 'insert') as "appends!",
                  has_any_column_privilege('event_seals', 'insert') as "seals!",
                  case when has_schema_privilege('keys', 'usage')
                      then has_any_column_privilege('keys.data_keys', 'select') else false end as "reads_keys!",
                  case when has_schema_privilege('keys', 'usage')
                      then has_table_privilege('keys.data_keys', 'delete') else false end as "shreds!""#
    )
    .fetch_one(db)
    .await?)
}
