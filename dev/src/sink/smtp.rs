//! The server's side of SMTP (RFC 5321).

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Envelope, Fault, Mail, Protection, Shared, Stage};

/// Longest line, in bytes; more than RFC 5321 4.5.3.1.6 asks for (1,000), since clients differ.
const LINE_MAX: u64 = 8192;

/// Largest mail, in bytes, as told in the answer to EHLO.
const MAIL_MAX: usize = 1 << 20;

/// Recipients of one mail. Source: RFC 5321, 4.5.3.1.8.
const RECIPIENTS_MAX: usize = 100;

/// Time a client may be silent. Source: RFC 5321, 4.5.3.2.7.
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_mins(5);

/// Whether the conversation goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    End,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Conversation<'a> {
    stream: BufReader<Box<dyn Stream>>,
    /// What STARTTLS will do; none when it is done, or not asked for.
    upgrade: Option<TlsAcceptor>,
    /// What AUTH PLAIN must say; none when it was said, or is not asked for.
    login: Option<String>,
    shared: &'a Shared,
    /// Set by MAIL, ended by the final dot, RSET and EHLO.
    envelope: Option<Envelope>,
}

/// Holds one conversation to its end.
pub(super) async fn converse(stream: TcpStream, shared: &Shared) -> Result<()> {
    let access = Shared::lock(&shared.access).clone();
    let (stream, upgrade): (Box<dyn Stream>, _) = match access.protection {
        Protection::ClearText => (Box::new(stream), None),
        Protection::StartTls(acceptor) => (Box::new(stream), Some(acceptor)),
        Protection::Implicit(acceptor) => (Box::new(acceptor.accept(stream).await.context("no TLS")?), None),
    };
    let login = access.login.map(|(user, password)| BASE64.encode(format!("\0{user}\0{password}")));
    let mut conversation = Conversation { stream: BufReader::new(stream), upgrade, login, shared, envelope: None };
    if conversation.greet().await? == Next::End {
        return Ok(());
    }
    while let Some(line) = conversation.line().await? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.eq_ignore_ascii_case("STARTTLS") && conversation.upgrade.is_some() {
            conversation = conversation.start_tls().await?;
        } else if conversation.obey(&line).await? == Next::End {
            break;
        }
    }
    Ok(())
}

impl Conversation<'_> {
    async fn start_tls(mut self) -> Result<Self> {
        self.say("220 go ahead").await?;
        ensure!(self.stream.buffer().is_empty(), "something was said between STARTTLS and its answer");
        let acceptor = self.upgrade.take().context("no TLS was offered")?;
        let stream = acceptor.accept(self.stream.into_inner()).await.context("no TLS")?;
        Ok(Self { stream: BufReader::new(Box::new(stream)), envelope: None, ..self })
    }

    /// The next line with its ending; `None` when the client has hung up.
    async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_MAX);
        let read = timeout(SILENCE_MAX, limited.read_until(b'\n', &mut line)).await;
        read.context("the client is silent")?.context("cannot read")?;
        if line.is_empty() {
            return Ok(None);
        }
        ensure!(line.ends_with(b"\n"), "a line is longer than {LINE_MAX} bytes or ends without a line feed");
        Ok(Some(line))
    }

    async fn say(&mut self, answer: &str) -> Result<Next> {
        self.stream.write_all(format!("{answer}\r\n").as_bytes()).await.context("cannot answer")?;
        self.stream.flush().await.context("cannot answer")?;
        Ok(if answer.starts_with("221") || answer.starts_with("421") { Next::End } else { Next::Go })
    }

    /// Lets a fault strike; `Some` when there is nothing left to say.
    async fn strike(&mut self, fault: Option<Fault>) -> Result<Option<Next>> {
        match fault {
            None => Ok(None),
            Some(Fault::Delay(delay)) => {
                sleep(delay).await;
                Ok(None)
            }
            Some(Fault::Reply(status)) => self.say(&format!("{status} as asked by the test")).await.map(Some),
            Some(Fault::Drop | Fault::AcceptAndDrop) => Ok(Some(Next::End)),
            Some(Fault::Trickle) => {
                for byte in b"250-as slow as that\r\n" {
                    self.stream.write_all(&[*byte]).await.context("cannot answer")?;
                    self.stream.flush().await.context("cannot answer")?;
                    sleep(std::time::Duration::from_secs(1)).await;
                }
                Ok(None)
            }
        }
    }

    async fn greet(&mut self) -> Result<Next> {
        match self.strike(self.shared.take_fault(Stage::Greeting, None)).await? {
            Some(next) => Ok(next),
            None => self.say("220 doorbook-dev ESMTP").await,
        }
    }

    async fn obey(&mut self, line: &str) -> Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.envelope = None;
                let sizes = format!("250-SIZE {MAIL_MAX}");
                let mut lines = vec!["250-doorbook-dev", &sizes, "250-PIPELINING", "250-SMTPUTF8"];
                match (&self.upgrade, &self.login) {
                    (Some(_), _) => lines.push("250-STARTTLS"),
                    (None, Some(_)) => lines.push("250-AUTH PLAIN"),
                    (None, None) => {}
                }
                lines.push("250 8BITMIME");
                self.say(&lines.join("\r\n")).await
            }
            "HELO" => {
                self.envelope = None;
                self.say("250 doorbook-dev").await
            }
            "AUTH" if self.upgrade.is_none() && self.login.is_some() => self.auth(rest).await,
            "MAIL" | "RCPT" | "DATA" if self.upgrade.is_some() => self.say("530 STARTTLS first").await,
            "MAIL" | "RCPT" | "DATA" if self.login.is_some() => self.say("530 AUTH first").await,
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.recipient(rest).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.envelope = None;
                self.say("250 forgotten").await
            }
            "NOOP" => self.say("250 nothing done").await,
            "QUIT" => self.say("221 goodbye").await,
            _ => self.say("502 not implemented").await,
        }
    }

    /// Only with the login in the command itself.
    async fn auth(&mut self, rest: &str) -> Result<Next> {
        if self.login.as_deref() != rest.strip_prefix("PLAIN ") {
            return self.say("535 wrong").await;
        }
        self.login = None;
        self.say("235 welcome").await
    }

    async fn mail(&mut self, rest: &str) -> Result<Next> {
        if self.envelope.is_some() {
            return self.say("503 one mail at a time").await;
        }
        let Some(from) = path(rest, "FROM:") else { return self.say("501 MAIL FROM:<address>").await };
        if let Some(next) = self.strike(self.shared.take_fault(Stage::Mail, None)).await? {
            return Ok(next);
        }
        self.envelope = Some(Envelope { from: from.to_owned(), to: Vec::new() });
        self.say("250 sender accepted").await
    }

    async fn recipient(&mut self, rest: &str) -> Result<Next> {
        let Some(mut envelope) = self.envelope.clone() else { return self.say("503 MAIL first").await };
        if envelope.to.len() == RECIPIENTS_MAX {
            return self.say("452 too many recipients").await;
        }
        let Some(to) = path(rest, "TO:").filter(|to| !to.is_empty()) else {
            return self.say("501 RCPT TO:<address>").await;
        };
        if let Some(next) = self.strike(self.shared.take_fault(Stage::Recipient, Some(to))).await? {
            return Ok(next);
        }
        envelope.to.push(to.to_owned());
        self.envelope = Some(envelope);
        self.say("250 recipient accepted").await
    }

    async fn data(&mut self) -> Result<Next> {
        let Some(envelope) = self.envelope.clone().filter(|envelope| !envelope.to.is_empty()) else {
            return self.say("503 RCPT first").await;
        };
        if let Some(next) =
            self.strike(self.shared.take_fault(Stage::Data, envelope.to.first().map(String::as_str))).await?
        {
            return Ok(next);
        }
        self.say("354 end with a dot on a line of its own").await?;
        let body = self.body().await?;
        self.envelope = None;
        let Some(raw) = body else { return self.say("552 larger than SIZE").await };
        let fault = self.shared.take_fault(Stage::Body, envelope.to.first().map(String::as_str));
        let unheard = fault == Some(Fault::AcceptAndDrop);
        if !unheard && let Some(next) = self.strike(fault).await? {
            return Ok(next);
        }
        if !self.shared.accept(Mail::new(envelope, raw)).await? {
            return self.say("452 the sink is full").await;
        }
        if unheard { Ok(Next::End) } else { self.say("250 accepted").await }
    }

    /// Reads up to the final dot and unstuffs the others; `None` when it is larger than allowed. Only a dot between two
    /// CRLF ends a mail: a looser reading is what SMTP smuggling lives on.
    async fn body(&mut self) -> Result<Option<Vec<u8>>> {
        let mut raw = Vec::new();
        let mut large = false;
        let mut after_crlf = true;
        loop {
            let line = self.line().await?.context("the client hung up inside a mail")?;
            if after_crlf && line == b".\r\n" {
                return Ok((!large).then_some(raw));
            }
            let content = if after_crlf { line.strip_prefix(b".").unwrap_or(&line) } else { &line };
            after_crlf = line.ends_with(b"\r\n");
            large |= raw.len() + content.len() > MAIL_MAX;
            if !large {
                raw.extend_from_slice(content);
            }
        }
    }
}

/// The address in `FROM:<address> PARAMETERS`.
fn path<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, _) = tail.trim_start().strip_prefix('<')?.split_once('>')?;
    Some(address)
}
