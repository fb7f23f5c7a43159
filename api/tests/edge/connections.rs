//! What a connection may do, over real sockets.

use std::time::{Duration, Instant};

use crate::support::{Answer, Server, config, ends_within};
use doorbook_api::{config::HttpConfig, edge::Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

const HEADER_DEADLINE: Duration = Duration::from_millis(400);
const IDLE: Duration = Duration::from_millis(1200);
const GET: &str = "GET /api/seen/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn short() -> Limits {
    Limits { header_deadline: HEADER_DEADLINE, idle: IDLE, drain: Duration::from_secs(5), ..Limits::default() }
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let server = Server::limited(config(), short()).await;
    let mut stream = server.connect().await;
    let started = Instant::now();
    for byte in GET.as_bytes().iter().chain(std::iter::repeat_n(&b'a', 200)) {
        if stream.write_all(std::slice::from_ref(byte)).await.is_err() || started.elapsed() > IDLE * 3 {
            break;
        }
        sleep(Duration::from_millis(30)).await;
        if started.elapsed() > HEADER_DEADLINE * 2 {
            break;
        }
    }
    assert!(ends_within(&mut stream, Duration::from_millis(500)).await);
}

#[tokio::test]
async fn a_silent_connection_is_cut_off_at_the_header_deadline() {
    let server = Server::limited(config(), short()).await;
    let mut stream = server.connect().await;
    let started = Instant::now();
    assert!(ends_within(&mut stream, IDLE * 2).await);
    assert!(started.elapsed() >= HEADER_DEADLINE && started.elapsed() < IDLE);
}

#[tokio::test]
async fn a_kept_connection_may_idle_longer_than_a_head_may_take_but_not_for_ever() {
    let server = Server::limited(config(), short()).await;
    let mut stream = server.connect().await;
    for pause in [Duration::ZERO, HEADER_DEADLINE * 2, HEADER_DEADLINE * 2] {
        sleep(pause).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.unwrap().status, 200);
    }
    let started = Instant::now();
    assert!(ends_within(&mut stream, IDLE * 2).await);
    assert!(started.elapsed() > HEADER_DEADLINE * 2);
}

#[tokio::test]
async fn the_second_head_of_a_connection_has_the_same_deadline() {
    let server = Server::limited(config(), short()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.unwrap().status, 200);
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let started = Instant::now();
    assert!(ends_within(&mut stream, IDLE * 2).await);
    assert!(started.elapsed() < IDLE, "{:?}", started.elapsed());
}

/// C113. Breaks when `api/src/stream.rs`: `timer.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))` → `{ let _ = timer; Poll::Pending }`.
#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_cut_off() {
    const REQUESTS: usize = 12;
    let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
    let server = Server::limited(HttpConfig { docs: true, ..config() }, limits).await;
    let mut stream = server.connect().await;
    let page = "GET /docs/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(page.repeat(REQUESTS).as_bytes()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let (mut taken, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(Ok(count)) = timeout(Duration::from_secs(2), stream.read(&mut buffer)).await
        && count > 0
    {
        taken += count;
    }
    assert!(taken < REQUESTS * 1_500_000, "{taken} bytes came although nothing was read for a second");
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let server = Server::limited(config(), Limits::default()).await;
    let many = "X-A: b\r\n".repeat(101);
    assert_eq!(server.request("GET /api/seen/", &many).await.status, 431);
    let long = format!("X-A: {}\r\n", "b".repeat(40_000));
    assert_eq!(server.request("GET /api/seen/", &long).await.status, 431);
    let fine = format!("X-A: {}\r\n", "b".repeat(20_000));
    assert_eq!(server.request("GET /api/seen/", &fine).await.status, 200);
}

#[tokio::test]
async fn http_2_by_prior_knowledge_is_not_spoken() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("the connection is closed"));
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let server = Server::start(config()).await;
    for framing in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: +2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let answer = server.send(format!("POST /api/login/ HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{{}}")).await;
        assert_eq!(answer.status, 400, "{framing}");
    }
}

#[tokio::test]
async fn beyond_the_cap_connections_wait_and_are_served_later() {
    let server = Server::limited(config(), Limits { connections: 2, ..Limits::default() }).await;
    let (first, second) = (server.connect().await, server.connect().await);
    sleep(Duration::from_millis(100)).await;
    let mut third = server.connect().await;
    third.write_all(GET.as_bytes()).await.unwrap();
    let waiting = timeout(Duration::from_millis(300), third.readable()).await;
    assert!(waiting.is_err(), "the cap holds");
    drop((first, second));
    assert_eq!(Answer::read(&mut third).await.unwrap().status, 200);
}

#[tokio::test]
async fn stopping_finishes_requests_in_flight_and_closes_idle_connections() {
    let limits = Limits { notice: Duration::ZERO, farewell: Duration::from_millis(100), ..Limits::default() };
    let mut server = Server::limited(config(), limits).await;
    let mut idle = server.connect().await;
    idle.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut idle).await.unwrap().status, 200);
    let mut busy = server.connect().await;
    busy.write_all(b"GET /api/slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(200)).await;
    server.stop();
    assert!(ends_within(&mut idle, Duration::from_millis(400)).await);
    let answer = Answer::read(&mut busy).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
    timeout(Duration::from_secs(5), &mut server.serving).await.expect("the server ends").unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "no one listens any more");
}

/// A proxy may have sent a request just before it learned of the end: closing under it would fail what was never refused.
///
/// C108. Breaks when `api/src/edge.rs`: `if *seen.borrow() >= Ending::Leaving {` → `if *seen.borrow() >= Ending::Closing {`.
#[tokio::test]
async fn whoever_was_connected_is_answered_once_more_before_the_connection_ends() {
    let limits =
        Limits { notice: Duration::from_millis(600), farewell: Duration::from_millis(600), ..Limits::default() };
    let mut server = Server::limited(config(), limits).await;
    let (mut kept, mut late) = (server.connect().await, server.connect().await);
    for stream in [&mut kept, &mut late] {
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(stream).await.unwrap().header("connection"), None, "it is kept");
    }
    server.stop();
    sleep(Duration::from_millis(200)).await;
    let mut new = server.connect().await;
    for stream in [&mut kept, &mut new] {
        stream.write_all(GET.as_bytes()).await.unwrap();
        let answer = Answer::read(stream).await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(ends_within(stream, Duration::from_millis(200)).await);
    }
    sleep(Duration::from_millis(500)).await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "no one listens any more");
    late.write_all(GET.as_bytes()).await.unwrap();
    let answer = Answer::read(&mut late).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    timeout(Duration::from_secs(5), &mut server.serving).await.expect("the server ends").unwrap();
}

/// C108. Breaks when `api/src/edge.rs`: `for (stream, peer) in waiting(listener) {` → `for (stream, peer) in waiting(listener).into_iter().skip(1) {`.
#[tokio::test]
async fn whoever_the_kernel_has_let_in_is_answered_though_the_listener_closes() {
    let limits = Limits { connections: 1, notice: Duration::from_millis(200), ..Limits::default() };
    let mut server = Server::limited(config(), limits).await;
    let mut first = server.connect().await;
    first.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut first).await.unwrap().status, 200);
    // The first has the only place; this one stands in the kernel's queue and has sent its request.
    let mut queued = server.connect().await;
    queued.write_all(GET.as_bytes()).await.unwrap();
    server.stop();
    let answer = Answer::read(&mut queued).await.expect("it is not reset");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "no one listens any more");
}

#[tokio::test]
async fn a_connection_that_outlasts_the_drain_is_cut() {
    let limits = Limits { notice: Duration::ZERO, drain: Duration::from_millis(300), ..Limits::default() };
    let mut server = Server::limited(config(), limits).await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /api/never/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop();
    timeout(Duration::from_millis(1500), &mut server.serving).await.expect("the server ends").unwrap();
    assert!(Answer::read(&mut stuck).await.is_none());
}
