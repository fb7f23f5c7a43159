//! The people whose accounts are used, and what each of them believes to hold.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Addresses that people come from: the limits are by address.
const ADDRESSES: usize = 200;

/// An access token is used no longer than this; it lives for fifteen minutes.
const ACCESS_FOR: Duration = Duration::from_mins(12);

/// Longest wait for an answer. The service itself gives up after 15 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: Uuid,
    pub access: String,
    pub refresh: String,
    pub at: Instant,
}

impl Session {
    pub fn has_access(&self) -> bool {
        self.at.elapsed() < ACCESS_FOR
    }
}

/// What a person knows.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// Whether the account is known to exist.
    pub is_registered: bool,
    pub password: String,
    /// A password that may have become the current one: its change was never answered.
    pub maybe: Option<String>,
    pub session: Option<Session>,
    /// Passwords thought of so far.
    pub passwords: usize,
}

/// Somebody with an account of its own.
pub struct Person {
    pub number: usize,
    pub email: String,
    pub http: reqwest::Client,
    pub knows: Mutex<Knowledge>,
}

/// Everybody, and the addresses they come from.
pub struct People {
    clients: Vec<reqwest::Client>,
}

/// An idle connection is kept for less than the 30 s that the api keeps it: a request must not meet its end.
const IDLE: Duration = Duration::from_secs(20);

impl People {
    pub fn new() -> Result<Self> {
        let client = |number: usize| {
            let number = u8::try_from(number % ADDRESSES).unwrap_or_default();
            let builder = at(Ipv4Addr::new(127, 0, 1, number.saturating_add(1)));
            builder.pool_idle_timeout(IDLE).build().context("no HTTP client can be made")
        };
        Ok(Self { clients: (0..ADDRESSES).map(client).collect::<Result<_>>()? })
    }

    pub fn person(&self, number: usize) -> Person {
        let http = self.client(number).clone();
        let knows = Mutex::new(Knowledge { password: password(number, 0), ..Knowledge::default() });
        Person { number, email: format!("person{number}@example.com"), http, knows }
    }

    /// A client at an address that nobody else has: a limit of resets is by address, and a steady load's would soon meet it.
    pub fn alone(number: usize) -> Result<reqwest::Client> {
        let [.., first, second, third] = u32::try_from(number)?.to_be_bytes();
        at(Ipv4Addr::new(127, first.saturating_add(1), second, third)).build().context("no HTTP client can be made")
    }

    /// The client at the address with this number, counted round and round.
    pub fn client(&self, number: usize) -> &reqwest::Client {
        &self.clients[number % self.clients.len()]
    }
}

fn at(address: Ipv4Addr) -> reqwest::ClientBuilder {
    doorbook_dev::loopback().local_address(IpAddr::V4(address)).timeout(PATIENCE)
}

/// The password that a person thinks of as the `nth`, such that no rule refuses it and no two are alike.
pub fn password(person: usize, nth: usize) -> String {
    format!("violet harbour {person} amber {nth}")
}
