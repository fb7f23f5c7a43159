//! What the log looks like from above.

use crate::clock::Timestamp;
use crate::store::{Db, StoreError};
use crate::terms::Field;

/// Events of one type in one step of time.
pub struct Count {
    pub start: Timestamp,
    pub name: String,
    pub events: i64,
    /// What they stand for that has no event of its own.
    pub rolled_up: i64,
}

/// How many events of these types there were, by steps of so many seconds from `from`.
pub async fn counts(
    db: &Db,
    names: &[String],
    from: Timestamp,
    to: Timestamp,
    step: f64,
) -> Result<Vec<Count>, StoreError> {
    Ok(sqlx::query_as!(
        Count,
        r#"select date_bin(make_interval(secs => $4), hour, $2::timestamptz) as "start!: Timestamp", type as name,
                  sum(events)::bigint as "events!", sum(rolled_up)::bigint as "rolled_up!"
           from event_hours where hour >= $2 and hour < $3 and type = any($1) group by 1, 2"#,
        names,
        from as Timestamp,
        to as Timestamp,
        step
    )
    .fetch_all(db)
    .await?)
}

/// How often one value of a field came up, and the newest event that names it.
pub struct Frequent {
    pub events: i64,
    pub position: i64,
}

/// The values of a field that the newest events of these types name most often; at most `walk` events of each type are looked at.
pub async fn frequent(
    db: &Db,
    types: &[i64],
    (from, before): (i64, i64),
    field: Field,
    walk: i64,
    limit: i64,
) -> Result<Vec<Frequent>, StoreError> {
    Ok(sqlx::query_as!(
        Frequent,
        r#"select count(*) as "events!", max(o.position) as "position!"
           from unnest($1::bigint[]) as t(term)
           cross join lateral (
               select position from event_search s
               where s.field = $2 and s.term = t.term and s.position >= $3 and s.position < $4
               order by position desc limit $5
           ) a
           join event_search o on o.position = a.position and o.field = $6
           group by o.term order by 1 desc, 2 desc limit $7"#,
        types,
        Field::Type.number(),
        from,
        before,
        walk,
        field.number(),
        limit
    )
    .fetch_all(db)
    .await?)
}
