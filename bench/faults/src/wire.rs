//! A TCP proxy on loopback that can be told to fail: what stands between a process and what it depends on.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// Bytes carried at once.
const CHUNK: usize = 16 * 1024;

/// Pause after a port could not be bound or a connection not accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// What it does with what it carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Pass,
    /// Connections are ended, and new ones refused.
    Refuse,
    /// Nothing gets through in either direction. Who connects is let in and hears nothing: a real one would not even be let in.
    Blackhole,
    /// Each chunk comes late, and each direction of a connection carries so many bytes a second, if that is limited.
    Slow {
        delay: Duration,
        bytes_per_second: Option<u32>,
    },
}

/// What all connections of a proxy look at.
#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections that began under another number end.
    cut: u64,
}

/// A running proxy. Dropping it ends all its connections.
pub struct Wire {
    port: u16,
    state: watch::Sender<State>,
    running: JoinHandle<()>,
}

impl Wire {
    /// Carries what arrives at a free port of loopback to another one.
    pub async fn to(target: u16) -> Result<Self> {
        let listener = listen(0).await?;
        let port = listener.local_addr().context("cannot read a port")?.port();
        let (state, seen) = watch::channel(State { mode: Mode::Pass, cut: 0 });
        Ok(Self { port, state, running: tokio::spawn(run(listener, port, target, seen)) })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.cut += u64::from(mode == Mode::Refuse);
        });
    }

    /// Ends the connections that are open; new ones are carried as before.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cut += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.context("cannot listen")
}

/// Accepts until aborted, which ends the connections too.
async fn run(first: TcpListener, port: u16, target: u16, mut seen: watch::Receiver<State>) {
    let (mut listener, mut connections) = (Some(first), JoinSet::new());
    loop {
        if seen.borrow_and_update().mode == Mode::Refuse {
            drop(listener.take());
            if seen.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            listener = listen(port).await.ok();
            sleep(PAUSE).await;
            continue;
        };
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            accepted = open.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(carry(stream, target, seen.clone())); }
                Err(_) => sleep(PAUSE).await,
            },
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until either end closes it, or it is cut.
async fn carry(from: TcpStream, target: u16, seen: watch::Receiver<State>) {
    let cut = seen.borrow().cut;
    let work = async {
        gate(&mut seen.clone()).await;
        let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
        // Small messages that wait for each other would be slower than without a proxy.
        if from.set_nodelay(true).and(to.set_nodelay(true)).is_err() {
            return;
        }
        let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
        tokio::join!(pump(from_read, to_write, seen.clone()), pump(to_read, from_write, seen.clone()));
    };
    let mut others = seen.clone();
    tokio::select! {
        () = work => {}
        _ = others.wait_for(|state| state.cut != cut) => {}
    }
}

/// Waits while nothing gets through.
async fn gate(seen: &mut watch::Receiver<State>) {
    // The sender is gone when the proxy is: then this is aborted anyway.
    drop(seen.wait_for(|state| state.mode != Mode::Blackhole).await);
}

/// One direction. What was read before nothing gets through arrives when it does again, as a network would resend it.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut seen: watch::Receiver<State>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read) = from.read(&mut chunk).await {
        gate(&mut seen).await;
        let mode = seen.borrow().mode;
        if let Mode::Slow { delay, bytes_per_second } = mode {
            let length = u32::try_from(read).unwrap_or(u32::MAX);
            let transport = bytes_per_second.map(|rate| Duration::from_secs(1) * length / rate.max(1));
            sleep(delay + transport.unwrap_or_default()).await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
    // The other end hears of it; that it is gone already is no news.
    drop(to.shutdown().await);
}
