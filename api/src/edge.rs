//! Connections: accepted within limits, given deadlines, and finished in order when the process stops.

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    http::{HeaderValue, header, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use rustix::{
    net::sockopt::set_socket_send_buffer_size,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    command,
    server::App,
    stream::{GuardedStream, Phase},
};

/// Most headers of a request. Source: hyper's default, and no browser sends half as many.
const HEADERS_MAX: usize = 100;

/// Largest head of a request, and largest buffer of a connection, in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// Bytes of an answer that the kernel may hold for one client; it doubles the number for its own bookkeeping. By itself it grows
/// to megabytes for each client that never reads, and only when they are full does the clock of `write_stall` start. At 100 ms
/// of way there and back, an export still leaves at some 5 MB/s.
const SEND_BUFFER: usize = 256 * 1024;

/// Wait after the first failed accept; doubled up to `ACCEPT_BACKOFF_MAX`.
const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(10);
const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long and how much of a refused request is read and thrown away after the answer. Closing with bytes unread
/// would reset the connection, and the client would lose the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 512 * 1024;

/// What one connection, and all of them together, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// From the first byte of a request's head, or from the start of the connection, to its last.
    pub header_deadline: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without the client taking a byte of its answer.
    pub write_stall: Duration,
    /// At the end, between readiness that is off and refused connections: a load balancer that asks often enough sends no request
    /// into the gap. Meanwhile every answer ends its connection.
    pub notice: Duration,
    /// Then, how long an idle connection is kept for a request that may be on its way. Part of `drain`.
    pub farewell: Duration,
    /// Then, for requests in flight and for their commands.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_deadline: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            // With the time in which the buffers fill, such a client is gone within 30 s. Source: the release bar.
            write_stall: Duration::from_secs(20),
            notice: Duration::from_secs(2),
            farewell: Duration::from_secs(1),
            // With the notice before and the last log lines after, the process ends within ten seconds. Source: bar 6.
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The default, with no more connections than leave descriptors to the database and the log. The soft limit is raised to
    /// the hard one first: it is low for programs that cannot count beyond it.
    pub fn within_descriptors() -> Self {
        let limit = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
            tracing::debug!(%error, "the limit of descriptors cannot be raised");
        }
        let default = Self::default();
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        let connections = descriptors.map_or(default.connections, |limit| default.connections.min(limit / 4 * 3));
        if connections < default.connections {
            tracing::warn!(connections, "few descriptors: fewer connections at once are served");
        }
        Self { connections, ..default }
    }
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// Not begun.
    Serving,
    /// Connections are accepted still; each ends with its next answer. A proxy that found it closed under its request could not know
    /// whether the request was carried out, and would have to fail it.
    Leaving,
    /// Nobody sends any more: idle connections are closed.
    Closing,
}

/// Serves until `limits.notice` after `stop`, then finishes what is in flight within `limits.drain`.
pub async fn serve(listener: TcpListener, app: Arc<App>, limits: Limits, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (ending, _) = watch::channel(Ending::Serving);
    let mut connections = JoinSet::new();
    let mut backoff = ACCEPT_BACKOFF_MIN;
    let mut stop = pin!(async {
        stop.await;
        ending.send_replace(Ending::Leaving);
        sleep(limits.notice).await;
    });
    let serving = |stream, peer| connection(stream, peer, Arc::clone(&app), limits, ending.subscribe());
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, slot) = accept(&listener, &slots, &mut backoff) => {
                let serving = serving(stream, peer);
                connections.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
        }
    }
    for (stream, peer) in waiting(listener) {
        connections.spawn(serving(stream, peer));
    }
    let refusing = Instant::now();
    let deadline = refusing + limits.drain;
    let all_gone = async { while connections.join_next().await.is_some() {} };
    let farewell = async {
        sleep_until(refusing + limits.farewell).await;
        ending.send_replace(Ending::Closing);
        pending::<()>().await;
    };
    let drained = tokio::select! {
        drained = timeout_at(deadline, all_gone) => drained.is_ok(),
        () = farewell => false,
    };
    if !drained {
        tracing::warn!(connections = connections.len(), "connections were cut at the end of the drain time");
        connections.shutdown().await;
    }
    if !command::finished(deadline.saturating_duration_since(Instant::now())).await {
        tracing::error!("commands were still running at the end of the drain time");
    }
}

/// The next connection. Errors of single connections are skipped; others, such as no free descriptors, are waited out.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    backoff: &mut Duration,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
            // Only a closed semaphore refuses, and nobody closes this one.
            return pending().await;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                *backoff = ACCEPT_BACKOFF_MIN;
                return (stream, peer, slot);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, wait_ms = backoff.as_millis(), "cannot accept connections");
                let wait = *backoff;
                *backoff = (wait * 2).min(ACCEPT_BACKOFF_MAX);
                sleep(wait).await;
            }
        }
    }
}

/// Whom the kernel has let in already, before the listener is closed: it would reset them, and a proxy could not know whether the request
/// that it has sent was carried out. No more than its queue holds, whatever the cap: it is their last chance.
fn waiting(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let mut waiting = Vec::new();
    // The runtime may not have heard of them yet: the kernel is asked.
    let Ok(listener) = listener.into_std() else { return waiting };
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                waiting.extend(stream.map(|stream| (stream, peer)));
            }
            Err(error) if is_of_one_connection(&error) => {}
            // Nobody waits any more, or nothing can be opened any more.
            Err(_) => return waiting,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    limits: Limits,
    mut ending: watch::Receiver<Ending>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER) {
        tracing::debug!(%error, "SO_SNDBUF was refused");
    }
    let refuser = Arc::clone(&app);
    let phase = Arc::new(Phase::default());
    let stream = GuardedStream::new(stream, Arc::clone(&phase), limits.header_deadline, limits.write_stall);
    let seen = ending.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (app, phase, seen) = (Arc::clone(&app), Arc::clone(&phase), seen.clone());
        phase.begin();
        Box::pin(async move {
            let addresses = (LocalAddr::default(), RemoteAddr(peer.into()));
            let request = poem::Request::from((request, addresses.0, addresses.1, Scheme::HTTP));
            let mut response = app.answer(request).await;
            if *seen.borrow() >= Ending::Leaving {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            phase.end();
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper starts this clock when it waits for the next request, so it bounds the idle time. The shorter one of
        // the head itself is kept by the stream.
        .header_read_timeout(limits.idle)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_MAX)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);

    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(ended),
        () = closing(&mut ending) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await
    };
    let mut stream = connection.into_parts().io.into_inner();
    match (ended, stream.take_refused()) {
        (Ok(()), None) => linger(stream).await,
        (_, Some(head)) => {
            let answer = refuser.unreadable(&head).await;
            if let Ok(Ok(())) = timeout(LINGER, stream.write_all(&answer)).await {
                linger(stream).await;
            }
        }
        (Err(error), None) => tracing::debug!(%error, "a connection broke"),
    }
}

async fn closing(ending: &mut watch::Receiver<Ending>) {
    // An error means that the sender is gone, and with it the server.
    drop(ending.wait_for(|ending| *ending == Ending::Closing).await);
}

/// Ends our side, then reads until the client has ended its own, within bounds.
async fn linger(mut stream: GuardedStream) {
    let finish = async {
        stream.shutdown().await?;
        let mut discarded = 0;
        let mut buffer = [0; 4096];
        while discarded < LINGER_BYTES_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => discarded += count,
            }
        }
        io::Result::Ok(())
    };
    // Nothing more is owed to this client, whatever the outcome.
    match timeout(LINGER, finish).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke after its answer"),
    }
}
