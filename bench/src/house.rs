//! What is measured, started: Postgres that writes as a real one does, Redis, api and worker as an operator would run them, the
//! floors beside them, and peers if they are asked for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doorbook_core::password::HashCost;
use doorbook_core::store::{Db, seal};
use doorbook_dev::{Cluster, Launch, Options, Program, Stand, ensure_binaries, free_port, lives};
use sqlx::{AssertSqlSafe, PgPool};

use crate::target::{Mapping, PASSWORD, Target};
use crate::{floor, hashing};

/// Time for a program of the bench to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);

/// Longest wait for what a measurement has left behind.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Longest wait for the log to be sealed when data was generated: ten million events take a quarter of an hour.
const SEALED_WITHIN: Duration = Duration::from_secs(3_600);

/// Who reads the trail, once appointed: the first account.
pub const AUDITOR: &str = "user1@example.com";

/// Everything that runs; dropping it ends it.
pub struct House {
    pub stand: Stand,
    pub doorbook: Arc<Target>,
    pub floor: Arc<Target>,
    pub superuser: PgPool,
    pub cost: HashCost,
    engine: String,
    /// Encoded password of every account, as Django writes it.
    pub encoded: String,
    _floor: Program,
    // Last: its servers end when nothing uses them any more.
    pub cluster: Cluster,
}

impl House {
    /// Starts everything but peers, with so many accounts and further events.
    pub async fn start(accounts: u32, events: i64, engine: &str) -> Result<Self> {
        let guard = ensure_binaries().await?.join("doorbook-dev");
        let cluster = Cluster::start(Options { durable: true, ..Options::temporary(guard) }).await?;
        let cost = HashCost::default();
        let stand = dear(&cluster, cost, engine).await?;
        let superuser = PgPool::connect(&cluster.superuser_url(stand.database.name())).await?;
        let encoded = hashing::of_django(cost, PASSWORD)?;
        let mapping = Mapping::parse(include_str!("../targets/doorbook.toml"))?;
        let doorbook = Target::new(mapping, &stand.base, accounts, false)?;
        let (program, floor) = start_floor(&cluster, accounts.min(20_000)).await?;
        let engine = engine.to_owned();
        let house = Self { stand, doorbook, floor, superuser, cost, engine, encoded, _floor: program, cluster };
        house.bring(accounts, events).await?;
        Ok(house)
    }

    /// Brings so many accounts over, and then what all of them leave behind in the course of years: so many events.
    async fn bring(&self, accounts: u32, events: i64) -> Result<()> {
        // As whoever loads in bulk does: else a checkpoint every few seconds has all pages logged whole again, and looks at the events of
        // the last minutes, which are millions here, take both cores.
        let bulk = ["alter system set max_wal_size = '8GB'", "alter system set max_parallel_workers_per_gather = 0"];
        self.administer(&bulk).await?;
        self.administer(&["select pg_reload_conf()"]).await?;
        self.bring_accounts(accounts).await?;
        self.administer(&["vacuum analyze"]).await?;
        if events > 0 {
            let is_secret = |(name, _): &&(String, String)| name == "SECRET_KEY";
            let (_, secret_key) = self.stand.environment().iter().find(is_secret).context("a stand without a key")?;
            lives::bring(&self.superuser, secret_key, events).await?;
            self.sealed(SEALED_WITHIN).await?;
        }
        self.administer(&["alter system reset all", "select pg_reload_conf()", "vacuum analyze", "checkpoint"]).await
    }

    /// As an operator would from another service.
    async fn bring_accounts(&self, accounts: u32) -> Result<()> {
        let mut csv = "id,email,password,first_name,last_name,is_active,is_staff,date_joined\n".to_owned();
        for id in 1..=accounts {
            let encoded = &self.encoded;
            writeln!(csv, "{id},user{id}@example.com,\"{encoded}\",Ana,Lima,true,false,2020-01-02 03:04:05+00")?;
        }
        let path = self.cluster.run().folder().join("accounts.csv");
        std::fs::write(&path, csv).context("cannot write the accounts")?;
        let path = path.to_str().context("the folder of the run has no plain name")?;
        self.stand.doorbook(&["import", "django", "--csv", path]).await.context("cannot bring accounts over")?;
        self.sealed(SEALED_WITHIN).await
    }

    async fn administer(&self, statements: &[&'static str]) -> Result<()> {
        for statement in statements {
            sqlx::raw_sql(*statement).execute(&self.superuser).await.with_context(|| format!("cannot {statement}"))?;
        }
        Ok(())
    }

    /// That what was generated is true: all that is derived from the log is as the log tells.
    pub async fn check(&self) -> Result<()> {
        let begun = Instant::now();
        let told = self.stand.doorbook(&["projections", "check"]).await.context("what was generated is not true")?;
        println!("{} ({:.0} s)", told.trim(), begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until the worker has sealed all events, and all that follows the log has come to its end.
    async fn sealed(&self, within: Duration) -> Result<()> {
        let behind =
            "select count(*) from followers where position < (select max(position) from event_seals where log_id = 1)";
        let (db, begun) = (Db::from(self.superuser.clone()), Instant::now());
        loop {
            // The dear question last: it reads all events of the last minutes.
            let is_followed = sqlx::query_scalar::<_, i64>(behind).fetch_one(&self.superuser).await? == 0;
            if is_followed && seal::lag(&db).await?.waiting == 0 {
                return Ok(());
            }
            ensure!(begun.elapsed() < within, "the log is not sealed and followed within {within:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Clears away what the last measurement has left behind, so that the next one is not about it: mails are not sent, what runs
    /// comes to its end, what was written is sealed.
    pub async fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        let busy = "select count(*) from jobs where state in ('dispatched', 'running')";
        loop {
            sqlx::query("delete from jobs where state = 'due'").execute(&self.superuser).await?;
            if sqlx::query_scalar::<_, i64>(busy).fetch_one(&self.superuser).await? == 0 {
                break;
            }
            ensure!(begun.elapsed() < SETTLED_WITHIN, "jobs do not come to their end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.sealed(SETTLED_WITHIN).await
    }

    /// One more api process of the same service, and the load's way to it.
    pub async fn another_api(&self) -> Result<(Program, Arc<Target>)> {
        let (program, base) = self.stand.another_api().await?;
        Ok((program, self.doorbook.elsewhere(&base)))
    }

    /// Lets [`AUDITOR`] read the trail.
    pub async fn appoint_auditor(&self) -> Result<()> {
        let grant = ["account", "role", "grant", AUDITOR, "auditor", "--reason", "it reads the trail of the bench"];
        self.stand.doorbook(&grant).await.map(drop)
    }

    /// What is in the log.
    pub async fn events(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from events").fetch_one(&self.superuser).await?)
    }

    /// The version of Postgres.
    pub async fn postgres(&self) -> Result<String> {
        let version: String = sqlx::query_scalar("show server_version").fetch_one(&self.superuser).await?;
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }

    /// A service of its own without accounts, with the settings of the measured one.
    pub async fn another(&self) -> Result<Stand> {
        dear(&self.cluster, self.cost, &self.engine).await
    }
}

/// A stand like those of tests, but with hashes as dear as by default.
async fn dear(cluster: &Cluster, cost: HashCost, engine: &str) -> Result<Stand> {
    let numbers = [cost.memory_kib, cost.time_cost, cost.parallelism].map(|number| number.to_string());
    let names = ["ARGON2_MEMORY_KIB", "ARGON2_TIME_COST", "ARGON2_PARALLELISM"];
    let mut settings: Vec<_> = names.into_iter().zip(numbers.iter().map(String::as_str)).collect();
    settings.push(("ARGON2_ENGINE", engine));
    let mut stand = Stand::start_api(cluster, &settings).await?;
    stand.start_worker().await?;
    Ok(stand)
}

/// A database without anything of Doorbook's.
pub async fn bare_database(cluster: &Cluster, name: &str) -> Result<String> {
    let superuser = PgPool::connect(&cluster.superuser_url("postgres")).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&superuser).await?;
    Ok(cluster.superuser_url(name))
}

async fn start_floor(cluster: &Cluster, accounts: u32) -> Result<(Program, Arc<Target>)> {
    let url = bare_database(cluster, "floor").await?;
    floor::prepare(&url, accounts).await?;
    let bind = format!("127.0.0.1:{}", free_port()?);
    let base = format!("http://{bind}");
    // By its name: the running one may have been replaced when the binaries were built.
    let own = ensure_binaries().await?.join("doorbook-bench");
    let mut program = Launch::new(own).arg("floor").arg(bind).arg(url).start(cluster.run())?;
    program.wait_ready(&base, READY_WITHIN).await?;
    let mapping = Mapping::parse(include_str!("../targets/floor.toml"))?;
    Ok((program, Target::new(mapping, &base, accounts, false)?))
}
