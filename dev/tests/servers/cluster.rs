//! Private servers: their start, their faults and their end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{GUARD, eventually, is_alive, options, ping};
use doorbook_dev::{Cluster, Database, Launch, Role};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn both_servers_answer_with_their_password_and_are_gone_with_their_folder_when_dropped() {
    let cluster = Cluster::start(options()).await.unwrap();
    let mut superuser = PgConnection::connect(&cluster.superuser_url("postgres")).await.unwrap();
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(fsync, "off");
    assert_eq!(ping(&cluster.redis_url(0)).await.unwrap(), "+PONG");
    let pids = [cluster.postgres().pid().await, cluster.redis().pid().await];
    let folder = cluster.run().folder().to_owned();
    assert!(pids.iter().all(|pid| is_alive(*pid)) && folder.is_dir());

    drop(cluster);

    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_stranger_without_the_password_is_refused() {
    let cluster = Cluster::start(options()).await.unwrap();
    let port = cluster.postgres().port();
    let guess = format!("postgres://postgres:guess@127.0.0.1:{port}/postgres");
    let refused = PgConnection::connect(&guess).await.unwrap_err();
    let code = refused.as_database_error().and_then(|error| error.code().map(String::from));
    assert_eq!(code.as_deref(), Some("28P01"));
    let guess = format!("redis://:guess@127.0.0.1:{}/0", cluster.redis().port());
    assert!(ping(&guess).await.unwrap().starts_with("-WRONGPASS"));
}

#[tokio::test]
async fn the_pooler_lets_the_logins_in_and_nobody_else_and_ends_with_its_cluster() {
    let cluster = Cluster::start(options()).await.unwrap();
    let database = Database::fresh(&cluster).await.unwrap();
    let pooler = cluster.pooler().await.unwrap();
    let (port, pid) = (pooler.port(), pooler.pid().await);
    let login: PgConnectOptions = database.url_at(port, Role::Auditor).parse().unwrap();
    let login = login.extra_float_digits(None);
    PgConnection::connect_with(&login).await.unwrap().close().await.unwrap();
    assert!(PgConnection::connect_with(&login.password("guess")).await.is_err());
    drop(database);
    assert!(is_alive(pid));

    drop(cluster);

    assert!(!is_alive(pid));
}

#[tokio::test]
async fn two_clusters_side_by_side_use_other_ports_and_share_nothing() {
    let (one, other) = tokio::join!(Cluster::start(options()), Cluster::start(options()));
    let (one, other) = (one.unwrap(), other.unwrap());
    let ports = [one.postgres().port(), one.redis().port(), other.postgres().port(), other.redis().port()];
    let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
    assert_eq!(distinct.len(), ports.len());
    assert_ne!(one.run().folder(), other.run().folder());
    drop(one);
    assert!(PgConnection::connect(&other.superuser_url("postgres")).await.is_ok());
    assert_eq!(ping(&other.redis_url(0)).await.unwrap(), "+PONG");
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_and_a_durable_one_with_every_commit() {
    let mut durable = options();
    durable.durable = true;
    let cluster = Cluster::start(durable).await.unwrap();
    let url = cluster.superuser_url("postgres");
    let mut before = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create table kept (n int); insert into kept values (7)").execute(&mut before).await.unwrap();
    let old = cluster.postgres().pid().await;

    cluster.postgres().kill().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
    cluster.postgres().start().await.unwrap();

    assert_ne!(cluster.postgres().pid().await, old);
    let mut after = PgConnection::connect(&url).await.unwrap();
    let n: i32 = sqlx::query_scalar("select n from kept").fetch_one(&mut after).await.unwrap();
    assert_eq!(n, 7);

    cluster.redis().kill().await.unwrap();
    assert!(ping(&cluster.redis_url(0)).await.is_err());
    cluster.redis().start().await.unwrap();
    assert_eq!(ping(&cluster.redis_url(1023)).await.unwrap(), "+PONG");

    cluster.postgres().restart().await.unwrap();
    cluster.redis().restart().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_ok());
}

#[tokio::test]
async fn a_paused_redis_is_silent_until_it_is_resumed() {
    let cluster = Cluster::start(options()).await.unwrap();
    cluster.redis().pause().await.unwrap();
    let url = cluster.redis_url(0);
    assert!(tokio::time::timeout(Duration::from_millis(300), ping(&url)).await.is_err());
    cluster.redis().resume().await.unwrap();
    assert_eq!(ping(&url).await.unwrap(), "+PONG");
}

#[tokio::test]
async fn each_caller_gets_a_redis_database_of_its_own() {
    let cluster = Cluster::start(options()).await.unwrap();
    let (one, other) = (cluster.fresh_redis_url().unwrap(), cluster.fresh_redis_url().unwrap());
    assert!(one.ends_with("/1") && other.ends_with("/2"));
}

#[tokio::test]
async fn when_a_runner_is_killed_with_sigkill_its_guard_stops_everything_of_its_run_and_nothing_else() {
    let neighbour = Cluster::start(options()).await.unwrap();
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "cluster::the_runner_that_is_killed", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(runner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.into_iter().find_map(|line| Some(line.split_once("RUN ")?.1.to_owned())).unwrap();
    let (folder, pids) = line.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| is_alive(*pid)) && folder.is_dir());

    kill_process(Pid::from_child(&runner), Signal::KILL).unwrap();
    runner.wait().unwrap();

    eventually(Duration::from_secs(20), || !folder.exists() && !pids.iter().any(|pid| is_alive(*pid))).await;
    assert!(PgConnection::connect(&neighbour.superuser_url("postgres")).await.is_ok());
    assert_eq!(ping(&neighbour.redis_url(0)).await.unwrap(), "+PONG");
}

#[tokio::test]
#[ignore = "run, and killed, by the test above"]
async fn the_runner_that_is_killed() {
    let cluster = Cluster::start(options()).await.unwrap();
    let sleeper = Launch::new("/bin/sleep").arg("600").start(cluster.run()).unwrap();
    let mut stopped = Launch::new("/bin/sleep").arg("600").start(cluster.run()).unwrap();
    stopped.pause().unwrap();
    let servers = [cluster.postgres().pid().await, cluster.redis().pid().await];
    let [postgres, redis] = servers;
    println!("\nRUN {} {postgres} {redis} {} {}", cluster.run().folder().display(), sleeper.pid(), stopped.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn without_its_guard_no_cluster_starts() {
    let mut wrong = options();
    wrong.guard = Path::new(GUARD).with_file_name("no-such-guard");
    let error = Cluster::start(wrong).await.err().unwrap();
    assert!(format!("{error:#}").contains("no-such-guard"));
}
