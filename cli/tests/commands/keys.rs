//! Keys: what is listed, and what a backup brings back.

use std::fs;
use std::path::{Path, PathBuf};

use doorbook_core::clock::Timestamp;
use doorbook_core::key_backup::{Head, Reader, Writer};
use doorbook_core::store::keys::backup::Row;
use doorbook_dev::Cluster;
use sqlx::Row as _;

use crate::common::*;

const RECIPIENT: &str = "m3Qx0p5bT8kz1uJ7cWn2vR9yLhD4sGf6aEoKiXtUyBQ=";
const RECIPIENT_BYTES: [u8; 32] = [
    0x9b, 0x74, 0x31, 0xd2, 0x9e, 0x5b, 0x4f, 0xc9, 0x33, 0xd6, 0xe2, 0x7b, 0x71, 0x69, 0xf6, 0xbd, 0x1f, 0x72, 0x2e,
    0x10, 0xf8, 0xb0, 0x67, 0xfa, 0x68, 0x4a, 0x0a, 0x89, 0x7b, 0x54, 0xc8, 0x14,
];

/// A folder for the files of one test.
fn folder(cluster: &Cluster, test: &str) -> PathBuf {
    let folder = cluster.run().folder().join(format!("keys-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("recipient"), RECIPIENT).unwrap();
    folder
}

async fn keys(house: &House, command: &str, folder: &Path, file: &str, further: &[&str]) -> Ran {
    let (file, recipient) = (folder.join(file), folder.join("recipient"));
    let line = ["keys", command, file.to_str().unwrap(), "--recipient-key-file", recipient.to_str().unwrap()];
    house.run_with(&[&line, further].concat(), &[], "").await
}

/// The file again, with another time of its making.
fn taken_at(folder: &Path, from: &str, to: &str, at: Timestamp) {
    let bytes = fs::read(folder.join(from)).unwrap();
    let (mut reader, _) = Reader::begin(bytes.as_slice(), &RECIPIENT_BYTES).unwrap();
    let mut writer = Writer::begin(Vec::new(), &RECIPIENT_BYTES, Head { taken_at: at }).unwrap();
    while let Some(rows) = reader.rows::<Row>().unwrap() {
        writer.rows(&rows).unwrap();
    }
    fs::write(folder.join(to), writer.end().unwrap()).unwrap();
}

async fn change(house: &House, sql: &'static str) {
    sqlx::query(sql).execute(&house.owner).await.unwrap();
}

/// Breaks when `core/src/store/keys.rs`: `or not exists (select from account_emails)` → `or true`.
#[tokio::test]
async fn a_backup_brings_lost_keys_back_and_nobody_who_was_erased() {
    let house = house().await;
    let folder = folder(Cluster::shared().await.unwrap(), "restore");
    let book = house.book().await;
    for address in ["ana@example.com", "bo@example.com", "cy@example.com"] {
        register(&book, address).await;
    }
    let said = keys(&house, "backup", &folder, "a", &[]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.starts_with("5 service keys and "), "{said:?}");
    assert!(said.out.contains("after 30 days"), "{said:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(folder.join("a")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = keys(&house, "backup", &folder, "a", &[]).await;
    assert_eq!(again.status, 1, "a backup is never written over: {again:?}");

    // Bo is erased after the backup, the row of Cy is of another database, and then the keys are lost.
    let receipt = house.run("account erase bo@example.com --reason asked").await;
    assert!(receipt.contains("\nkey-backups-until ") && receipt.contains("\n\u{2014} doorbook/"), "{receipt}");
    let receipt = receipt.split_once('\n').unwrap().1;
    for (name, text, status) in [
        ("genuine", receipt.to_owned(), 0),
        ("changed", receipt.replace("key-backups-until 2", "key-backups-until 1"), 1),
    ] {
        fs::write(folder.join(name), text).unwrap();
        let verified = house.run_with(&["audit", "receipt", folder.join(name).to_str().unwrap()], &[], "").await;
        assert_eq!(verified.status, status, "{name}: {verified:?}");
    }
    // The log alone is believed.
    change(&house, "update accounts set status = 'active' where status = 'erased'").await;
    change(
        &house,
        "delete from streams where stream_id = (select account_id from accounts order by account_id offset 2 limit 1)",
    )
    .await;
    let keys_before = sqlx::query("select purpose || key_id || active::text from keys.service_keys order by 1")
        .fetch_all(&house.owner)
        .await
        .unwrap();
    change(&house, "delete from keys.data_keys").await;
    change(&house, "delete from keys.service_keys").await;

    // Nothing that starts in between makes others in their place.
    let early = house.run_with(&["projections", "check"], &[], "").await;
    assert!(early.status != 0 && early.err.contains("doorbook keys restore"), "{early:?}");
    assert_eq!(house.number("select count(*) from keys.service_keys").await, 0);

    let said = keys(&house, "restore", &folder, "a", &[]).await;
    assert_eq!(said.status, 0, "{said:?}");
    let keys_after = sqlx::query("select purpose || key_id || active::text from keys.service_keys order by 1")
        .fetch_all(&house.owner)
        .await
        .unwrap();
    let text = |rows: &[sqlx::postgres::PgRow]| rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>();
    assert_eq!(text(&keys_after), text(&keys_before));
    assert_eq!(house.number("select count(*) from keys.data_keys where account_id is not null").await, 1);
    login(&house.book().await, "ana@example.com", PASSWORD).await.unwrap();
    // What is there already stays as it is.
    let twice = keys(&house, "restore", &folder, "a", &[]).await;
    assert!(twice.out.starts_with("0 service keys and 0 data keys"), "{twice:?}");
}

/// Breaks when `cli/src/keys/backup.rs`: `orphans == 0` → `orphans >= 0`.
#[tokio::test]
async fn a_restore_that_leaves_data_keys_which_nothing_opens_says_so() {
    let house = house().await;
    let folder = folder(Cluster::shared().await.unwrap(), "orphans");
    register(&house.book().await, "ana@example.com").await;
    change(&house, "update keys.data_keys set wrapped_by = 'another'").await;
    assert_eq!(keys(&house, "backup", &folder, "a", &[]).await.status, 0);
    change(&house, "delete from keys.data_keys").await;
    let said = keys(&house, "restore", &folder, "a", &[]).await;
    assert!(
        said.status == 1 && said.err.contains("1 data keys were wrapped by keys that are neither here"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_backup_that_is_too_old_changed_or_for_another_recipient_changes_nothing() {
    let house = house().await;
    let folder = folder(Cluster::shared().await.unwrap(), "refuse");
    register(&house.book().await, "ana@example.com").await;
    assert_eq!(keys(&house, "backup", &folder, "a", &[]).await.status, 0);
    let now: Timestamp = sqlx::query_scalar("select now()").fetch_one(&house.owner).await.unwrap();
    let day = std::time::Duration::from_secs(86_400);
    taken_at(&folder, "a", "old", now.minus(day * 30 + day / 24));
    taken_at(&folder, "a", "recent", now.minus(day * 29));
    change(&house, "delete from keys.data_keys where account_id is not null").await;
    let keys_left = "select count(*) from keys.data_keys where account_id is not null";

    let old = keys(&house, "restore", &folder, "old", &[]).await;
    assert!(old.status == 1 && old.err.contains("KEY_BACKUP_DAYS"), "{old:?}");
    let mut bytes = fs::read(folder.join("a")).unwrap();
    let half = bytes.len() - 30;
    bytes.truncate(half);
    fs::write(folder.join("half"), &bytes).unwrap();
    assert_eq!(keys(&house, "restore", &folder, "half", &[]).await.status, 1);
    fs::write(folder.join("recipient"), RECIPIENT.replace('m', "n")).unwrap();
    assert_eq!(keys(&house, "restore", &folder, "a", &[]).await.status, 1);
    assert_eq!(house.number(keys_left).await, 0);

    fs::write(folder.join("recipient"), RECIPIENT).unwrap();
    assert_eq!(keys(&house, "restore", &folder, "recent", &[]).await.status, 0);
    assert_eq!(house.number(keys_left).await, 1);
    change(&house, "delete from keys.data_keys where account_id is not null").await;
    assert_eq!(keys(&house, "restore", &folder, "old", &["--despite-age"]).await.status, 0);
    assert_eq!(house.number(keys_left).await, 1);
}

#[tokio::test]
async fn the_list_says_what_hangs_on_each_key_and_when_a_fallback_may_go() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await;
    login(&book, "ana@example.com", PASSWORD).await.unwrap();
    let lines =
        |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect::<Vec<_>>();
    let said = house.run("keys").await;
    assert_eq!(said, house.run("keys list").await);
    let current = &lines(&said, "current ")[0];
    for bound in ["1 live sessions", "1 mailed tokens", "1 devices", "5 service keys"] {
        assert!(current.contains(bound), "{bound}: {said}");
    }
    assert!(lines(&said, "email_lookup")[0].ends_with("; 1 addresses"), "{said}");
    assert!(lines(&said, "personal_data")[0].contains("data keys"), "{said}");

    // The same key as a fallback, and then gone.
    let (old, new) = (house.setting("SECRET_KEY").to_owned(), "Zx8Qm2Lw9Vt4Rb7Yk1Np6Hs3Gd5Jf0CaUeIoXiTnMvBqKzPlWr");
    let changed = house.run_with(&["keys"], &[("SECRET_KEY", new), ("SECRET_KEY_FALLBACKS", &old)], "").await;
    assert!(lines(&changed.out, "fallback ")[0].contains("1 live sessions"), "{changed:?}");
    assert!(lines(&changed.out, "email_lookup")[0].contains("run `doorbook keys rewrap`"), "{changed:?}");
    let gone = house.run_with(&["keys"], &[("SECRET_KEY", new)], "").await;
    assert!(lines(&gone.out, "missing ")[0].contains("5 service keys"), "{gone:?}");
    let idle = house.run_with(&["keys"], &[("SECRET_KEY_FALLBACKS", new)], "").await;
    assert!(lines(&idle.out, "fallback ")[0].ends_with("it may go"), "{idle:?}");

    // A process does not start on a key that is wrapped by a dropped one, and says which it is.
    let refused = house.run_with(&["account", "list"], &[("SECRET_KEY", new)], "").await;
    assert_ne!(refused.status, 0);
    assert!(refused.err.contains("the service key for") && refused.err.contains("SECRET_KEY_FALLBACKS"), "{refused:?}");
    let wrapped = house.run_with(&["keys", "rewrap"], &[("SECRET_KEY", new), ("SECRET_KEY_FALLBACKS", &old)], "").await;
    assert_eq!((wrapped.status, wrapped.out.as_str()), (0, "5 service keys were wrapped anew.\n"), "{wrapped:?}");
    let served = house.run_with(&["account", "list"], &[("SECRET_KEY", new)], "").await;
    assert_eq!(served.status, 0, "{served:?}");
}

#[tokio::test]
async fn the_key_of_look_ups_is_changed_in_two_runs_and_any_number_of_broken_ones() {
    let house = house().await;
    register(&house.book().await, "ana@example.com").await;
    let rotate = ["keys", "rotate", "email-lookup"];
    let (first, again) = (house.run_with(&rotate, &[], "").await, house.run_with(&rotate, &[], "").await);
    for ran in [&first, &again] {
        assert!(ran.status == 1 && ran.out.contains("run this again then"), "{ran:?}");
    }
    assert!(first.out.contains("1 addresses re-keyed") && again.out.contains("0 addresses re-keyed"), "{again:?}");
    assert!(house.run("keys").await.lines().any(|line| line.contains("email_lookup") && line.contains("  next ")));
    change(&house, "update keys.service_keys set changed_at = changed_at - interval '2 minutes'").await;
    let done = house.run("keys rotate email-lookup").await;
    assert!(done.contains("1 rows of the old one are gone"), "{done}");
    assert_eq!(house.number("select count(*) from events where type = 'KeyRotated'").await, 1);
    login(&house.book().await, "ana@example.com", PASSWORD).await.unwrap();
    house.run("projections check").await;

    // Where the keys were lost and made anew, the rows are all that is left of the addresses: they stay.
    change(&house, "update keys.service_keys set active = false where purpose = 'email_lookup'").await;
    house.run_with(&rotate, &[], "").await;
    change(&house, "update keys.service_keys set changed_at = changed_at - interval '2 minutes'").await;
    let _ = house.run_with(&rotate, &[], "").await;
    assert_eq!(house.number("select count(*) from account_emails where state = 'current'").await, 1);
}

#[tokio::test]
async fn the_key_of_buckets_is_changed_in_one_run_and_the_list_says_what_is_still_counted_by_the_old_one() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await;
    for _ in 0..2 {
        login(&book, "ana@example.com", OTHER_PASSWORD).await.unwrap_err();
    }
    let lines = |said: &str, state: &str| {
        let all = said.lines().filter(|line| line.contains("identifier ") && line.contains(state));
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let done = house.run("keys rotate identifier").await;
    assert!(done.contains("What was counted under the old one goes on"), "{done}");
    let said = house.run("keys list").await;
    assert!(lines(&said, " active ")[0].ends_with("; nothing yet"), "{said}");
    assert!(lines(&said, " retired ")[0].ends_with("; 2 counters of limits"), "{said}");
    for _ in 0..3 {
        login(&book, "ana@example.com", OTHER_PASSWORD).await.unwrap_err();
    }
    let blocked = login(&house.book().await, "ana@example.com", PASSWORD).await;
    assert!(matches!(blocked, Err(doorbook_core::service::Refusal::Blocked { .. })), "five guesses in all");
    assert_eq!(house.number("select count(*) from events where type = 'KeyRotated'").await, 1);
    // The counters are over, and a day is gone.
    change(&house, "delete from counters").await;
    change(&house, "update keys.service_keys set changed_at = changed_at - interval '2 days'").await;
    let said = house.run("keys list").await;
    assert!(lines(&said, " retired ")[0].ends_with("; nothing hangs on it"), "{said}");
    let again = house.run("keys rotate identifier").await;
    assert!(again.contains("1 earlier keys are gone"), "{again}");
    assert_eq!(lines(&house.run("keys list").await, "").len(), 2);
}

#[tokio::test]
async fn the_key_that_wraps_data_keys_is_changed_in_one_run_and_a_broken_one_is_finished_by_the_next() {
    let house = house().await;
    let book = house.book().await;
    for address in ["ana@example.com", "bo@example.com"] {
        register(&book, address).await;
    }
    let line = |said: &str, state: &str| {
        let mut all = said.lines().filter(|line| line.contains("personal_data") && line.contains(state));
        all.next().unwrap_or_default().to_owned()
    };
    let done = house.run("keys rotate personal-data").await;
    assert!(done.contains("2 data keys were wrapped anew"), "{done}");
    let said = house.run("keys list").await;
    assert!(line(&said, " active ").ends_with("; 2 data keys"), "{said}");
    assert!(line(&said, " retired ").ends_with("; nothing hangs on it"), "{said}");

    // Broken off behind the change of the key: everything works, the list tells it, and the next run finishes this one.
    let owner = house.owner.clone().into();
    let purpose = doorbook_core::store::keys::change::Purpose::PersonalData;
    let operator = doorbook_core::service::Context::operator(uuid::Uuid::nil());
    book.change_key(&owner, purpose, &operator).await.unwrap();
    login(&house.book().await, "ana@example.com", PASSWORD).await.unwrap();
    let said = house.run("keys list").await;
    assert!(said.lines().any(|line| line.contains(" retired ") && line.ends_with("; 2 data keys")), "{said}");
    let finished = house.run("keys rotate personal-data").await;
    assert!(finished.starts_with("2 data keys were wrapped anew"), "no further key: {finished}");
    assert_eq!(house.number("select count(*) from keys.service_keys where purpose = 'personal_data'").await, 3);
    assert_eq!(house.number("select count(*) from events where type = 'KeyRotated'").await, 2);

    // A data key that does not open is told, and does not stand in the way of another change.
    change(&house, "update keys.data_keys set wrapped = '\\x00' where key_id = (select min(key_id::text)::uuid from keys.data_keys)").await;
    let told = house.run_with(&["keys", "rotate", "personal-data"], &[], "").await;
    assert_eq!(told.status, 1, "{told:?}");
    assert!(told.out.contains("next key") && told.out.contains("1 data keys do not open"), "{told:?}");
}
