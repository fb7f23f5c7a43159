//! The campaigns by name: what hits the service, for how long, and how it is set up. Source: bar 6.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::campaign::Plan;
use crate::nemesis::Dependency::{Postgres, Redis, Smtp};
use crate::nemesis::Fault::{
    self, BackendKill, Clock, Cut, DiskFull, Freeze, Kill, Network, NoConnections, Nothing, PostgresCrash,
    PostgresFreeze, RedisFlush, RedisFreeze, RedisKill, Terminate,
};
use crate::rig::Process::{Api, Worker};
use crate::rig::{Buffers, Setup};
use crate::wire::Mode::{Blackhole, Refuse, Slow};

/// A slow network: 100 ms later, 1 Mbit/s.
const LATE: Duration = Duration::from_millis(100);
const BYTES_PER_SECOND: Option<u32> = Some(125_000);

/// One campaign.
pub struct Row {
    pub name: &'static str,
    pub about: &'static str,
    faults: fn(&Lasts) -> Vec<(Fault, Duration)>,
    setup: Setup,
    /// Times that all its faults come, at the small and the whole dose.
    times: [usize; 2],
}

/// How long faults last at this dose.
struct Lasts {
    /// 60 s of bar 6.
    minute: Duration,
    /// 30 s.
    half: Duration,
    /// 10 minutes.
    ten: Duration,
    /// Two hours.
    soak: Duration,
}

const DIRECT: Setup = Setup { is_fronted: false, forgetful_redis: false, small_disk: false, buffers: Buffers::Small };
const FRONTED: Setup = Setup { is_fronted: true, ..DIRECT };
const FORGETFUL: Setup = Setup { forgetful_redis: true, ..DIRECT };
const SMALL_DISK: Setup = Setup { small_disk: true, ..DIRECT };
// Hours of load leave a database that the default does not hold.
const ROOMY: Setup = Setup { buffers: Buffers::Quarter, ..DIRECT };

/// A moment: what is down comes back as fast as a supervisor brings it.
const MOMENT: Duration = Duration::from_millis(300);
const SECOND: Duration = Duration::from_secs(1);

pub const ROWS: [Row; 15] = [
    Row {
        name: "short",
        about: "all kinds of faults once",
        faults: |_| everything(),
        setup: SMALL_DISK,
        times: [1, 1],
    },
    Row {
        name: "api-kill",
        about: "an api is killed, behind HAProxy",
        // Away for longer than a balancer is given to find out.
        faults: |_| vec![(Kill(Api(0)), 2 * SECOND)],
        setup: FRONTED,
        times: [3, 200],
    },
    Row {
        name: "worker-kill",
        about: "a worker is killed",
        faults: |_| vec![(Kill(Worker(0)), MOMENT)],
        setup: DIRECT,
        times: [3, 100],
    },
    Row {
        name: "postgres-crash",
        about: "Postgres ends without a checkpoint, or one of its processes is killed",
        faults: |_| vec![(PostgresCrash, SECOND), (BackendKill, MOMENT)],
        setup: DIRECT,
        times: [1, 25],
    },
    Row {
        name: "redis-kill",
        about: "Redis with an append-only file is killed, or emptied",
        faults: |_| redis(),
        setup: DIRECT,
        times: [1, 10],
    },
    Row {
        name: "redis-forget",
        about: "Redis without persistence is killed, or emptied",
        faults: |_| redis(),
        setup: FORGETFUL,
        times: [1, 10],
    },
    Row {
        name: "redis-blackhole",
        about: "nothing gets through to Redis",
        faults: |lasts| vec![(Network(Redis, Blackhole), lasts.minute)],
        setup: DIRECT,
        times: [1, 20],
    },
    Row {
        name: "postgres-network",
        about: "nothing gets through to Postgres, or it is refused, or cut",
        faults: |lasts| {
            vec![
                (Network(Postgres, Blackhole), lasts.minute),
                (Network(Postgres, Refuse), lasts.half),
                (Cut(Postgres), MOMENT),
            ]
        },
        setup: DIRECT,
        times: [1, 20],
    },
    Row {
        name: "postgres-slow",
        about: "Postgres is 100 ms and 1 Mbit/s away",
        faults: |lasts| vec![(Network(Postgres, Slow { delay: LATE, bytes_per_second: BYTES_PER_SECOND }), lasts.ten)],
        setup: DIRECT,
        times: [1, 1],
    },
    Row {
        name: "smtp-blackhole",
        about: "nothing gets through to the mail server",
        faults: |lasts| vec![(Network(Smtp, Blackhole), lasts.minute)],
        setup: DIRECT,
        times: [1, 20],
    },
    Row {
        name: "terminate",
        about: "SIGTERM for an api and for a worker, behind HAProxy",
        faults: |_| vec![(Terminate(Api(0)), MOMENT), (Terminate(Worker(0)), MOMENT)],
        setup: FRONTED,
        times: [1, 50],
    },
    Row {
        name: "freeze",
        about: "SIGSTOP for an api, a worker and Postgres, then SIGCONT",
        faults: |lasts| {
            vec![(Freeze(Api(0)), lasts.half), (Freeze(Worker(0)), lasts.half), (PostgresFreeze, lasts.half)]
        },
        setup: DIRECT,
        times: [1, 20],
    },
    Row {
        name: "exhausted",
        about: "Postgres' disk is full, and its connections are taken",
        faults: |lasts| vec![(DiskFull, lasts.minute), (NoConnections, lasts.minute)],
        setup: SMALL_DISK,
        times: [1, 5],
    },
    Row {
        name: "clock",
        about: "the clock of an api is an hour off, that of a worker ten minutes",
        faults: |lasts| {
            vec![
                (Clock(Api(0), 60), lasts.half),
                (Clock(Api(0), -60), lasts.half),
                (Clock(Worker(0), 10), lasts.half),
                (Clock(Worker(0), -10), lasts.half),
            ]
        },
        setup: DIRECT,
        times: [1, 10],
    },
    Row {
        name: "soak",
        about: "nothing fails for two hours; what grows is told",
        faults: |lasts| vec![(Nothing, lasts.soak)],
        setup: ROOMY,
        times: [1, 1],
    },
];

/// Killed five times, emptied once.
fn redis() -> Vec<(Fault, Duration)> {
    let mut faults = vec![(RedisKill, SECOND); 5];
    faults.push((RedisFlush, MOMENT));
    faults
}

fn everything() -> Vec<(Fault, Duration)> {
    // Longer than an answer is waited for.
    let long = 3 * SECOND;
    let some = 2 * SECOND;
    vec![
        (Kill(Api(0)), MOMENT),
        (Terminate(Api(0)), MOMENT),
        (Freeze(Api(0)), some),
        (Kill(Worker(0)), MOMENT),
        (Terminate(Worker(0)), MOMENT),
        (Freeze(Worker(0)), some),
        (PostgresCrash, SECOND),
        (BackendKill, MOMENT),
        (PostgresFreeze, long),
        (RedisKill, SECOND),
        (RedisFlush, MOMENT),
        (RedisFreeze, some),
        (Network(Postgres, Blackhole), long),
        (Network(Postgres, Refuse), some),
        (Network(Postgres, Slow { delay: LATE, bytes_per_second: BYTES_PER_SECOND }), some),
        (Network(Redis, Blackhole), some),
        (Network(Smtp, Blackhole), some),
        (Cut(Postgres), MOMENT),
        (DiskFull, some),
        (NoConnections, some),
        (Clock(Api(0), 60), some),
        (Clock(Worker(0), -10), some),
    ]
}

impl Row {
    /// The row of this name.
    pub fn named(name: &str) -> Result<&'static Self> {
        let names = || ROWS.map(|row| row.name).join(", ");
        ROWS.iter().find(|row| row.name == name).with_context(|| format!("there is no {name}, but {}", names()))
    }

    /// What is to be done at the small dose or the whole one.
    pub fn plan(&self, seed: u64, is_full: bool) -> Plan {
        let seconds = |small, full| Duration::from_secs(if is_full { full } else { small });
        let lasts =
            Lasts { minute: seconds(5, 60), half: seconds(4, 30), ten: seconds(10, 600), soak: seconds(20, 7_200) };
        Plan {
            name: self.name,
            seed,
            is_full,
            setup: self.setup,
            people: if is_full { 2_000 } else { 24 },
            rate: if is_full { 30 } else { 12 },
            faults: (self.faults)(&lasts),
            times: self.times[usize::from(is_full)],
            drains_within: Duration::from_mins(5),
            judges_judges: false,
        }
    }
}
