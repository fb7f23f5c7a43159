//! What the tests of this package share.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doorbook_dev::Options;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// This package's binary.
pub const GUARD: &str = env!("CARGO_BIN_EXE_doorbook-dev");

/// A temporary cluster.
pub fn options() -> Options {
    Options::temporary(GUARD)
}

/// Whether a process with this pid runs; one that ended but was not yet waited for does not.
pub fn is_alive(pid: u32) -> bool {
    let listed = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps is installed");
    let state = String::from_utf8_lossy(&listed.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// Waits until `condition` holds.
pub async fn eventually(within: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < within, "it has not come true within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Logs in, selects the database and says PING; the answer to the first of these that fails, or to PING.
pub async fn ping(url: &str) -> Result<String> {
    let url = url::Url::parse(url)?;
    let address = (url.host_str().context("no host")?, url.port().context("no port")?);
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let login = format!("AUTH {}", url.password().context("no password")?);
    let mut answer = String::new();
    for command in [login, format!("SELECT {}", url.path().trim_start_matches('/')), "PING".into()] {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        answer.clear();
        stream.read_line(&mut answer).await?;
        if !answer.starts_with("+OK") {
            break;
        }
    }
    Ok(answer.trim_end().to_owned())
}
