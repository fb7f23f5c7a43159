//! Installs missing servers with the system's package manager, as files only: no service is started or enabled.

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::find::{self, POSTGRES_OLDEST};
use crate::package::{Server, System};

/// `1` installs without asking, `0` never installs.
const CONSENT: &str = "DOORBOOK_INSTALL";

/// Seconds that apt-get waits while someone else holds its lock.
const APT_LOCK_SECONDS: &str = "DPkg::Lock::Timeout=300";

/// Read by Debian's maintainer scripts before they start a service; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# doorbook-dev: here only while it installs packages\nexit 101\n";

/// Read by Debian's Postgres packages before they create a cluster.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/doorbook-dev.conf";
const NO_CLUSTER_TEXT: &str = "# doorbook-dev: here only while it installs packages\ncreate_main_cluster = false\n";

/// The servers of this machine.
pub(crate) struct Tools {
    /// The folder with `initdb` and `postgres`.
    pub(crate) postgres_bin: PathBuf,
    pub(crate) redis_server: PathBuf,
}

/// The proxies of this machine.
pub(crate) struct Proxies {
    pub(crate) nginx: PathBuf,
    pub(crate) haproxy: PathBuf,
}

/// What is not there.
struct Missing(Vec<Server>);

/// Finds Postgres and Redis; installs what is missing, if that is wanted and possible.
pub(crate) fn tools() -> Result<Tools> {
    found_or_installed(|| match (find::postgres_bin(), find::redis_server()) {
        (Some(postgres_bin), Some(redis_server)) => Ok(Tools { postgres_bin, redis_server }),
        (postgres, redis) => Err(missing(&[(postgres, Server::Postgres), (redis, Server::Redis)])),
    })
}

/// Finds nginx and HAProxy, or installs them alike.
pub(crate) fn proxies() -> Result<Proxies> {
    found_or_installed(|| match (find::executable("nginx"), find::executable("haproxy")) {
        (Some(nginx), Some(haproxy)) => Ok(Proxies { nginx, haproxy }),
        (nginx, haproxy) => Err(missing(&[(nginx, Server::Nginx), (haproxy, Server::Haproxy)])),
    })
}

/// For tests behind a pooler.
pub(crate) fn pgbouncer() -> Result<PathBuf> {
    executable(Server::PgBouncer, &["pgbouncer"])
}

/// promtool, which reads rules as Prometheus does.
pub fn promtool() -> Result<PathBuf> {
    executable(Server::Prometheus, &["promtool"])
}

/// The library of libfaketime, for processes whose clock is to be wrong.
pub fn faketime() -> Result<PathBuf> {
    found_or_installed(|| find::faketime().ok_or(Missing(vec![Server::Faketime])))
}

/// Chromium, which the tests of the console drive.
pub(crate) fn chromium() -> Result<PathBuf> {
    executable(Server::Chromium, &["chromium", "chromium-browser", "google-chrome"])
}

/// npm, which brings the modules of those tests.
pub(crate) fn npm() -> Result<PathBuf> {
    executable(Server::Npm, &["npm"])
}

/// The first of these names, found or installed.
fn executable(server: Server, names: &[&str]) -> Result<PathBuf> {
    found_or_installed(|| names.iter().find_map(|name| find::executable(name)).ok_or(Missing(vec![server])))
}

fn missing(searched: &[(Option<PathBuf>, Server)]) -> Missing {
    Missing(searched.iter().filter(|(path, _)| path.is_none()).map(|(_, server)| *server).collect())
}

fn found_or_installed<T>(find: impl Fn() -> Result<T, Missing>) -> Result<T> {
    if let Ok(found) = find() {
        return Ok(found);
    }
    // Every test process may arrive here at the same time.
    let path = std::env::temp_dir().join(format!("doorbook-install-{}.lock", rustix::process::geteuid().as_raw()));
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    lock.lock().context("cannot wait for another installation")?;
    let missing = match find() {
        Ok(found) => return Ok(found),
        Err(missing) => missing,
    };
    let manager = Manager::find();
    if !wanted(&missing, manager)? {
        bail!("{} not found; install with:\n  {}", missing.names(), hint(&missing));
    }
    let Some(manager) = manager else {
        bail!("{} not found, and nothing here may install it; run:\n  {}", missing.names(), hint(&missing));
    };
    say(&format!("installing {} …", missing.names()))?;
    manager.install(&missing).with_context(|| format!("cannot install; try:\n  {}", hint(&missing)))?;
    find().map_err(|missing| {
        anyhow::anyhow!(
            "{} still not found after installing; Postgres {POSTGRES_OLDEST} or newer for older systems is at \
             https://www.postgresql.org/download/",
            missing.names()
        )
    })
}

impl Missing {
    fn names(&self) -> String {
        self.0.iter().map(|server| server.name()).collect::<Vec<_>>().join(" and ")
    }

    fn packages(&self, system: System) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(move |server| server.package(system))
    }
}

/// Whether to install: told by the environment, else by the person at the terminal; with nobody there, only as root
/// with apt-get, which is a container.
fn wanted(missing: &Missing, manager: Option<Manager>) -> Result<bool> {
    match std::env::var(CONSENT).as_deref() {
        Ok("1") => return Ok(true),
        Ok("0") => return Ok(false),
        _ => {}
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(manager == Some(Manager::Apt { sudo: false }));
    }
    if manager.is_none() {
        return Ok(false);
    }
    say(&format!("{} not found. Install now ({})? [Y/n] ", missing.names(), hint(missing)))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

/// Straight to the terminal: a test's harness would hold back what `eprintln` says.
fn say(text: &str) -> Result<()> {
    let mut stderr = io::stderr();
    writeln!(stderr, "doorbook-dev: {text}").and_then(|()| stderr.flush()).context("cannot write to the terminal")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apt { sudo: bool },
    Brew,
}

impl Manager {
    /// The one that works here without a password.
    fn find() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if find::executable("apt-get").is_some() {
            let sudo = || Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|done| done.status.success());
            return (root || sudo()).then_some(Self::Apt { sudo: !root });
        }
        // Homebrew refuses to run as root.
        (!root && find::executable("brew").is_some()).then_some(Self::Brew)
    }

    fn install(self, missing: &Missing) -> Result<()> {
        match self {
            Self::Brew => run(Command::new("brew").arg("install").args(missing.packages(System::Homebrew))),
            Self::Apt { .. } => self.apt(missing),
        }
    }

    fn apt(self, missing: &Missing) -> Result<()> {
        let get = |arguments: &[&str]| {
            let quiet = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", APT_LOCK_SECONDS];
            run(self.command("env").args(quiet).args(arguments))
        };
        get(&["update"])?;
        let policy = Passing::put(self, POLICY, POLICY_TEXT, "755")?;
        let cluster = missing
            .0
            .contains(&Server::Postgres)
            .then(|| Passing::put(self, NO_CLUSTER, NO_CLUSTER_TEXT, "644"))
            .transpose()?;
        let mut arguments = vec!["install", "--no-install-recommends"];
        arguments.extend(missing.packages(System::Debian));
        get(&arguments)?;
        // Not started now, and not at the next boot either.
        if Path::new("/run/systemd/system").is_dir() {
            for service in missing.0.iter().filter_map(|server| server.service()) {
                run(self.command("systemctl").args(["disable", "--quiet", service]))?;
            }
        }
        drop((policy, cluster));
        Ok(())
    }

    /// A command with root's rights.
    fn command(self, program: &str) -> Command {
        if self == (Self::Apt { sudo: true }) {
            let mut command = Command::new("sudo");
            command.args(["-n", program]);
            command
        } else {
            Command::new(program)
        }
    }
}

/// A system file that is there only while this value lives.
struct Passing {
    manager: Manager,
    path: PathBuf,
}

impl Passing {
    /// Puts the file, unless the system has one of its own, which then stays as it is. One that is exactly ours was
    /// left by an installation that was killed.
    fn put(manager: Manager, path: impl Into<PathBuf>, text: &str, mode: &str) -> Result<Option<Self>> {
        let path = path.into();
        match fs::read_to_string(&path) {
            Ok(found) if found == text => return Ok(Some(Self { manager, path })),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        let name = path.file_name().context("a folder")?.display();
        let own = std::env::temp_dir().join(format!("doorbook-install-{}-{name}", std::process::id()));
        fs::write(&own, text).with_context(|| format!("cannot write {}", own.display()))?;
        let put = run(manager.command("install").args(["-D", "-m", mode]).arg(&own).arg(&path));
        fs::remove_file(&own).with_context(|| format!("cannot remove {}", own.display()))?;
        put.map(|()| Some(Self { manager, path }))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(error) = run(self.manager.command("rm").arg("-f").arg(&self.path)) {
            eprintln!("doorbook-dev: {} must be removed by hand: {error:#}", self.path.display());
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The command that installs what is missing on this system.
fn hint(missing: &Missing) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    hint_for(if cfg!(target_os = "macos") { System::Homebrew } else { system(&release) }, missing)
}

/// The Linux with this `/etc/os-release`.
fn system(release: &str) -> System {
    let values = release.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    let names: Vec<_> = values.flat_map(|value| value.trim_matches('"').split(' ')).collect();
    let is = |known: &[&str]| names.iter().any(|name| known.contains(name));
    if is(&["debian", "ubuntu"]) {
        System::Debian
    } else if is(&["fedora", "rhel", "centos"]) {
        System::Fedora
    } else if is(&["arch"]) {
        System::Arch
    } else if is(&["alpine"]) {
        System::Alpine
    } else {
        System::Other
    }
}

fn hint_for(system: System, missing: &Missing) -> String {
    let command = match system {
        System::Debian => "sudo apt-get install --no-install-recommends",
        System::Fedora => "sudo dnf install",
        System::Arch => "sudo pacman -S",
        System::Alpine => "sudo apk add",
        System::Homebrew => "brew install",
        System::Other => "your package manager:",
    };
    format!("{command} {}", missing.packages(system).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{Manager, Missing, POLICY_TEXT, Passing, hint_for, system};
    use crate::package::{Server, System};

    #[test]
    fn a_passing_file_leaves_with_its_value_and_never_replaces_one_of_the_system() {
        let folder = std::env::temp_dir().join(format!("doorbook-passing-{}", std::process::id()));
        let path = folder.join("etc/policy-rc.d");
        let apt = Manager::Apt { sudo: false };

        let passing = Passing::put(apt, &path, POLICY_TEXT, "755").unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), POLICY_TEXT);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        drop(passing);
        assert!(!path.exists());

        fs::write(&path, POLICY_TEXT).unwrap();
        let left_by_a_killed_one = Passing::put(apt, &path, POLICY_TEXT, "755").unwrap();
        assert!(left_by_a_killed_one.is_some());
        drop(left_by_a_killed_one);
        assert!(!path.exists());

        fs::write(&path, "of the system").unwrap();
        assert!(Passing::put(apt, &path, POLICY_TEXT, "755").unwrap().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "of the system");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_hint_names_the_command_of_the_system_and_only_what_is_missing() {
        let both = Missing(vec![Server::Postgres, Server::Redis]);
        let redis = Missing(vec![Server::Redis]);
        let ubuntu = system("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n");
        assert_eq!(hint_for(ubuntu, &redis), "sudo apt-get install --no-install-recommends redis-server");
        assert_eq!(hint_for(system("ID=fedora\n"), &both), "sudo dnf install postgresql-server valkey");
        let rocky = system("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n");
        assert_eq!(hint_for(rocky, &redis), "sudo dnf install valkey");
        assert_eq!(hint_for(system(""), &both), "your package manager: postgresql redis");
        let proxies = Missing(vec![Server::Nginx, Server::Haproxy]);
        assert_eq!(hint_for(System::Homebrew, &proxies), "brew install nginx haproxy");
    }
}
