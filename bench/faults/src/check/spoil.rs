//! Whether the judges see anything: a database that they were content with is spoilt in each way that they ask it about, and each must be found.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbook_dev::halves::HALVES;
use sqlx::{Connection as _, PgConnection};

use super::{Verdict, judge, limits, log};
use crate::nemesis::Strike;
use crate::rig::Rig;
use crate::visit::Town;

/// One thing that is done to so many rows of the database, and what is then to be found, by whom. What stands in the tables of the judges must be
/// found as well, without being named here.
struct Spoil {
    sql: &'static str,
    rows: u64,
    found: &'static [(&'static str, &'static str)],
}

const fn spoil(sql: &'static str, rows: u64, found: &'static [(&'static str, &'static str)]) -> Spoil {
    Spoil { sql, rows, found }
}

/// In this order: what comes later finds its rows all the same. A copy of an event keeps the first half of its id, which has its month.
const SPOILS: &[Spoil] = &[
    // The log and what follows it.
    spoil("delete from event_search where field = 3 and position = 1", 1, &[]),
    spoil("update event_hours set events = events + 1 where ctid = (select min(ctid) from event_hours)", 1, &[]),
    spoil(
        "update followers set position = position - 1
         where follower = (select min(follower) from followers where position > 0)",
        1,
        &[],
    ),
    spoil(
        "update event_seals set position = position + 1 where position = (select max(position) from event_seals)",
        1,
        &[],
    ),
    spoil(
        "update jobs set state = 'dead' where job_id = (
             select j.job_id from jobs j join deliveries d on d.delivery_id = j.ref where d.unheard = 0 order by 1 limit 1)",
        1,
        &[],
    ),
    // Events that nobody asked for, or twice, or that are gone.
    spoil(
        "insert into events overriding system value
         select (jsonb_populate_record(e, jsonb_build_object(
             'event_id', left(e.event_id::text, 24) || right(gen_random_uuid()::text, 12), 'version', e.version + 1000))).*
         from events e where type = 'PasswordChanged' order by e.event_id limit 1",
        1,
        &[("phantoms and duplicates", "PasswordChanged for the 2. time")],
    ),
    spoil(
        "insert into events overriding system value
         select (jsonb_populate_record(e, jsonb_build_object(
             'event_id', left(e.event_id::text, 24) || right(gen_random_uuid()::text, 12), 'version', e.version + 2000,
             'trace_id', gen_random_uuid()))).*
         from events e where type = 'LoggedIn' order by e.event_id desc limit 1",
        1,
        &[("phantoms and duplicates", "of nobody's request")],
    ),
    spoil(
        "delete from events where event_id = (
             select event_id from events where type = 'Registered' order by event_id desc limit 1)",
        1,
        &[("acknowledged and lost", "no Registered of"), ("projections", "accounts "), ("the log", ": the event is gone")],
    ),
    spoil(
        "delete from events where event_id = (select event_id from events where type = 'LoggedIn' order by event_id limit 1)",
        1,
        &[("acknowledged and lost", "no LoggedIn of")],
    ),
    // Mails.
    spoil(
        "update deliveries set state = 'failed' where delivery_id = (
             select delivery_id from deliveries where state = 'sent' and unheard = 0 and template = 'reset' order by 1 limit 1)",
        1,
        &[("mails", "is reset failed")],
    ),
    spoil(
        "insert into deliveries
         select (jsonb_populate_record(d, jsonb_build_object('delivery_id', gen_random_uuid()))).*
         from deliveries d where state = 'sent' and template = 'verify' order by d.delivery_id limit 1",
        1,
        &[("mails", "two deliveries of one mail"), ("mails", "is verify sent and did not arrive")],
    ),
    spoil(
        "delete from deliveries where delivery_id = (
             select delivery_id from deliveries where template = 'password_changed' and state = 'sent' order by 1 limit 1)",
        1,
        &[("mails", "a mail that nobody has caused"), ("mails", "no mail for PasswordChanged")],
    ),
    spoil("delete from deliveries where template = 'login_blocked'", 1, &[("mails", "no mail for LoginBlocked")]),
    // Sessions and limits.
    spoil(
        "update sessions set generation = generation + 1 where session_id = (select session_id from sessions order by 1 limit 1)",
        1,
        &[("families of tokens", " is at ")],
    ),
    spoil(
        "insert into sessions
         select (jsonb_populate_record(s, jsonb_build_object('session_id', gen_random_uuid()))).*
         from sessions s, generate_series(1, 21)
         where s.session_id = (select session_id from sessions where revoked_at is null order by 1 limit 1)",
        21,
        &[],
    ),
    spoil(
        "insert into events overriding system value
         select (jsonb_populate_record(e, jsonb_build_object(
             'event_id', left(e.event_id::text, 24) || right(gen_random_uuid()::text, 12), 'version', e.version + 3000 + n))).*
         from events e, generate_series(1, 3) n
         where e.event_id = (select event_id from events where type = 'PasswordResetRequested' order by 1 limit 1)",
        3,
        &[],
    ),
    // Statements that are half done.
    spoil("delete from credentials where account_id = (select account_id from accounts order by 1 limit 1)", 1, &[]),
    spoil(
        "update accounts set status = 'erased' where account_id = (select account_id from accounts order by 1 limit 1 offset 1)",
        1,
        &[],
    ),
    spoil("delete from accounts where account_id = (select account_id from accounts order by 1 limit 1 offset 2)", 1, &[]),
    spoil(
        "delete from streams where stream_id = (
             select stream_id from streams where kind = 'session' order by 1 limit 1 offset 1)",
        1,
        &[],
    ),
    spoil(
        "insert into jobs
         select (jsonb_populate_record(j, jsonb_build_object('job_id', gen_random_uuid(), 'ref', gen_random_uuid()))).*
         from jobs j where kind = 'mail' order by j.job_id limit 1",
        1,
        &[],
    ),
    spoil("delete from tokens where token_id = (select token_id from tokens where kind = 'reset' order by 1 limit 1)", 1, &[]),
    spoil(
        "update credentials set version = version + 1 where account_id = (
             select stream_id from events where type = 'PasswordChanged' and stream_id in (select account_id from credentials)
             order by event_id limit 1)",
        1,
        &[],
    ),
];

/// What was spoilt and not found; none if the judges see everything. Nothing runs afterwards.
pub(crate) async fn unseen(rig: &mut Rig, town: &Town, strikes: &[Strike], began: Duration) -> Result<Vec<String>> {
    // Nobody mends or goes on with it.
    rig.apis.clear();
    rig.workers.clear();
    let mut superuser = PgConnection::connect(&rig.superuser_url()).await.context("no Postgres")?;
    // Past the triggers that guard the log.
    sqlx::query("set session_replication_role = replica").execute(&mut superuser).await.context("no superuser")?;
    for Spoil { sql, rows, .. } in SPOILS {
        let done = sqlx::query(*sql).execute(&mut superuser).await.with_context(|| format!("cannot spoil: {sql}"))?;
        ensure!(done.rows_affected() == *rows, "{} rows spoilt: {sql}", done.rows_affected());
    }
    let verdicts = judge(rig, town, strikes, began).await?;
    let asked = log::BROKEN.iter().chain(&HALVES).map(|(what, _)| ("the log", *what));
    let asked = asked.chain(limits::BEYOND.iter().map(|(what, _)| ("limits", *what)));
    let expected = SPOILS.iter().flat_map(|spoil| spoil.found.iter().copied()).chain(asked);
    let blind = expected.filter(|(name, what)| !verdicts.iter().any(|verdict| finds(verdict, name, what)));
    Ok(blind.map(|(name, what)| format!("{name} does not find: {what}")).collect())
}

fn finds(verdict: &Verdict, name: &str, what: &str) -> bool {
    verdict.name == name && verdict.findings.iter().any(|finding| finding.contains(what))
}
