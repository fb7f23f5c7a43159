//! How much room a login and an account take: the figures of docs/SCALING.md.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbook_core::config::{Environment, Process, Settings};
use doorbook_core::password::PasswordPlain;
use doorbook_core::service::login::Login;
use doorbook_core::service::register::Registration;
use doorbook_core::service::{Context, Doorbook, Refusal, start};
use doorbook_core::store::keys::Vault;
use doorbook_core::store::project::outbox::Priority;
use doorbook_core::store::query::accounts::{self, Filter};
use doorbook_core::store::{Db, Pooler, jobs, log, rebuild, seal};
use doorbook_core::token::keys::RootRing;
use doorbook_core::value::{AccountId, ClientOrigin, Email, EventId, PersonName};
use doorbook_dev::{Cluster, Database, Role, Stand};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::common::options;

const PASSWORD: &str = "violet harbour 73";
/// What a browser says of itself, at its usual length.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
/// Logins of each account: no more than it has sessions.
const LOGINS: u32 = 18;
/// Requests at once.
const AT_ONCE: u32 = 4;
/// Time for the worker to seal, sign, send and take into the search view what was done.
const SETTLED_WITHIN: Duration = Duration::from_mins(10);
/// Most bytes of log a login: the goal.
const LOG_BYTES_MAX: i64 = 1_024;
/// The same where tables are so small that half-empty pages count.
const LOG_BYTES_MAX_SMALL: i64 = 1_060;
/// What the log consists of.
const LOG: [&str; 4] = ["events", "event_seals", "log_nodes", "checkpoints"];

/// Bytes of each table, partitions together: rows and indexes.
type Sizes = BTreeMap<String, (i64, i64)>;

async fn sizes(db: &PgPool) -> Sizes {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
         from pg_class c where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'keys'::regnamespace) group by 1",
    )
    .fetch_all(db)
    .await
    .unwrap();
    rows.into_iter().map(|(table, rows, indexes)| (table, (rows, indexes))).collect()
}

/// Bytes that came to each table, a time.
fn growth(before: &Sizes, after: &Sizes, times: u32) -> Vec<(String, i64, i64)> {
    let grown = after.iter().map(|(table, (rows, indexes))| {
        let (old_rows, old_indexes) = before.get(table).copied().unwrap_or_default();
        (table.clone(), (rows - old_rows) / i64::from(times), (indexes - old_indexes) / i64::from(times))
    });
    grown.filter(|(_, rows, indexes)| rows + indexes > 0).collect()
}

fn tell(what: &str, grown: &[(String, i64, i64)]) {
    let all: i64 = grown.iter().map(|(_, rows, indexes)| rows + indexes).sum();
    let parts: Vec<_> = grown.iter().map(|(table, rows, indexes)| format!("{table} {rows} + {indexes}")).collect();
    println!("figure: {what} takes {all} bytes, rows + indexes: {}", parts.join(", "));
}

async fn settled(db: &PgPool) {
    let open = "select (select count(*) from events) - (select count(*) from event_seals) + (select count(*) from jobs where state <> 'done')
                + (select max(position) from event_seals) - (select position from followers where follower = 'search')";
    let since = Instant::now();
    while sqlx::query_scalar::<_, i64>(open).fetch_one(db).await.unwrap() > 0 {
        assert!(since.elapsed() < SETTLED_WITHIN, "the worker does not come to an end");
        sleep(Duration::from_millis(100)).await;
    }
}

fn context(account: u32) -> Context {
    let [_, b, c, d] = account.to_be_bytes();
    Context::stranger(ClientOrigin::new([10, b, c, d].into(), USER_AGENT, uuid::Uuid::nil()))
}

fn email(account: u32) -> Email {
    Email::parse(&format!("person{account}@mail.example.com")).unwrap()
}

/// Whether it must be asked for again: a machine with much else to do turns clients away.
async fn is_turned_away<T>(answer: Result<T, Refusal>) -> bool {
    let Err(refusal) = answer else { return false };
    assert!(matches!(refusal, Refusal::Unavailable(_) | Refusal::Overloaded { .. } | Refusal::Busy), "{refusal:?}");
    sleep(Duration::from_millis(100)).await;
    true
}

fn registration(account: u32) -> Registration {
    Registration {
        email: email(account),
        password: PasswordPlain::parse(PASSWORD.to_owned()).unwrap(),
        first_name: PersonName::parse("Ana").unwrap(),
        last_name: PersonName::parse("Lima").unwrap(),
        locale: None,
        idempotency: None,
    }
}

async fn register(book: Arc<Doorbook>, account: u32) {
    while is_turned_away(book.register(registration(account), &context(account)).await).await {}
}

async fn login(book: Arc<Doorbook>, account: u32) {
    let password = PasswordPlain::parse(PASSWORD.to_owned()).unwrap();
    let login = Login { email: email(account), password, remember_device: false, device_token: None };
    while is_turned_away(book.login(&login, &context(account)).await).await {}
}

/// Does it for each account, a few at once.
async fn for_each<F: Future<Output = ()> + Send + 'static>(accounts: u32, mut task: impl FnMut(u32) -> F) {
    let mut running = JoinSet::new();
    for account in 0..accounts {
        if account >= AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(task(account));
    }
    running.join_all().await;
}

/// Breaks when `migrations/0001_log.sql`: `create index events_stream on events (stream_id, version);` → `create index events_stream on events (stream_id, version); create index more on events (stream_id, event_id, trace_id);`.
#[tokio::test]
async fn a_login_and_an_account_take_the_room_that_the_arithmetic_counts_on() {
    let is_full = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    let accounts = if is_full { 2_000 } else { 100 };
    let cluster = Cluster::start(options()).await.unwrap();
    let stand = Stand::start_with(&cluster, &[]).await.unwrap();
    let environment: Environment = stand.environment().iter().map(|(name, value)| (name.as_str(), value)).collect();
    let book = Arc::new(start::start(&Settings::load(&environment, Process::Api).unwrap()).await.unwrap());
    let db = PgPool::connect(&cluster.superuser_url(stand.database.name())).await.unwrap();
    let empty = sizes(&db).await;
    for_each(accounts, |account| register(Arc::clone(&book), account)).await;
    settled(&db).await;
    let registered = sizes(&db).await;
    tell("an account that was registered and mailed", &growth(&empty, &registered, accounts));

    // The first login is a notice's matter; those that follow are as most logins are.
    for_each(accounts, |account| login(Arc::clone(&book), account)).await;
    settled(&db).await;
    let before = sizes(&db).await;
    let wal = "select (pg_current_wal_lsn() - '0/0')::bigint";
    let wal_before: i64 = sqlx::query_scalar(wal).fetch_one(&db).await.unwrap();
    for _ in 0..LOGINS {
        for_each(accounts, |account| login(Arc::clone(&book), account)).await;
    }
    settled(&db).await;
    let wal_after: i64 = sqlx::query_scalar(wal).fetch_one(&db).await.unwrap();
    let logins = accounts * LOGINS;
    let grown = growth(&before, &sizes(&db).await, logins);
    tell("a login", &grown);
    println!("figure: a login writes {} bytes of write-ahead log", (wal_after - wal_before) / i64::from(logins));
    let log = grown.iter().filter(|(table, ..)| LOG.contains(&table.as_str()));
    let log: i64 = log.map(|(_, rows, indexes)| rows + indexes).sum();
    println!("figure: {log} bytes of log a login, of {logins} logins");
    let most = if is_full { LOG_BYTES_MAX } else { LOG_BYTES_MAX_SMALL };
    assert!((500..=most).contains(&log), "{log} bytes of log a login");
}

/// A month of so many sealed events.
const MONTH: i64 = 50_000;

async fn database_with_a_month(cluster: &Cluster) -> Database {
    let database = Database::fresh(cluster).await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
    let id = "overlay(uuid7_floor(now() - interval '1 hour')::text placing lpad(to_hex(n), 12, '0') from 25)::uuid";
    let old = format!(
        "insert into streams (stream_id, kind, version) select {id}, 'session', 1 from generate_series(1, {MONTH}) n;
         insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind, recorded_at)
             select {id}, 'keep', {id}, 1, 'LoggedOut', '{{}}', 'account', now() - interval '1 hour' from generate_series(1, {MONTH}) n;
         insert into event_seals (position, event_id, retention_class, epoch, xid, seq, leaf_hash)
             select row_number() over (order by seq), event_id, 'keep', epoch, xid, seq, sha256(event_id::text::bytea) from events;
         analyze"
    );
    sqlx::raw_sql(AssertSqlSafe(old)).execute(&superuser).await.unwrap();
    superuser.close().await;
    database
}

/// What a question reads of the month, by a number that Postgres counts.
async fn read_by<T>(
    cluster: &Cluster,
    database: &Database,
    counted: &'static str,
    ask: impl Future<Output = T>,
) -> (T, i64) {
    let read = async || -> i64 {
        let db = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
        sqlx::query_scalar(counted).fetch_one(&db).await.unwrap()
    };
    let before = read().await;
    let answer = ask.await;
    // What a connection has read is counted by its end at the latest.
    sleep(Duration::from_secs(2)).await;
    (answer, read().await - before)
}

/// Breaks when `core/src/store/seal.rs`: `uuid7_floor(now() - interval '2 minutes')` → `uuid7_floor(clock_timestamp() - interval '2 minutes')`.
#[tokio::test]
async fn how_far_the_sealer_is_behind_is_told_without_reading_the_month() {
    const ROWS: &str = "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables where relname like 'events\\_%'";
    let cluster = Cluster::start(options()).await.unwrap();
    let database = database_with_a_month(&cluster).await;
    let ask = Box::pin(async {
        let worker = Db::open(&database.url_for(Role::Worker), 1, Pooler::None).await.unwrap();
        seal::lag(&worker).await.unwrap()
    });
    let (lag, read) = read_by(&cluster, &database, ROWS, ask).await;
    assert_eq!((lag.waiting, lag.overdue), (0, 0), "{lag:?}");
    assert!(read < MONTH / 10, "{read} rows were read");
}

/// Breaks when `core/src/store/log.rs`: `where e.retention_class in ('keep', 'expire') and e.event_id = $1"#,` → `where e.event_id = $1"#,`.
#[tokio::test]
async fn an_event_is_found_by_its_id_without_reading_the_month() {
    const ASKED: i64 = 50;
    const PAGES: &str =
        "select sum(idx_blks_read + idx_blks_hit)::bigint from pg_statio_user_indexes where relname like 'events\\_%'";
    let cluster = Cluster::start(options()).await.unwrap();
    let database = database_with_a_month(&cluster).await;
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
    let event: uuid::Uuid = sqlx::query_scalar("select event_id from event_seals where position = 30000")
        .fetch_one(&superuser)
        .await
        .unwrap();
    superuser.close().await;
    let ask = Box::pin(async {
        let worker = Db::open(&database.url_for(Role::Worker), 1, Pooler::None).await.unwrap();
        // The plan, which looks at every partition, is made once.
        let mut found = None;
        for _ in 0..ASKED {
            found = log::by_id(&worker, EventId(event)).await.unwrap();
        }
        found
    });
    let (found, read) = read_by(&cluster, &database, PAGES, ask).await;
    assert_eq!(found.unwrap().event_id.0, event);
    assert!(read < 20 * ASKED, "{read} pages were read");
}

/// Sessions have ids behind those of all accounts, and are many. Breaks when `core/src/store/rebuild.rs`: `where kind = 'account' and stream_id > $1` → `where kind || '' = 'account' and stream_id > $1`.
#[tokio::test]
async fn accounts_are_compared_without_reading_the_streams_of_all_sessions() {
    const ROWS: &str =
        "select (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables where relname = 'streams'";
    let cluster = Cluster::start(options()).await.unwrap();
    let database = database_with_a_month(&cluster).await;
    let ask = Box::pin(async {
        let owner = Db::open(&database.url_for(Role::Migrator), 1, Pooler::None).await.unwrap();
        let roots = RootRing::new(b"a key of at least thirty-two bytes, for a test", &[]);
        let vault = Vault::open(&owner, roots).await.unwrap();
        rebuild::check(&owner, &vault).await.unwrap()
    });
    let (report, read) = read_by(&cluster, &database, ROWS, ask).await;
    assert!(report.differences.is_empty(), "{:?}", report.differences);
    assert!(read < MONTH / 10, "{read} rows were read");
}

/// Many wait for a mail server that is away. Breaks when `core/src/store/jobs.rs`: `where j.job_id = any (array(select job_id from due))` → `from due where j.job_id = due.job_id`.
#[tokio::test]
async fn a_job_is_handed_over_without_reading_those_that_wait() {
    const ROWS: &str =
        "select (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables where relname = 'jobs'";
    let cluster = Cluster::start(options()).await.unwrap();
    let database = Database::fresh(&cluster).await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
    let jobs = format!(
        "insert into jobs (job_id, kind, ref, priority, state, run_at, settled_at)
             select overlay(uuid7_floor(now())::text placing lpad(to_hex(n), 12, '0') from 25)::uuid, 'mail', gen_random_uuid(), 0,
                    case when n <= 2 * {MONTH} then 'done' else 'due' end,
                    case when n <= 2 * {MONTH} then now() - interval '1 hour' when n > 3 * {MONTH} then now()
                         else now() + interval '1 hour' end,
                    case when n <= 2 * {MONTH} then now() end
             from generate_series(1, 3 * {MONTH} + 5) n;
         analyze"
    );
    sqlx::raw_sql(AssertSqlSafe(jobs)).execute(&superuser).await.unwrap();
    superuser.close().await;
    let ask = Box::pin(async {
        let worker = Db::open(&database.url_for(Role::Worker), 1, Pooler::None).await.unwrap();
        let mut handed_over = 0;
        for _ in 0..5 {
            handed_over += jobs::dispatch(&worker, &Priority::ALL, 1, 1_000).await.unwrap().jobs.len();
        }
        handed_over
    });
    let (handed_over, read) = read_by(&cluster, &database, ROWS, ask).await;
    assert_eq!(handed_over, 5);
    assert!(read < MONTH / 10, "{read} rows were read");
}

/// Breaks when `core/src/store/query/accounts.rs`: `(Some(only), ..) => {` → `(Some(only), ..) if false => {`.
#[tokio::test]
async fn an_account_and_a_page_of_accounts_are_found_without_reading_all() {
    const ROWS: &str = "select (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables where relname = 'accounts'";
    let cluster = Cluster::start(options()).await.unwrap();
    let database = Database::fresh(&cluster).await.unwrap();
    let superuser = PgPool::connect(&cluster.superuser_url(database.name())).await.unwrap();
    let accounts = format!(
        "insert into accounts (account_id, locale, status, created_at)
             select overlay(uuid7_floor(now())::text placing lpad(to_hex(n), 12, '0') from 25)::uuid, 'en', 'active', now() from generate_series(1, {MONTH}) n;
         insert into streams (stream_id, kind, version) select account_id, 'account', 1 from accounts;
         analyze"
    );
    sqlx::raw_sql(AssertSqlSafe(accounts)).execute(&superuser).await.unwrap();
    let ids = "select account_id from accounts order by account_id limit 100";
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(ids).fetch_all(&superuser).await.unwrap();
    superuser.close().await;
    let filter = Filter { only: None, before: None, status: None, role: None };
    let ask = Box::pin(async {
        let api = Db::open(&database.url_for(Role::Api), 1, Pooler::None).await.unwrap();
        let roots = RootRing::new(b"a key of at least thirty-two bytes, for a test", &[]);
        let vault = Vault::open(&api, roots).await.unwrap();
        let last = Some(AccountId(ids[99]));
        let listed = async |filter| {
            let listed = accounts::listed(&api, &vault, &filter, 50).await.unwrap();
            listed.into_iter().map(|account| account.id.0).collect::<Vec<_>>()
        };
        assert_eq!(listed(Filter { only: last, ..filter }).await, ids[99..]);
        let page: Vec<_> = ids[49..99].iter().rev().copied().collect();
        assert_eq!(listed(Filter { before: last, ..filter }).await, page);
    });
    let ((), read) = read_by(&cluster, &database, ROWS, ask).await;
    assert!(read < MONTH / 10, "{read} rows were read");
}
