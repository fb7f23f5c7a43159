//! The part of a STARTTLS connection before TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// First byte of a TLS handshake record. Source: RFC 8446, 5.1. No SMTP command begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// A TCP stream that hands out one byte a read until the TLS handshake begins.
///
/// lettre (0.11.23) reads through a buffer and keeps that buffer when it switches to TLS. Somebody on the wire could
/// append forged replies to the clear-text answer to STARTTLS, and they would count as if they had come through TLS.
/// With one byte a read the buffer is empty after each line, so anything appended meets the TLS handshake and breaks
/// it.
#[derive(Debug)]
pub(super) struct Cleartext {
    stream: TcpStream,
    tls_began: bool,
}

impl Cleartext {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, tls_began: false }
    }
}

impl AsyncTokioStream for Cleartext {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Cleartext {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.tls_began || buf.remaining() == 0 {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let mut byte = [0_u8; 1];
        let mut one = ReadBuf::new(&mut byte);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut one);
        buf.put_slice(one.filled());
        polled
    }
}

impl AsyncWrite for Cleartext {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tls_began |= bytes.first() == Some(&TLS_HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
