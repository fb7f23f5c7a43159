//! What goes wrong, and when: faults one after the other, by a schedule that follows from a seed.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doorbook_dev::Role;
use fastrand::Rng;
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use crate::rig::{Process, Rig, signal};
use crate::soak;
use crate::wire::{Mode, Wire};

/// End after SIGTERM. Source: bar 6.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks for a connection that has become free, or for one that can be hit.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An api has opened a connection by then: it is under load.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);

/// A dependency behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    Postgres,
    Redis,
    Smtp,
}

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// None; what grows is looked at.
    Nothing,
    Kill(Process),
    Terminate(Process),
    Freeze(Process),
    /// One of Postgres' own processes is killed, upon which it ends all sessions and recovers.
    BackendKill,
    /// Postgres is told to end at once, without a checkpoint, and started again.
    PostgresCrash,
    PostgresFreeze,
    RedisKill,
    RedisFlush,
    RedisFreeze,
    Network(Dependency, Mode),
    /// Connections end, and new ones are let in.
    Cut(Dependency),
    DiskFull,
    NoConnections,
    /// A process starts again with a clock that is off by so many minutes, and later again with the right one.
    Clock(Process, i32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A fault of a schedule: after a pause, for a time.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub pause: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

/// When a fault began and was over, by the ledger's clock.
#[derive(Clone, Debug)]
pub struct Strike {
    pub fault: Fault,
    pub began: Duration,
    pub healed: Duration,
    /// How long a process took to be ready again, or to end after SIGTERM.
    pub took: Option<Duration>,
}

/// Longest pause before a fault, but for what chance adds.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Each fault `times` times, in an order and with pauses that follow from the seed. Before and after a long fault it is longer, to compare with.
pub fn schedule(seed: u64, faults: &[(Fault, Duration)], times: usize) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let (mut steps, mut before) = (Vec::new(), Duration::ZERO);
    for _ in 0..times {
        let mut round = faults.to_vec();
        rng.shuffle(&mut round);
        for (fault, lasts) in round {
            let pause = Duration::from_millis(rng.u64(100..700)) + (before.max(lasts) / 3).min(PAUSE_MAX);
            steps.push(Step { pause, fault: elsewhere(fault, &mut rng), lasts });
            before = lasts;
        }
    }
    steps
}

/// The same fault, at either of two processes.
fn elsewhere(fault: Fault, rng: &mut Rng) -> Fault {
    let number = rng.usize(..2);
    let other = |process| match process {
        Process::Api(_) => Process::Api(number),
        Process::Worker(_) => Process::Worker(number),
    };
    match fault {
        Fault::Kill(process) => Fault::Kill(other(process)),
        Fault::Terminate(process) => Fault::Terminate(other(process)),
        Fault::Freeze(process) => Fault::Freeze(other(process)),
        Fault::Clock(process, minutes) => Fault::Clock(other(process), minutes),
        same => same,
    }
}

/// Lets a fault begin, last and be over; how long a process took, where that is asked.
pub async fn strike(rig: &mut Rig, fault: Fault, lasts: Duration) -> Result<Option<Duration>> {
    match fault {
        Fault::Nothing => soak::watch(rig, lasts).await?,
        Fault::Kill(process) => {
            rig.node(process)?.program.kill().await?;
            sleep(lasts).await;
            return rig.revive(process, &[]).await.map(Some);
        }
        Fault::Terminate(process) => {
            let (program, told) = (&mut rig.node(process)?.program, Instant::now());
            program.terminate()?;
            let status = program.ended(ENDS_WITHIN).await?;
            let took = told.elapsed();
            ensure!(status.success(), "{process:?} ended with {status} after SIGTERM");
            sleep(lasts).await;
            rig.revive(process, &[]).await?;
            return Ok(Some(took));
        }
        Fault::Freeze(process) => {
            rig.node(process)?.program.pause()?;
            sleep(lasts).await;
            rig.node(process)?.program.resume()?;
        }
        Fault::Clock(process, minutes) => {
            let library = tokio::task::spawn_blocking(doorbook_dev::faketime).await??.display().to_string();
            rig.node(process)?.program.terminate()?;
            rig.node(process)?.program.ended(ENDS_WITHIN).await?;
            // The time that passes is the machine's, as it is where a clock is wrong.
            let settings = [
                ("LD_PRELOAD", library),
                ("FAKETIME", format!("{minutes:+}m")),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ];
            rig.revive(process, &settings).await?;
            sleep(lasts).await;
            rig.node(process)?.program.terminate()?;
            rig.node(process)?.program.ended(ENDS_WITHIN).await?;
            rig.revive(process, &[]).await?;
        }
        Fault::Network(dependency, mode) => {
            wire(rig, dependency).set(mode);
            sleep(lasts).await;
            wire(rig, dependency).set(Mode::Pass);
        }
        Fault::Cut(dependency) => wire(rig, dependency).cut(),
        Fault::BackendKill | Fault::PostgresCrash | Fault::PostgresFreeze | Fault::DiskFull | Fault::NoConnections => {
            postgres(rig, fault, lasts).await?;
        }
        Fault::RedisKill | Fault::RedisFlush | Fault::RedisFreeze => redis(rig, fault, lasts).await?,
    }
    Ok(None)
}

const fn wire(rig: &Rig, dependency: Dependency) -> &Wire {
    match dependency {
        Dependency::Postgres => &rig.postgres,
        Dependency::Redis => &rig.redis,
        Dependency::Smtp => &rig.smtp,
    }
}

async fn postgres(rig: &Rig, fault: Fault, lasts: Duration) -> Result<()> {
    let server = rig.cluster.postgres();
    match fault {
        Fault::BackendKill => {
            let mut superuser = PgConnection::connect(&rig.superuser_url()).await.context("cannot connect")?;
            signal(backend(&mut superuser).await?, Signal::KILL)?;
            answers(rig).await
        }
        Fault::PostgresCrash => {
            server.crash().await?;
            sleep(lasts).await;
            server.start().await
        }
        Fault::PostgresFreeze => {
            // All its processes: those of open sessions go on when their parent alone stands still.
            let pids = family(server.pid().await)?;
            pids.iter().try_for_each(|pid| signal(*pid, Signal::STOP))?;
            sleep(lasts).await;
            pids.iter().try_for_each(|pid| signal(*pid, Signal::CONT))
        }
        Fault::DiskFull => {
            let disk = rig.disk.as_ref().context("there is no small disk")?;
            disk.fill()?;
            sleep(lasts).await;
            disk.relieve()?;
            // Without room it may have given up; then somebody starts it again, as systemd would.
            match server.start().await {
                Err(error) if error.to_string().contains("is running") => answers(rig).await,
                started => started,
            }
        }
        Fault::NoConnections => no_connections(rig, lasts).await,
        other => bail!("{other} is no fault of Postgres"),
    }
}

/// One of the processes that serve an api. Without one there is no fault, and nothing that it could be judged by.
async fn backend(superuser: &mut PgConnection) -> Result<i32> {
    let one = "select pid from pg_stat_activity where usename = 'dev_api' and backend_type = 'client backend' limit 1";
    let began = Instant::now();
    loop {
        if let Some(pid) = sqlx::query_scalar(one).fetch_optional(&mut *superuser).await? {
            return Ok(pid);
        }
        ensure!(began.elapsed() < CONNECTS_WITHIN, "no backend to kill");
        sleep(LOOK_EVERY).await;
    }
}

/// Takes every connection that there is, from those too who have one, and holds them for a time.
async fn no_connections(rig: &Rig, lasts: Duration) -> Result<()> {
    const END: &str =
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename in ('dev_api', 'dev_worker')";
    let others = rig.database.url_for(Role::Auditor);
    let mut superuser = PgConnection::connect(&rig.superuser_url()).await.context("cannot connect")?;
    let (mut taken, began) = (Vec::new(), Instant::now());
    while began.elapsed() < lasts {
        let ended: i64 = sqlx::query_scalar(END).fetch_one(&mut superuser).await?;
        while let Ok(connection) = PgConnection::connect(&others).await {
            taken.push(connection);
        }
        // Whoever was ended asks again at once: until there is nothing left to get.
        let pause = if ended == 0 { LOOK_EVERY } else { Duration::ZERO };
        sleep(pause).await;
    }
    ensure!(!taken.is_empty(), "no connection could be taken");
    for connection in taken {
        connection.close().await?;
    }
    Ok(())
}

/// A process and its children.
fn family(parent: u32) -> Result<Vec<i32>> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.context("cannot read the children of Postgres")?;
    let parent = i32::try_from(parent).context("no pid")?;
    let children = children.split_whitespace().map(|pid| pid.parse().context("no pid"));
    std::iter::once(Ok(parent)).chain(children).collect()
}

/// Waits until Postgres lets somebody in.
async fn answers(rig: &Rig) -> Result<()> {
    let began = Instant::now();
    while PgConnection::connect(&rig.superuser_url()).await.is_err() {
        ensure!(began.elapsed() < Duration::from_mins(1), "Postgres does not come back");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn redis(rig: &Rig, fault: Fault, lasts: Duration) -> Result<()> {
    let server = rig.cluster.redis();
    match fault {
        Fault::RedisKill => {
            server.kill().await?;
            sleep(lasts).await;
            server.start().await
        }
        Fault::RedisFlush => {
            redis::cmd("FLUSHALL").exec_async(&mut rig.redis().await?).await.context("Redis cannot be emptied")
        }
        Fault::RedisFreeze => {
            server.pause().await?;
            sleep(lasts).await;
            server.resume().await
        }
        other => bail!("{other} is no fault of Redis"),
    }
}
