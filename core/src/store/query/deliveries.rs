use uuid::Uuid;

use super::tokens::TokenRow;
use crate::clock::Timestamp;
use crate::notification::MailState;
use crate::store::{Db, StoreError};
use crate::value::{AccountId, DeliveryId, EventId, JobId, TokenId};

pub struct DeliveryRow {
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    pub template: String,
    /// `None`: an operator's, see `address_digest`, or without one a webhook.
    pub account_id: Option<AccountId>,
    /// Of the link in it.
    pub token_id: Option<TokenId>,
    /// `None` also when it is gone.
    pub token: Option<TokenRow>,
    pub recipient: String,
    pub context: Option<Vec<u8>>,
    pub address_digest: Option<Vec<u8>>,
    pub state: String,
    pub attempts: i32,
    /// Hand-overs of which nobody heard whether the server has taken the mail.
    pub unheard: i32,
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

/// A delivery with the token of its link.
pub async fn by_id(db: &Db, delivery: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
    let row = sqlx::query!(
        r#"select d.delivery_id as "delivery_id: DeliveryId", d.event_id as "event_id: EventId", d.template,
                  d.account_id as "account_id: AccountId", d.token_id as "token_id: TokenId", d.recipient, d.context, d.address_digest, d.state, d.attempts,
                  d.unheard, d.created_at as "created_at: Timestamp", s.version as stream_version, clock_timestamp() as "now!: Timestamp",
                  t.account_id as "token_account?: AccountId", t.kind as "token_kind?", t.key_id as "token_key?", t.salt as "token_salt?",
                  t.detail as "token_detail?", t.state as "token_state?", t.created_at as "token_created?: Timestamp",
                  t.expires_at as "token_expires?: Timestamp"
           from deliveries d join streams s on s.stream_id = d.delivery_id left join tokens t on t.token_id = d.token_id
           where d.delivery_id = $1"#,
        delivery.0
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let token = || {
        Some(TokenRow {
            token_id: row.token_id?,
            account_id: row.token_account?,
            kind: row.token_kind?,
            key_id: row.token_key?,
            salt: row.token_salt?,
            detail: row.token_detail,
            state: row.token_state?,
            created_at: row.token_created?,
            expires_at: row.token_expires?,
            now: row.now,
        })
    };
    Ok(Some(DeliveryRow {
        delivery_id: row.delivery_id,
        event_id: row.event_id,
        template: row.template,
        account_id: row.account_id,
        token_id: row.token_id,
        token: token(),
        recipient: row.recipient,
        context: row.context,
        address_digest: row.address_digest,
        state: row.state,
        attempts: row.attempts,
        unheard: row.unheard,
        created_at: row.created_at,
        stream_version: row.stream_version,
        now: row.now,
    }))
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

/// Which deliveries a list is about. All that is given must be so.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    pub account: Option<AccountId>,
    pub state: Option<MailState>,
    pub template: Option<&'a str>,
    pub before: Option<DeliveryId>,
}

/// A delivery with its job: to be looked at, and to be decided on.
pub struct Listed {
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    pub template: String,
    pub account_id: Option<AccountId>,
    pub token_id: Option<TokenId>,
    pub recipient: String,
    pub address_digest: Option<Vec<u8>>,
    pub state: String,
    pub attempts: i32,
    /// Tries that nobody heard the end of.
    pub unheard: i32,
    pub server_answer: Option<String>,
    pub created_at: Timestamp,
    pub settled_at: Option<Timestamp>,
    pub repeats: Option<DeliveryId>,
    /// The last of those that were sent instead of it.
    pub repeated_by: Option<DeliveryId>,
    /// Version of its stream.
    pub version: i64,
    /// The job that sends it; what is done is purged after a week.
    pub job_id: Option<JobId>,
    pub job_state: Option<String>,
    pub fence: Option<i64>,
    pub run_at: Option<Timestamp>,
    pub now: Timestamp,
}

/// Deliveries, newest first, at most `limit`.
pub async fn listed(db: &Db, filter: Filter<'_>, limit: i64) -> Result<Vec<Listed>, StoreError> {
    of_ids(db, &ids(db, filter, limit).await?).await
}

/// Those of these deliveries that there are, newest first.
///
/// A mail's job was made in the millisecond of its delivery, so it is found by its primary key; jobs need no index by what they are
/// about.
pub async fn of_ids(db: &Db, ids: &[Uuid]) -> Result<Vec<Listed>, StoreError> {
    Ok(sqlx::query_as!(
        Listed,
        r#"select d.delivery_id as "delivery_id: DeliveryId", d.event_id as "event_id: EventId", d.template,
                  d.account_id as "account_id: AccountId", d.token_id as "token_id: TokenId", d.recipient, d.address_digest, d.state, d.attempts, d.unheard,
                  d.server_answer, d.created_at as "created_at: Timestamp", d.settled_at as "settled_at: Timestamp",
                  d.repeats as "repeats: DeliveryId", d.repeated_by as "repeated_by: DeliveryId", s.version,
                  j.job_id as "job_id?: JobId", j.state as "job_state?", j.fence as "fence?", j.run_at as "run_at?: Timestamp",
                  clock_timestamp() as "now!: Timestamp"
           from deliveries d join streams s on s.stream_id = d.delivery_id left join lateral (
               select job_id, state, fence, run_at from jobs
               where ref = d.delivery_id and kind = 'mail' and job_id >= uuid7_floor(d.created_at)
                 and job_id < uuid7_floor(d.created_at + interval '1 millisecond')
               limit 1
           ) j on true
           where d.delivery_id = any($1) order by d.delivery_id desc"#,
        ids
    )
    .fetch_all(db)
    .await?)
}

/// What a list is about. One query for each index: a single one for everything would be planned without knowing what it is asked.
async fn ids(db: &Db, filter: Filter<'_>, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let Filter { account, state, template, before } = filter;
    let (state, before) = (state.map(MailState::as_str), before.map_or(Uuid::max(), |delivery| delivery.0));
    let ids = match (account, state, template) {
        (Some(account), ..) => {
            sqlx::query_scalar!(
                "select delivery_id from deliveries
                 where account_id = $1 and ($2::text is null or state = $2) and ($3::text is null or template = $3)
                   and delivery_id < $4
                 order by delivery_id desc limit $5",
                account.0,
                state,
                template,
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
        (None, Some(state), template) if state != MailState::Sent.as_str() => {
            sqlx::query_scalar!(
                "select delivery_id from deliveries
                 where state <> 'sent' and state = $1 and ($2::text is null or template = $2)
                   and delivery_id < $3
                 order by delivery_id desc limit $4",
                state,
                template,
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
        (None, state, Some(template)) => {
            sqlx::query_scalar!(
                "select delivery_id from deliveries
                 where template = $1 and ($2::text is null or state = $2) and delivery_id < $3
                 order by delivery_id desc limit $4",
                template,
                state,
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
        // Nearly all have been sent.
        (None, state, None) => {
            sqlx::query_scalar!(
                "select delivery_id from deliveries
                 where ($1::text is null or state = $1) and delivery_id < $2
                 order by delivery_id desc limit $3",
                state,
                before,
                limit
            )
            .fetch_all(db)
            .await?
        }
    };
    Ok(ids)
}
