//! A server that takes checkpoints, over TLS.

use doorbook_core::audit::checkpoint::{Checkpoint, collect};
use doorbook_dev::receiver::Receiver;
use doorbook_dev::{Cluster, Role, Stand};

use crate::common::*;

const CANARY: &str = "canary-of-a-key-in-the-url";

/// Breaks when `worker/src/sink.rs`: `if answer.status().is_success() { Ok(()) } else { Err(SinkError::Refused(answer.status())) }` → `Ok(())`.
#[tokio::test]
async fn a_checkpoint_is_posted_to_nobody_but_the_server_until_it_has_taken_it() {
    let cluster = Cluster::shared().await.unwrap();
    let authorities = cluster.run().folder().join("sink-authorities.pem");
    let receiver = Receiver::start(&authorities).await.unwrap();
    let sink = format!("https://localhost:{}/log?key={CANARY}", receiver.port().unwrap());
    let settings = [("CHECKPOINT_SINK", sink.as_str()), ("SSL_CERT_FILE", authorities.to_str().unwrap())];
    let stand = Stand::start_with(cluster, &settings).await.unwrap();
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    append_events(&owner, 1_000).await;

    assert_eq!(receiver.deceive().await.unwrap(), None, "who shows another certificate gets nothing");
    let mut bodies = Vec::new();
    for answer in
        ["503 Service Unavailable", "307 Temporary Redirect\r\nLocation: https://localhost:1/", "204 No Content"]
    {
        until(&owner, "select written_size from checkpoint_sink", 0).await;
        let posted = receiver.take(answer).await.unwrap();
        assert!(posted.head.starts_with("POST /log?key="), "{posted:?}");
        assert_eq!(posted.header("content-type"), Some("text/plain; charset=utf-8"));
        bodies.push(posted.body);
    }
    until(&owner, "select (written_size >= 1000)::int::bigint from checkpoint_sink", 1).await;
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    let taken = collect(&bodies[0]);
    assert_eq!((taken.notes.len(), taken.unreadable), (1, 0), "{bodies:?}");
    assert!(Checkpoint::parse(taken.notes[0].text()).unwrap().size >= 1_000);
    let log = stand.worker.as_ref().unwrap().log().unwrap();
    assert!(log.contains("CHECKPOINT_SINK") && !log.contains(CANARY), "{log}");
}
