//! A connection's stream with the two deadlines that hyper does not keep: one for a request's head from its first
//! byte, one for a client that does not take its answer. It also keeps back the bare answers that hyper writes by itself.

use std::{
    future::Future,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

type Timer = Option<Pin<Box<Sleep>>>;

/// Where a connection stands, told by the service to the stream: even between requests, odd while one is answered.
#[derive(Default)]
pub struct Phase(AtomicUsize);

impl Phase {
    pub fn begin(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct GuardedStream {
    stream: TcpStream,
    phase: Arc<Phase>,
    seen: usize,
    header_deadline: Duration,
    write_stall: Duration,
    head: Timer,
    stalled: Timer,
    refused: Option<Vec<u8>>,
}

/// True for an answer to a head that hyper could not read: ours all carry a trace, and this one has nothing to say.
fn is_hypers_own(bytes: &[u8]) -> bool {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    bytes.starts_with(b"HTTP/1.")
        && bytes.get(8..10) == Some(b" 4")
        && bytes.ends_with(b"\r\n\r\n")
        && has(b"\r\ncontent-length: 0\r\n")
        && !has(b"\r\ntraceparent: ")
}

impl GuardedStream {
    /// The clock of the first head starts now, even if not a byte comes.
    pub fn new(stream: TcpStream, phase: Arc<Phase>, header_deadline: Duration, write_stall: Duration) -> Self {
        let head = Some(Box::pin(sleep(header_deadline)));
        Self { stream, phase, seen: 0, header_deadline, write_stall, head, stalled: None, refused: None }
    }

    /// The head of the answer that was kept back, for a request that could not be read. hyper then ends the connection with
    /// an error, and whoever owns it says more.
    pub fn take_refused(&mut self) -> Option<Vec<u8>> {
        self.refused.take()
    }

    /// Keeps `bytes` back when they are no answer of ours.
    fn keep_back(&mut self, bytes: &[u8]) -> bool {
        let own = self.phase.0.load(Ordering::Relaxed).is_multiple_of(2) && is_hypers_own(bytes);
        if own {
            self.refused = Some(bytes.to_vec());
        }
        own
    }

    /// `written` unless the client has taken nothing for too long.
    fn unless_stalled(
        stalled: &mut Timer,
        limit: Duration,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            *stalled = None;
            return written;
        }
        let timer = stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let phase = this.phase.0.load(Ordering::Relaxed);
        if phase != this.seen {
            this.seen = phase;
            this.head = None;
        }
        // What is read while a request is answered is its body, which has a deadline of its own.
        if phase % 2 == 1 {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        if let Some(timer) = &mut this.head
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && this.head.is_none() {
            this.head = Some(Box::pin(sleep(this.header_deadline)));
        }
        read
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.keep_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        Self::unless_stalled(&mut this.stalled, this.write_stall, written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && this.keep_back(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        Self::unless_stalled(&mut this.stalled, this.write_stall, written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
