//! Clients that write down what they were told, so that it can be held against what is there later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbook_dev::{Answer, Client};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

const PASSWORD: &str = "violet harbour 73";
/// Changes of one account, before the next one is registered.
const CHANGES: u32 = 6;
/// Before the next try, when a client was turned away.
const PAUSE: Duration = Duration::from_millis(50);

/// How often something was asked for, and how often a client was told that it is done.
#[derive(Default, Debug)]
struct Count {
    asked: u32,
    told: u32,
}

impl Count {
    fn holds(&self, done: u32) -> bool {
        (self.told..=self.asked).contains(&done)
    }
}

/// An account whose registration was acknowledged.
#[derive(Debug)]
pub struct Account {
    pub email: String,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    id: uuid::Uuid,
    access: String,
    refresh: String,
    refreshes: Count,
    /// The number in the name of the profile.
    name: Count,
}

/// Clients that register, log in, change and refresh without a pause.
pub struct Writers {
    stop: watch::Sender<bool>,
    running: JoinSet<Vec<Account>>,
    told: Vec<Arc<AtomicUsize>>,
}

impl Writers {
    pub fn begin(base: &str, round: u32, clients: u8) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut running, mut told) = (JoinSet::new(), Vec::new());
        for number in 0..clients {
            let count = Arc::new(AtomicUsize::new(0));
            told.push(Arc::clone(&count));
            let client = Client::new(base).from_address(&format!("10.{round}.{number}.1"));
            let writer = Writer { client, name: format!("r{round}c{number}"), stopped: stopped.clone(), count };
            running.spawn(writer.work());
        }
        Self { stop, running, told }
    }

    /// Writes that each client was told of.
    pub fn told(&self) -> Vec<usize> {
        self.told.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Waits for the last answers.
    pub async fn end(self) -> Vec<Account> {
        self.stop.send_replace(true);
        self.running.join_all().await.into_iter().flatten().collect()
    }
}

struct Writer {
    client: Client,
    name: String,
    stopped: watch::Receiver<bool>,
    count: Arc<AtomicUsize>,
}

impl Writer {
    async fn work(self) -> Vec<Account> {
        let mut accounts = Vec::new();
        for number in 0.. {
            if self.is_over() {
                break;
            }
            let email = format!("{}n{number}@example.com", self.name);
            let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
            if self.told(self.client.post("/api/auth/register/", body).await, 201).await.is_some() {
                let session = self.log_in(&email).await;
                accounts.push(Account { email, session });
            }
        }
        accounts
    }

    async fn log_in(&self, email: &str) -> Option<Session> {
        let answer = self.client.post("/api/auth/login/", credentials(email)).await;
        let body = self.told(answer, 200).await?;
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        let (id, access, refresh) = (text("session_id").parse().unwrap(), text("access"), text("refresh"));
        let mut session = Session { id, access, refresh, refreshes: Count::default(), name: Count::default() };
        for number in 1..=CHANGES {
            if self.is_over() {
                break;
            }
            let client = self.client.with_token(&session.access);
            session.name.asked = number;
            let answer = client.patch("/api/auth/profile/", json!({ "first_name": format!("Ana {number}") })).await;
            if self.told(answer, 200).await.is_some() {
                session.name.told = number;
            }
            session.refreshes.asked += 1;
            let answer = self.client.post("/api/auth/token/refresh/", json!({ "refresh": session.refresh })).await;
            // Whether it was done is not known: presented again later, the token would look stolen.
            let Some(body) = self.told(answer, 200).await else { break };
            session.refreshes.told += 1;
            body["access"].as_str().unwrap().clone_into(&mut session.access);
            body["refresh"].as_str().unwrap().clone_into(&mut session.refresh);
        }
        Some(session)
    }

    /// The body of the answer that says that it is done. Any other says that it is not known, or not now.
    async fn told(&self, answer: anyhow::Result<Answer>, done: u16) -> Option<Value> {
        match answer {
            Ok(answer) if answer.status == done => {
                self.count.fetch_add(1, Ordering::Relaxed);
                return Some(answer.body);
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => {}
        }
        sleep(PAUSE).await;
        None
    }

    fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }
}

fn credentials(email: &str) -> Value {
    json!({ "email": email, "password": PASSWORD })
}

/// Every write that a client was told of is there, and none that it did not ask for. `db` may read everything.
pub async fn assert_kept(accounts: &[Account], base: &str, db: &PgPool) {
    let clients = (0..).map(|number| Client::new(base).from_address(&format!("10.255.{}.1", number % 250)));
    for (account, client) in accounts.iter().zip(clients) {
        if let Some(session) = &account.session {
            let generation: Option<i64> = sqlx::query_scalar("select generation from sessions where session_id = $1")
                .bind(session.id)
                .fetch_optional(db)
                .await
                .unwrap();
            let refreshes = generation.map(|generation| u32::try_from(generation - 1).unwrap());
            assert!(
                refreshes.is_some_and(|refreshes| session.refreshes.holds(refreshes)),
                "{refreshes:?}: {account:?}"
            );
            let profile = client.with_token(&session.access).get("/api/auth/profile/").await.unwrap();
            assert_eq!(profile.status, 200, "{profile:?}: {account:?}");
            let name = profile.text("first_name").strip_prefix("Ana ").map_or(0, |number| number.parse().unwrap());
            assert!(session.name.holds(name), "{name}: {account:?}");
        }
        let login = client.post("/api/auth/login/", credentials(&account.email)).await.unwrap();
        assert_eq!(login.status, 200, "{login:?}: {account:?}");
    }
}
