//! The service under test: two apis and two workers as an operator would run them, each dependency behind a proxy that can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doorbook_dev::proxy::{Certificate, Front, Proxy};
use doorbook_dev::stand::{self, Wiring};
use doorbook_dev::{Cluster, Database, Launch, Options, Program, Role, Sink, ensure_binaries, free_port};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::soak::Reading;
use crate::wire::Wire;

/// Time for a process to be ready; a debug build on a busy machine needs a few seconds.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Time for the proxy in front to see that its apis are there.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Size of the small disk: room for Postgres' own files, four databases and a few segments of its log.
const DISK_MIB: u32 = 512;

/// Sessions that Postgres lets in: those of two apis and two workers, and some.
const CONNECTIONS: u32 = 64;

/// Keys that nobody needs to keep secret.
const SECRET_KEY: &str = "mR7uB3oK9aT5dZ1gH8jP4lX0xC6vW2nQ7qY3eS9tL5uI1oF8aJ4dE0gN6jV2lM7x";
const JWT_SECRET_KEY: &str = "kW4mT8wE2rB6yC0iX5pV9sD3fN7hM1kLqZ";

/// What of the service can be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Api(usize),
    Worker(usize),
}

/// How large Postgres' shared buffers are.
#[derive(Clone, Copy, Debug, Default)]
pub enum Buffers {
    /// As without a setting.
    #[default]
    Small,
    /// A quarter of the machine's memory, as its manual advises.
    Quarter,
}

/// How it is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// `HAProxy` in front of the apis; otherwise clients ask each in turn.
    pub is_fronted: bool,
    /// Redis forgets everything when it ends.
    pub forgetful_redis: bool,
    /// Postgres' data lies on a disk that can be filled.
    pub small_disk: bool,
    /// Postgres' memory for what it read and wrote last.
    pub buffers: Buffers,
}

/// A process and all that is needed to start it again.
pub struct Node {
    pub launch: Launch,
    pub program: Program,
    /// Where it tells whether it is ready.
    pub health: String,
}

/// The whole service.
pub struct Rig {
    pub setup: Setup,
    pub apis: Vec<Node>,
    pub workers: Vec<Node>,
    pub postgres: Wire,
    pub redis: Wire,
    pub smtp: Wire,
    pub sink: Arc<Sink>,
    pub database: Database,
    pub disk: Option<Disk>,
    /// What was seen of it while nothing failed.
    pub readings: Vec<Reading>,
    /// How fast the machine itself was meanwhile.
    pub paces: Vec<Reading>,
    environment: Vec<(String, String)>,
    front: Option<Proxy>,
    // Last: everything above runs in it.
    pub cluster: Cluster,
}

impl Rig {
    /// Starts everything and returns when it is ready.
    pub async fn start(setup: Setup) -> Result<Self> {
        let guard = ensure_binaries().await?.join("doorbook-dev");
        let disk = setup.small_disk.then(Disk::mount).transpose()?;
        let temporary = Options::temporary(guard);
        let options = Options {
            durable: true,
            forgetful_redis: setup.forgetful_redis,
            connections: CONNECTIONS,
            postgres_folder: disk.as_ref().map(|disk| disk.folder.clone()),
            shared_buffers_mib: match setup.buffers {
                Buffers::Small => temporary.shared_buffers_mib,
                Buffers::Quarter => quarter_mib(),
            },
            ..temporary
        };
        let cluster = Cluster::start(options).await?;
        let (database, sink) = (Database::kept(&cluster).await?, Arc::new(Sink::start(None).await?));
        let postgres = Wire::to(cluster.postgres().port()).await?;
        let redis = Wire::to(cluster.redis().port()).await?;
        let smtp = Wire::to(sink.port()).await?;
        let redis_url = through(&cluster.fresh_redis_url()?, cluster.redis().port(), redis.port())?;
        let database_url = |role| database.url_at(postgres.port(), role);
        let wiring = Wiring {
            database: &database_url(Role::Api),
            worker_database: &database_url(Role::Worker),
            migrate_database: &database.url_for(Role::Migrator),
            redis: &redis_url,
            mail_port: smtp.port(),
            api_port: free_port()?,
            secret_key: SECRET_KEY,
            jwt_secret_key: JWT_SECRET_KEY,
        };
        let mut environment = wiring.environment()?;
        environment.extend(SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (apis, workers, front) = (Vec::new(), Vec::new(), None);
        let mut rig = Self {
            setup,
            apis,
            workers,
            postgres,
            redis,
            smtp,
            sink,
            database,
            disk,
            readings: Vec::new(),
            paces: Vec::new(),
            environment,
            front,
            cluster,
        };
        for _ in 0..2 {
            let (api, worker) = (rig.api().await?, rig.worker().await?);
            rig.apis.push(api);
            rig.workers.push(worker);
        }
        if setup.is_fronted {
            rig.front = Some(rig.front().await?);
        }
        Ok(rig)
    }

    /// Where clients go.
    pub fn bases(&self) -> Vec<String> {
        match &self.front {
            Some(proxy) => vec![format!("http://127.0.0.1:{}", proxy.http)],
            None => self.apis.iter().map(|api| api.health.clone()).collect(),
        }
    }

    pub fn node(&mut self, process: Process) -> Result<&mut Node> {
        let node = match process {
            Process::Api(number) => self.apis.get_mut(number),
            Process::Worker(number) => self.workers.get_mut(number),
        };
        node.context("there is no such process")
    }

    /// Starts a process that has ended, with further settings; how long it took to be ready.
    pub async fn revive(&mut self, process: Process, settings: &[(&str, String)]) -> Result<Duration> {
        let run = Arc::clone(self.cluster.run());
        let node = self.node(process)?;
        let started = Instant::now();
        let launch = node.launch.clone().envs(settings.iter().map(|(name, value)| (*name, value.clone())));
        node.program = launch.start(&run)?;
        node.program.wait_ready(&node.health, READY_WITHIN).await?;
        Ok(started.elapsed())
    }

    /// Waits until every process is ready.
    pub async fn settled(&mut self, within: Duration) -> Result<()> {
        for node in self.apis.iter_mut().chain(&mut self.workers) {
            node.program.wait_ready(&node.health, within).await?;
        }
        Ok(())
    }

    /// Runs the `doorbook` command straight at the database; what it printed, or why it failed.
    pub async fn doorbook(&self, arguments: &[&str]) -> Result<String> {
        let mut environment = self.environment.clone();
        environment.push(("DATABASE_URL".to_owned(), self.database.url_for(Role::Api)));
        environment.push(("WORKER_DATABASE_URL".to_owned(), self.database.url_for(Role::Worker)));
        stand::doorbook(self.cluster.run(), &environment, arguments, "").await
    }

    /// A URL for Postgres' superuser, past the proxy.
    pub fn superuser_url(&self) -> String {
        self.cluster.superuser_url(self.database.name())
    }

    /// A connection to Redis, past the proxy.
    pub async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.cluster.redis_url(0)).context("no URL")?;
        client.get_multiplexed_async_connection().await.context("no Redis")
    }

    /// Copies what all processes have printed, and the ledger, to a folder that stays.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for entry in fs::read_dir(self.cluster.run().folder()).context("cannot read the run's folder")? {
            let path = entry.context("cannot read a folder")?.path();
            let name = path.file_name().unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "log" || extension == "jsonl") {
                fs::copy(&path, folder.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
            }
        }
        Ok(())
    }

    async fn api(&self) -> Result<Node> {
        let [port, ops] = [free_port()?, free_port()?];
        let own = [("API_BIND", format!("127.0.0.1:{port}")), ("API_OPS_BIND", format!("127.0.0.1:{ops}"))];
        self.node_of("doorbook-api", own, format!("http://127.0.0.1:{port}")).await
    }

    async fn worker(&self) -> Result<Node> {
        let address = format!("127.0.0.1:{}", free_port()?);
        self.node_of("doorbook-worker", [("WORKER_OPS_BIND", address.clone())], format!("http://{address}")).await
    }

    async fn node_of<const N: usize>(&self, name: &str, own: [(&str, String); N], health: String) -> Result<Node> {
        let launch = Launch::workspace(name).await?.envs(self.environment.iter().cloned()).envs(own);
        let mut program = launch.start(self.cluster.run())?;
        program.wait_ready(&health, READY_WITHIN).await?;
        Ok(Node { launch, program, health })
    }

    async fn front(&self) -> Result<Proxy> {
        let key = rcgen::KeyPair::generate().context("no key")?;
        let certificate = rcgen::CertificateParams::new(vec!["auth.example.com".to_owned()]).context("no name")?;
        let chain = certificate.self_signed(&key).context("no certificate")?.pem();
        let certificate = Certificate { chain: &chain, key: &key.serialize_pem() };
        let ports: Vec<u16> = self
            .apis
            .iter()
            .map(|api| api.health.rsplit(':').next().unwrap_or_default().parse().context("no port"))
            .collect::<Result<_>>()?;
        let proxy = Proxy::start(self.cluster.run(), Front::Haproxy, &ports, certificate).await?;
        let http = doorbook_dev::loopback().build().context("no HTTP client can be made")?;
        let (url, started) = (format!("http://127.0.0.1:{}/health", proxy.http), Instant::now());
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(started.elapsed() < SEEN_WITHIN, "HAProxy sends nothing on");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(proxy)
    }
}

/// A URL with another port. One that stayed as it is would lead past the proxy, and every fault of Redis' network would hit nobody.
fn through(url: &str, from: u16, to: u16) -> Result<String> {
    let changed = url.replace(&format!(":{from}/"), &format!(":{to}/"));
    ensure!(changed != url, "a URL without the port {from} cannot lead through a proxy");
    Ok(changed)
}

/// Settings beside the wiring. Hashes cost the least that production accepts: a campaign is not about hashing. Source: bar, its fast profile. People come from 127.0.1.0/24, for resets each from an
/// address between 127.1.0.0 and 127.255.255.255, and the proxy from 127.0.0.1; only the proxy is believed.
const SETTINGS: [(&str, &str); 6] = [
    ("ARGON2_MEMORY_KIB", "19456"),
    ("ARGON2_TIME_COST", "2"),
    ("ARGON2_PARALLELISM", "1"),
    ("TRUSTED_PROXIES", "127.0.0.1/32"),
    ("SECURE_SSL_REDIRECT", "False"),
    ("MAX_REGISTRATION_ATTEMPTS", "100000"),
];

/// Sends a signal to a process of this run that is no child of ours: one of Postgres' own. One that has ended meanwhile needs none.
pub fn signal(pid: i32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid).context("no pid")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot signal a process of Postgres"),
    }
}

/// A small file system in memory. Dropping it unmounts it.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one. Only root may.
    pub fn mount() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("doorbook-disk-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let size = format!("size={DISK_MIB}m,mode=711");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        match output {
            Ok(done) if done.status.success() => Ok(Self { folder }),
            other => {
                fs::remove_dir(&folder).context("cannot remove a folder")?;
                let why = other.map(|done| String::from_utf8_lossy(&done.stderr).into_owned());
                let why = why.unwrap_or_else(|error| error.to_string());
                bail!("a small file system cannot be mounted here, which needs root: {}", why.trim())
            }
        }
    }

    /// Leaves no room at all.
    pub fn fill(&self) -> Result<()> {
        let path = self.balloon();
        let mut balloon = fs::File::create(&path).context("cannot make a file")?;
        let block = vec![0; 64 * 1024];
        loop {
            match std::io::Write::write(&mut balloon, &block) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
    }

    pub fn relieve(&self) -> Result<()> {
        fs::remove_file(self.balloon()).context("cannot give the room back")
    }

    fn balloon(&self) -> PathBuf {
        self.folder.join("balloon")
    }
}

/// A quarter of the machine's memory.
fn quarter_mib() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram * u64::from(machine.mem_unit) / (4 * 1_024 * 1_024)
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: Postgres may still be about to end.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) || fs::remove_dir(&self.folder).is_err() {
            eprintln!("doorbook-faults: {} must be unmounted by hand", self.folder.display());
        }
    }
}
