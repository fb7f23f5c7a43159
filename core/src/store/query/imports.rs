use crate::clock::Timestamp;
use crate::store::{Db, StoreError};

/// Which of these ids of a source have an account here already, also an erased one.
pub async fn known(db: &Db, source: &str, ids: &[String]) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar!(
        "select source_id from imported_accounts where source = $1 and source_id = any($2)",
        source,
        ids
    )
    .fetch_all(db)
    .await?)
}

/// Which of these addresses nobody may have now, and whether that is because a change that can still be undone reserves it.
pub async fn taken(db: &Db, email_keys: &[Vec<u8>], now: Timestamp) -> Result<Vec<(Vec<u8>, bool)>, StoreError> {
    let rows = sqlx::query!(
        r#"select email_key, state = 'reserved' as "reserved!" from account_emails
           where email_key = any($1) and (state = 'current' or reserved_until > $2)"#,
        email_keys,
        now as Timestamp
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.email_key, row.reserved)).collect())
}
