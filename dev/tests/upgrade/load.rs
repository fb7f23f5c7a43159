//! Many frontends at once: registrations, logins, refreshes and profile reads at a steady rate, each of which must succeed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

const PASSWORD: &str = "violet harbour 73";
/// Accounts that are logged in all the time.
const PEOPLE: usize = 24;
/// Addresses of this machine that the requests come from.
const ADDRESSES: u8 = 16;
/// Requests in flight at once: a machine that cannot keep up with the rate gets a lower one, not a flood.
const IN_FLIGHT: usize = 48;
/// Longer than the service itself gives a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody with a session, and its newest tokens.
struct Person {
    email: String,
    tokens: Mutex<Tokens>,
}

#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

/// What was asked for, and what came of it.
#[derive(Default)]
pub struct Sent {
    pub requests: usize,
    /// Requests that did not get the answer they must get, each with what they got.
    pub failures: Vec<String>,
    pub slowest: Duration,
    /// Addresses that were registered: each must get a mail.
    pub registered: Vec<String>,
}

pub struct Load {
    stop: watch::Sender<bool>,
    running: JoinHandle<Sent>,
}

struct Frontends {
    base: String,
    clients: Vec<reqwest::Client>,
    people: Vec<Person>,
}

impl Load {
    /// Begins with `rate` requests a second to `base`, once a few people are registered and logged in.
    pub async fn begin(base: &str, rate: u32) -> Self {
        let clients = (1..=ADDRESSES).map(|number| {
            let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
            doorbook_dev::loopback().local_address(address).timeout(PATIENCE).build().unwrap()
        });
        let mut frontends = Frontends { base: base.to_owned(), clients: clients.collect(), people: Vec::new() };
        for number in 0..PEOPLE {
            let email = format!("person{number}@example.com");
            frontends.register(number, &email).await.unwrap();
            let tokens = Mutex::new(frontends.login(number, &email).await.unwrap());
            frontends.people.push(Person { email, tokens });
        }
        let (stop, stopped) = watch::channel(false);
        Self { stop, running: tokio::spawn(Arc::new(frontends).send(rate, stopped)) }
    }

    /// Waits for the last answers.
    pub async fn end(self) -> Sent {
        self.stop.send_replace(true);
        self.running.await.unwrap()
    }
}

impl Frontends {
    async fn send(self: Arc<Self>, rate: u32, stopped: watch::Receiver<bool>) -> Sent {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (places, mut running, mut sent) = (Arc::new(Semaphore::new(IN_FLIGHT)), JoinSet::new(), Sent::default());
        for number in 0.. {
            ticks.tick().await;
            if *stopped.borrow() {
                break;
            }
            let (place, this) = (Arc::clone(&places).acquire_owned().await.unwrap(), Arc::clone(&self));
            running.spawn(async move {
                let started = Instant::now();
                let outcome = this.one(number).await;
                drop(place);
                (outcome, started.elapsed())
            });
            while let Some(done) = running.try_join_next() {
                sent.note(done.unwrap());
            }
        }
        while let Some(done) = running.join_next().await {
            sent.note(done.unwrap());
        }
        sent
    }

    /// One request; the address that it registered, or what went wrong.
    async fn one(&self, number: usize) -> Result<Option<String>, String> {
        let person = &self.people[number / 10 % self.people.len()];
        match number % 10 {
            0 => {
                let email = format!("newcomer{number}@example.com");
                self.register(number, &email).await?;
                return Ok(Some(email));
            }
            1 => {
                let mut tokens = person.tokens.lock().await;
                *tokens = self.login(number, &person.email).await?;
            }
            2 | 3 => {
                let mut tokens = person.tokens.lock().await;
                let body = json!({ "refresh": tokens.refresh });
                *tokens = of(&self.post(number, "/api/auth/token/refresh/", &body, 200).await?);
            }
            _ => {
                let access = person.tokens.lock().await.access.clone();
                let request = self.client(number).get(format!("{}/api/auth/profile/", self.base)).bearer_auth(access);
                answer(request, 200).await?;
            }
        }
        Ok(None)
    }

    async fn register(&self, number: usize, email: &str) -> Result<(), String> {
        let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
        self.post(number, "/api/auth/register/", &body, 201).await.map(drop)
    }

    async fn login(&self, number: usize, email: &str) -> Result<Tokens, String> {
        let body = json!({ "email": email, "password": PASSWORD });
        Ok(of(&self.post(number, "/api/auth/login/", &body, 200).await?))
    }

    async fn post(&self, number: usize, path: &str, body: &Value, expected: u16) -> Result<Value, String> {
        answer(self.client(number).post(format!("{}{path}", self.base)).json(body), expected).await
    }

    fn client(&self, number: usize) -> &reqwest::Client {
        &self.clients[number % self.clients.len()]
    }
}

fn of(answer: &Value) -> Tokens {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    Tokens { access: text("access"), refresh: text("refresh") }
}

/// The body of an answer with the expected status. Anything else, no answer included, is a failure.
async fn answer(request: reqwest::RequestBuilder, expected: u16) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let (path, status) = (response.url().path().to_owned(), response.status().as_u16());
    let text = response.text().await.map_err(|error| format!("{path}: {error:?}"))?;
    if status != expected {
        return Err(format!("{path}: {status} instead of {expected}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))
}

impl Sent {
    /// Every request got its answer.
    pub fn assert_whole(&self) {
        let first = self.failures.iter().take(5).collect::<Vec<_>>();
        assert!(first.is_empty(), "{} of {} failed, such as {first:#?}", self.failures.len(), self.requests);
    }

    fn note(&mut self, (outcome, took): (Result<Option<String>, String>, Duration)) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(registered) => self.registered.extend(registered),
            Err(failure) => self.failures.push(failure),
        }
    }
}
