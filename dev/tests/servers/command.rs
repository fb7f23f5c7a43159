//! `cargo dev`, as a developer runs it.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};

use doorbook_dev::{Cluster, Database, Role};

use crate::common::{GUARD, eventually, options, ping};

const SOON: Duration = Duration::from_secs(20);

/// A `.dev` folder, removed at the end.
struct DotDev(PathBuf);

impl DotDev {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("doorbook-{name}-{}", std::process::id())))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(GUARD);
        command.arg("--folder").arg(&self.0).env_remove("DATABASE_URL").env_remove("REDIS_URL");
        command
    }

    fn reset(&self) -> ExitStatus {
        self.command().arg("reset").status().expect("the command runs")
    }
}

impl Drop for DotDev {
    fn drop(&mut self) {
        self.reset();
        let removed = std::fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "reset left something in {}", self.0.display());
    }
}

/// A running `cargo dev`, killed if a test fails, and the addresses it printed.
struct Up {
    child: Child,
    database: String,
    redis: String,
    // Held open: whoever prints to a closed pipe fails.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Up {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut value = |name: &str| {
            let line = lines.find_map(|line| line.ok()?.strip_prefix(name).map(str::trim).map(String::from));
            line.expect("the address is printed")
        };
        let (database, redis) = (value("database"), value("redis"));
        Self { child, database, redis, _output: lines }
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        self.child.wait().expect("it ends")
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&self.database).await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill, and that is no error.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn data_survives_the_end_of_cargo_dev_and_also_its_kill_but_not_a_reset() {
    let dot_dev = DotDev::new("dev");
    let first = Up::start(&mut dot_dev.command());
    let mut connection = first.connect().await.unwrap();
    sqlx::raw_sql("create table kept ()").execute(&mut connection).await.unwrap();
    assert_eq!(ping(&first.redis).await.unwrap(), "+PONG");
    let (database, redis) = (first.database.clone(), first.redis.clone());
    assert!(first.end(Signal::TERM).success());
    assert!(PgConnection::connect(&database).await.is_err() && ping(&redis).await.is_err());

    let second = Up::start(&mut dot_dev.command());
    let mut connection = second.connect().await.unwrap();
    sqlx::raw_sql("select from kept").execute(&mut connection).await.unwrap();
    let postmaster = dot_dev.0.join("postgres/postmaster.pid");
    assert!(postmaster.exists());
    second.end(Signal::KILL);
    eventually(SOON, || !postmaster.exists()).await;

    let third = Up::start(&mut dot_dev.command());
    let mut connection = third.connect().await.unwrap();
    sqlx::raw_sql("select from kept").execute(&mut connection).await.unwrap();
    assert!(third.end(Signal::INT).success());

    assert!(dot_dev.reset().success());
    assert_eq!(std::fs::read_dir(&dot_dev.0).unwrap().count(), 0);
    let fourth = Up::start(&mut dot_dev.command());
    let mut connection = fourth.connect().await.unwrap();
    assert!(sqlx::raw_sql("select from kept").execute(&mut connection).await.is_err());
    assert!(fourth.end(Signal::TERM).success());
}

#[tokio::test]
async fn a_second_cargo_dev_on_the_same_data_and_a_reset_under_a_running_one_are_refused() {
    let dot_dev = DotDev::new("twice");
    let first = Up::start(&mut dot_dev.command());
    let second = dot_dev.command().output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another `cargo dev` is running"));
    assert!(!dot_dev.reset().success());
    assert!(first.connect().await.is_ok());
    assert!(first.end(Signal::TERM).success());
}

#[test]
fn with_database_url_and_redis_url_set_those_servers_are_used_and_none_is_started() {
    let dot_dev = DotDev::new("theirs");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::start(options())).unwrap();
    let database = runtime.block_on(Database::fresh(&cluster)).unwrap();
    let redis = cluster.redis_url(7);
    let mut command = dot_dev.command();
    command
        .env("DATABASE_URL", database.url_for(Role::Api))
        .env("WORKER_DATABASE_URL", database.url_for(Role::Worker))
        .env("DATABASE_MIGRATE_URL", database.url_for(Role::Migrator))
        .env("REDIS_URL", &redis);
    let up = Up::start(&mut command);
    assert_eq!(up.database, database.url_for(Role::Migrator));
    assert_eq!(up.redis, redis);
    assert!(!Path::new(&dot_dev.0).join("postgres").exists());
    assert!(up.end(Signal::TERM).success());
}
