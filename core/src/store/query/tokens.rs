use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::project::tokens::TokenKind;
use crate::store::{Db, StoreError};
use crate::value::{AccountId, TokenId};

pub struct TokenRow {
    pub token_id: TokenId,
    pub account_id: AccountId,
    pub kind: String,
    pub key_id: String,
    pub salt: Vec<u8>,
    pub detail: Option<Vec<u8>>,
    pub state: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub now: Timestamp,
}

impl TokenRow {
    /// Time is a predicate at use; no job needs to have run.
    pub fn usable(&self) -> bool {
        self.state == "open" && self.expires_at > self.now
    }
}

pub async fn by_id(db: &Db, token: TokenId) -> Result<Option<TokenRow>, StoreError> {
    Ok(sqlx::query_as!(
        TokenRow,
        r#"select token_id as "token_id: TokenId", account_id as "account_id: AccountId", kind, key_id, salt, detail, state,
                  created_at as "created_at: Timestamp", expires_at as "expires_at: Timestamp", clock_timestamp() as "now!: Timestamp"
           from tokens where token_id = $1"#,
        token.0
    )
    .fetch_optional(db)
    .await?)
}

/// What is sealed in these tokens, of those that have a detail.
pub async fn details(db: &Db, tokens: &[Uuid]) -> Result<Vec<(TokenId, Vec<u8>)>, StoreError> {
    let rows = sqlx::query!(
        r#"select token_id as "token_id: TokenId", detail as "detail!" from tokens where token_id = any($1) and detail is not null"#,
        tokens
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.token_id, row.detail)).collect())
}

/// Open tokens past their time, oldest first, at most `limit`.
pub async fn run_out(db: &Db, limit: i64) -> Result<Vec<TokenRow>, StoreError> {
    Ok(sqlx::query_as!(
        TokenRow,
        r#"select token_id as "token_id: TokenId", account_id as "account_id: AccountId", kind, key_id, salt, detail, state,
                  created_at as "created_at: Timestamp", expires_at as "expires_at: Timestamp", clock_timestamp() as "now!: Timestamp"
           from tokens where state || '' = 'open' and expires_at <= now() order by expires_at limit $1"#,
        limit
    )
    .fetch_all(db)
    .await?)
}

/// Tokens of a kind that an account may use now, the oldest first, at most `limit`.
pub async fn usable(db: &Db, account: AccountId, kind: TokenKind, limit: i64) -> Result<Vec<TokenRow>, StoreError> {
    Ok(sqlx::query_as!(
        TokenRow,
        r#"select token_id as "token_id: TokenId", account_id as "account_id: AccountId", kind, key_id, salt, detail, state,
                  created_at as "created_at: Timestamp", expires_at as "expires_at: Timestamp", clock_timestamp() as "now!: Timestamp"
           from tokens where account_id = $1 and kind = $2 and state = 'open' and expires_at > clock_timestamp()
           order by created_at, token_id limit $3"#,
        account.0,
        kind.as_str(),
        limit
    )
    .fetch_all(db)
    .await?)
}
