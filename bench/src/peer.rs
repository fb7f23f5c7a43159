//! Peers: other services under the same load in the same run, at a base URL or started here.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use doorbook_dev::checks::ROOT;
use doorbook_dev::{Cluster, Launch, Program, free_port, python};

use crate::house::{House, READY_WITHIN, bare_database};
use crate::target::{Mapping, Target};

/// The peer that the bench starts by itself.
pub const DJANGO: &str = "django";

pub struct Peer {
    /// Its column in the results.
    pub key: String,
    pub target: Arc<Target>,
    _program: Option<Program>,
}

impl Peer {
    /// What a file of routes is about, at its base URL.
    pub fn of_file(file: &str, base: Option<&str>, remote: bool, accounts: u32) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let base = base.context("a peer of your own needs --peer-base")?;
        let target = Target::new(Mapping::parse(&text)?, base, accounts, remote)?;
        let stem = Path::new(file).file_stem();
        let key = stem.map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok(Self { key, target, _program: None })
    }
}

/// The Django service of `bench/peers/django`, as its guides start it on two cores: five synchronous workers.
pub async fn django(house: &House, accounts: u32) -> Result<Peer> {
    let cluster = &house.cluster;
    let programs = python::environment("bench-django", "bench/peers/django/requirements.txt").await?;
    let url = bare_database(cluster, "django").await?;
    let python = programs.join("python");
    run(cluster, &python, &url, &["service.py", "migrate", "-v", "0"]).await?;
    run(cluster, &python, &url, &["service.py", "accounts", &accounts.to_string(), &house.encoded]).await?;
    let bind = format!("127.0.0.1:{}", free_port()?);
    let launch = Launch::new(programs.join("gunicorn")).folder(folder()).env("DJANGO_DATABASE_URL", url);
    let arguments = ["--workers", "5", "--worker-class", "sync", "--log-level", "warning", "--bind", &bind];
    let launch = arguments.iter().fold(launch, |launch, argument| launch.arg(*argument));
    let mut program = launch.env("PYTHONDONTWRITEBYTECODE", "1").arg("service:application").start(cluster.run())?;
    let base = format!("http://{bind}");
    program.wait_ready(&base, READY_WITHIN).await?;
    let mapping = Mapping::parse(include_str!("../peers/django/routes.toml"))?;
    let target = Target::new(mapping, &base, accounts, false)?;
    Ok(Peer { key: DJANGO.to_owned(), target, _program: Some(program) })
}

fn folder() -> std::path::PathBuf {
    Path::new(ROOT).join("bench/peers/django")
}

async fn run(cluster: &Cluster, python: &Path, url: &str, arguments: &[&str]) -> Result<()> {
    let mut command: Command = cluster.run().command(python);
    command.args(arguments).current_dir(folder()).env("DJANGO_DATABASE_URL", url).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "Django: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
