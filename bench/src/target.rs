//! Whom the load is for: a base URL, and a file that says how its routes are asked. The same load goes to Doorbook, to the floors
//! and to any peer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use doorbook_dev::load::{Load, Script, Until};
use serde::Deserialize;
use serde_json::Value;

/// Password of every account of the load.
pub const PASSWORD: &str = "violet harbour 73";

/// From one account to the next in turn: a prime, so that all have their turn, and that those of a moment lie anywhere among all.
const STRIDE: u64 = 7_368_787;

/// Logins at once when users are logged in before a measurement.
const LOGINS_AT_ONCE: usize = 4;

/// How a service is spoken to. In headers and bodies stand `{email}` and `{password}` for the next account in turn, `{fresh}` for an
/// address that nobody has, `{address}` for another client address a request, `{access}` and `{refresh}` for tokens.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    pub name: String,
    /// Of accounts that are there: `user{n}@example.com`, n from 1.
    #[serde(default = "Mapping::default_email")]
    email: String,
    #[serde(default = "Mapping::default_password")]
    password: String,
    /// How many; those that the bench has made are as many as it has made.
    accounts: Option<u32>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    tokens: Tokens,
    routes: BTreeMap<String, Route>,
}

/// Where the tokens stand in the answer to a login or refresh, as JSON pointers.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct Tokens {
    access: String,
    refresh: String,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct Route {
    method: String,
    path: String,
    body: Option<String>,
    /// Whether an access token goes along.
    #[serde(default)]
    access: bool,
}

impl Mapping {
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("the mapping of routes cannot be read")
    }

    fn default_email() -> String {
        "user{n}@example.com".to_owned()
    }

    fn default_password() -> String {
        PASSWORD.to_owned()
    }
}

/// One who is logged in.
#[derive(Clone, Debug)]
pub struct User {
    pub access: String,
    pub refresh: String,
}

/// A service that is there.
pub struct Target {
    mapping: Mapping,
    base: String,
    accounts: u32,
    next: AtomicU32,
    fresh: AtomicU32,
}

impl Target {
    /// Refuses what is not on this machine unless `remote` allows it.
    pub fn new(mapping: Mapping, base: &str, accounts: u32, remote: bool) -> Result<Arc<Self>> {
        let base = base.trim_end_matches('/').to_owned();
        let host = base.strip_prefix("http://").context("only plain HTTP is spoken here")?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        let is_loopback = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        ensure!(is_loopback || remote, "{base} is not on this machine; --allow-remote if that is meant");
        let accounts = mapping.accounts.unwrap_or(accounts);
        Ok(Arc::new(Self { mapping, base, accounts, next: AtomicU32::new(0), fresh: AtomicU32::new(0) }))
    }

    /// The same service at another of its processes.
    pub fn elsewhere(&self, base: &str) -> Arc<Self> {
        let now = |number: &AtomicU32| AtomicU32::new(number.load(Ordering::Relaxed));
        Arc::new(Self {
            mapping: self.mapping.clone(),
            base: base.to_owned(),
            accounts: self.accounts,
            next: now(&self.next),
            fresh: now(&self.fresh),
        })
    }

    pub fn name(&self) -> &str {
        &self.mapping.name
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn has(&self, route: &str) -> bool {
        self.mapping.routes.contains_key(route)
    }

    /// A request of the next account in turn.
    pub fn request(&self, route: &str, user: Option<&User>) -> Result<Vec<u8>> {
        let asked = self.mapping.routes.get(route).with_context(|| format!("{} has no {route}", self.name()))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let fill = |text: &str| self.filled(text, number, user);
        let host = self.base.trim_start_matches("http://");
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", asked.method, fill(&asked.path));
        for (name, value) in &self.mapping.headers {
            write!(text, "{name}: {}\r\n", fill(value))?;
        }
        if asked.access {
            let user = user.context("a route that needs an access token")?;
            write!(text, "Authorization: Bearer {}\r\n", user.access)?;
        }
        if let Some(body) = &asked.body {
            let body = fill(body);
            write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        } else {
            text.push_str("\r\n");
        }
        Ok(text.into_bytes())
    }

    fn filled(&self, text: &str, number: u32, user: Option<&User>) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        let mut text = text.replace("{password}", &self.mapping.password);
        if text.contains("{email}") {
            let accounts = u64::from(self.accounts.max(1));
            let account = u64::from(number) * STRIDE % accounts + 1;
            text = text.replace("{email}", &self.mapping.email.replace("{n}", &account.to_string()));
        }
        if text.contains("{fresh}") {
            // A peer that stays may have had this run's addresses from an earlier one.
            let fresh =
                format!("fresh{}x{}@example.com", std::process::id(), self.fresh.fetch_add(1, Ordering::Relaxed));
            text = text.replace("{fresh}", &fresh);
        }
        let [_, b, c, d] = number.to_be_bytes();
        text = text.replace("{address}", &format!("10.{b}.{c}.{d}"));
        match user {
            Some(user) => text.replace("{refresh}", &user.refresh).replace("{access}", &user.access),
            None => text,
        }
    }

    /// The tokens in an answer.
    pub fn user(&self, answer: &[u8]) -> Result<User> {
        let answer: Value = serde_json::from_slice(answer).context("no JSON")?;
        let text = |pointer: &str| {
            let found = answer.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned).with_context(|| format!("no token at {pointer}"))
        };
        Ok(User { access: text(&self.mapping.tokens.access)?, refresh: text(&self.mapping.tokens.refresh)? })
    }

    /// Logs the next accounts in turn in.
    pub async fn logged_in(self: &Arc<Self>, users: usize) -> Result<Vec<User>> {
        let found = Arc::new(Mutex::new(Vec::new()));
        let clients = users.min(LOGINS_AT_ONCE);
        let script = |_| {
            let (target, found) = (Arc::clone(self), Arc::clone(&found));
            move |last: &[u8]| {
                if !last.is_empty() {
                    found.lock().unwrap_or_else(PoisonError::into_inner).push(target.user(last)?);
                }
                target.request("login", None)
            }
        };
        let scripts: Vec<_> = (0..clients).map(script).collect();
        let load = Load::closed(Until::Requests(users.div_ceil(clients.max(1))));
        load.run(&self.base, scripts).await.with_context(|| format!("{} lets nobody log in", self.name()))?;
        Ok(found.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Asks the same route again and again, for one account after the other.
    pub fn asking(self: &Arc<Self>, route: &'static str) -> impl Script + use<> {
        let target = Arc::clone(self);
        move |_: &[u8]| target.request(route, None)
    }

    /// Asks for each of these users in turn.
    pub fn asking_as(self: &Arc<Self>, route: &'static str, users: &[User]) -> Result<impl Script + use<>> {
        let requests: Vec<_> = users.iter().map(|user| self.request(route, Some(user))).collect::<Result<_>>()?;
        ensure!(!requests.is_empty(), "nobody is logged in");
        let mut next = 0;
        Ok(move |_: &[u8]| {
            next += 1;
            Ok(requests[next % requests.len()].clone())
        })
    }

    /// Spends the refresh token of the last answer.
    pub fn refreshing(self: &Arc<Self>, mut user: User) -> impl Script + use<> {
        let target = Arc::clone(self);
        move |last: &[u8]| {
            if !last.is_empty() {
                user = target.user(last)?;
            }
            target.request("refresh", Some(&user))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base: &str, remote: bool) -> Result<Arc<Target>> {
        let mapping = Mapping::parse(include_str!("../targets/doorbook.toml")).unwrap();
        Target::new(mapping, base, 2, remote)
    }

    #[test]
    fn accounts_come_in_turn_and_each_request_from_another_address() {
        let target = target("http://127.0.0.1:80", false).unwrap();
        let texts: Vec<_> =
            (0..3).map(|_| String::from_utf8(target.request("login", None).unwrap()).unwrap()).collect();
        for (text, email) in texts.iter().zip(["user1@", "user2@", "user1@"]) {
            assert!(text.contains(email), "{text}");
        }
        assert!(texts[2].contains("X-Forwarded-For: 10.0.0.2\r\n"), "{}", texts[2]);
        let (head, body) = texts[0].split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    }

    #[test]
    fn only_this_machine_is_loaded_unless_more_is_asked_for() {
        for base in ["http://localhost:80", "http://127.0.0.2:80/", "http://[::1]:80"] {
            assert!(target(base, false).is_ok(), "{base}");
        }
        for base in ["http://192.0.2.1:80", "http://example.com", "http://127.0.0.1.example.com:80"] {
            assert!(target(base, false).is_err(), "{base}");
            assert!(target(base, true).is_ok(), "{base}");
        }
        assert!(target("https://localhost", true).is_err());
    }
}
