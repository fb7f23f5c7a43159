//! Reads the live rows of a batch of accounts.

use uuid::Uuid;

use super::compare::{AccountRow, CredentialRow, DeviceRow, EmailRow, SessionRow, TokenRow};
use super::{Case, Cases};
use crate::clock::Timestamp;
use crate::store::keys::{Vault, WrappedKey};
use crate::store::{StoreError, Tx};
use crate::value::AccountId;

pub(super) async fn load(db: &mut Tx, vault: &Vault, ids: &[Uuid]) -> Result<Cases, StoreError> {
    let mut cases: Cases = ids.iter().map(|id| (AccountId(*id), Case::default())).collect();
    let keys = sqlx::query!(
        r#"select account_id as "account_id!: AccountId", key_id, wrapped, wrapped_by from keys.data_keys where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in keys {
        let sealed = WrappedKey { id: row.key_id, wrapped: row.wrapped, wrapped_by: row.wrapped_by };
        cases.entry(row.account_id).or_default().key = Some(vault.open_data_key(&mut *db, &sealed).await?);
    }
    load_account_rows(&mut *db, ids, &mut cases).await?;
    load_session_rows(&mut *db, ids, &mut cases).await?;
    Ok(cases)
}

async fn load_account_rows(db: &mut Tx, ids: &[Uuid], cases: &mut Cases) -> Result<(), StoreError> {
    let accounts = sqlx::query_as!(
        AccountRow,
        r#"select account_id as "account_id: AccountId", profile, locale, status, roles,
                  email_verified_at as "email_verified_at: Timestamp", locked_at as "locked_at: Timestamp",
                  created_at as "created_at: Timestamp", password_changed_at as "password_changed_at: Timestamp",
                  last_login_at as "last_login_at: Timestamp", reset_required_at as "reset_required_at: Timestamp", erase_at as "erase_at: Timestamp"
           from accounts where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in accounts {
        let case = cases.entry(row.account_id).or_default();
        case.live.account = Some(row);
    }
    let credentials = sqlx::query_as!(
        CredentialRow,
        r#"select account_id as "account_id: AccountId", kind, credential_id as "credential_id: _", version,
                  updated_at as "updated_at: Timestamp"
           from credentials where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in credentials {
        let case = cases.entry(row.account_id).or_default();
        case.live.credential = Some(row);
    }
    let emails = sqlx::query_as!(
        EmailRow,
        r#"select account_id as "account_id: AccountId", email_key, key_id
           from account_emails where account_id = any($1) and state = 'current'"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in emails {
        cases.entry(row.account_id).or_default().live.emails.push(row);
    }
    let tokens = sqlx::query_as!(
        TokenRow,
        r#"select token_id as "token_id: _", account_id as "account_id: AccountId", kind, state, created_at as "created_at: Timestamp"
           from tokens where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in tokens {
        cases.entry(row.account_id).or_default().live.tokens.push(row);
    }
    let imports = sqlx::query!(
        r#"select account_id as "account_id: AccountId", source, source_id from imported_accounts where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in imports {
        cases.entry(row.account_id).or_default().live.import = Some((row.source, row.source_id));
    }
    Ok(())
}

async fn load_session_rows(db: &mut Tx, ids: &[Uuid], cases: &mut Cases) -> Result<(), StoreError> {
    let sessions = sqlx::query_as!(
        SessionRow,
        r#"select session_id as "session_id: _", account_id as "account_id: AccountId", session_epoch, device_id as "device_id: _",
                  origin, created_at as "created_at: Timestamp", revoked_at as "revoked_at: Timestamp", revoked_reason
           from sessions where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in sessions {
        cases.entry(row.account_id).or_default().live.sessions.push(row);
    }
    let devices = sqlx::query_as!(
        DeviceRow,
        r#"select device_id as "device_id: _", account_id as "account_id: AccountId", created_at as "created_at: Timestamp"
           from devices where account_id = any($1)"#,
        ids
    )
    .fetch_all(&mut *db)
    .await?;
    for row in devices {
        cases.entry(row.account_id).or_default().live.devices.push(row);
    }
    Ok(())
}
