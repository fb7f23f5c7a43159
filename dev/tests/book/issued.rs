//! Tokens that have been issued: none like another, none to be found in what is stored.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use doorbook_core::service::Doorbook;
use doorbook_core::token::keys::{RootRing, Use};
use doorbook_core::token::{opaque, random};
use doorbook_core::value::TokenId;
use doorbook_dev::search::{HEAD, Search, decode, forms, hex};
use sqlx::{Connection as _, PgConnection};

use crate::common::*;

/// How far the counts of bytes are from even: chi-square of 255 degrees of freedom.
fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let expected = f64::from(u32::try_from(bytes.len()).unwrap()) / 256.0;
    counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

/// C033. Breaks when `core/src/token/opaque.rs`: `    let mac = mac(ring.key(key_id, purpose)?, id, generation, salt);` → `    let mac = mac(ring.key(key_id, purpose)?, Uuid::nil(), generation, &salt[..0]);`.
#[tokio::test]
async fn tokens_are_unique_and_their_secret_bytes_even() {
    // 99.9 % of even sources stay below; in every run a rarer alarm: 99.9999 %. Source: quantiles of the distribution.
    let limit = dose(377.2, 330.5);
    let (house, ring) = (house().await, RootRing::new(&secrets().secret_key, &[]));
    let now = doorbook_core::store::query::now(&house.owner.clone().into()).await.unwrap();
    let (mut seen, mut secret) = (HashSet::new(), Vec::new());
    for purpose in [Use::Refresh, Use::Reset, Use::Verify, Use::Change, Use::Undo, Use::Device] {
        for _ in 0..dose(2_000, 10_000) {
            let salt: [u8; opaque::SALT_LENGTH] = random();
            let token = opaque::derive(&ring, purpose, ring.current_id(), TokenId::new(now).0, 0, &salt).unwrap();
            let mac = decode(token.expose()).unwrap().split_off(HEAD);
            assert!(mac.len() >= 128 / 8, "at least 128 bits");
            secret.extend_from_slice(&mac);
            assert!(seen.insert(mac), "{purpose:?}");
        }
    }
    let found = chi_square(&secret);
    assert!(found < limit, "chi-square {found}, limit {limit}");
}

/// One account's way through everything that issues tokens.
async fn issue(house: &House, book: &Doorbook, n: usize) -> Vec<String> {
    let (address, context) = (format!("user{n}@example.com"), from(&format!("198.18.1.{n}")));
    register(book, &address).await.unwrap();
    let mut issued = vec![house.link(book, "verify").await];
    let session = login_from(book, &address, PASSWORD, None, &context).await.unwrap();
    let next = book.refresh(session.refresh.expose(), &context).await.unwrap();
    book.request_reset(&email(&address), None, &context).await.unwrap();
    issued.push(house.link(book, "reset").await);
    let caller = book.authenticate(&next.access).await.unwrap();
    let (new, acting) = (email(&format!("new{n}@example.com")), context.clone().acting(caller.account));
    book.request_email_change(caller, &password(PASSWORD), &new, None, &acting).await.unwrap();
    issued.push(house.link(book, "email_change_confirm").await);
    book.confirm_email_change(&issued[2], None, &context).await.unwrap();
    issued.push(house.link(book, "email_change_notice").await);
    issued.push(session.device.as_ref().unwrap().expose().to_owned());
    for tokens in [session, next] {
        issued.push(tokens.refresh.expose().to_owned());
        issued.push(tokens.access);
    }
    issued
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything that this database has on disk: all tables of all schemas, the segments of the write-ahead log from `first` on,
/// and what the server has printed.
async fn stored(house: &House, superuser: &mut PgConnection, first: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let cluster = cluster().await;
    let folder = cluster.run().folder();
    let dump = folder.join(format!("{}.sql", house.database.name()));
    let mut pg_dump = cluster.run().command(cluster.postgres_tool("pg_dump").unwrap());
    pg_dump.args(["--dbname", &cluster.superuser_url(house.database.name()), "--file"]).arg(&dump);
    assert!(pg_dump.status().unwrap().success());
    let last: String =
        sqlx::query_scalar("select pg_walfile_name(pg_switch_wal())").fetch_one(superuser).await.unwrap();
    let wal = folder.join("postgres").join("pg_wal");
    let segments = std::fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<_> = segments
        .filter(|name| name.len() == first.len() && (first..=&last).contains(&&**name))
        .map(|name| wal.join(name))
        .collect();
    paths.extend([dump, folder.join("postgres.log")]);
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// C033. Breaks when `core/src/service/login.rs`: `batch.write.insert_device(device, account, self.roots.current_id(), salt, batch.now);` → `batch.write.insert_device(device, account, opaque::derive(&self.roots, Use::Device, self.roots.current_id(), device.0, 0, &salt).unwrap().expose(), salt, batch.now);`.
#[tokio::test]
async fn no_issued_token_stands_anywhere_in_what_postgres_keeps() {
    /// Nine tokens each: five hundred in all.
    const ACCOUNTS: usize = 56;
    let house = house().await;
    let mut superuser = PgConnection::connect(&cluster().await.superuser_url("postgres")).await.unwrap();
    // Holds the write-ahead log from here on: checkpoints would recycle it. Gone with this connection.
    let hold = "select from pg_create_physical_replication_slot('issued', true, true)";
    sqlx::query(hold).execute(&mut superuser).await.unwrap();
    let first: String =
        sqlx::query_scalar("select pg_walfile_name(pg_current_wal_lsn())").fetch_one(&mut superuser).await.unwrap();
    let book = house.book().await;
    let mut issued = Vec::new();
    for n in 0..ACCOUNTS {
        issued.extend(issue(&house, &book, n).await);
    }
    assert!(issued.len() >= 500);
    assert!(issued.iter().all(|token| forms(token).len() == 3));
    let tokens = Search::new(issued.iter().flat_map(|token| forms(token)));
    // What must be found, or the search finds nothing: salts stand in the table and in the write-ahead log.
    let salts: Vec<Vec<u8>> = sqlx::query_scalar("select salt from tokens").fetch_all(&house.owner).await.unwrap();
    let controls = Search::new(salts.iter().cloned().chain(salts.iter().map(|salt| hex(salt))));
    let mut controls_found = 0;
    for (path, bytes) in stored(&house, &mut superuser, &first).await {
        assert_eq!(tokens.hits(&bytes), 0, "{}", path.display());
        controls_found += controls.hits(&bytes);
    }
    assert!(controls_found >= 2 * salts.len(), "{controls_found} of {} salts, twice", salts.len());
}
