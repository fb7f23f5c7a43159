//! A log that is older than it is: what retention lets go of takes months to come about by itself.

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, PgPool};

/// Gives the log a partition of this month, long past, such as `2025-01`, with so many events that may expire. They are sealed like all
/// others. `superuser` is connected to a database on which nothing has been done with such partitions.
pub async fn old_month(superuser: &PgPool, month: &str, events: i64) -> Result<()> {
    let name = format!("events_expire_{}", month.replace('-', ""));
    let start = format!("uuid7_floor('{month}-01T00:00:00Z')");
    let end = format!("uuid7_floor('{month}-01T00:00:00Z'::timestamptz + interval '1 month')");
    let sql = format!(
        "do $$
         declare bound uuid := (select substring(pg_get_expr(relpartbound, oid) from 'TO \\(''([^'']+)''\\)')::uuid from pg_class where relname = 'events_expire_past');
         begin
             execute 'alter table events_expire detach partition events_expire_past';
             execute format('create table events_expire_ancient partition of events_expire for values from (minvalue) to (%L)', {start});
             execute format('create table {name} partition of events_expire for values from (%L) to (%L)', {start}, {end});
             execute format('create table events_expire_between partition of events_expire for values from (%L) to (%L)', {end}, bound);
         end $$;
         insert into streams (stream_id, kind, version)
             select overlay(({start})::text placing lpad(to_hex(n), 12, '0') from 25)::uuid, 'attempts', 1 from generate_series(1, {events}) n;
         insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind, trace_id)
             select overlay(({start})::text placing lpad(to_hex(n), 12, '0') from 25)::uuid, 'expire',
                    overlay(({start})::text placing lpad(to_hex(n), 12, '0') from 25)::uuid, 1, 'PasswordResetRequestedForUnknown',
                    '{{}}', 'stranger', gen_random_uuid() from generate_series(1, {events}) n;"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(superuser).await.context("cannot make an old month")?;
    Ok(())
}
