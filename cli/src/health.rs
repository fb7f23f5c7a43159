//! Is a process well? For the health checks of containers, whose images have no `curl`. Reads no settings and opens nothing else.

use std::io::{Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;

use crate::Outcome;

/// Time to connect, and again for each read: a process that takes longer is not well.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// Of the answer, only its first line is looked at.
const READ_BYTES_MAX: u64 = 256;

/// `http://host:port/path`, without anything else.
#[derive(Clone, Debug)]
pub struct ProbeUrl {
    authority: String,
    path: String,
}

impl FromStr for ProbeUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be http://host:port/path";
        let (authority, path) = text.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or(FORM)?;
        let (host, port) = authority.rsplit_once(':').ok_or(FORM)?;
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        if host.is_empty() || port.parse::<u16>().is_err() || !plain(authority) || !plain(path) {
            return Err(FORM);
        }
        Ok(Self { authority: authority.to_owned(), path: format!("/{path}") })
    }
}

/// Done when the answer is 200.
pub fn probe(url: &ProbeUrl, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let status = status(url).with_context(|| format!("no answer from {}", url.authority))?;
    writeln!(out, "{status}")?;
    Ok(if status.split(' ').nth(1) == Some("200") { Outcome::Done } else { Outcome::Found })
}

/// The first line of the answer.
fn status(url: &ProbeUrl) -> anyhow::Result<String> {
    let address = url.authority.to_socket_addrs()?.next().context("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, STEP_TIMEOUT)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.authority);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(READ_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().filter(|line| line.starts_with("HTTP/1.")).context("the answer is no HTTP")?;
    Ok(line.chars().filter(|character| !character.is_control()).collect())
}
