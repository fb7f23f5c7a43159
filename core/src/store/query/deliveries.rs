use crate::clock::Timestamp;
use crate::store::{Db, StoreError};
use crate::value::{AccountId, DeliveryId, EventId, TokenId};

pub struct DeliveryRow {
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    pub template: String,
    /// `None`: an operator's, see `address_digest`.
    pub account_id: Option<AccountId>,
    pub token_id: Option<TokenId>,
    pub recipient: String,
    pub context: Option<Vec<u8>>,
    pub address_digest: Option<Vec<u8>>,
    pub state: String,
    pub attempts: i32,
    pub created_at: Timestamp,
    pub stream_version: i64,
    pub now: Timestamp,
}

/// How many deliveries of an account there are in each state.
pub async fn counts(db: &Db, account: AccountId) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"select state, count(*) as "count!" from deliveries where account_id = $1 group by state order by state"#,
        account.0
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}

pub async fn by_id(db: &Db, delivery: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
    Ok(sqlx::query_as!(
        DeliveryRow,
        r#"select d.delivery_id as "delivery_id: DeliveryId", d.event_id as "event_id: EventId", d.template,
                  d.account_id as "account_id: AccountId", d.token_id as "token_id: TokenId", d.recipient, d.context, d.address_digest, d.state, d.attempts,
                  d.created_at as "created_at: Timestamp", s.version as stream_version, clock_timestamp() as "now!: Timestamp"
           from deliveries d join streams s on s.stream_id = d.delivery_id where d.delivery_id = $1"#,
        delivery.0
    )
    .fetch_optional(db)
    .await?)
}

/// A mail as the trail tells of it.
pub struct Outcome {
    pub delivery_id: DeliveryId,
    pub template: String,
    pub state: String,
    pub attempts: i32,
    pub server_answer: Option<String>,
}

/// The mails that an event promised.
pub async fn of_event(db: &Db, event: EventId) -> Result<Vec<Outcome>, StoreError> {
    Ok(sqlx::query_as!(
        Outcome,
        r#"select delivery_id as "delivery_id: DeliveryId", template, state, attempts, server_answer
           from deliveries where event_id = $1 order by created_at limit 10"#,
        event.0
    )
    .fetch_all(db)
    .await?)
}
