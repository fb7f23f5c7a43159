//! A service on a database of its own, without HTTP: for races and schedules that need every microsecond.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbook_core::alert::Thresholds;
use doorbook_core::limit::Rule;
use doorbook_core::password::{Engine, HashCost, Hasher, PasswordPlain, PasswordPolicy, Validator};
use doorbook_core::service::access::Caller;
use doorbook_core::service::login::{Login, Tokens};
use doorbook_core::service::mail::{Prepared, ReadyMail};
use doorbook_core::service::register::Registration;
use doorbook_core::service::{Alerting, Context, Doorbook, Policy, Refusal, RegistrationMode, RootSecrets};
use doorbook_core::store::{Db, Pooler, StoreError, seal};
use doorbook_core::token::access::TokenKeys;
use doorbook_core::token::keys::{RootRing, Use};
use doorbook_core::token::opaque;
use doorbook_core::value::{ClientOrigin, DeliveryId, Email, Locale, PersonName};
use doorbook_dev::{Cluster, Database, Role};
use sqlx::{AssertSqlSafe, PgPool};
use zeroize::Zeroizing;

pub const PASSWORD: &str = "violet harbour 73";
pub const OTHER_PASSWORD: &str = "amber lighthouse 42";

/// Database connections of one service, at most.
const CONNECTIONS: u32 = 16;

/// A database, the owner's pool into it and as many services as processes would be.
pub struct House {
    pub database: Database,
    pub owner: PgPool,
}

pub async fn cluster() -> &'static Cluster {
    Cluster::shared().await.unwrap()
}

pub async fn house() -> House {
    let database = Database::fresh(cluster().await).await.unwrap();
    let owner = database.pool(Role::Migrator).await.unwrap();
    House { database, owner }
}

pub fn secrets() -> RootSecrets {
    RootSecrets {
        secret_key: Zeroizing::new(vec![1; 50]),
        secret_key_fallbacks: vec![],
        keyring: vec![],
        tokens: TokenKeys::shared(&[2; 32]),
        issuer: "https://app.example.com".into(),
        audience: "doorbook".into(),
    }
}

pub fn policy() -> Policy {
    let hour = Duration::from_hours(1);
    Policy {
        access_lifetime: Duration::from_mins(15),
        refresh_lifetime: Duration::from_hours(7 * 24),
        refresh_grace: Duration::from_secs(10),
        session_idle: None,
        sessions_max: 20,
        verification_expiry: 24 * hour,
        reset_expiry: hour,
        login: Rule { max: 5, window: Duration::from_mins(5), block: Duration::from_mins(15) },
        login_address_max: 30,
        registration: Rule { max: 1_000, window: hour, block: Duration::ZERO },
        reset: Rule { max: 3, window: hour, block: Duration::ZERO },
        registration_mode: RegistrationMode::Open,
        default_locale: Locale::En,
        password: PasswordPolicy {
            min_length: 8,
            validators: vec![Validator::Similarity, Validator::Length, Validator::Common, Validator::Numeric],
        },
        deletion_grace: Duration::from_hours(14 * 24),
        unverified_lifetime: Duration::from_hours(30 * 24),
        stranger_lifetime: Duration::from_hours(30 * 24),
        key_backup_lifetime: Duration::from_hours(30 * 24),
        alerts: Alerting { thresholds: Thresholds::default(), emails: vec![], webhook: false },
        site: "localhost".to_owned(),
        log_email: doorbook_core::config::LogEmail::Masked,
    }
}

impl House {
    /// One process of the api.
    pub async fn book(&self) -> Arc<Doorbook> {
        self.book_with(policy(), &secrets()).await
    }

    pub async fn book_with(&self, policy: Policy, secrets: &RootSecrets) -> Arc<Doorbook> {
        let cost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };
        let hasher = Hasher::start(cost, Engine::Argon2, NonZeroUsize::new(4).unwrap()).unwrap();
        self.book_hashing(hasher, policy, secrets).await
    }

    pub async fn book_hashing(&self, hasher: Hasher, policy: Policy, secrets: &RootSecrets) -> Arc<Doorbook> {
        let pool = Db::new(&self.database.url_for(Role::Api), CONNECTIONS, Pooler::None).unwrap();
        // Opened before the test begins: a debug build takes so long over each that a burst would wait for nothing else.
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(pool.begin().await.unwrap());
        }
        for transaction in open {
            transaction.rollback().await.unwrap();
        }
        Arc::new(Doorbook::open(pool, hasher, policy, secrets).await.unwrap())
    }

    /// Connections of a worker, with the settings that it gives them.
    pub fn worker(&self) -> Db {
        Db::new(&self.database.url_for(Role::Worker), CONNECTIONS, Pooler::None).unwrap()
    }

    /// The only number a query of the owner's gives.
    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.unwrap()
    }

    /// Seals everything. Transactions of other tests hold the sealer back as well: transaction ids are the cluster's.
    pub async fn seal(&self) {
        let worker = self.worker();
        let unsealed = "select (select count(*) from events) - (select count(*) from event_seals)";
        let begun = Instant::now();
        loop {
            let left = self.number(unsealed).await;
            if left == 0 {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{left} events are never sealed");
            if seal::seal_batch(&worker).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Waits until no statement of a process runs any more: one whose caller is gone goes on to its end.
    pub async fn quiet(&self) {
        let running = "select count(*) from pg_stat_activity
                       where datname = current_database() and usename = 'dev_api' and state <> 'idle'";
        let superuser = PgPool::connect(&cluster().await.superuser_url(self.database.name())).await.unwrap();
        while sqlx::query_scalar::<_, i64>(running).fetch_one(&superuser).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many events of a name there are.
    pub async fn events(&self, name: &str) -> i64 {
        let count = "select count(*) from events where type = $1";
        sqlx::query_scalar(count).bind(name).fetch_one(&self.owner).await.unwrap()
    }

    /// Does by the owner's hand what only time or an operator does.
    pub async fn alter(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.owner).await.unwrap();
    }

    /// The newest mail of a template, gathered as the worker gathers it.
    pub async fn mail(&self, book: &Doorbook, template: &str) -> ReadyMail {
        let newest = "select delivery_id from deliveries where template = $1 order by delivery_id desc limit 1";
        let delivery: uuid::Uuid =
            sqlx::query_scalar(newest).bind(template).fetch_one(&self.owner).await.expect(template);
        let row = book.delivery(DeliveryId(delivery)).await.unwrap().unwrap();
        match book.prepare_mail(&row).await.unwrap() {
            Prepared::Send(mail) => *mail,
            Prepared::Unneeded { reason } => panic!("{template} is not needed: {reason}"),
            Prepared::Alert(_) => panic!("{template} is an operator's"),
            Prepared::Settled => panic!("{template} is settled"),
        }
    }

    /// The token in the newest mail of a template.
    pub async fn link(&self, book: &Doorbook, template: &str) -> String {
        let (_, token) = self.mail(book, template).await.token.expect("a mail with a link");
        token.expose().to_owned()
    }
}

/// How much of it: the small dose in every run, the full one when `DOORBOOK_DOSE=full`.
pub fn dose<T>(small: T, full: T) -> T {
    if std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full") { full } else { small }
}

/// Runs `n` tasks at once; what each gave, in order.
pub async fn at_once<T, F>(n: usize, task: impl FnMut(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    together((0..n).map(task)).await
}

/// A number below `bound`, by chance.
pub fn chance(bound: u64) -> u64 {
    u64::from_be_bytes(doorbook_core::token::random()) % bound
}

pub fn from(address: &str) -> Context {
    Context::stranger(ClientOrigin::new(address.parse().unwrap(), "test", uuid::Uuid::nil()))
}

pub fn anywhere() -> Context {
    from("203.0.113.7")
}

pub fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

pub fn password(text: &str) -> PasswordPlain {
    PasswordPlain::parse(text.to_owned()).unwrap()
}

pub async fn register(book: &Doorbook, address: &str) -> Result<(), Refusal> {
    register_from(book, address, &anywhere()).await
}

pub async fn register_from(book: &Doorbook, address: &str, context: &Context) -> Result<(), Refusal> {
    let registration = Registration {
        email: email(address),
        password: password(PASSWORD),
        first_name: PersonName::parse("Ana").unwrap(),
        last_name: PersonName::parse("Lima").unwrap(),
        locale: None,
        idempotency: None,
    };
    book.register(registration, context).await
}

pub async fn login(book: &Doorbook, address: &str, text: &str) -> Result<Tokens, Refusal> {
    login_from(book, address, text, None, &anywhere()).await
}

/// Guesses wrong, one after the other.
pub async fn fails(book: &Doorbook, address: &str, times: usize) {
    for n in 1..=times {
        assert_eq!(word(&login(book, address, OTHER_PASSWORD).await), "wrong", "attempt {n}");
    }
}

pub async fn login_from(
    book: &Doorbook,
    address: &str,
    text: &str,
    device_token: Option<String>,
    context: &Context,
) -> Result<Tokens, Refusal> {
    let login = Login {
        email: email(address),
        password: password(text),
        remember_device: device_token.is_none(),
        device_token,
    };
    book.login(&login, context).await
}

/// A policy that differs from [`policy`] in what `change` does.
pub fn policy_with(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    change(&mut policy);
    policy
}

/// One word for how a use case ended, so that outcomes can be compared and counted.
pub fn word<T>(result: &Result<T, Refusal>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Refusal::InvalidCredentials) => "wrong",
        Err(Refusal::Blocked { .. }) => "blocked",
        Err(Refusal::Busy) => "busy",
        Err(Refusal::Limited { .. }) => "limited",
        Err(Refusal::Unauthenticated) => "unauthenticated",
        Err(Refusal::NotFound) => "not found",
        Err(Refusal::InvalidToken) => "invalid token",
        Err(Refusal::Unavailable(StoreError::Conflict)) => "conflict",
        Err(other) => panic!("unexpected: {other:?}"),
    }
}

/// What a limit tells the client to wait.
pub fn retry_after<T>(result: &Result<T, Refusal>) -> Duration {
    match result {
        Err(Refusal::Blocked { retry_after } | Refusal::Limited { retry_after }) => *retry_after,
        other => panic!("no limit was met: {}", word(other)),
    }
}

/// Logs in as a well-behaved client does: comes back after a second when told that it is too much at once.
pub async fn patient_login(book: &Doorbook, address: &str, text: &str) -> Result<Tokens, Refusal> {
    loop {
        let answer = login(book, address, text).await;
        match word(&answer) {
            "busy" | "conflict" => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => return answer,
        }
    }
}

/// Runs all at once and returns their outcomes in order.
pub async fn together<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let handles: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut outcomes = Vec::with_capacity(handles.len());
    for handle in handles {
        outcomes.push(handle.await.unwrap());
    }
    outcomes
}

impl House {
    /// Lets `seconds` pass for everything that is limited: each time in each counter moves into the past.
    pub async fn age_limits(&self, seconds: i64) {
        for sql in [
            "update counters set version = version + 1, state = state || jsonb_build_object(
                 'hits', (select coalesce(jsonb_agg(jsonb_build_array((h->0)::bigint - $1 * 1000000, h->1)), '[]')
                          from jsonb_array_elements(state->'hits') h),
                 'held', (select coalesce(jsonb_agg(jsonb_build_array(h->0, (h->1)::bigint - $1 * 1000000, h->2)), '[]')
                          from jsonb_array_elements(state->'held') h),
                 'blocked_until', (state->>'blocked_until')::bigint - $1 * 1000000)",
            "update counter_members set at = at - $1 * interval '1 second'",
        ] {
            sqlx::query(sql).bind(seconds).execute(&self.owner).await.unwrap();
        }
    }

    /// Lets `seconds` pass for every session.
    pub async fn age_sessions(&self, seconds: i64) {
        sqlx::query(
            "update sessions set created_at = created_at - $1 * interval '1 second', rotated_at = rotated_at - $1 * interval '1 second',
                 last_used_at = last_used_at - $1 * interval '1 second', absolute_end = absolute_end - $1 * interval '1 second',
                 idle_end = idle_end - $1 * interval '1 second', stepped_up_at = stepped_up_at - $1 * interval '1 second'",
        )
        .bind(seconds)
        .execute(&self.owner)
        .await
        .unwrap();
    }

    /// The link of the newest reset mail, derived as the worker derives it.
    pub async fn reset_link(&self) -> String {
        let (id, salt): (uuid::Uuid, Vec<u8>) = sqlx::query_as(
            "select token_id, salt from tokens where kind = 'reset' order by created_at desc, token_id desc limit 1",
        )
        .fetch_one(&self.owner)
        .await
        .unwrap();
        let ring = RootRing::new(&secrets().secret_key, &[]);
        opaque::derive(&ring, Use::Reset, ring.current_id(), id, 0, &salt).unwrap().expose().to_owned()
    }
}

/// Whether a pair of tokens still opens anything at `book`: the access token, then the refresh token.
pub async fn alive(book: &Doorbook, tokens: &Tokens) -> (bool, bool) {
    let access = book.authenticate(&tokens.access).await;
    let read = book.own_profile(&tokens.access).await;
    assert_eq!(word(&access), word(&read), "whoever may not act may not read either");
    let refresh = book.refresh(tokens.refresh.expose(), &anywhere()).await;
    for answer in [word(&access), word(&refresh)] {
        assert!(matches!(answer, "ok" | "unauthenticated"), "{answer}");
    }
    (access.is_ok(), refresh.is_ok())
}

/// Who holds these tokens.
pub async fn holder(book: &Doorbook, tokens: &Tokens) -> Caller {
    book.authenticate(&tokens.access).await.unwrap()
}
