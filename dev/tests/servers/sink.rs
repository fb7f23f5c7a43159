//! The mail sink, spoken to over a socket.

use std::time::{Duration, Instant};

use doorbook_dev::Sink;
use doorbook_dev::sink::{Fault, Stage};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(sink: &Sink) -> std::io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(("127.0.0.1", sink.port())).await?)))
    }

    /// The status of the next answer, after all its lines; 0 if the server has hung up.
    async fn status(&mut self) -> u16 {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).await.expect("the sink can be read");
            if read == 0 {
                return 0;
            }
            if line.as_bytes()[3] == b' ' {
                return line[..3].parse().expect("an answer begins with its status");
            }
        }
    }

    async fn say(&mut self, text: &str) -> u16 {
        self.0.write_all(format!("{text}\r\n").as_bytes()).await.expect("the sink can be written to");
        self.status().await
    }

    async fn greeted(sink: &Sink) -> Self {
        let mut client = Self::connect(sink).await.expect("the sink accepts");
        assert_eq!(client.status().await, 220);
        assert_eq!(client.say("EHLO test").await, 250);
        client
    }

    /// Sends one mail; the statuses of MAIL, RCPT, DATA and the final dot, up to the first bad one.
    async fn send(&mut self, to: &str, mail: &str) -> Vec<u16> {
        let recipient = format!("RCPT TO:<{to}>");
        let body = format!("{mail}\r\n.");
        let steps = ["MAIL FROM:<door@example.org> BODY=8BITMIME", &recipient, "DATA", &body];
        let mut statuses = Vec::new();
        for step in steps {
            statuses.push(self.say(step).await);
            if !matches!(statuses.last(), Some(250 | 354)) {
                break;
            }
        }
        statuses
    }
}

const SENT: [u16; 4] = [250, 250, 354, 250];

#[tokio::test]
async fn a_mail_arrives_with_envelope_decoded_text_link_and_token() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::greeted(&sink).await;
    let mail = "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\nTo: ann@example.org\r\nMIME-Version: 1.0\r\n\
                Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\
                Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                F=C3=BCr Sie: https://app.example.org/reset-password?token=3Dabc=\r\n-123_x.\r\n\
                --b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                PHA+aHR0cHM6Ly9vdGhlci5leGFtcGxlLm9yZy88L3A+\r\n--b--";
    assert_eq!(client.send("ann@example.org", mail).await, SENT);
    assert_eq!(client.say("QUIT").await, 221);
    let mail = sink.wait_for(|mail| mail.is_to("ann@example.org"), SOON).await.unwrap();
    assert_eq!((mail.envelope.from.as_str(), mail.subject.as_str()), ("door@example.org", "Grüße"));
    assert!(mail.text.starts_with("Für Sie: "));
    assert_eq!(mail.link().unwrap().path(), "/reset-password");
    assert_eq!(mail.token().as_deref(), Some("abc-123_x"));
}

#[tokio::test]
async fn only_a_dot_between_two_crlf_ends_a_mail_and_stuffed_dots_are_unstuffed() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::greeted(&sink).await;
    let mail = "Subject: dots\r\n\r\n..one\r\n...two\nnot the end\n.\r\nnor this\r\n.\nstill going";
    assert_eq!(client.send("ann@example.org", mail).await, SENT);
    let raw = &sink.mails()[0].raw;
    assert_eq!(
        String::from_utf8_lossy(raw),
        "Subject: dots\r\n\r\n.one\r\n..two\nnot the end\n.\r\nnor this\r\n\nstill going\r\n"
    );
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_reset_forgets() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::greeted(&sink).await;
    assert_eq!(client.say("RCPT TO:<ann@example.org>").await, 503);
    assert_eq!(client.say("DATA").await, 503);
    assert_eq!(client.say("MAIL FROM:door@example.org").await, 501);
    assert_eq!(client.say("mail from:<>").await, 250);
    assert_eq!(client.say("MAIL FROM:<>").await, 503);
    assert_eq!(client.say("RSET").await, 250);
    assert_eq!(client.say("RCPT TO:<ann@example.org>").await, 503);
    assert_eq!(client.say("NOOP").await, 250);
    assert_eq!(client.say("STARTTLS").await, 502);
    assert_eq!(client.send("ann@example.org", "Subject: after all\r\n\r\n").await, SENT);
    assert_eq!(sink.mails().len(), 1);
}

#[tokio::test]
async fn a_client_may_pipeline() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::greeted(&sink).await;
    assert_eq!(client.say("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA").await, 250);
    assert_eq!([client.status().await, client.status().await], [250, 354]);
    assert_eq!(client.say("Subject: x\r\n\r\n.\r\nQUIT").await, 250);
    assert_eq!(client.status().await, 221);
}

#[tokio::test]
async fn an_oversized_mail_is_refused_and_the_conversation_goes_on() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::greeted(&sink).await;
    let large = format!("{}\r\n", "x".repeat(998)).repeat(1100);
    assert_eq!(client.send("ann@example.org", &large).await, [250, 250, 354, 552]);
    assert_eq!(client.send("ann@example.org", "Subject: small\r\n\r\n").await, SENT);
}

#[tokio::test]
async fn faults_strike_once_at_their_stage_in_the_order_given() {
    let sink = Sink::start(None).await.unwrap();
    sink.fail(Stage::Recipient, Fault::Reply(550));
    sink.fail(Stage::Body, Fault::Reply(451));
    sink.fail(Stage::Mail, Fault::Reply(451));
    let mut client = Client::greeted(&sink).await;
    assert_eq!(client.send("ann@example.org", "x").await, [451]);
    assert_eq!(client.send("ann@example.org", "x").await, [250, 550]);
    assert_eq!(client.say("RSET").await, 250);
    assert_eq!(client.send("ann@example.org", "x").await, [250, 250, 354, 451]);
    assert!(sink.mails().is_empty());
    assert_eq!(client.send("ann@example.org", "x").await, SENT);
    assert_eq!(sink.mails().len(), 1);

    sink.fail(Stage::Greeting, Fault::Reply(421));
    let mut refused = Client::connect(&sink).await.unwrap();
    assert_eq!([refused.status().await, refused.status().await], [421, 0]);
}

#[tokio::test]
async fn a_mail_dropped_at_its_final_dot_is_lost_and_one_accepted_unheard_is_not() {
    let sink = Sink::start(None).await.unwrap();
    sink.fail(Stage::Body, Fault::Drop);
    assert_eq!(Client::greeted(&sink).await.send("ann@example.org", "x").await, [250, 250, 354, 0]);
    assert!(sink.mails().is_empty());

    sink.fail(Stage::Body, Fault::AcceptAndDrop);
    assert_eq!(Client::greeted(&sink).await.send("ann@example.org", "x").await, [250, 250, 354, 0]);
    assert_eq!(sink.mails().len(), 1);
}

#[tokio::test]
async fn a_delayed_answer_comes_late_and_is_good() {
    const DELAY: Duration = Duration::from_millis(200);
    let sink = Sink::start(None).await.unwrap();
    sink.fail(Stage::Body, Fault::Delay(DELAY));
    let mut client = Client::greeted(&sink).await;
    let started = Instant::now();
    assert_eq!(client.send("ann@example.org", "x").await, SENT);
    assert!(started.elapsed() >= DELAY);
}

#[tokio::test]
async fn a_closed_sink_refuses_and_listens_on_the_same_port_again() {
    let mut sink = Sink::start(None).await.unwrap();
    let mut open = Client::greeted(&sink).await;
    let port = sink.port();
    sink.close().await;
    assert_eq!(open.status().await, 0);
    let refused = Client::connect(&sink).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    sink.open().await.unwrap();
    assert_eq!(sink.port(), port);
    assert_eq!(Client::greeted(&sink).await.send("ann@example.org", "x").await, SENT);
}

#[tokio::test]
async fn waiting_ends_when_the_mail_comes_and_fails_when_it_does_not() {
    let sink = Sink::start(None).await.unwrap();
    let wanted = sink.wait_for(|mail| mail.subject == "second", SOON);
    let sending = async {
        let mut client = Client::greeted(&sink).await;
        for subject in ["first", "second"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(client.send("ann@example.org", &format!("Subject: {subject}\r\n\r\n")).await, SENT);
        }
    };
    let (mail, ()) = tokio::join!(wanted, sending);
    assert_eq!(mail.unwrap().subject, "second");
    let missing = sink.wait_for(|mail| mail.subject == "third", Duration::from_millis(50)).await.unwrap_err();
    assert!(missing.to_string().contains("[\"first\", \"second\"]"), "{missing}");
}

#[tokio::test]
async fn with_a_folder_each_mail_is_a_readable_file() {
    let folder = std::env::temp_dir().join(format!("doorbook-mail-{}", std::process::id()));
    let sink = Sink::start(Some(folder.clone())).await.unwrap();
    let mut client = Client::greeted(&sink).await;
    let mail = "Subject: Hello\r\nContent-Transfer-Encoding: base64\r\nContent-Type: text/plain\r\n\r\n\
                aHR0cHM6Ly9leGFtcGxlLm9yZy8/dG9rZW49YWJj";
    for _ in 0..2 {
        assert_eq!(client.send("../ann@example.org", mail).await, SENT);
    }
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let text = std::fs::read_to_string(folder.join(&names[0])).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(names, ["0001----ann-example-org.txt", "0002----ann-example-org.txt"]);
    assert!(text.contains("Subject: Hello\n\nhttps://example.org/?token=abc"), "{text}");
}
