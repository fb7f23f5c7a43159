//! A server that takes what is posted to it, over TLS with a certificate that vouches for itself.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::certified;

/// Longest request, in bytes: no test posts more.
const REQUEST_MAX: usize = 1 << 20;

/// A request as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Posted {
    /// First line and headers, as they were written.
    pub head: String,
    pub body: String,
}

impl Posted {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

pub struct Receiver {
    listener: TcpListener,
    own: TlsAcceptor,
    stranger: TlsAcceptor,
}

impl Receiver {
    /// Listens at `localhost`. The certificate to trust is written to `authorities`.
    pub async fn start(authorities: &Path) -> Result<Self> {
        let ((trusted, own), (_, stranger)) = (certified("localhost")?, certified("localhost")?);
        std::fs::write(authorities, trusted).context("the certificate cannot be written")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        Ok(Self { listener, own, stranger })
    }

    pub fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr().context("no address")?.port())
    }

    /// Takes one request and answers it: status, and further headers.
    pub async fn take(&self, answer: &str) -> Result<Posted> {
        let (stream, _) = self.listener.accept().await.context("cannot accept")?;
        converse(self.own.accept(stream).await.context("no TLS")?, answer).await
    }

    /// Shows the certificate of somebody else; what the client says all the same.
    pub async fn deceive(&self) -> Result<Option<Posted>> {
        let (stream, _) = self.listener.accept().await.context("cannot accept")?;
        match self.stranger.accept(stream).await {
            Ok(stream) => converse(stream, "204 No Content").await.map(Some),
            Err(_) => Ok(None),
        }
    }
}

async fn converse(mut stream: TlsStream<TcpStream>, answer: &str) -> Result<Posted> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.context("cannot read")?;
        ensure!(count > 0 && text.len() < REQUEST_MAX, "the request ends half-way or never");
        text.push_str(std::str::from_utf8(&buffer[..count]).context("no text")?);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let posted = Posted { head: head.to_owned(), body: body.to_owned() };
        let length: usize = posted.header("content-length").unwrap_or("0").parse().context("no length")?;
        if posted.body.len() >= length {
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.context("cannot answer")?;
            stream.shutdown().await.context("cannot end")?;
            return Ok(posted);
        }
    }
}
