//! A log of any length, sealed and signed as workers do it, and the command that verifies it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use doorbook_core::audit::leaf::Leaf;
use doorbook_core::audit::note::Signer;
use doorbook_core::config::{Environment, Process, Settings};
use doorbook_core::service::{Doorbook, start};
use doorbook_core::store::audit;
use doorbook_core::store::{Db, checkpoints, seal};
use doorbook_dev::{Cluster, Database, Role, ensure_binaries};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::sleep;
use uuid::Uuid;

/// How much of a check runs: `full` when DOORBOOK_DOSE=full asks for what the security bar demands, else `small`.
pub fn dose(small: i64, full: i64) -> i64 {
    if std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full") { full } else { small }
}

/// Changes anything: no trigger and no right is in the way.
async fn tamper(superuser: &PgPool, sql: &str) {
    let sql = format!("set session_replication_role = replica; {sql}");
    let mut connection = superuser.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A minute passes for what is sealed.
pub async fn let_a_minute_pass(superuser: &PgPool) {
    tamper(superuser, "update event_seals set sealed_at = sealed_at - interval '1 minute'").await;
}

pub async fn until(db: &PgPool, sql: &'static str, wanted: i64) {
    let begun = Instant::now();
    loop {
        let found: i64 = sqlx::query_scalar(sql).fetch_one(db).await.unwrap();
        if found == wanted {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{found} instead of {wanted}: {sql}");
        sleep(Duration::from_millis(50)).await;
    }
}

pub struct House {
    _database: Database,
    /// May do everything: the insider whom proofs are against.
    pub superuser: PgPool,
    pub book: Doorbook,
    pub environment: Vec<(String, String)>,
    pub folder: PathBuf,
}

/// What a run of `doorbook` has come to.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// A finding of `audit verify --json`: fault, first and last position, event.
pub type Found = (String, Option<i64>, Option<i64>, Option<Uuid>);

pub async fn house() -> House {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let cluster = Cluster::shared().await.unwrap();
    let database = Database::fresh(cluster).await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
    let settings = [
        ("DEBUG", "True".to_owned()),
        ("SECRET_KEY", "k7Qw9zXc2Vb5Nm8Lp3Jh6Gf4Ds1Aq0We7Rt2Yu5Io8Pk3Ml6Nb9".to_owned()),
        ("JWT_SECRET_KEY", "vJ-3xT_9qLw7Zr5NkB1mYh8PdGf2sCa6Eo4Ui0tXyRQ".to_owned()),
        ("DEFAULT_FROM_EMAIL", "doorbook@example.com".to_owned()),
        ("FRONTEND_URL", "https://app.example.com".to_owned()),
        ("ARGON2_MEMORY_KIB", "64".to_owned()),
        ("ARGON2_TIME_COST", "1".to_owned()),
        ("ARGON2_PARALLELISM", "1".to_owned()),
        ("DATABASE_URL", database.url_for(Role::Api)),
        ("WORKER_DATABASE_URL", database.url_for(Role::Worker)),
        ("DATABASE_MIGRATE_URL", database.url_for(Role::Migrator)),
    ];
    let environment: Environment = settings.iter().map(|(name, value)| (*name, value)).collect();
    let book = start::start(&Settings::load(&environment, Process::Worker).unwrap()).await.unwrap();
    let folder = cluster.run().folder().join(format!("audit-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&folder).unwrap();
    let environment = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    House { _database: database, superuser, book, environment, folder }
}

impl House {
    /// A log of so many events, sealed, and signed up to the last of them; behind it stands what tells of the checkpoints.
    pub async fn with_log(events: i64) -> Self {
        let house = house().await;
        house.append(events).await;
        house.seal().await;
        house.sign().await;
        // The event that tells of it, too: it is not to wait for a minute.
        house.seal().await;
        house
    }

    /// The use cases of an api process.
    pub async fn api(&self) -> Doorbook {
        let environment: Environment =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        start::start(&Settings::load(&environment, Process::Api).unwrap()).await.unwrap()
    }

    pub async fn append(&self, events: i64) {
        append_events(&self.superuser, events).await;
    }

    /// Seals everything. Transactions of other tests hold the sealer back as well: transaction ids are the cluster's.
    pub async fn seal(&self) {
        let begun = Instant::now();
        while self.number("select (select count(*) from events) - (select count(*) from event_seals)").await > 0 {
            assert!(begun.elapsed() < Duration::from_secs(600), "events are never sealed");
            while seal::seal_batch(&self.book.db).await.unwrap() > 0 {}
        }
    }

    pub async fn signers(&self) -> Vec<Signer> {
        self.book.checkpoint_signers(None).await.unwrap()
    }

    /// Signs all that is sealed; the size that is signed now.
    pub async fn sign(&self) -> i64 {
        let signers = self.signers().await;
        while self.book.sign_now(&signers).await.unwrap().is_some() {}
        checkpoints::head(&self.book.db).await.unwrap().size
    }

    /// The public key as `doorbook keys` prints it.
    pub async fn key(&self) -> String {
        self.signers().await[0].verifier().to_string()
    }

    /// Changes anything.
    pub async fn tamper(&self, sql: &str) {
        tamper(&self.superuser, sql).await;
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.superuser).await.unwrap()
    }

    /// The event at a position.
    pub async fn event(&self, position: i64) -> Uuid {
        let sql = "select event_id from event_seals where position = $1";
        sqlx::query_scalar(sql).bind(position).fetch_one(&self.superuser).await.unwrap()
    }

    /// Makes the seals of these positions anew from the events that stand there: what an insider who has read the code does.
    pub async fn reseal(&self, from: i64, to: i64) {
        let places = audit::places(&Db::from(self.superuser.clone()), from - 1, to, to - from + 1).await.unwrap();
        for place in places {
            let hash = place.leaf.as_ref().map(Leaf::hash).unwrap().unwrap();
            let hex: String = doorbook_core::audit::note::hex(&hash);
            let position = place.position;
            self.tamper(&format!("update event_seals set leaf_hash = '\\x{hex}' where position = {position}")).await;
        }
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let binary = ensure_binaries().await.unwrap().join("doorbook");
        let mut command = tokio::process::Command::from(Cluster::shared().await.unwrap().run().command(&binary));
        command.env_clear().envs(self.environment.iter().cloned()).args(arguments).current_dir(&self.folder);
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// `doorbook audit verify --json` with further arguments: what it finds. The status and the verdict agree with that.
    pub async fn verify(&self, further: &[&str]) -> Vec<Found> {
        let ran = self.run(&[&["audit", "verify", "--json"], further].concat()).await;
        let json: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let findings = json["findings"].as_array().unwrap();
        assert_eq!((ran.status, json["holds"].as_bool()), (i32::from(!findings.is_empty()), Some(findings.is_empty())));
        let found = |finding: &Value| {
            let event = finding["event_id"].as_str().map(|id| id.parse().unwrap());
            let number = |name: &str| finding[name].as_i64();
            (finding["fault"].as_str().unwrap().to_owned(), number("position"), number("last_position"), event)
        };
        findings.iter().map(found).collect()
    }
}

/// Appends events of both classes, every third with sealed personal data.
pub async fn append_events(db: &PgPool, events: i64) {
    for from in (1..=events).step_by(20_000) {
        sqlx::query(
            "with new as (
                 select n, gen_random_uuid() as stream,
                        overlay(uuid7_floor(clock_timestamp())::text placing '8' || right(gen_random_uuid()::text, 16) from 20 for 17)::uuid as id
                 from generate_series($1, $2) n),
             s as (insert into streams (stream_id, kind, version) select stream, 'operator', 1 from new)
             insert into events (event_id, retention_class, stream_id, version, type, payload, pii, pii_key_id, actor_kind, trace_id)
             select id, case when n % 2 = 0 then 'keep' else 'expire' end, stream, 1, 'ProjectionRebuilt',
                    jsonb_build_object('projection', 'ñ\"é' || n, 'events', n), case when n % 3 = 0 then sha256(stream::text::bytea) end,
                    case when n % 3 = 0 then stream end, 'system', gen_random_uuid()
             from new",
        )
        .bind(from)
        .bind(events.min(from + 19_999))
        .execute(db)
        .await
        .unwrap();
    }
}
