//! What a body may be, over real sockets.

use std::time::{Duration, Instant};

use crate::support::{Answer, Server, config};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

const HEAD: &str = "POST /api/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
const GOOD: &str = r#"{"email":"a@b.c","password":"secret"}"#;

#[tokio::test]
async fn a_correct_body_is_accepted_in_one_piece_and_in_chunks() {
    let server = Server::start(config()).await;
    let answer = server.post(GOOD).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "11"));
    let (left, right) = GOOD.split_at(10);
    let chunks = format!("{:x}\r\n{left}\r\n{:x}\r\n{right}\r\n0\r\n\r\n", left.len(), right.len());
    let answer = server.send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_announced_large_body_is_refused_before_it_is_sent() {
    let server = Server::start(config()).await;
    let answer = server.send(format!("{HEAD}Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "payload-too-large"));
    let limit = format!("{{\"email\":\"{}\"", "a".repeat(65_536));
    assert_eq!(server.post(&limit[..65_536]).await.status, 400);
}

#[tokio::test]
async fn an_endless_chunked_body_is_refused_early_and_costs_no_memory() {
    const TOTAL: usize = 300 * 1024 * 1024;
    let server = Server::start(config()).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).into_bytes();
    let before = resident_bytes();
    let mut senders = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let chunk = chunk.clone();
        senders.push(tokio::spawn(async move {
            stream.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
            let mut sent = 0;
            while sent < TOTAL && stream.write_all(&chunk).await.is_ok() {
                sent += chunk.len();
            }
            sent
        }));
    }
    for sender in senders {
        let sent = timeout(Duration::from_secs(20), sender).await.expect("refused in time").unwrap();
        assert!(sent < 16 * 1024 * 1024, "{sent} bytes were taken, socket buffers included");
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_why() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    let body = format!("20000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x20000));
    stream.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{body}").as_bytes()).await.unwrap();
    let answer = Answer::read(&mut stream).await.expect("an answer before the end");
    assert_eq!((answer.status, answer.problem().as_str()), (413, "payload-too-large"));
    assert_eq!(answer.header("connection"), Some("close"));
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_given_up_at_the_deadline() {
    let server = Server::start(config()).await;
    let started = Instant::now();
    let answer = server.send(format!("{HEAD}Content-Length: 500\r\n\r\n{GOOD}")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (408, "request-timeout"));
    assert!(started.elapsed() > Duration::from_secs(1));
}

/// C113. Breaks when `api/src/body.rs`: `timeout_at(deadline, collect).await.unwrap_or_else(|_| Err(Problem::request_timeout()))` → `{ let _ = deadline; collect.await }`.
#[tokio::test]
async fn a_trickling_body_is_given_up_at_the_deadline() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    stream.write_all(format!("{HEAD}Content-Length: 5000\r\n\r\n").as_bytes()).await.unwrap();
    let (mut reader, mut writer) = (stream, tokio::time::interval(Duration::from_millis(50)));
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1_950) {
        writer.tick().await;
        if reader.write_all(b" ").await.is_err() {
            break;
        }
    }
    let answer = Answer::read(&mut reader).await.expect("an answer");
    assert_eq!(answer.status, 408);
}

#[tokio::test]
async fn a_body_longer_than_announced_does_not_become_a_request() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    let length = GOOD.len();
    let smuggled = "GET /health HTTP/1.1 \r\n\r\n";
    stream.write_all(format!("{HEAD}Content-Length: {length}\r\n\r\n{GOOD}x{smuggled}").as_bytes()).await.unwrap();
    let mut answers = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut answers)).await.expect("the end").unwrap();
    assert_eq!((answers.matches("HTTP/1.1 200").count(), answers.matches("HTTP/1.1 400").count()), (1, 1), "{answers}");
}

#[tokio::test]
async fn each_broken_rule_names_its_field_and_repeats_no_value() {
    let server = Server::start(config()).await;
    for (body, field, code) in [
        (r#"{"email":"marker"}"#, "password", "required"),
        (r#"{"email":"marker","password":12345}"#, "password", "invalid_type"),
        (r#"{"email":"marker","password":["marker"]}"#, "password", "invalid_type"),
        (r#"{"email":"marker","password":"x","is_admin":true}"#, "is_admin", "unknown_field"),
        (r#"{"email":"marker","password":"x","password":"marker"}"#, "password", "duplicate_field"),
        (r#"["marker","x"]"#, "", "invalid_type"),
        ("12345", "", "invalid_type"),
    ] {
        let answer = server.post(body).await;
        assert_eq!(answer.refused_field(), (field.to_owned(), code.to_owned()), "{body}");
        assert!(!answer.body.contains("marker") && !answer.body.contains("12345"), "{}", answer.body);
        assert!(!answer.body.contains("column") && !answer.body.contains("expected a"), "{}", answer.body);
    }
}

#[tokio::test]
async fn malformed_json_is_a_bad_request() {
    let server = Server::start(config()).await;
    for body in ["", "{", "{\"email\":", "{\"email\":\"a\",}", "nonsense", "{}{}", "\u{feff}{}"] {
        let answer = server.post(body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed-json"), "{body:?}");
    }
    let open = format!("{{\"email\":{}", "[".repeat(10_000));
    assert_eq!(server.post(&open).await.status, 400);
    let closed = format!("{{\"email\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(server.post(&closed).await.refused_field().0, "email");
}

#[tokio::test]
async fn the_media_type_is_required() {
    let server = Server::start(config()).await;
    for line in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        let answer = server
            .send(format!(
                "POST /api/login/ HTTP/1.1\r\nHost: localhost\r\n{line}Content-Length: {}\r\n\r\n{GOOD}",
                GOOD.len()
            ))
            .await;
        assert_eq!((answer.status, answer.problem().as_str()), (415, "unsupported-media-type"), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_the_server_well() {
    let server = Server::start(config()).await;
    for _ in 0..20 {
        let mut stream = server.connect().await;
        stream.write_all(format!("{HEAD}Content-Length: 500\r\n\r\n{{").as_bytes()).await.unwrap();
        drop(stream);
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.post(GOOD).await.status, 200);
}
