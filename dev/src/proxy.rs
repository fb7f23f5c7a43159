//! nginx and HAProxy in front of an api, with the configuration files that operators are given.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::checks::ROOT;
use crate::install;
use crate::run::{Run, free_port};
use crate::secret;
use crate::server::{POLL, Process};

/// Time for a proxy to listen.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Tries with other ports, when somebody was faster.
const TRIES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Nginx,
    Haproxy,
}

/// A running proxy. Dropping it ends it.
pub struct Proxy {
    process: Process,
    pub http: u16,
    pub https: u16,
}

/// A certificate chain and its key, both in PEM.
#[derive(Clone, Copy)]
pub struct Certificate<'a> {
    pub chain: &'a str,
    pub key: &'a str,
}

impl Proxy {
    /// Starts a proxy on free ports of loopback in front of one api, or of two.
    pub async fn start(run: &Arc<Run>, front: Front, apis: &[u16], certificate: Certificate<'_>) -> Result<Self> {
        for _ in 0..TRIES {
            let (http, https) = (free_port()?, free_port()?);
            let folder = run.folder().join(format!("{front:?}-{http}"));
            fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            run.hand_over(&folder)?;
            let place = Place { run, folder, http, https, apis };
            let mut process = match front {
                Front::Nginx => place.nginx(certificate)?,
                Front::Haproxy => place.haproxy(certificate)?,
            };
            if listens(&mut process, http).await? && listens(&mut process, https).await? {
                return Ok(Self { process, http, https });
            }
            ensure!(process.last_words().contains("in use"), "{front:?} ended:\n{}", process.last_words());
        }
        bail!("{front:?} found no free port");
    }

    /// What it has complained of.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }
}

/// False once the process has ended.
async fn listens(process: &mut Process, port: u16) -> Result<bool> {
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if process.exited()?.is_some() {
            return Ok(false);
        }
        ensure!(started.elapsed() < READY_WITHIN, "a proxy does not listen:\n{}", process.last_words());
        sleep(POLL).await;
    }
    Ok(true)
}

struct Place<'a> {
    run: &'a Arc<Run>,
    folder: PathBuf,
    http: u16,
    https: u16,
    apis: &'a [u16],
}

impl Place<'_> {
    fn nginx(&self, certificate: Certificate<'_>) -> Result<Process> {
        let chain = self.write("chain.pem", certificate.chain)?;
        let key = self.write("key.pem", certificate.key)?;
        let (http, https) = (format!("127.0.0.1:{};", self.http), format!("127.0.0.1:{} ssl;", self.https));
        let site = self.deployed(
            "nginx/doorbook.conf",
            &[
                ("listen [::]:80;", ""),
                ("listen [::]:443 ssl;", ""),
                ("80;", &http),
                ("443 ssl;", &https),
                ("/etc/ssl/doorbook/fullchain.pem", &chain.to_string_lossy()),
                ("/etc/ssl/doorbook/privkey.pem", &key.to_string_lossy()),
            ],
        )?;
        let site = self.write("doorbook.conf", &site)?;
        // One process in the foreground: a child would outlive its killed master.
        let folder = self.folder.display();
        let main = format!(
            "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
             client_body_temp_path {folder}/a;\nproxy_temp_path {folder}/b;\nfastcgi_temp_path {folder}/c;\n\
             uwsgi_temp_path {folder}/d;\nscgi_temp_path {folder}/e;\ninclude {};\n}}\n",
            site.display()
        );
        let main = self.write("nginx.conf", &main)?;
        let mut command = self.run.unprivileged(install::proxies()?.nginx);
        command.arg("-p").arg(&self.folder).arg("-e").arg("stderr").arg("-c").arg(main);
        Process::spawn(command, self.folder.join("log"), Signal::KILL)
    }

    fn haproxy(&self, certificate: Certificate<'_>) -> Result<Process> {
        let both = self.write("both.pem", &format!("{}{}", certificate.chain, certificate.key))?;
        let (http, https) = (format!("bind 127.0.0.1:{}\n", self.http), format!("bind 127.0.0.1:{} ssl", self.https));
        let text = self.deployed(
            "haproxy/doorbook.cfg",
            &[("bind :80\n", &http), ("bind :443 ssl", &https), ("/etc/haproxy/doorbook.pem", &both.to_string_lossy())],
        )?;
        let file = self.write("haproxy.cfg", &text)?;
        let mut command = self.run.unprivileged(install::proxies()?.haproxy);
        command.arg("-db").arg("-f").arg(file);
        Process::spawn(command, self.folder.join("log"), Signal::KILL)
    }

    /// A file of `deploy` with the places that operators change, changed. Each must be there once.
    fn deployed(&self, file: &str, changes: &[(&str, &str)]) -> Result<String> {
        let path = Path::new(ROOT).join("deploy").join(file);
        let mut text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let places = [("server", "127.0.0.1:8000"), ("# server", "127.0.0.1:8001")];
        ensure!((1..=places.len()).contains(&self.apis.len()), "the files have places for {} apis", places.len());
        for ((server, place), port) in places.into_iter().zip(self.apis) {
            let line = text.lines().find(|line| line.trim_start().starts_with(server) && line.contains(place));
            let line = line.with_context(|| format!("{} has no server at {place}", path.display()))?.to_owned();
            text = text.replace(&line, &line.replace("# ", "").replace(place, &format!("127.0.0.1:{port}")));
        }
        for &(old, new) in changes {
            ensure!(text.matches(old).count() == 1, "{} holds {old:?} not once", path.display());
            text = text.replace(old, new);
        }
        Ok(text)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        secret::write_private(&path, text)?;
        self.run.hand_over(&path)?;
        Ok(path)
    }
}
