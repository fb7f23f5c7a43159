//! How fast the log takes events: a guard row, the event, a projection and an outbox row, durable, over eight connections. Doorbook
//! writes them through its own store; pgbench drives the same as one statement on the same tables, written by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doorbook_core::account::AccountEvent;
use doorbook_core::clock::Timestamp;
use doorbook_core::event::{Actor, Event};
use doorbook_core::job;
use doorbook_core::store::log::NewEvent;
use doorbook_core::store::project::outbox::{NewJob, Priority};
use doorbook_core::store::write::Write;
use doorbook_core::store::{Db, Pooler};
use doorbook_core::value::{AccountId, EventId, JobId, Locale, StreamId};
use doorbook_dev::{Cluster, Database, Role, aged};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::scenario::{Figures, millis};

/// Connections, each with an account of its own: what is measured is the write, not the wait for another.
const CONNECTIONS: u32 = 8;

/// Threads of pgbench.
const THREADS: &str = "2";

/// When the outbox rows are due: no worker is there, and none shall be woken.
const DUE_AFTER: Duration = Duration::from_hours(24);

/// The statement of pgbench. `:client_id` is the number of its connection.
const STATEMENT: &str = "\
with g as (update streams set version = version + 1
           where stream_id = overlay('01990000-0000-7000-8000-000000000000' placing lpad(to_hex(cast(:client_id as int)), 12, '0') from 25)::uuid
           returning stream_id, version),
     e as (insert into events (event_id, retention_class, stream_id, version, type, subject_id, payload, actor_kind, actor_id, trace_id, correlation_id)
           select overlay(uuid7_floor(clock_timestamp())::text placing '8' || right(gen_random_uuid()::text, 16) from 20 for 17)::uuid, 'keep',
                  stream_id, version, 'ProfileUpdated', stream_id, '{\"locale\": \"en\"}', 'account', stream_id, gen_random_uuid(), gen_random_uuid()
           from g returning 1),
     p as (update accounts set last_login_at = clock_timestamp() where account_id = (select stream_id from g) returning 1),
     j as (insert into jobs (job_id, kind, ref, priority, run_at, trace_id)
           select gen_random_uuid(), 'mail', stream_id, 2, clock_timestamp() + interval '1 day', gen_random_uuid() from g returning 1)
select version from g;
";

/// A database with accounts to write about.
async fn prepared(cluster: &Cluster) -> Result<Database> {
    let database = Database::fresh(cluster).await?;
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await?;
    for number in 0..CONNECTIONS {
        let id = aged::subject(number.into());
        sqlx::query("insert into streams (stream_id, kind, subject_id, version) values ($1, 'account', $1, 1)")
            .bind(id)
            .execute(&superuser)
            .await?;
        sqlx::query("insert into accounts (account_id, locale, status, created_at) values ($1, 'en', 'active', now())")
            .bind(id)
            .execute(&superuser)
            .await?;
    }
    Ok(database)
}

/// Doorbook's own statement.
pub async fn doorbook(cluster: &Cluster, lasting: Duration) -> Result<Figures> {
    let database = prepared(cluster).await?;
    let db = Db::new(&database.url_for(Role::Api), CONNECTIONS, Pooler::None)?;
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..CONNECTIONS {
        writers.spawn(write(db.clone(), AccountId(aged::subject(number.into())), lasting));
    }
    let mut count = 0;
    while let Some(ended) = writers.join_next().await {
        count += ended??;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    Ok(Figures::from([("rate", rate), ("mean_ms", 1_000.0 * f64::from(CONNECTIONS) / rate)]))
}

/// Writes one event after the other; how many.
async fn write(db: Db, account: AccountId, lasting: Duration) -> Result<u32> {
    let (begun, mut count) = (Instant::now(), 0);
    let mut now: Timestamp = sqlx::query_scalar("select clock_timestamp()").fetch_one(&db).await?;
    while begun.elapsed() < lasting {
        count += 1;
        let version = i64::from(count);
        let trace = EventId::new(now).0;
        let mut write = Write::new();
        write.extend_account(account, version, 1);
        write.events(vec![NewEvent {
            id: EventId::new(now),
            stream: StreamId(account.0),
            version: version + 1,
            subject: Some(account),
            event: Event::Account(AccountEvent::ProfileUpdated { locale: Locale::En, profile: None }),
            sealed: None,
            actor: Actor::Account(account),
            session: None,
            trace,
            causation: None,
        }]);
        write.touch_login(account, now);
        write.insert_job(&NewJob {
            id: JobId::new(now),
            kind: job::MAIL,
            reference: account.0,
            priority: Priority::Chore,
            run_at: now.plus(DUE_AFTER),
            trace,
            span: None,
        });
        now = write.run(&db).await?;
    }
    Ok(count)
}

/// The same statement by hand, driven by pgbench.
pub async fn floor(cluster: &Cluster, lasting: Duration) -> Result<Figures> {
    let database = prepared(cluster).await?;
    let script = cluster.run().folder().join("append.sql");
    std::fs::write(&script, STATEMENT).context("cannot write the script of pgbench")?;
    let (clients, seconds) = (CONNECTIONS.to_string(), lasting.as_secs().max(1).to_string());
    let mut command: Command = cluster.run().command(cluster.postgres_tool("pgbench")?);
    command.args([
        "--no-vacuum",
        "--protocol",
        "prepared",
        "--jobs",
        THREADS,
        "--client",
        &clients,
        "--time",
        &seconds,
    ]);
    command.arg("--file").arg(&script).arg(cluster.superuser_url(database.name()));
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("cannot run pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench: {text}{}", String::from_utf8_lossy(&output.stderr));
    let rate = transactions(&text).with_context(|| format!("pgbench says no rate: {text}"))?;
    Ok(Figures::from([("rate", rate), ("mean_ms", millis(Duration::from_secs(1)) * f64::from(CONNECTIONS) / rate)]))
}

/// Transactions a second in what pgbench prints.
fn transactions(text: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_pgbench_is_understood() {
        let text = "latency average = 0.9 ms\ntps = 8123.456789 (without initial connection time)\n";
        assert_eq!(transactions(text), Some(8_123.456_789));
        assert_eq!(transactions("nothing"), None);
    }
}
