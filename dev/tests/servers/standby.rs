//! A second Postgres: what can be read from it, and what is lost when it takes the place of the first. docs/SCALING.md.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use doorbook_dev::{Cluster, Launch, Options, Postgres, Program, Role, Server, Stand, free_port};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::common::options;
use crate::ledger::{self, Writers};

/// Time for what should take seconds on a machine with nothing else to do.
const SOON: Duration = Duration::from_secs(60);
/// Clients that write at once.
const CLIENTS: u8 = 6;
/// How long they write before anything happens.
const BEFORE: Duration = Duration::from_millis(1_500);
/// How long a standby is cut off before its primary dies.
const CUT_OFF: Duration = Duration::from_millis(700);
/// So many promotions; the whole dose when DOORBOOK_DOSE is `full`.
const PROMOTIONS: (u32, u32) = (2, 20);

/// Lets time pass: a checkpoint of what is sealed is due, and the lease of a worker that was killed while it wrote one is over.
const AGE: &str = "begin; set local session_replication_role = replica;
                   update event_seals set sealed_at = sealed_at - interval '1 minute';
                   update checkpoint_sink set lease_until = '-infinity'; commit";

/// An address that leads to one server and later to another, as an operator's virtual address or proxy does.
struct Switch {
    port: u16,
    target: watch::Sender<u16>,
    listening: JoinHandle<()>,
}

impl Switch {
    async fn to(port: u16) -> Self {
        let (target, targets) = watch::channel(port);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listening = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *targets.borrow();
                tokio::spawn(async move {
                    // Whoever finds nobody there is hung up on.
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
                        drop(copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
        Self { port, target, listening }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < SOON, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    since.elapsed()
}

async fn superuser(server: &Server<Postgres>, stand: &Stand) -> PgPool {
    PgPool::connect(&server.superuser_url(stand.database.name())).await.unwrap()
}

async fn number(db: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(db).await.unwrap()
}

/// Lets the worker sign what is sealed and write the checkpoint outside of the database, as it does every minute.
async fn published(db: &PgPool, outside: &Path) {
    let length = || fs::metadata(outside).map_or(0, |file| file.len());
    let before = length();
    sqlx::raw_sql(AGE).execute(db).await.unwrap();
    until("a checkpoint outside", async || length() > before).await;
}

/// Everything has its place in one order of one epoch, as if nothing had happened.
async fn assert_dense(db: &PgPool) {
    let open = "select (select count(*) from events) - (select count(*) from event_seals)";
    until("all is sealed", async || number(db, open).await == 0).await;
    let holes = "select max(position) - count(e.event_id) from event_seals s left join events e using (retention_class, event_id)";
    assert_eq!(number(db, holes).await, 0);
    let disorder = "select count(*) from event_seals a join event_seals b on b.position = a.position + 1
                    where (b.epoch, b.xid, b.seq) <= (a.epoch, a.xid, a.seq)";
    assert_eq!(number(db, disorder).await, 0);
    assert_eq!(number(db, "select count(*) from epochs").await, 1, "transaction ids go on: no new epoch");
}

/// C103. Breaks when `core/src/store/db.rs`: `"jit = off",` → `"synchronous_commit = local",`.
#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_when_a_synchronous_standby_takes_over() {
    let cluster = Cluster::start(Options { durable: true, ..options() }).await.unwrap();
    let switch = Switch::to(cluster.postgres().port()).await;
    let outside = cluster.run().folder().join("checkpoints-outside");
    let sink = format!("file://{}", outside.display());
    let settings = [("CHECKPOINT_SINK", sink.as_str()), ("MAX_REGISTRATION_ATTEMPTS", "1000000")];
    let mut stand = Stand::start_at(&cluster, switch.port, &settings).await.unwrap();
    stand.start_worker().await.unwrap();
    let is_full = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    let rounds = if is_full { PROMOTIONS.1 } else { PROMOTIONS.0 };
    let (mut promoted, mut written, mut longest) = (None, 0, Duration::ZERO);
    for round in 1..=rounds {
        let primary = promoted.as_ref().unwrap_or_else(|| cluster.postgres());
        let name = format!("standby_{round}");
        let standby = primary.standby(&name).await.unwrap();
        primary.wait_for(&name).await.unwrap();
        let writers = Writers::begin(&stand.base, round, CLIENTS);
        sleep(BEFORE).await;
        published(&superuser(primary, &stand).await, &outside).await;
        // In every other round the network fails first: who answered all the same would lose what it has answered.
        let is_cut = round % 2 == 1;
        if is_cut {
            standby.cut_off().await.unwrap();
            sleep(CUT_OFF).await;
            primary.kill().await.unwrap();
        } else {
            primary.stop().await.unwrap();
        }
        let died = Instant::now();
        standby.promote().await.unwrap();
        switch.target.send_replace(standby.port());
        if !is_cut {
            stand.worker.as_mut().unwrap().kill().await.unwrap();
            stand.start_worker().await.unwrap();
            stand.api.kill().await.unwrap();
            stand.restart_api().await.unwrap();
        }
        let told = writers.told();
        let went_on = async || writers.told().iter().zip(&told).all(|(now, then)| now > then);
        until("every client writes again", went_on).await;
        longest = longest.max(died.elapsed());
        let accounts = writers.end().await;
        let db = superuser(&standby, &stand).await;
        ledger::assert_kept(&accounts, &stand.base, &db).await;
        for account in &accounts {
            stand.sink.wait_for(|mail| mail.is_to(&account.email), SOON).await.unwrap();
        }
        assert_dense(&db).await;
        let verify = ["audit", "verify", "--checkpoint", outside.to_str().unwrap()];
        let said = stand.doorbook(&verify).await.unwrap();
        assert!(said.contains("hold"), "{said}");
        written += told.iter().sum::<usize>();
        promoted = Some(standby);
    }
    println!(
        "figure: {rounds} promotions, {written} acknowledged writes before them, 0 lost; all clients write again within {longest:.1?}"
    );
}

/// Breaks when `core/src/service/start.rs`: `matches!(error, StartError::Store(_) | ` → `matches!(error, `.
#[tokio::test]
async fn a_standby_tells_what_was_sealed_a_moment_ago_and_its_log_verifies_and_no_process_serves_from_it() {
    let cluster = Cluster::start(options()).await.unwrap();
    let stand = Stand::start_with(&cluster, &[("MAX_REGISTRATION_ATTEMPTS", "100")]).await.unwrap();
    let standby = cluster.postgres().standby("reader").await.unwrap();
    let urls = stand.database.settings_at(standby.port());
    let there = urls.each_ref().map(|(name, url)| (*name, url.as_str()));
    let auditor = stand.database.url_at(standby.port(), Role::Auditor);
    let db = PgPool::connect(&auditor).await.unwrap();
    let mut slowest = Duration::ZERO;
    for count in 1..=10 {
        let (email, password) = (format!("q{count}@example.com"), "violet harbour 73");
        let body = serde_json::json!({ "email": email, "password": password, "password_confirm": password });
        assert_eq!(stand.client().post("/api/auth/register/", body).await.unwrap().status, 201);
        let sealed = "select count(*) from events join event_seals using (event_id) where type = 'Registered'";
        slowest = slowest.max(until("sealed there", async || number(&db, sealed).await == count).await);
    }
    println!(
        "figure: an event is sealed and read on the standby within {slowest:.1?} of its answer, the slowest of 10"
    );

    let tail = stand.doorbook_with(&["events", "tail", "--last", "1000"], &there).await.unwrap();
    assert_eq!(tail.matches(" Registered ").count(), 10, "{tail}");
    let event = tail.lines().find(|line| line.contains(" Registered ")).and_then(|line| line.split_whitespace().nth(2));
    let shown = stand.doorbook_with(&["events", "show", event.unwrap()], &there).await.unwrap();
    assert!(shown.contains("Registered"), "{shown}");
    let owner = superuser(cluster.postgres(), &stand).await;
    sqlx::raw_sql(AGE).execute(&owner).await.unwrap();
    until("signed there", async || number(&db, "select count(*) from checkpoints").await > 0).await;
    let said = stand.doorbook_with(&["audit", "verify"], &there).await.unwrap();
    assert!(said.contains("hold"), "{said}");
    let keys = stand.doorbook_with(&["keys"], &there).await.unwrap();
    let key = keys.lines().find_map(|line| line.strip_suffix("  signs").map(str::trim)).unwrap();
    let verify = ["audit", "verify", "--database", &auditor, "--key", key];
    let said = stand.doorbook_with(&verify, &[]).await.unwrap();
    assert!(said.contains("hold"), "an auditor's login reads no key: {said}");

    stand.doorbook_with(&["projections", "check"], &there).await.unwrap();

    for writes in [&["account", "create", "eve@example.com"][..], &["mail", "list"]] {
        let refused = stand.doorbook_with(writes, &there).await.unwrap_err();
        assert!(format!("{refused:#}").contains("read-only"), "{refused:#}");
    }
    let base = format!("http://127.0.0.1:{}", free_port().unwrap());
    let bind = base.strip_prefix("http://").unwrap();
    for end in [Program::terminate, Program::interrupt] {
        let launch = Launch::workspace("doorbook-api").await.unwrap().envs(stand.environment().iter().cloned());
        let launch = launch.envs(there).env("API_BIND", bind).env("API_OPS_BIND", "127.0.0.1:0");
        let mut api = launch.start(cluster.run()).unwrap();
        until("it waits", async || api.log().unwrap().contains("waiting for the database")).await;
        assert!(TcpStream::connect(bind).await.is_err(), "nothing is served from a standby");
        end(&mut api).unwrap();
        assert!(api.ended(SOON).await.unwrap().success());
    }
}

/// As a primary that has become a standby under its connections.
/// Breaks when `core/src/store/mod.rs`: `|| code == "25006"` → `|| code == "25007"`.
#[tokio::test]
async fn a_write_that_meets_a_database_which_only_reads_is_told_to_come_back() {
    let cluster = Cluster::start(options()).await.unwrap();
    let stand = Stand::start_api(&cluster, &[("MAX_REGISTRATION_ATTEMPTS", "1000")]).await.unwrap();
    let owner = superuser(cluster.postgres(), &stand).await;
    sqlx::raw_sql("alter system set default_transaction_read_only = on").execute(&owner).await.unwrap();
    sqlx::raw_sql("select pg_reload_conf()").execute(&owner).await.unwrap();
    let begun = Instant::now();
    for count in 0.. {
        let (email, password) = (format!("r{count}@example.com"), "violet harbour 73");
        let body = serde_json::json!({ "email": email, "password": password, "password_confirm": password });
        let answer = stand.client().post("/api/auth/register/", body).await.unwrap();
        if answer.status == 503 {
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
            return;
        }
        // A session learns of its settings a moment later.
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(begun.elapsed() < SOON, "it still writes");
    }
}
