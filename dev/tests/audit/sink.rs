//! A server that takes checkpoints, over TLS.

use std::sync::Arc;

use doorbook_core::audit::checkpoint::{Checkpoint, collect};
use doorbook_dev::{Cluster, Role, Stand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::common::*;
use crate::signing::until;

const CANARY: &str = "canary-of-a-key-in-the-url";

/// A certificate that vouches for itself, and who shows it.
fn certified() -> (String, TlsAcceptor) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// One request with a body, answered; `None` when the client hangs up before it has said anything.
async fn take(listener: &TcpListener, acceptor: &TlsAcceptor, answer: &str) -> Option<(String, String)> {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        if body.len() >= length.lines().next().unwrap().parse::<usize>().unwrap() {
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            return Some((head, body.to_owned()));
        }
    }
}

/// Breaks when `worker/src/sink.rs`: `if answer.status().is_success() { Ok(()) } else { Err(SinkError::Refused(answer.status())) }` → `Ok(())`.
#[tokio::test]
async fn a_checkpoint_is_posted_to_nobody_but_the_server_until_it_has_taken_it() {
    let cluster = Cluster::shared().await.unwrap();
    let ((trusted, own), (_, stranger)) = (certified(), certified());
    let authorities = cluster.run().folder().join("sink-authorities.pem");
    std::fs::write(&authorities, trusted).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = format!("https://localhost:{}/log?key={CANARY}", listener.local_addr().unwrap().port());
    let settings = [("CHECKPOINT_SINK", sink.as_str()), ("SSL_CERT_FILE", authorities.to_str().unwrap())];
    let stand = Stand::start_with(cluster, &settings).await.unwrap();
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    append_events(&owner, 1_000).await;

    let from_stranger = take(&listener, &stranger, "204 No Content").await;
    assert_eq!(from_stranger, None, "who shows another certificate gets nothing");
    let mut bodies = Vec::new();
    for answer in
        ["503 Service Unavailable", "307 Temporary Redirect\r\nLocation: https://localhost:1/", "204 No Content"]
    {
        until(&owner, "select written_size from checkpoint_sink", 0).await;
        let (head, body) = take(&listener, &own, answer).await.expect("it tries again");
        assert!(
            head.starts_with("post /log?key=") && head.contains("content-type: text/plain; charset=utf-8"),
            "{head}"
        );
        bodies.push(body);
    }
    until(&owner, "select (written_size >= 1000)::int::bigint from checkpoint_sink", 1).await;
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    let taken = collect(&bodies[0]);
    assert_eq!((taken.notes.len(), taken.unreadable), (1, 0), "{bodies:?}");
    assert!(Checkpoint::parse(taken.notes[0].text()).unwrap().size >= 1_000);
    let log = stand.worker.as_ref().unwrap().log().unwrap();
    assert!(log.contains("CHECKPOINT_SINK") && !log.contains(CANARY), "{log}");
}
