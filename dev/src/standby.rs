//! A streaming standby: a second Postgres that replays what the first one writes, answers reads, and can take its place. Set up with
//! Postgres' own means, as an operator would.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::sleep;

use crate::postgres::{Postgres, SUPERUSER};
use crate::server::{POLL, Server};

/// Time for a standby to be known to its primary.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);

impl Server<Postgres> {
    /// One more server, which follows this one. Its data lies in the run's folder under `name`.
    pub async fn standby(&self, name: &str) -> Result<Self> {
        let data = self.kind().run.folder().join(name);
        DirBuilder::new().mode(0o700).create(&data).with_context(|| format!("cannot create {}", data.display()))?;
        self.kind().run.hand_over(&data)?;
        let mut copy = self.kind().run.unprivileged(self.kind().tool("pg_basebackup")?);
        let primary =
            format!("host=127.0.0.1 port={} user={SUPERUSER} application_name={name} sslmode=disable", self.port());
        copy.env("PGPASSWORD", &self.kind().password)
            .args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"])
            .args(["--dbname", &primary, "--pgdata"])
            .arg(&data);
        let output = tokio::task::spawn_blocking(move || copy.output()).await?.context("cannot run pg_basebackup")?;
        ensure!(output.status.success(), "pg_basebackup failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let standby = Self::open(Postgres { data, ..self.kind().clone() }).await?;
        self.follows(name, "true").await?;
        Ok(standby)
    }

    /// From now on a commit here is done when this standby, too, has it on its disk. For durable servers.
    pub async fn wait_for(&self, standby: &str) -> Result<()> {
        let names = format!("alter system set synchronous_standby_names = '\"{standby}\"'");
        for statement in ["alter system set synchronous_commit = 'on'", &names, "select pg_reload_conf()"] {
            self.run(statement).await?;
        }
        self.follows(standby, "sync_state = 'sync'").await
    }

    /// Lets a standby hear nothing more of its primary, as if the network between them had gone.
    pub async fn cut_off(&self) -> Result<()> {
        self.run("alter system set primary_conninfo = ''").await?;
        self.run("select pg_reload_conf()").await?;
        self.until("select not exists (select from pg_stat_wal_receiver)").await
    }

    /// Makes a standby take writes, and returns when it does.
    pub async fn promote(&self) -> Result<()> {
        self.run("select pg_promote()").await?;
        self.until("select not pg_is_in_recovery()").await
    }

    /// A URL for the superuser.
    pub fn superuser_url(&self, database: &str) -> String {
        self.kind().superuser_url(self.port(), database)
    }

    /// Waits until a standby of this name streams and `condition` is true of it.
    async fn follows(&self, name: &str, condition: &str) -> Result<()> {
        self.until(&format!(
            "select exists (select from pg_stat_replication where application_name = '{name}' and state = 'streaming' and {condition})"
        ))
        .await
    }

    async fn until(&self, question: &str) -> Result<()> {
        let mut superuser = self.superuser().await?;
        let since = Instant::now();
        while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(question.to_owned())).fetch_one(&mut superuser).await? {
            ensure!(since.elapsed() < KNOWN_WITHIN, "not within {KNOWN_WITHIN:?}: {question}");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Runs one statement in no transaction, which some of these refuse.
    async fn run(&self, statement: &str) -> Result<()> {
        let mut superuser = self.superuser().await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut superuser).await.map(drop).context("refused")
    }

    async fn superuser(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.superuser_url(SUPERUSER)).await.context("cannot connect to Postgres")
    }
}
