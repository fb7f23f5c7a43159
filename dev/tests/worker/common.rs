//! An api on a database of its own, as many workers as a test wants, and the books that say what became of each mail.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbook_dev::stand::Wiring;
use doorbook_dev::{
    Answer, Client, Cluster, Launch, Mail, Options, Program, Role, Run, Stand, ensure_binaries, free_port,
};
use mail_parser::MessageParser;
use serde_json::json;
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

pub const PASSWORD: &str = "violet harbour 73";
pub const OTHER_PASSWORD: &str = "amber lighthouse 42";

/// Keys that no test needs to keep secret.
const SECRET_KEY: &str = "tY7uI3oP9aS5dF1gH8jK4lZ0xC6vB2nM7qW3eR9tY5uI1oP8aS4dF0gH6jK2lZ7x";
const JWT_SECRET_KEY: &str = "bN4mQ8wE2rT6yU0iO5pA9sD3fG7hJ1kLzX";

/// Time for what should take seconds on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_secs(20);

/// Registrations under way at a time: as many as a small machine hashes, and a few on their way.
const AT_ONCE: usize = 6;

/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much of a check runs: `full` when DOORBOOK_DOSE=full asks for what the security bar demands, else `small`.
pub fn dose<T>(small: T, full: T) -> T {
    if std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full") { full } else { small }
}

/// Servers that no other test shares: they may be killed.
pub async fn own_cluster() -> Cluster {
    let guard = ensure_binaries().await.unwrap().join("doorbook-dev");
    // Durable: what Postgres has acknowledged must survive its own death.
    Cluster::start(Options { durable: true, ..Options::temporary(guard) }).await.unwrap()
}

/// An api with a mail sink; workers are started by the test.
pub struct House {
    pub stand: Stand,
    pub owner: PgPool,
    client: Client,
    run: Arc<Run>,
}

/// A registration whose verification mail is due: the address, and the trace of its request.
#[derive(Clone, Debug)]
pub struct Registered {
    pub address: String,
    pub trace: Uuid,
}

/// What the books say of one mail.
#[derive(Debug, sqlx::FromRow)]
pub struct Entry {
    pub trace: Uuid,
    pub delivery: Uuid,
    pub template: String,
    pub state: String,
    pub attempts: i32,
    pub job: Uuid,
    pub job_state: String,
    pub events: Vec<String>,
}

impl Entry {
    /// The Message-ID of all its copies.
    pub fn message_id(&self) -> String {
        format!("{}.{}@localhost", self.delivery, self.template)
    }
}

pub async fn house() -> House {
    house_on(Cluster::shared().await.unwrap()).await
}

pub async fn house_on(cluster: &Cluster) -> House {
    house_with(cluster, &[]).await
}

/// A house whose api has further settings.
pub async fn house_with(cluster: &Cluster, further: &[(&str, &str)]) -> House {
    let settings = [
        ("SECRET_KEY", SECRET_KEY),
        ("JWT_SECRET_KEY", JWT_SECRET_KEY),
        // No request of these tests is to be turned away because a busy machine hashes slowly, or takes its time to open many
        // connections: a debug build works 30 ms for each.
        ("ARGON2_CONCURRENCY", "16"),
        ("DATABASE_MAX_CONNECTIONS", "4"),
    ];
    let stand = Stand::start_api(cluster, &[&settings, further].concat()).await.unwrap();
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let client = stand.client();
    House { stand, owner, client, run: Arc::clone(cluster.run()) }
}

impl House {
    /// One more worker, at work.
    pub async fn worker(&self) -> Worker {
        let mut worker = self.launch_worker(&[]).await;
        worker.ready().await;
        worker
    }

    /// One more worker with further settings; returns at once.
    pub async fn launch_worker(&self, settings: &[(&str, &str)]) -> Worker {
        let [api, worker, owner] =
            [Role::Api, Role::Worker, Role::Migrator].map(|role| self.stand.database.url_for(role));
        let wiring = Wiring {
            database: &api,
            worker_database: &worker,
            migrate_database: &owner,
            redis: &self.stand.redis_url,
            mail_port: self.stand.sink.port(),
            api_port: free_port().unwrap(),
            secret_key: SECRET_KEY,
            jwt_secret_key: JWT_SECRET_KEY,
        };
        let environment = wiring.environment().unwrap();
        let port = &environment.iter().find(|(name, _)| name == "WORKER_OPS_BIND").unwrap().1;
        let ops = format!("http://{port}");
        let launch = Launch::workspace("doorbook-worker").await.unwrap();
        let launch = launch.envs(environment).envs(self.stand.pooling.clone()).envs(settings.iter().copied());
        Worker { program: launch.start(&self.run).unwrap(), ops }
    }

    /// A client with an address of its own.
    pub fn client(&self, number: usize) -> Client {
        self.client.from_address(&format!("2001:db8:{:x}:{:x}::1", number >> 16, number & 0xffff))
    }

    /// Registers the person with this number, whatever comes of it.
    pub async fn try_registering(&self, number: usize) -> anyhow::Result<(Registered, Answer)> {
        try_registering(self.client(number), &address(number)).await
    }

    /// Registers somebody with a mailbox elsewhere.
    pub async fn register_at(&self, number: usize, domain: &str) -> Registered {
        let (registered, answer) = try_registering(self.client(number), &format!("p{number}@{domain}")).await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        registered
    }

    /// As if no mail had ever met trouble on its way.
    pub async fn forget_trouble(&self) {
        self.execute("delete from mail_destinations").await;
    }

    /// Registers the person with this number, which makes a verification mail due.
    pub async fn register(&self, number: usize) -> Registered {
        register(self.client(number), number).await
    }

    /// Registers many, some at a time.
    pub async fn register_all(&self, numbers: Range<usize>) -> Vec<Registered> {
        let (mut running, mut all) = (JoinSet::new(), Vec::new());
        for number in numbers {
            if running.len() == AT_ONCE {
                all.push(running.join_next().await.unwrap().unwrap());
            }
            running.spawn(register(self.client(number), number));
        }
        all.extend(running.join_all().await);
        all
    }

    /// A visit as of any frontend: register, log in, refresh; each must succeed.
    pub async fn visit(&self, number: usize) -> Registered {
        let registered = self.register(number).await;
        let tokens = self.log_in(number).await;
        let body = json!({ "refresh": tokens.text("refresh") });
        let refreshed = self.client(number).post("/api/auth/token/refresh/", body).await.unwrap();
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        registered
    }

    pub async fn log_in(&self, number: usize) -> Answer {
        let body = json!({ "email": address(number), "password": PASSWORD });
        let tokens = self.client(number).post("/api/auth/login/", body).await.unwrap();
        assert_eq!(tokens.status, 200, "{tokens:?}");
        tokens
    }

    /// Sends a request that must get this status.
    pub async fn post(&self, number: usize, path: &str, body: serde_json::Value, status: u16) -> Answer {
        let answer = self.client(number).post(path, body).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        answer
    }

    /// The only number a query of the owner's gives.
    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.unwrap()
    }

    /// Changes rows as their owner: lets time pass, mostly. How many there were.
    pub async fn execute(&self, sql: &'static str) -> u64 {
        sqlx::query(sql).execute(&self.owner).await.unwrap().rows_affected()
    }

    /// Waits until a query gives `number`.
    pub async fn until(&self, within: Duration, sql: &'static str, number: i64) {
        let started = Instant::now();
        loop {
            let last = self.number(sql).await;
            if last == number {
                return;
            }
            assert!(
                started.elapsed() < within,
                "{last} instead of {number} after {within:?}: {sql}\n{}",
                self.jobs().await
            );
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets the leases of mails that are being sent run out, as they do 20 s after their worker's death. How many there were.
    pub async fn let_leases_end(&self) -> u64 {
        let running = "update jobs set lease_until = clock_timestamp() where kind = 'mail' and state = 'running'";
        self.execute(running).await
    }

    /// Makes every job due that waits for its next try.
    pub async fn let_pauses_pass(&self) {
        self.execute("update jobs set run_at = clock_timestamp() where state = 'due'").await;
    }

    /// The same for mails that have been tried; those that wait for their destination go on waiting.
    pub async fn let_pauses_of_tried_pass(&self) {
        self.execute("update jobs set run_at = clock_timestamp() where state = 'due' and attempt > 0").await;
    }

    /// Ids that Redis holds for workers to fetch.
    pub async fn waiting_in_redis(&self) -> i64 {
        let mut waiting = 0;
        for lane in ["urgent", "notice", "chore", "suspect"] {
            waiting += self.redis(&format!("ZCARD doorbook:{lane}:scheduled")).await;
            waiting += self.redis(&format!("LLEN doorbook:{lane}:active")).await;
        }
        waiting
    }

    /// Waits until every mail has its outcome.
    pub async fn until_settled(&self, within: Duration) {
        self.until(within, "select count(*) from deliveries where state in ('queued', 'deferred')", 0).await;
    }

    /// Jobs by state, for the message of a failed test.
    async fn jobs(&self) -> String {
        sqlx::query_scalar(
            "select coalesce(string_agg(line, e'\\n'), 'no jobs') from (
                 select format('%s %s: %s; starts %s, attempt %s, %s', kind, state, count(*), max(starts), max(attempt), max(last_error)) as line
                 from jobs group by kind, state) t",
        )
        .fetch_one(&self.owner)
        .await
        .unwrap()
    }

    /// The entry of a registration's mail.
    pub async fn entry(&self, of: &Registered) -> Entry {
        self.entries().await.remove(&of.trace).unwrap()
    }

    /// All entries that a request has caused, by its trace.
    pub async fn entries(&self) -> HashMap<Uuid, Entry> {
        let entries: Vec<Entry> = sqlx::query_as(
            "select j.trace_id as trace, d.delivery_id as delivery, d.template, d.state, d.attempts, j.job_id as job, j.state as job_state,
                    array(select e.type from events e where e.stream_id = d.delivery_id order by e.version) as events
             from jobs j join deliveries d on d.delivery_id = j.ref",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap();
        entries.into_iter().map(|entry| (entry.trace, entry)).collect()
    }

    /// The copies of each registration's mail that the sink has got. Each went to the right address under the delivery's
    /// Message-ID, is marked as automatic, and is `sent` in the books.
    pub async fn copies(&self, all: &[Registered]) -> Vec<Vec<Mail>> {
        let (mut entries, mut mails) = (self.entries().await, self.mails());
        all.iter()
            .map(|registered| {
                let entry = entries.remove(&registered.trace).unwrap();
                let said = (entry.state.as_str(), entry.job_state.as_str(), entry.events.last().map(String::as_str));
                assert_eq!(said, ("sent", "done", Some("MailSent")), "{entry:?}");
                assert_eq!(entry.events.first().map(String::as_str), Some("MailQueued"));
                let copies = mails.remove(&entry.message_id()).unwrap_or_default();
                for mail in &copies {
                    assert_eq!(mail.envelope.to, [registered.address.as_str()]);
                    assert_eq!(header(mail, "To").as_deref(), Some(registered.address.as_str()));
                    assert_eq!(header(mail, "Auto-Submitted").as_deref(), Some("auto-generated"));
                }
                copies
            })
            .collect()
    }

    /// Each registration has led to one mail, and to nothing else.
    pub async fn assert_each_sent_once(&self, all: &[Registered]) {
        let copies = self.copies(all).await;
        let odd: Vec<_> = all.iter().zip(&copies).filter(|(_, copies)| copies.len() != 1).collect();
        assert!(odd.is_empty(), "not sent exactly once: {odd:?}");
        assert_eq!(self.stand.sink.mails().len(), all.len(), "there are mails that nobody has caused");
    }

    /// All mails of the sink by their Message-ID.
    pub fn mails(&self) -> HashMap<String, Vec<Mail>> {
        let mut mails: HashMap<String, Vec<Mail>> = HashMap::new();
        for mail in self.stand.sink.mails() {
            let id = MessageParser::default().parse(&*mail.raw).unwrap().message_id().unwrap().to_owned();
            mails.entry(id).or_default().push(mail);
        }
        mails
    }

    /// One command without blanks in its arguments; its number, or 0 for OK.
    pub async fn redis(&self, command: &str) -> i64 {
        let url = url::Url::parse(&self.stand.redis_url).unwrap();
        let stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).await.unwrap();
        let mut stream = BufReader::new(stream);
        let commands = [&format!("AUTH {}", url.password().unwrap()), &format!("SELECT {}", &url.path()[1..]), command];
        let mut answer = String::new();
        for command in commands {
            stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
            answer.clear();
            stream.read_line(&mut answer).await.unwrap();
            assert!(answer.starts_with(['+', ':']), "{command}: {answer}");
        }
        answer.trim_end().strip_prefix(':').map_or(0, |number| number.parse().unwrap())
    }
}

/// A worker process and its operators' port.
pub struct Worker {
    pub program: Program,
    pub ops: String,
}

impl Worker {
    pub async fn ready(&mut self) {
        self.program.wait_ready(&self.ops, SOON).await.unwrap();
    }

    /// A value of `/metrics`, rounded up; `None` while it is not told.
    pub async fn metric(&self, name: &str) -> Option<i64> {
        let http = doorbook_dev::loopback().build().unwrap();
        let text = http.get(format!("{}/metrics", self.ops)).send().await.unwrap().text().await.unwrap();
        let start = format!("doorbook_worker_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| whole(value.parse().unwrap()))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no number of a test is that large")]
fn whole(value: f64) -> i64 {
    value.ceil() as i64
}

fn header(mail: &Mail, name: &str) -> Option<String> {
    let message = MessageParser::default().parse(&*mail.raw)?;
    let raw = message.header_raw(name.to_owned())?;
    Some(raw.trim().trim_start_matches('<').trim_end_matches('>').to_owned())
}

fn address(number: usize) -> String {
    format!("p{number}@example.com")
}

async fn try_registering(client: Client, address: &str) -> anyhow::Result<(Registered, Answer)> {
    let body = json!({ "email": address, "password": PASSWORD, "password_confirm": PASSWORD });
    let answer = client.post("/api/auth/register/", body).await?;
    let trace = answer.headers["traceparent"].to_str()?.split('-').nth(1).unwrap_or_default().parse()?;
    Ok((Registered { address: address.to_owned(), trace }, answer))
}

pub async fn register(client: Client, number: usize) -> Registered {
    let (registered, answer) = try_registering(client, &address(number)).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    registered
}
