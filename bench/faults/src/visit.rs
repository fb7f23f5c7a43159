//! What people do: each operation with what it makes a person believe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use doorbook_dev::Sink;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::frontend::{Asked, Told, ask};
use crate::ledger::{Action, Intent, Ledger, Outcome};
use crate::people::{Knowledge, People, Person, Session, password};

/// Longest wait of a person for the mail with the link; later it is not followed.
const MAIL_WITHIN: Duration = Duration::from_secs(10);

/// Everything that a person needs.
pub struct Town {
    pub ledger: Ledger,
    pub people: People,
    pub sink: Arc<Sink>,
    /// Where the service is: one address behind a proxy, or each api's.
    pub bases: RwLock<Vec<String>>,
}

impl Town {
    /// Registers, or, when it is not known whether that is done, registers again.
    pub async fn register(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        let body = json!({ "email": person.email, "password": knows.password, "password_confirm": knows.password });
        let intent = Intent { password: Some(knows.password.clone()), ..intent(person, Action::Register) };
        let (number, told) = self.ask(person, intent, &Asked::post("/api/auth/register/", body)).await?;
        knows.is_registered |= told.outcome == Outcome::Done;
        self.ledger.end(number, told.outcome, None)
    }

    /// Logs in, with the other password too when it is not known which one holds.
    pub async fn login(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        if self.login_with(person, knows, knows.password.clone()).await? == Outcome::Refused
            && let Some(maybe) = knows.maybe.clone()
            && self.login_with(person, knows, maybe.clone()).await? == Outcome::Done
        {
            (knows.password, knows.maybe) = (maybe, None);
        }
        Ok(())
    }

    async fn login_with(&self, person: &Person, knows: &mut Knowledge, password: String) -> Result<Outcome> {
        let body = json!({ "email": person.email, "password": password });
        let intent = Intent { password: Some(password), ..intent(person, Action::Login) };
        let asked = Asked { again: false, ..Asked::post("/api/auth/login/", body) };
        let (number, told) = self.ask(person, intent, &asked).await?;
        let session = session(&told);
        self.ledger.end(number, told.outcome, session.as_ref().map(|session| session.id))?;
        knows.session = session.or(knows.session.take());
        Ok(told.outcome)
    }

    /// Trades the refresh token for the next one. Without an answer the token is tried again later, as any client would.
    pub async fn refresh(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        let Some(held) = knows.session.take() else { return self.login(person, knows).await };
        let body = json!({ "refresh": held.refresh });
        let intent = Intent { session: Some(held.id), ..intent(person, Action::Refresh) };
        let (number, told) = self.ask(person, intent, &Asked::post("/api/auth/token/refresh/", body)).await?;
        let fresh = session(&told);
        self.ledger.end(number, told.outcome, fresh.as_ref().map(|session| session.id))?;
        knows.session = match told.outcome {
            Outcome::Done => fresh,
            Outcome::Unknown if told.status != 401 => Some(held),
            Outcome::Unknown | Outcome::Refused if told.status == 429 => Some(held),
            _ => None,
        };
        Ok(())
    }

    pub async fn profile(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        let Some(held) = knows.session.clone().filter(Session::has_access) else {
            return self.refresh(person, knows).await;
        };
        let asked = Asked { method: Method::GET, ..Asked::post("/api/auth/profile/", Value::Null) };
        let asked = Asked { again: false, ..asked.with(&held.access) };
        let intent = Intent { session: Some(held.id), ..intent(person, Action::Profile) };
        let (number, told) = self.ask(person, intent, &asked).await?;
        self.ledger.end(number, told.outcome, None)
    }

    pub async fn change(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        let held = knows.session.clone().filter(Session::has_access);
        let (Some(held), None) = (held, &knows.maybe) else { return self.login(person, knows).await };
        let fresh = think(person, knows);
        let body = json!({ "current_password": knows.password, "new_password": fresh, "new_password_confirm": fresh });
        let asked = Asked::post("/api/auth/password/change/", body).with(&held.access);
        let intent = Intent {
            password: Some(fresh.clone()),
            former: Some(knows.password.clone()),
            session: Some(held.id),
            ..intent(person, Action::Change)
        };
        let (number, told) = self.ask(person, intent, &asked).await?;
        believe(knows, told.outcome, fresh);
        self.ledger.end(number, told.outcome, None)
    }

    pub async fn logout(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        let Some(held) = knows.session.take() else { return self.login(person, knows).await };
        let body = json!({ "refresh": held.refresh });
        let intent = Intent { session: Some(held.id), ..intent(person, Action::Logout) };
        let (number, told) = self.ask(person, intent, &Asked::post("/api/auth/logout/", body)).await?;
        self.ledger.end(number, told.outcome, None)
    }

    /// Asks for a link, and follows it if it comes.
    pub async fn reset(&self, person: &Person, knows: &mut Knowledge) -> Result<()> {
        if knows.maybe.is_some() {
            return self.login(person, knows).await;
        }
        let first = self.sink.count();
        let body = json!({ "email": person.email });
        let asked = Asked::post("/api/auth/password/reset/", body);
        let (number, told) =
            self.ask_from(&People::alone(person.number)?, intent(person, Action::Reset), &asked).await?;
        self.ledger.end(number, told.outcome, None)?;
        if told.outcome != Outcome::Done {
            return Ok(());
        }
        let started = Instant::now();
        let token = loop {
            let link = |mail: &doorbook_dev::Mail| {
                mail.is_to(&person.email).then(|| mail.token()).flatten().filter(|token| token.starts_with("dbp_"))
            };
            if let Some(token) = self.sink.mails_from(first).iter().rev().find_map(link) {
                break token;
            }
            if started.elapsed() > MAIL_WITHIN {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.confirm(person, knows, &token).await
    }

    async fn confirm(&self, person: &Person, knows: &mut Knowledge, token: &str) -> Result<()> {
        let fresh = think(person, knows);
        let body = json!({ "token": token, "new_password": fresh, "new_password_confirm": fresh });
        let asked = Asked::post("/api/auth/password/reset/confirm/", body);
        let intent = Intent { password: Some(fresh.clone()), ..intent(person, Action::Confirm) };
        let (number, told) = self.ask(person, intent, &asked).await?;
        if told.outcome != Outcome::Refused {
            // Every session ends with it.
            knows.session = None;
        }
        believe(knows, told.outcome, fresh);
        self.ledger.end(number, told.outcome, None)
    }

    async fn ask(&self, person: &Person, intent: Intent, asked: &Asked<'_>) -> Result<(usize, Told)> {
        self.ask_from(&person.http, intent, asked).await
    }

    async fn ask_from(&self, http: &reqwest::Client, intent: Intent, asked: &Asked<'_>) -> Result<(usize, Told)> {
        let bases = self.bases.read().await.clone();
        ask(&self.ledger, http, &bases, intent, asked).await
    }
}

pub fn intent(person: &Person, action: Action) -> Intent {
    Intent { person: person.number, action, password: None, former: None, session: None }
}

/// The next password of a person.
fn think(person: &Person, knows: &mut Knowledge) -> String {
    knows.passwords += 1;
    password(person.number, knows.passwords)
}

/// A new password: held, not held, or perhaps.
fn believe(knows: &mut Knowledge, outcome: Outcome, fresh: String) {
    match outcome {
        Outcome::Done => knows.password = fresh,
        Outcome::Unknown => knows.maybe = Some(fresh),
        Outcome::Refused => {}
    }
}

/// The session in an answer with tokens.
fn session(told: &Told) -> Option<Session> {
    let text = |name: &str| told.body[name].as_str().map(str::to_owned);
    let id: Uuid = text("session_id")?.parse().ok()?;
    Some(Session { id, access: text("access")?, refresh: text("refresh")?, at: Instant::now() })
}
