//! A mail server that delivers to memory: a real SMTP conversation on loopback, with faults on demand.

mod mail;
mod smtp;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use mail::{Envelope, Mail};

/// Mails kept, more than twice what two hours of the load without a fault send. Beyond it the sink answers 452.
const MAILS_MAX: usize = 1_000_000;

/// Conversations at once; more wait in the listener's backlog.
const CONVERSATIONS_MAX: usize = 256;

/// The moment of a conversation at which a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Recipient,
    /// At the command DATA.
    Data,
    /// At the final dot.
    Body,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The answer comes late, and is otherwise good.
    Delay(Duration),
    /// This status instead of the good one: 421 (which also ends the conversation), 451, 550, …
    Reply(u16),
    /// The connection ends without an answer. At [`Stage::Body`] the mail is lost.
    Drop,
    /// At [`Stage::Body`]: the mail is accepted, but the connection ends before the client hears so.
    AcceptAndDrop,
    /// The good answer comes one byte a second.
    Trickle,
}

/// A fault that strikes until it is taken back.
struct Standing {
    stage: Stage,
    /// Only for recipients there.
    domain: Option<String>,
    fault: Fault,
}

/// What the sink asks of its clients, as a provider's server would. By default nothing.
#[derive(Clone, Default)]
pub struct Access {
    pub protection: Protection,
    /// User and password of the only login; without one, none is offered.
    pub login: Option<(String, String)>,
}

#[derive(Clone, Default)]
pub enum Protection {
    #[default]
    ClearText,
    /// STARTTLS before anything else.
    StartTls(TlsAcceptor),
    /// TLS from the first byte.
    Implicit(TlsAcceptor),
}

struct Shared {
    access: Mutex<Access>,
    mails: Mutex<Vec<Mail>>,
    count: watch::Sender<usize>,
    faults: Mutex<Vec<(Stage, Fault)>>,
    standing: Mutex<Vec<Standing>>,
    folder: Option<PathBuf>,
}

impl Shared {
    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        // Each change is a single push or remove, so a panic elsewhere leaves nothing half done.
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What strikes at this stage of a mail to `recipient`, as far as that is known there.
    fn take_fault(&self, stage: Stage, recipient: Option<&str>) -> Option<Fault> {
        let mut faults = Self::lock(&self.faults);
        if let Some(index) = faults.iter().position(|(at, _)| *at == stage) {
            return Some(faults.remove(index).1);
        }
        let at = recipient.and_then(|recipient| recipient.rsplit_once('@')).map(|(_, domain)| domain);
        let strikes = |it: &&Standing| it.stage == stage && (it.domain.is_none() || it.domain.as_deref() == at);
        Self::lock(&self.standing).iter().find(strikes).map(|it| it.fault)
    }

    /// Keeps a mail; false when the sink is full.
    async fn accept(&self, mail: Mail) -> Result<bool> {
        let number = {
            let mut mails = Self::lock(&self.mails);
            if mails.len() == MAILS_MAX {
                return Ok(false);
            }
            mails.push(mail.clone());
            mails.len()
        };
        if let Some(folder) = &self.folder {
            mail.save(folder).await?;
        }
        self.count.send_modify(|count| *count = number.max(*count));
        Ok(true)
    }
}

/// The sink, listening until it is dropped.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on a free loopback port. With a folder, each mail is also written there as readable text.
    pub async fn start(folder: Option<PathBuf>) -> Result<Self> {
        if let Some(folder) = &folder {
            tokio::fs::create_dir_all(folder).await.with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let (count, _) = watch::channel(0);
        let (access, mails, faults, standing) = <(Mutex<_>, Mutex<_>, Mutex<_>, Mutex<_>)>::default();
        let shared = Arc::new(Shared { access, mails, count, faults, standing, folder });
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut sink = Self { address: any, shared, listening: None };
        sink.open().await?;
        Ok(sink)
    }

    /// The loopback port, the same all its life.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Listens again after [`Sink::close`].
    pub async fn open(&mut self) -> Result<()> {
        ensure!(self.listening.is_none(), "the sink is open");
        let listener = TcpListener::bind(self.address).await.context("the sink cannot listen")?;
        self.address = listener.local_addr().context("cannot read a port")?;
        self.listening = Some(tokio::spawn(listen(listener, Arc::clone(&self.shared))));
        Ok(())
    }

    /// Ends all conversations; connections are refused from now on.
    pub async fn close(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            // Cancelled, as asked: what counts is that its socket is closed now.
            drop(listening.await);
        }
    }

    /// Asks this of every conversation from now on.
    pub fn demand(&self, access: Access) {
        *Shared::lock(&self.shared.access) = access;
    }

    /// Lets `fault` strike once at the next `stage`; those of one stage strike in the order given.
    pub fn fail(&self, stage: Stage, fault: Fault) {
        Shared::lock(&self.shared.faults).push((stage, fault));
    }

    /// Lets `fault` strike at each `stage` from now on; with a domain, only mails to recipients there, from [`Stage::Recipient`] on.
    pub fn fail_always(&self, stage: Stage, domain: Option<&str>, fault: Fault) {
        Shared::lock(&self.shared.standing).push(Standing { stage, domain: domain.map(str::to_owned), fault });
    }

    /// Takes back the faults that have not struck yet, and those that would go on.
    pub fn forget_faults(&self) {
        Shared::lock(&self.shared.faults).clear();
        Shared::lock(&self.shared.standing).clear();
    }

    /// All mails so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        Shared::lock(&self.shared.mails).clone()
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        Shared::lock(&self.shared.mails).len()
    }

    /// Whether it refuses what comes.
    pub fn is_full(&self) -> bool {
        self.count() == MAILS_MAX
    }

    /// Those from this one on, counted from 0.
    pub fn mails_from(&self, first: usize) -> Vec<Mail> {
        Shared::lock(&self.shared.mails).get(first..).unwrap_or_default().to_vec()
    }

    /// The first mail, already here or yet to come, of which `wanted` is true.
    pub async fn wait_for(&self, wanted: impl Fn(&Mail) -> bool, within: Duration) -> Result<Mail> {
        let mut count = self.shared.count.subscribe();
        let search = async {
            let mut seen = 0;
            loop {
                count.borrow_and_update();
                let fresh = self.mails_from(seen);
                seen += fresh.len();
                if let Some(mail) = fresh.into_iter().find(&wanted) {
                    return Ok(mail);
                }
                count.changed().await.context("the sink is gone")?;
            }
        };
        timeout(within, search).await.with_context(|| {
            let subjects: Vec<_> = self.mails().into_iter().map(|mail| mail.subject).collect();
            format!("no such mail within {within:?}; there are {subjects:?}")
        })?
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// Accepts until aborted, which also drops, and so ends, its conversations.
async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut conversations = JoinSet::new();
    loop {
        while conversations.len() >= CONVERSATIONS_MAX {
            conversations.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                conversations.spawn(async move {
                    if let Err(error) = smtp::converse(stream, &shared).await {
                        eprintln!("doorbook-dev: a mail conversation broke off: {error:#}");
                    }
                });
            }
            Err(error) => {
                eprintln!("doorbook-dev: the mail sink cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while conversations.try_join_next().is_some() {}
    }
}
