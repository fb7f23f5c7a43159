use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::{Db, StoreError};

/// What the present minute has in the log of failed logins without an account.
pub struct Minute {
    pub start: Timestamp,
    pub recorded: i32,
}

pub async fn minute(db: &Db) -> Result<Minute, StoreError> {
    Ok(sqlx::query_as!(
        Minute,
        r#"select n.start as "start!: Timestamp", coalesce(m.recorded, 0) as "recorded!"
           from (select date_trunc('minute', clock_timestamp()) as start) n left join attempt_minutes m on m.minute = n.start"#
    )
    .fetch_one(db)
    .await?)
}

/// What was counted at one identifier from one network instead of being written.
pub struct TallyRow {
    pub minute: Timestamp,
    pub network: Vec<u8>,
    pub member: Vec<u8>,
    pub attempts: i64,
    pub blocks: i64,
    /// The network, sealed under the beginning of `member`.
    pub origin: Vec<u8>,
    pub pii_key_id: Uuid,
}

/// What is counted of the oldest minute that is over, in order; at most `limit` rows. A statement that began in a minute has ended ten
/// seconds after it.
pub async fn oldest(db: &Db, limit: i64) -> Result<Vec<TallyRow>, StoreError> {
    Ok(sqlx::query_as!(
        TallyRow,
        r#"select minute as "minute: Timestamp", network, member, attempts, blocks, origin, pii_key_id from attempt_tallies
           where minute = (
               select min(minute) from attempt_tallies
               where minute < date_trunc('minute', clock_timestamp() - interval '10 seconds')
           ) order by network, member limit $1"#,
        limit
    )
    .fetch_all(db)
    .await?)
}
