//! Bundles: verified by the command and by a second implementation, with nothing but the public key.

use std::fs;
use std::path::Path;

use doorbook_core::audit::bundle::EventLine;
use doorbook_core::audit::note::{Signer, hex};
use doorbook_dev::checks::ROOT;
use doorbook_dev::python;
use serde_json::{Value, json};

use crate::common::*;

/// Both verify the file; whether it holds, and all that they say. They agree.
pub async fn verified_twice(house: &House, file: &Path, key: &str) -> (bool, String) {
    let file = file.to_str().unwrap();
    let ran = house.run(&["audit", "verify", "--bundle", file, "--key", key]).await;
    let programs = python::environment("e2e", "e2e/requirements.txt").await.unwrap();
    let script = Path::new(ROOT).join("e2e/verify_bundle.py");
    let mut second = tokio::process::Command::new(programs.join("python"));
    let second = second.arg("-B").arg(script).args([file, key]).output().await.unwrap();
    let said = String::from_utf8(second.stdout).unwrap();
    assert!(second.stderr.is_empty(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(ran.status == 0, second.status.success(), "the two disagree: {ran:?}\n{said}");
    (ran.status == 0, format!("{}{}{said}", ran.out, ran.err))
}

/// C080. Breaks when `cli/src/audit/bundle.rs`: `if !(whole && edge.root() == checkpoint.root) {` → `if !whole {`.
#[tokio::test]
async fn a_bundle_holds_for_two_implementations_and_no_change_of_it_does() {
    let house = House::with_log(1_300).await;
    let (key, whole, part) = (house.key().await, house.folder.join("whole"), house.folder.join("part"));
    let ran = house.run(&["audit", "export", whole.to_str().unwrap()]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    let (holds, said) = verified_twice(&house, &whole, &key).await;
    assert!(holds && said.contains("positions 1 to 1300 hold"), "{said}");
    let ran = house.run(&["audit", "export", "--from", "37", "--to", "1111", part.to_str().unwrap()]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(verified_twice(&house, &part, &key).await.0);
    let beyond = house.run(&["audit", "export", "--to", "1301", "beyond"]).await;
    assert!(beyond.status == 1 && beyond.err.contains("under no checkpoint"), "{beyond:?}");

    let lines: Vec<String> = fs::read_to_string(&part).unwrap().lines().map(str::to_owned).collect();
    let event: Value = serde_json::from_str(&lines[6]).unwrap();
    let (id, changed) = (event["event"]["event_id"].as_str().unwrap().to_owned(), house.folder.join("changed"));
    let rewritten = |field: &str, value: Value| {
        let (mut lines, mut event) = (lines.clone(), event.clone());
        event["event"][field] = value;
        lines[6] = event.to_string();
        lines
    };
    let other = |at: usize| serde_json::from_str::<Value>(&lines[at]).unwrap()["event"]["leaf_hash"].clone();
    let mut swapped = lines.clone();
    swapped.swap(6, 7);
    // Behind the last checkpoint in the bundle, with its hash made anew: the root over all is the only witness.
    let (mut forged, late) = (lines.clone(), 1_015);
    let mut line: Value = serde_json::from_str(&lines[late]).unwrap();
    assert_eq!(line["event"]["position"], 1_050);
    line["event"]["payload"] = json!({});
    let hash = serde_json::from_value::<EventLine>(line["event"].clone()).unwrap().hash().unwrap();
    line["event"]["leaf_hash"] = json!(hex(&hash));
    forged[late] = line.to_string();
    let without = |from: usize, to: usize| [&lines[..from], &lines[to..]].concat();
    let cases = [
        ("payload", rewritten("payload", json!({})), "position 42"),
        ("time", rewritten("recorded_at", json!(event["event"]["recorded_at"].as_i64().unwrap() + 1)), "position 42"),
        ("actor", rewritten("actor_kind", json!("operator")), "position 42"),
        ("type", rewritten("type", json!("KeyRotated")), "position 42"),
        ("sealed data", rewritten("pii", json!("AAAA")), "position 42"),
        ("hash", rewritten("leaf_hash", other(9)), "position 42"),
        ("forged", forged, "positions 1001 to 1111"),
        ("swapped", swapped, "position 43"),
        ("deleted", without(6, 7), "position 43"),
        ("cut off", without(lines.len() - 3, lines.len()), "positions 1109 to 1111"),
        ("inserted twice", [&lines[..7], &lines[6..]].concat(), "position 42"),
    ];
    for (case, lines, place) in cases {
        fs::write(&changed, lines.join("\n") + "\n").unwrap();
        let (holds, said) = verified_twice(&house, &changed, &key).await;
        assert!(!holds && said.contains(place), "{case}: {said}");
        assert!(
            said.contains(&id) || !matches!(case, "payload" | "time" | "actor" | "type" | "hash"),
            "{case}: {said}"
        );
    }
}

/// C080. Breaks when `cli/src/audit/trust.rs`: `if note.is_signed_by(&self.verifiers) {` → `if !note.key_ids().is_empty() {`.
#[tokio::test]
async fn a_forger_without_the_key_proves_nothing() {
    let house = House::with_log(50).await;
    let (key, file) = (house.key().await, house.folder.join("bundle"));
    // He has changed the events and made every hash anew before the export.
    let event = house.event(7).await;
    house.tamper(&format!("update events set payload = '{{}}' where event_id = '{event}'")).await;
    house.reseal(7, 7).await;
    let ran = house.run(&["audit", "export", file.to_str().unwrap()]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    let (holds, said) = verified_twice(&house, &file, &key).await;
    assert!(!holds && said.contains("positions 1 to 50"), "{said}");
    // And signs it with a key of his own under the name of the log.
    let name = key.split('+').next().unwrap();
    let own = Signer::from_seed(name, &[7; 32]).unwrap();
    house
        .tamper(
            "delete from checkpoints; delete from log_nodes; delete from event_seals where position > 50;
             delete from streams where stream_id in (select stream_id from events where type = 'CheckpointSigned');
             delete from events where type = 'CheckpointSigned'",
        )
        .await;
    house.book.sign_now(std::slice::from_ref(&own)).await.unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(house.run(&["audit", "export", file.to_str().unwrap()]).await.status, 0);
    assert!(!verified_twice(&house, &file, &key).await.0);
    assert!(verified_twice(&house, &file, &own.verifier().to_string()).await.0, "by his key it would hold");
}

/// C069. Breaks when `cli/src/audit/export.rs`: `doorbook.note_bundle(&Context::operator(Uuid::from_bytes(random()))).await?;` → ``.
#[tokio::test]
async fn an_operator_who_takes_the_log_away_stands_in_it() {
    let house = House::with_log(50).await;
    let file = house.folder.join("taken");
    let beyond = house.run(&["audit", "export", "--to", "9999", file.to_str().unwrap()]).await;
    let ran = house.run(&["audit", "export", file.to_str().unwrap()]).await;
    assert_eq!((beyond.status, ran.status), (1, 0), "{beyond:?} {ran:?}");
    let told = "select actor_kind || payload::text from events where type = 'AuditExported'";
    let told: Vec<String> = sqlx::query_scalar(told).fetch_all(&house.superuser).await.unwrap();
    assert_eq!(told, [r#"operator{"fields": ["position"], "format": "bundle"}"#]);
}
