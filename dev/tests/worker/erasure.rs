//! An erasure carried out by real processes: what is left of a person anywhere.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use doorbook_core::store::columns::TABLES;
use doorbook_core::store::keys::Vault;
use doorbook_core::token::keys::RootRing;
use doorbook_dev::search::{Search, hex};
use doorbook_dev::sink::{Fault, Stage};
use doorbook_dev::{Answer, Client, Role, Stand};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::common::*;

const EMAIL: &str = "canary-4711@birds.example";
const OTHER_EMAIL: &str = "canary-4712@birds.example";
const NAMES: [&str; 2] = ["Zebulonia", "Quixotely"];
const ADDRESS: &str = "203.0.113.211";
const AGENT: &str = "CanaryBrowser/7.3";

/// Every sealed column with what it is bound to.
const SEALED: [&str; 5] = [
    "select event_id, pii from events where pii is not null",
    "select account_id, profile from accounts where profile is not null",
    "select session_id, origin from sessions where origin is not null",
    "select token_id, detail from tokens where detail is not null",
    "select delivery_id, context from deliveries where context is not null",
];

struct Scene {
    stand: Stand,
    owner: PgPool,
    client: Client,
}

impl Scene {
    async fn send(&self, access: &str, method: Method, path: &str, body: Value) -> Answer {
        let client = if access.is_empty() { self.client.clone() } else { self.client.with_token(access) };
        client.send(method, path, Some(body), &[("User-Agent", AGENT)]).await.unwrap()
    }

    async fn done(&self, access: &str, path: &str, body: Value) -> Answer {
        let answer = self.send(access, Method::POST, path, body).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.unwrap()
    }

    async fn until(&self, sql: &'static str, wanted: i64) -> Duration {
        let begun = Instant::now();
        while self.number(sql).await != wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} instead of {wanted}: {sql}", self.number(sql).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begun.elapsed()
    }

    /// Somebody with everything, to whom the last mail cannot be delivered yet; an access token.
    async fn live(&self) -> String {
        let [first, last] = NAMES;
        let body = json!({ "email": EMAIL, "password": PASSWORD, "password_confirm": PASSWORD, "first_name": first, "last_name": last });
        self.done("", "/api/auth/register/", body).await;
        self.stand.sink.wait_for(|mail| mail.is_to(EMAIL), SOON).await.unwrap();
        let wrong = json!({ "email": EMAIL, "password": OTHER_PASSWORD });
        assert_eq!(self.send("", Method::POST, "/api/auth/login/", wrong).await.status, 401);
        let login = json!({ "email": EMAIL, "password": PASSWORD, "remember_device": true });
        let access = self.done("", "/api/auth/login/", login).await.text("access").to_owned();
        let change = json!({ "password": PASSWORD, "new_email": OTHER_EMAIL });
        self.done(&access, "/api/auth/email/change/", change).await;
        self.stand.sink.wait_for(|mail| mail.is_to(OTHER_EMAIL), SOON).await.unwrap();
        for _ in 0..20 {
            self.stand.sink.fail(Stage::Recipient, Fault::Reply(451));
        }
        self.done("", "/api/auth/password/reset/", json!({ "email": EMAIL })).await;
        self.until("select count(*) from deliveries where state = 'deferred'", 1).await;
        access
    }

    /// All that whoever has the database and every key in it can read: rows as text, and what is sealed, opened.
    async fn readable(&self, secret_key: &str) -> Vec<u8> {
        let db = self.owner.clone().into();
        let vault = Vault::open(&db, RootRing::new(secret_key.as_bytes(), &[])).await.unwrap();
        let ids: Vec<Uuid> =
            sqlx::query_scalar("select key_id from keys.data_keys").fetch_all(&self.owner).await.unwrap();
        let keys = vault.keys_of(&db, ids.into_iter()).await.unwrap();
        let mut found = Vec::new();
        for sql in SEALED {
            let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(sql).fetch_all(&self.owner).await.unwrap();
            for (id, sealed) in rows {
                for plain in keys.values().filter_map(|key| key.key.open(id.as_bytes(), &sealed).ok()) {
                    found.extend_from_slice(&plain);
                }
            }
        }
        for table in TABLES {
            let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {} t", table.name);
            let text: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.owner).await.unwrap();
            found.extend_from_slice(text.as_bytes());
        }
        found
    }
}

/// What gives the person away, as text and as a dump shows bytes.
fn canaries() -> Vec<Vec<u8>> {
    let words = [EMAIL, OTHER_EMAIL, NAMES[0], NAMES[1], ADDRESS, AGENT].map(str::as_bytes);
    words.iter().flat_map(|word| [word.to_vec(), hex(word)]).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("postgres") {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Client addresses of failed logins stand in the log, for as long as it is kept; nothing else of anybody does.
fn told_of(line: &str) -> bool {
    canaries().iter().any(|canary| line.as_bytes().windows(canary.len()).any(|part| part == canary))
        && !(line.contains("authentication") && !line.contains("canary") && !line.contains(AGENT))
}

/// C073. Breaks when `migrations/0013_erasure.sql`: `delete from keys.data_keys where account_id = new.subject_id;` → `-- Kept.`.
#[tokio::test]
async fn no_trace_of_an_erased_person_is_left_in_postgres_redis_or_waiting_mails_and_the_log_verifies() {
    let cluster = own_cluster().await;
    let stand = Stand::start_with(&cluster, &[]).await.unwrap();
    let secret_key = stand.environment().iter().find(|(name, _)| name == "SECRET_KEY").unwrap().1.clone();
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let client = stand.client().from_address(ADDRESS);
    let scene = Scene { stand, owner, client };
    let access = scene.live().await;
    let searched = "select count(*) from event_search where field in (6, 7, 8, 9)";
    scene.until("select (select max(position) from event_seals) - (select min(position) from followers)", 0).await;
    assert!(scene.number(searched).await > 0);
    let search = Search::new(canaries().into_iter());
    let before = search.hits(&scene.readable(&secret_key).await);
    assert!(before > 20, "{before}: what is to go is found before it goes");

    let taken = scene.send(&access, Method::DELETE, "/api/auth/profile/", json!({ "password": PASSWORD })).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    sqlx::raw_sql(
        "update tokens set expires_at = now() where kind = 'cancel'; update accounts set erase_at = now() where erase_at is not null",
    )
    .execute(&scene.owner)
    .await
    .unwrap();
    scene.until("select count(*) from events where type = 'AccountErased' and actor_kind = 'system'", 1).await;
    let mails = scene.stand.sink.mails().len();
    let forgotten = scene.until(searched, 0).await;
    let after = search.hits(&scene.readable(&secret_key).await);
    println!("figure: {before} hits before, {after} after; the search view forgot within {} ms", forgotten.as_millis());
    assert_eq!(after, 0);
    assert_eq!(scene.number("select count(*) from keys.data_keys where account_id is not null").await, 0);

    // The mail that waited goes nowhere, and nothing of it is in the queue.
    let mut paths = Vec::new();
    files(cluster.run().folder(), &mut paths);
    for path in paths.iter().filter(|path| path.to_string_lossy().contains("appendonly")) {
        assert_eq!(search.hits(&std::fs::read(path).unwrap()), 0, "{}", path.display());
    }
    for log in [scene.stand.api.log().unwrap(), scene.stand.worker.as_ref().unwrap().log().unwrap()] {
        let told: Vec<_> = log.lines().filter(|line| told_of(line)).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
    // A minute passes, so that a checkpoint is signed over what has happened.
    let superuser = PgPool::connect(&cluster.superuser_url(scene.stand.database.name())).await.unwrap();
    let older =
        "set session_replication_role = replica; update event_seals set sealed_at = sealed_at - interval '1 minute'";
    sqlx::raw_sql(older).execute(&superuser).await.unwrap();
    scene.until("select (count(*) > 0)::int::bigint from checkpoints", 1).await;
    for arguments in [&["audit", "verify"][..], &["projections", "check"]] {
        scene.stand.doorbook(arguments).await.unwrap();
    }
    assert_eq!(scene.stand.sink.mails().len(), mails, "nobody writes to who is gone");
    let again = json!({ "email": EMAIL, "password": PASSWORD, "password_confirm": PASSWORD });
    scene.done("", "/api/auth/register/", again).await;
    scene.done("", "/api/auth/login/", json!({ "email": EMAIL, "password": PASSWORD })).await;
}
