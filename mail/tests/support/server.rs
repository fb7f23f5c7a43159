use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{PASSWORD, USER};

/// Where in the conversation a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// After 354, before any of the message is read.
    Content,
    /// After the message was read and stored as a server does that accepts it.
    Accepted,
    Noop,
}

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// This line instead of the ordinary one.
    Answer(&'static str),
    /// Closes the connection.
    Drop,
    /// Answers nothing and keeps the connection.
    Silence,
    /// One byte each tenth of a second of an answer that never ends.
    Trickle,
}

/// What the server offers.
#[derive(Clone)]
pub enum Offer {
    ClearText,
    StartTls(TlsAcceptor),
    Implicit(TlsAcceptor),
}

#[derive(Debug, Clone)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub encrypted: bool,
}

#[derive(Default)]
struct State {
    faults: HashMap<Step, Fault>,
    mechanisms: &'static str,
    connections: usize,
    commands: Vec<String>,
    received: Vec<Received>,
}

pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(offer: Offer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { mechanisms: "PLAIN LOGIN", ..State::default() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                lock(&shared).connections += 1;
                let (offer, state) = (offer.clone(), Arc::clone(&shared));
                // A conversation that breaks off is the point of many tests; what it left is in the state.
                tokio::spawn(async move { Conversation::run(stream, offer, state).await.ok() });
            }
        });
        Self { port, state, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn fail(&self, step: Step, fault: Fault) {
        lock(&self.state).faults.insert(step, fault);
    }

    pub fn recover(&self) {
        lock(&self.state).faults.clear();
    }

    pub fn offer_mechanisms(&self, mechanisms: &'static str) {
        lock(&self.state).mechanisms = mechanisms;
    }

    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    pub fn commands(&self) -> Vec<String> {
        lock(&self.state).commands.clone()
    }

    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Conversation {
    stream: BufStream<Box<dyn Stream>>,
    starttls: Option<TlsAcceptor>,
    encrypted: bool,
    state: Arc<Mutex<State>>,
    from: String,
    to: Vec<String>,
}

impl Conversation {
    async fn run(stream: tokio::net::TcpStream, offer: Offer, state: Arc<Mutex<State>>) -> io::Result<()> {
        let (stream, starttls, encrypted): (Box<dyn Stream>, _, _) = match offer {
            Offer::ClearText => (Box::new(stream), None, false),
            Offer::StartTls(acceptor) => (Box::new(stream), Some(acceptor), false),
            Offer::Implicit(acceptor) => (Box::new(acceptor.accept(stream).await?), None, true),
        };
        let stream = BufStream::new(stream);
        let mut talk = Self { stream, starttls, encrypted, state, from: String::new(), to: vec![] };
        talk.answer(Step::Greeting, "220 mail.example ready").await?;
        loop {
            let command = talk.line().await?;
            lock(&talk.state).commands.push(command.clone());
            if command == "STARTTLS" {
                talk = talk.upgrade().await?;
            } else if !talk.obey(&command).await? {
                return Ok(());
            }
        }
    }

    async fn obey(&mut self, command: &str) -> io::Result<bool> {
        let word = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" => self.ehlo().await?,
            "AUTH" => self.auth(command).await?,
            "MAIL" => {
                (self.from, self.to) = (command.to_owned(), vec![]);
                self.answer(Step::Mail, "250 sender fine").await?;
            }
            "RCPT" => {
                self.to.push(command.to_owned());
                self.answer(Step::Rcpt, "250 recipient fine").await?;
            }
            "DATA" => self.data().await?,
            "NOOP" => self.answer(Step::Noop, "250 still here").await?,
            "QUIT" => {
                self.say("221 good-bye").await?;
                return Ok(false);
            }
            _ => self.say("500 unknown command").await?,
        }
        Ok(true)
    }

    async fn ehlo(&mut self) -> io::Result<()> {
        let mechanisms = lock(&self.state).mechanisms;
        let starttls = if self.starttls.is_some() && !self.encrypted { "250-STARTTLS\r\n" } else { "" };
        let ready = format!("250-mail.example\r\n{starttls}250-AUTH {mechanisms}\r\n250 SIZE 1000000");
        self.answer(Step::Ehlo, &ready).await
    }

    async fn upgrade(mut self) -> io::Result<Self> {
        self.answer(Step::StartTls, "220 go ahead").await?;
        let acceptor = self.starttls.clone().ok_or(io::ErrorKind::Unsupported)?;
        let stream = acceptor.accept(self.stream.into_inner()).await?;
        Ok(Self { stream: BufStream::new(Box::new(stream)), encrypted: true, ..self })
    }

    async fn auth(&mut self, command: &str) -> io::Result<()> {
        let right = if let Some(initial) = command.strip_prefix("AUTH PLAIN ") {
            decode(initial) == format!("\0{USER}\0{PASSWORD}")
        } else {
            self.say(&format!("334 {}", BASE64.encode("Username:"))).await?;
            let user = decode(&self.line().await?);
            self.say(&format!("334 {}", BASE64.encode("Password:"))).await?;
            let password = decode(&self.line().await?);
            user == USER && password == PASSWORD
        };
        let answer = if right { "235 welcome" } else { "535 5.7.8 wrong" };
        self.answer(Step::Auth, answer).await
    }

    async fn data(&mut self) -> io::Result<()> {
        self.answer(Step::Data, "354 go on").await?;
        if matches!(lock(&self.state).faults.get(&Step::Content), Some(Fault::Drop)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut data = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push('\n');
        }
        let mail = Received { from: self.from.clone(), to: self.to.clone(), data, encrypted: self.encrypted };
        lock(&self.state).received.push(mail);
        self.answer(Step::Accepted, "250 2.0.0 queued as 4F1A2").await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Strict: a bare line feed inside a command or a message would be smuggling.
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::InvalidData)?;
        Ok(line.to_owned())
    }

    async fn answer(&mut self, step: Step, ordinary: &str) -> io::Result<()> {
        let fault = lock(&self.state).faults.get(&step).copied();
        match fault {
            None => self.say(ordinary).await,
            Some(Fault::Answer(line)) => self.say(line).await,
            Some(Fault::Drop) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Trickle) => loop {
                self.stream.write_all(b"2").await?;
                self.stream.flush().await?;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            },
        }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.write_all(b"\r\n").await?;
        self.stream.flush().await
    }
}

fn decode(base64: &str) -> String {
    BASE64.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}
