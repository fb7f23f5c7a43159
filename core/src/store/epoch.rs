//! Epochs: transaction ids mean something only inside one life of a cluster. Checked at every start, before the first append.

use super::{Db, StoreError};

/// Begins a new epoch when this cluster is not the one that wrote the log's newest events: another system identifier, or
/// transaction ids that start below those already stored: a dump was restored. A promoted standby has both of its primary and goes on.
pub async fn ensure(db: &Db) -> Result<i32, StoreError> {
    // Two processes that start together agree through the primary key; the loser reads the winner's row.
    sqlx::query!(
        "insert into epochs (epoch, system_identifier)
         select newest.epoch + 1, cluster.system_identifier::text
         from (select epoch, system_identifier from epochs order by epoch desc limit 1) newest, pg_control_system() cluster
         where newest.system_identifier <> cluster.system_identifier::text
            or exists (select 1 from events where epoch = newest.epoch and xid >= pg_snapshot_xmax(pg_current_snapshot()))
         on conflict (epoch) do nothing"
    )
    .execute(db)
    .await?;
    Ok(sqlx::query_scalar!(r#"select max(epoch) as "epoch!" from epochs"#).fetch_one(db).await?)
}
