//! Clients that send too much, too slowly or too often, and connections beyond what the process can hold.

use std::time::{Duration, Instant};

use doorbook_dev::Stand;
use doorbook_dev::memory::resident;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::common::*;
use crate::wire::Wire;

const HEAD: &str = "POST /api/auth/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";

/// Most bytes of a body that may be read before it is refused. Source: the release bar.
const READ_MAX: usize = 128 * 1024;

/// Most memory that large bodies may cost, in bytes. Source: the release bar.
const GROWTH_MAX: u64 = 5 * 1024 * 1024;

async fn connect(stand: &Stand) -> TcpStream {
    connect_to(&stand.base).await
}

async fn connect_to(base: &str) -> TcpStream {
    TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Reads until the head of an answer is there; empty when the connection ends before.
async fn head_of_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a chunked body that never ends until nobody takes it any more; how much was taken.
async fn pour(mut stream: TcpStream, total: usize) -> usize {
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000)).into_bytes();
    stream.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let mut sent = 0;
    while sent < total && stream.write_all(&chunk).await.is_ok() {
        sent += 0x8000;
    }
    sent
}

/// C055. Breaks when `api/src/body.rs`: `bytes.len() + chunk.len() > BODY_MAX` → `bytes.len() + chunk.len() > BODY_MAX * 64`.
#[tokio::test]
async fn a_body_without_end_is_refused_early_and_costs_next_to_nothing() {
    let stand = stand(&[]).await;
    let total = dose(20, 300) * 1024 * 1024;
    // Threads, buffers and code are there after the first such body.
    for _ in 0..3 {
        pour(connect(&stand).await, total).await;
    }
    let before = resident(stand.api.pid()).unwrap();
    let mut senders = JoinSet::new();
    for _ in 0..50 {
        senders.spawn(pour(connect(&stand).await, total));
    }
    let mut most = before;
    while !senders.is_empty() {
        tokio::select! {
            sent = senders.join_next() => {
                let sent = sent.unwrap().unwrap();
                // The sockets' own buffers take some megabytes before anyone reads them.
                assert!(sent < 16 * 1024 * 1024, "{sent} bytes were taken");
            }
            () = sleep(Duration::from_millis(5)) => most = most.max(resident(stand.api.pid()).unwrap()),
        }
    }
    println!("figure: 50 endless bodies at once: memory grew by {} KiB", (most - before) / 1024);
    assert!(most - before <= GROWTH_MAX, "memory grew by {} bytes", most - before);
}

/// C055. Breaks when `api/src/body.rs`: `announced.is_some_and(|length| length > BODY_MAX as u64)` → `announced.is_some_and(|length| length > u64::MAX / 2)`.
#[tokio::test]
async fn a_large_body_is_answered_before_more_than_twice_the_limit_was_read() {
    let stand = stand(&[]).await;
    for framing in ["Content-Length: 314572800\r\n\r\n", "Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n"] {
        let mut stream = connect(&stand).await;
        stream.write_all(format!("{HEAD}{framing}").as_bytes()).await.unwrap();
        let answer = timeout(Duration::from_secs(5), head_of_answer(&mut stream)).await.expect("an answer at once");
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    let mut stream = connect(&stand).await;
    stream.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    for _ in 0..READ_MAX / 0x8000 {
        // The answer may be there, and the connection closed, before all of it was sent.
        let _ = stream.write_all(format!("8000\r\n{}\r\n", " ".repeat(0x8000)).as_bytes()).await;
    }
    let answer = timeout(Duration::from_secs(5), head_of_answer(&mut stream)).await.expect("an answer without more");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");

    // Chunks whose length is no number that a body could have.
    for chunks in ["10000000000000000\r\n", "-1\r\n", "x\r\n", "\r\n"] {
        let mut wire = wire(&stand).await;
        let reply = wire.raw(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes()).await.unwrap();
        assert_eq!(reply.status, 400, "{chunks:?}");
    }
    let padded = format!("1;{}\r\n \r\n", "x".repeat(20_000));
    let mut wire = wire(&stand).await;
    let reply = wire.raw(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{}", padded.repeat(20)).as_bytes()).await;
    assert!(reply.is_none_or(|reply| [400, 413].contains(&reply.status)), "extensions of chunks are bounded too");
}

/// What a slow client does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slow {
    Silent,
    Head,
    Body,
    NeverReads,
}

impl Slow {
    /// When it must have been cut off. Source: the release bar.
    const fn limit(self) -> Duration {
        match self {
            Self::Silent | Self::Head => Duration::from_secs(10),
            Self::Body => Duration::from_secs(15),
            Self::NeverReads => Duration::from_secs(30),
        }
    }

    /// Behaves so until the server ends the connection; how long that took.
    async fn behave(self, mut stream: TcpStream) -> Duration {
        let started = Instant::now();
        let drip = Duration::from_millis(500);
        match self {
            Self::Silent => {}
            Self::Head => stream.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ").await.unwrap(),
            Self::Body => {
                stream.write_all(format!("{HEAD}Content-Length: 60000\r\n\r\n").as_bytes()).await.unwrap();
            }
            Self::NeverReads => return Self::never_read(stream).await,
        }
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => if read.unwrap_or(0) == 0 { return started.elapsed() },
                () = sleep(drip) => if self != Self::Silent && stream.write_all(b"a").await.is_err() {
                    return started.elapsed();
                },
            }
        }
    }

    /// Behaves so on one connection after the other, for as long as this; the longest that one stayed.
    async fn insist(self, base: String, lasting: Duration) -> Duration {
        let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
        loop {
            slowest = slowest.max(self.behave(connect_to(&base).await).await);
            if begun.elapsed() >= lasting {
                return slowest;
            }
        }
    }

    /// Asks for the largest answer again and again. That the server has given up shows in writing: it takes no more.
    async fn never_read(mut stream: TcpStream) -> Duration {
        let started = Instant::now();
        let page = "GET /docs/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        loop {
            match timeout(Duration::from_secs(1), stream.write_all(page.as_bytes())).await {
                Ok(Err(_)) => return started.elapsed(),
                Ok(Ok(())) => sleep(Duration::from_millis(200)).await,
                Err(_) => {}
            }
        }
    }
}

/// Times of another client's requests, for as long as this, sorted.
async fn others(stand: &Stand, lasting: Duration) -> Vec<Duration> {
    let (mut wire, begun, mut times) = (wire(stand).await, Instant::now(), Vec::new());
    while begun.elapsed() < lasting {
        let started = Instant::now();
        assert_eq!(wire.get("/api/auth/password/rules/", &[]).await.status, 200);
        times.push(started.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    times.sort_unstable();
    times
}

fn descriptors(stand: &Stand) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", stand.api.pid())).unwrap().count()
}

/// The slow clients have other threads than the one that is asked how it is served: their own work is not the service's.
/// C113. Breaks when `api/src/stream.rs`: `let head = Some(Box::pin(sleep(header_deadline)));` → `let head = None;`.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_in_time_and_nobody_else_notices() {
    let stand = stand(&[]).await;
    // A thousand of them; each comes back when it is cut off.
    let (each, lasting) = (dose(25, 250), Duration::from_secs(dose(0, 600)));
    let before = others(&stand, Duration::from_secs(dose(1, 20))).await;
    let (held_before, memory_before) = (descriptors(&stand), resident(stand.api.pid()).unwrap());
    let mut clients = JoinSet::new();
    // The small dose leaves out the clients that take half a minute; `edge::connections` of the api has them.
    let kinds = [Slow::Silent, Slow::Head, Slow::Body, Slow::NeverReads];
    let kinds = &kinds[..dose(3, 4)];
    for kind in kinds.iter().copied() {
        for _ in 0..each {
            let base = stand.base.clone();
            clients.spawn(async move { (kind, kind.insist(base, lasting).await) });
        }
    }
    let during = others(&stand, lasting.max(Duration::from_secs(1))).await;
    let (held, memory) = (descriptors(&stand), resident(stand.api.pid()).unwrap());
    let mut slowest = [Duration::ZERO; 4];
    while let Some(ended) = timeout(Duration::from_secs(90), clients.join_next()).await.expect("all are cut off") {
        let (kind, after) = ended.unwrap();
        slowest[kind as usize] = slowest[kind as usize].max(after);
    }
    for (kind, slowest) in kinds.iter().zip(slowest) {
        println!("figure: {kind:?} × {each}: cut off after at most {:.1} s", slowest.as_secs_f64());
        // What the test's own clients may need, which share the machine.
        assert!(slowest <= kind.limit() + Duration::from_secs(dose(5, 1)), "{kind:?}: {slowest:?}");
    }
    assert!(held <= held_before + each * kinds.len() + 16, "{held} descriptors, {held_before} before");
    let grown = memory.saturating_sub(memory_before) / 1024;
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    println!(
        "figure: {} s of it: p99 of others before {:?}, meanwhile {:?}; {held_before} and {held} descriptors, {grown} KiB more",
        lasting.as_secs(),
        p99(&before),
        p99(&during)
    );
    if is_full_dose() {
        assert!(p99(&during) <= p99(&before) * 2 + Duration::from_millis(2), "{:?} {:?}", p99(&before), p99(&during));
    }
    assert_eq!(wire(&stand).await.get("/health/ready", &[]).await.status, 200);
}

/// C113. Breaks when `api/src/edge.rs`: `sleep(wait).await;` → `let _ = wait;`.
#[tokio::test]
async fn without_free_descriptors_the_service_waits_and_recovers() {
    let stand = stand(&[]).await;
    assert_eq!(wire(&stand).await.get("/api/auth/password/rules/", &[]).await.status, 200);
    let process = Pid::from_raw(i32::try_from(stand.api.pid()).unwrap());
    let held = std::fs::read_dir(format!("/proc/{}/fd", stand.api.pid())).unwrap().count();
    let few = Rlimit { current: Some(u64::try_from(held).unwrap() + 10), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(process, Resource::Nofile, few).unwrap();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(connect(&stand).await);
    }
    sleep(Duration::from_secs(2)).await;
    let complaints = stand.api.log().unwrap().matches("cannot accept connections").count();
    // 10, 20, 40, … ms: eight of them in two seconds. Without waiting it would be thousands.
    assert!((1..=15).contains(&complaints), "{complaints} complaints in two seconds");
    drop(held);
    prlimit(process, Resource::Nofile, before).unwrap();
    let mut wire = Wire::open(&stand.base, &somewhere()).await;
    assert_eq!(wire.get("/health/ready", &[]).await.status, 200, "it goes on when there are some again");
}
