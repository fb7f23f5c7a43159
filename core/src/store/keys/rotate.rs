//! Changing the key that addresses are looked up by, while the service runs (`docs/adr/0013`). Each step is one statement or one
//! short transaction that can be repeated; a process that dies between two leaves a state from which the next run goes on.

use std::time::Duration;

use uuid::Uuid;

use super::{Fresh, KeyError, Vault, WrappedKey, list};
use crate::account::Profile;
use crate::clock::Timestamp;
use crate::store::{Db, StoreError};
use crate::token::keys::RootRing;
use crate::value::Email;

const PURPOSE: &str = "email_lookup";
/// Rows of one batch: nobody may write an address while it is written.
const BATCH: i64 = 200;
/// Readers are behind by half of it at most (`service::lookup`).
pub const SETTLING: Duration = Duration::from_secs(90);

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every process must have read the keys anew first.
    Settling {
        until: Timestamp,
    },
    /// Reserved addresses whose link is gone cannot be made anew; they end by themselves.
    Reserved {
        count: i64,
        until: Timestamp,
    },
    Done {
        retired_rows: u64,
    },
}

/// Stores the next key, unless there is one already. From here on every write of an address holds both.
pub async fn expand(db: &Db, roots: &RootRing) -> Result<String, KeyError> {
    if let Some(next) = list(db).await?.into_iter().find(|row| row.purpose == PURPOSE && row.next) {
        return Ok(next.key_id);
    }
    let fresh = Fresh::new(PURPOSE, roots)?;
    sqlx::query!(
        "with guard as (update key_guards set version = version + 1 where purpose = $1 returning 1)
         insert into keys.service_keys (purpose, key_id, wrapped, wrapped_by, active, next)
         select $1, $2, $3, $4, false, true from guard",
        PURPOSE,
        fresh.id,
        fresh.wrapped,
        fresh.wrapped_by
    )
    .execute(db)
    .await?;
    Ok(fresh.id)
}

/// Whether a rotation was cut off behind the change: rows of a retired key are left.
pub async fn is_to_finish(db: &Db) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select not exists (select 1 from keys.service_keys where purpose = $1 and next) and exists (
               select 1 from account_emails e
               where not exists (select 1 from keys.service_keys k
                   where k.purpose = $1 and k.key_id = e.key_id and (k.active or k.next))
               and (e.reserved_until <= now() or exists (
                   select 1 from account_emails n join keys.service_keys a on a.key_id = n.key_id
                   where n.account_id = e.account_id and a.purpose = $1 and a.active))) as "left!""#,
        PURPOSE
    )
    .fetch_one(db)
    .await?)
}

/// An address of the old key that has no row of the next one.
struct Missing {
    email_key: Vec<u8>,
    account_id: Uuid,
    state: String,
    profile: Option<Vec<u8>>,
    details: Vec<Vec<u8>>,
    detail_ids: Vec<Uuid>,
    data_key_id: Option<Uuid>,
    data_key: Option<Vec<u8>>,
    data_key_by: Option<String>,
}

/// Gives each address that lacks it a row of the next key, one batch. Returns how many, and behind which row to go on; `None`
/// behind the last. A row whose address cannot be read is left.
pub async fn rekey(db: &Db, vault: &Vault, after: &[u8]) -> Result<(u64, Option<Vec<u8>>), StoreError> {
    let lookup = vault.lookup();
    let [active, next] = lookup.keys.as_slice() else {
        return Err(StoreError::Inconsistent("no key is on its way in".to_owned()));
    };
    let rows = sqlx::query_as!(
        Missing,
        r#"select e.email_key, e.account_id, e.state, a.profile,
                  coalesce(u.details, '{}') as "details!", coalesce(u.ids, '{}') as "detail_ids!",
                  k.key_id as "data_key_id?", k.wrapped as "data_key?", k.wrapped_by as "data_key_by?"
           from account_emails e
           left join accounts a on a.account_id = e.account_id
           left join keys.data_keys k on k.account_id = e.account_id
           left join lateral (
               select array_agg(t.detail order by t.token_id) as details, array_agg(t.token_id order by t.token_id) as ids
               from tokens t where e.state = 'reserved' and t.account_id = e.account_id and t.kind = 'undo' and t.detail is not null
           ) u on true
           where e.key_id = $1 and e.email_key > $2 order by e.email_key limit $3"#,
        active.id,
        after,
        BATCH
    )
    .fetch_all(db)
    .await?;
    let last = rows.last().map(|row| row.email_key.clone());
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for row in rows {
        if let Some(email) = address(db, vault, &row).await? {
            old.push(row.email_key);
            new.push(next.mac(&email).to_vec());
        }
    }
    if old.is_empty() {
        return Ok((0, last));
    }
    // The version moves first: whoever is writing an address is waited for, whoever has decided before decides anew. Then the
    // rows are read once more, as they are now.
    let mut transaction = db.begin().await?;
    sqlx::query!("update key_guards set version = version + 1 where purpose = $1", PURPOSE)
        .execute(&mut transaction)
        .await?;
    let written = sqlx::query!(
        r#"insert into account_emails (email_key, key_id, account_id, state, reserved_until)
           select p.new, $3, e.account_id, e.state, e.reserved_until
           from unnest($1::bytea[], $2::bytea[]) as p (old, new) join account_emails e on e.email_key = p.old
           where e.state = 'current' or e.reserved_until > clock_timestamp()
           on conflict (email_key) do nothing"#,
        &old,
        &new,
        next.id
    )
    .execute(&mut transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok((written, last))
}

/// The address of a row: the one whose HMAC it is.
async fn address(db: &Db, vault: &Vault, row: &Missing) -> Result<Option<Email>, StoreError> {
    let (Some(id), Some(wrapped), Some(by)) = (row.data_key_id, &row.data_key, &row.data_key_by) else {
        return Ok(None);
    };
    let sealed = WrappedKey { id, wrapped: wrapped.clone(), wrapped_by: by.clone() };
    let key = vault.open_data_key(db, &sealed).await?.key;
    let mut texts = Vec::new();
    if row.state == "current" {
        if let Some(profile) = &row.profile {
            texts.push(key.open_json::<Profile>(row.account_id, profile)?.email);
        }
    } else {
        for (token, detail) in row.detail_ids.iter().zip(&row.details) {
            texts.push(key.open_json::<String>(*token, detail)?);
        }
    }
    let is_its = |email: &Email| vault.email_key(email).as_slice() == row.email_key;
    Ok(texts.iter().filter_map(|text| Email::parse(text).ok()).find(is_its))
}

/// Lets the next key decide alone, if nothing speaks against it, and removes the rows of the old one.
pub async fn contract(db: &Db, vault: &Vault) -> Result<Progress, StoreError> {
    let lookup = vault.lookup();
    if let [active, next] = lookup.keys.as_slice() {
        let since = sqlx::query!(
            r#"select changed_at as "at: Timestamp", clock_timestamp() as "now!: Timestamp"
               from keys.service_keys where purpose = $1 and key_id = $2"#,
            PURPOSE,
            next.id
        )
        .fetch_one(db)
        .await?;
        let until = since.at.plus(SETTLING);
        if until > since.now {
            return Ok(Progress::Settling { until });
        }
        if let Some(waiting) = switch(db, &active.id, &next.id).await? {
            return Ok(waiting);
        }
    }
    // Only rows whose account is found by the active key: where keys were lost, the old rows are all there is.
    let mut retired_rows = 0;
    loop {
        let rows = sqlx::query!(
            "delete from account_emails where email_key in (
                 select e.email_key from account_emails e
                 where not exists (select 1 from keys.service_keys k
                     where k.purpose = $1 and k.key_id = e.key_id and (k.active or k.next))
                 and (e.reserved_until <= now() or exists (
                     select 1 from account_emails n join keys.service_keys a on a.key_id = n.key_id
                     where n.account_id = e.account_id and a.purpose = $1 and a.active)) limit $2)",
            PURPOSE,
            BATCH
        )
        .execute(db)
        .await?
        .rows_affected();
        retired_rows += rows;
        if rows == 0 {
            return Ok(Progress::Done { retired_rows });
        }
    }
}

/// The change itself: while nobody can write an address, rows that lost their account are swept, and if every live address has
/// its new row, the keys change places.
async fn switch(db: &Db, active: &str, next: &str) -> Result<Option<Progress>, StoreError> {
    let mut transaction = db.begin().await?;
    sqlx::query!("update key_guards set version = version + 1 where purpose = $1", PURPOSE)
        .execute(&mut transaction)
        .await?;
    // An erasure that ran beside a batch knew nothing of the batch's rows.
    sqlx::query!(
        "delete from account_emails n where n.key_id = $2 and not exists (
             select 1 from account_emails o where o.account_id = n.account_id and o.key_id = $1 and o.state = n.state)",
        active,
        next
    )
    .execute(&mut transaction)
    .await?;
    let missing = sqlx::query!(
        r#"select count(*) as "count!", count(*) filter (where lacking.state = 'current') as "current!",
                  coalesce(max(lacking.reserved_until), clock_timestamp()) as "until!: Timestamp"
           from (
               select o.account_id, o.state, max(o.reserved_until) as reserved_until from account_emails o
               where o.key_id = $1 and (o.state = 'current' or o.reserved_until > now())
               group by o.account_id, o.state
               having count(*) > (select count(*) from account_emails n
                   where n.account_id = o.account_id and n.key_id = $2 and n.state = o.state
                       and (n.state = 'current' or n.reserved_until > now()))
           ) lacking"#,
        active,
        next
    )
    .fetch_one(&mut transaction)
    .await?;
    if missing.current > 0 {
        return Err(StoreError::Inconsistent(format!(
            "{} addresses cannot be re-keyed: their profile does not open",
            missing.current
        )));
    }
    if missing.count > 0 {
        transaction.commit().await?;
        return Ok(Some(Progress::Reserved { count: missing.count, until: missing.until }));
    }
    sqlx::query!(
        "update keys.service_keys set active = false, changed_at = clock_timestamp() where purpose = $1 and active",
        PURPOSE
    )
    .execute(&mut transaction)
    .await?;
    sqlx::query!(
        "update keys.service_keys set active = true, next = false, changed_at = clock_timestamp()
         where purpose = $1 and key_id = $2",
        PURPOSE,
        next
    )
    .execute(&mut transaction)
    .await?;
    transaction.commit().await?;
    Ok(None)
}
