//! A log that is older or longer than it has become by itself.

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// Events that one statement appends: a longer transaction would stall the sealer.
const BATCH: usize = 20_000;

/// An account of [`append_life`], by its number.
pub fn subject(number: i64) -> Uuid {
    Uuid::from_u128((0x0199 << 112) | (7 << 76) | (2 << 62) | u128::from(number.unsigned_abs()))
}

/// Appends failed logins, blocks and ended sessions of so many accounts, whose ids are those of [`subject`].
pub async fn append_life(superuser: &PgPool, events: i64, accounts: i64) -> Result<()> {
    let batch = i64::try_from(BATCH)?;
    for from in (1..=events).step_by(BATCH) {
        sqlx::query(
            "with new as (
                 select n, gen_random_uuid() as stream,
                        overlay(uuid7_floor(clock_timestamp())::text placing '8' || right(gen_random_uuid()::text, 16) from 20 for 17)::uuid as id,
                        overlay($3::text placing lpad(to_hex(n % $4), 12, '0') from 25)::uuid as account
                 from generate_series($1, $2) n),
             s as (insert into streams (stream_id, kind, version)
                   select stream, case when n % 10 < 7 then 'attempts' else 'session' end, 1 from new)
             insert into events (event_id, retention_class, stream_id, version, type, payload, subject_id, actor_kind, trace_id)
             select id, case when n % 10 < 7 then 'expire' else 'keep' end, stream, 1,
                    case when n % 10 = 0 then 'LoginBlocked' when n % 10 < 7 then 'LoginFailed' else 'LoggedOut' end,
                    case when n % 10 = 0 then jsonb_build_object('until', 1800000000000000) when n % 10 < 7
                         then jsonb_build_object('reason', 'wrong_password') else '{}' end,
                    account, 'stranger', gen_random_uuid()
             from new",
        )
        .bind(from)
        .bind(events.min(from + batch - 1))
        .bind(subject(0))
        .bind(accounts)
        .execute(superuser)
        .await
        .context("cannot append events")?;
    }
    Ok(())
}

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
