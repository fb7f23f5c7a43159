//! Checkpoints as workers sign them and write them outside.

use std::fs;
use std::time::Duration;

use doorbook_core::audit::checkpoint::{Checkpoint, collect};
use doorbook_core::store::tree;
use doorbook_core::{audit, store};
use doorbook_dev::{Cluster, Role, Stand};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::common::*;

/// Breaks when `worker/src/checkpoints.rs`: `sink.write(checkpoint.note).await?;` → `let _ = sink.write(checkpoint.note).await;`.
#[tokio::test]
async fn a_worker_signs_once_and_what_the_sink_did_not_take_is_written_when_it_does() {
    let cluster = Cluster::shared().await.unwrap();
    let folder = cluster.run().folder().join("sink-of-checkpoints");
    let file = folder.join("checkpoints");
    let sink = format!("file://{}", file.display());
    // The folder is not there yet: the sink takes nothing.
    let mut stand = Stand::start_with(cluster, &[("CHECKPOINT_SINK", &sink)]).await.unwrap();
    stand.start_worker().await.unwrap();
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    append_events(&owner, 2_300).await;
    until(&owner, "select count(*) from checkpoints", 2).await;
    until(&owner, "select max(size) from checkpoints", 2_000).await;
    until(&owner, "select written_size from checkpoint_sink", 0).await;
    sleep(Duration::from_secs(2)).await;
    fs::create_dir(&folder).unwrap();
    until(&owner, "select written_size from checkpoint_sink", 2_000).await;
    let superuser = PgPool::connect(&cluster.superuser_url(stand.database.name())).await.unwrap();
    let_a_minute_pass(&superuser).await;
    until(&owner, "select count(*) from checkpoints", 3).await;
    until(&owner, "select (select max(size) from checkpoints) - (select written_size from checkpoint_sink)", 0).await;
    // The events about checkpoints make no further ones.
    sleep(Duration::from_secs(3)).await;
    until(&owner, "select count(*) from checkpoints", 3).await;
    until(&owner, "select count(*) from events where type = 'CheckpointSigned' and retention_class = 'keep'", 3).await;

    let collected = collect(&fs::read_to_string(&file).unwrap());
    let sizes: Vec<u64> = collected.notes.iter().map(|note| Checkpoint::parse(note.text()).unwrap().size).collect();
    assert!(sizes.is_sorted() && sizes.len() == 3 && collected.unreadable == 0, "{sizes:?}");
    let outside = ["audit", "verify", "--checkpoint", file.to_str().unwrap()];
    let said = stand.doorbook(&outside).await.unwrap();
    assert!(said.contains("hold"), "{said}");
    let keys = stand.doorbook(&["keys"]).await.unwrap();
    let key = keys.lines().find_map(|line| line.strip_suffix("  signs").map(str::trim)).unwrap();
    stand.doorbook(&[&outside[..], &["--key", key]].concat()).await.unwrap();
}

/// Breaks when `core/src/service/checkpoints.rs`: `seed.retired_at.is_none_or(|at| now.since(at) < SUCCESSION)` → `seed.retired_at.is_none()`.
#[tokio::test]
async fn who_knows_the_earlier_key_alone_sees_it_hand_over_to_the_next() {
    let house = House::with_log(20).await;
    let earlier = house.key().await;
    let rotated = house.run(&["keys", "rotate", "checkpoint"]).await;
    assert_eq!(rotated.status, 0, "{rotated:?}");
    let later = house.key().await;
    assert_ne!(earlier, later);
    let signs = async || {
        let listed = house.run(&["keys"]).await.out;
        [&earlier, &later]
            .map(|key| listed.lines().any(|line| line.contains(key.as_str()) && line.ends_with("  signs")))
    };
    assert_eq!(signs().await, [true, true]);
    house.append(20).await;
    house.seal().await;
    house.sign().await;
    for key in [&earlier, &later] {
        assert_eq!(house.verify(&["--key", key]).await, [], "the newest checkpoint holds by either");
    }
    // A month on, the earlier one is at an end; what it has signed holds for those who have it.
    let aged = "update keys.service_keys set changed_at = changed_at - interval '31 days' where purpose = 'checkpoint' and not active";
    house.tamper(aged).await;
    assert_eq!(signs().await, [false, true]);
    house.append(20).await;
    house.seal().await;
    house.sign().await;
    assert_eq!(house.verify(&["--key", &later]).await, []);
    assert_eq!(house.number("select count(*) from checkpoint_keys").await, 2);
}

/// Breaks when `core/src/service/checkpoints.rs`: `Err(StoreError::Conflict) => Ok(None),` → `Err(StoreError::Conflict) => Ok(Some(size)),`.
#[tokio::test]
async fn of_signers_that_run_at_once_one_signs() {
    let house = house().await;
    house.append(40).await;
    house.seal().await;
    let signers = house.signers().await;
    let sign = || house.book.sign_now(&signers);
    let tried = tokio::join!(sign(), sign(), sign(), sign());
    let tried = [tried.0.unwrap(), tried.1.unwrap(), tried.2.unwrap(), tried.3.unwrap()];
    assert_eq!(tried.into_iter().flatten().collect::<Vec<_>>(), [40]);
    assert_eq!(house.number("select count(*) from checkpoints").await, 1);
    assert_eq!(house.verify(&[]).await, []);
}

/// Breaks when `core/src/store/tree.rs`: `lasts.push(signed(((node.index + 1) << above) - 1));` → `lasts.push(signed((node.index + 1) << above));`.
#[tokio::test]
async fn inclusion_and_consistency_are_proven_from_what_is_stored() {
    let house = House::with_log(1_700).await;
    let db = &house.book.db;
    let marks = store::checkpoints::after(db, 0, 10).await.unwrap();
    assert_eq!(marks.iter().map(|mark| mark.size).collect::<Vec<_>>(), [1_000, 1_700]);
    let leaves = [
        store::checkpoints::leaf_hashes(db, 0, 1_000).await.unwrap(),
        store::checkpoints::leaf_hashes(db, 1_000, 700).await.unwrap(),
    ]
    .concat();
    let [old, new] = [0, 1].map(|at: usize| <[u8; 32]>::try_from(marks[at].root.as_slice()).unwrap());
    let path = tree::consistency(db, 1_000, 1_700).await.unwrap().unwrap();
    assert!(audit::tree::is_consistent((1_000, &old), (1_700, &new), &path));
    for position in [1, 2, 255, 256, 257, 1_000, 1_024, 1_025, 1_699, 1_700] {
        let path = tree::inclusion(db, position, 1_700).await.unwrap().unwrap();
        let index = usize::try_from(position - 1).unwrap();
        assert!(audit::tree::includes(&new, 1_700, position - 1, &leaves[index], &path), "{position}");
    }
    assert!(tree::inclusion(db, 1_701, 1_700).await.unwrap().is_none());
}
