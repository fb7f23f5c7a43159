//! Programs under test.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use doorbook_dev::{Launch, Run};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{GUARD, eventually, is_alive};

const SOON: Duration = Duration::from_secs(10);

fn run() -> Arc<Run> {
    Arc::new(Run::temporary(Path::new(GUARD)).expect("a run starts"))
}

fn shell(script: &str) -> Launch {
    Launch::new("/bin/sh").arg("-c").arg(script)
}

#[tokio::test]
async fn a_program_sees_only_the_environment_it_is_given_and_its_output_is_kept() {
    let run = run();
    let mut program = shell("env; echo complaint >&2").env("API_BIND", "127.0.0.1:1").start(&run).unwrap();
    assert!(program.ended(SOON).await.unwrap().success());
    let log = program.log().unwrap();
    assert!(log.contains("API_BIND=127.0.0.1:1\n") && log.contains("complaint\n"), "{log}");
    assert!(!log.contains("CARGO"), "{log}");
}

#[tokio::test]
async fn a_program_can_be_killed_ended_and_paused_and_ends_with_its_value() {
    let run = run();
    let sleeper = shell("exec sleep 600");
    let mut killed = sleeper.start(&run).unwrap();
    assert_eq!(killed.kill().await.unwrap().signal(), Some(Signal::KILL.as_raw()));

    let polite = shell("trap 'exit 7' TERM; echo set; while :; do sleep 0.05; done");
    let mut polite = polite.start(&run).unwrap();
    eventually(SOON, || polite.log().is_ok_and(|log| log == "set\n")).await;
    polite.pause().unwrap();
    polite.terminate().unwrap();
    assert!(polite.ended(Duration::from_millis(300)).await.is_err());
    polite.resume().unwrap();
    assert_eq!(polite.ended(SOON).await.unwrap().code(), Some(7));

    let mut paused = sleeper.start(&run).unwrap();
    paused.pause().unwrap();
    let pid = paused.pid();
    drop(paused);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn readiness_is_waited_for_until_it_is_200() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for status in ["503 Service Unavailable", "503 Service Unavailable", "200 OK"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /health/ready HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut program = shell("exec sleep 600").start(&run()).unwrap();
    program.wait_ready(&base, SOON).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn a_program_that_ends_before_it_is_ready_is_an_error_with_its_last_words() {
    let mut program = shell("echo no database; exit 2").start(&run()).unwrap();
    let error = program.wait_ready("http://127.0.0.1:9", SOON).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 2") && error.contains("no database"), "{error}");
}

#[tokio::test]
async fn what_a_program_started_itself_ends_with_the_run() {
    let run = run();
    let mut program = shell("sleep 600 & echo $!").start(&run).unwrap();
    assert!(program.ended(SOON).await.unwrap().success());
    let orphan: u32 = program.log().unwrap().trim().parse().unwrap();
    assert!(is_alive(orphan));
    drop((program, run));
    assert!(!is_alive(orphan));
}
