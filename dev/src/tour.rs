//! The main job, step by step, against the running service: each step prints its request, the answer, and the mail and the
//! events it led to, and fails the tour when any of them is not as promised.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::sink::{Mail, Sink};
use crate::stand::{Answer, Client, FRONTEND_URL};

/// Time for a mail to arrive, or for an event to be sealed.
const WITHIN: Duration = Duration::from_secs(20);

const PASSWORD: &str = "violet harbour 73";
const NEW_PASSWORD: &str = "amber lighthouse 42";

pub struct Tour<'a> {
    pub client: Client,
    pub sink: &'a Sink,
    /// The owner's connection: reads the log as it is stored.
    pub owner: PgPool,
    email: String,
    step: u32,
}

impl<'a> Tour<'a> {
    /// A tour of a person whom nobody has met before.
    pub fn new(base: &str, sink: &'a Sink, owner: PgPool, person: &str) -> Self {
        // An address of the documentation prefix (RFC 3849) for each person: registrations are limited by address.
        let client = Client::new(base).from_address(&format!("2001:db8:{}::1", &person[..4]));
        Self { client, sink, owner, email: format!("ana.{person}@example.com"), step: 0 }
    }

    pub async fn run(mut self) -> Result<()> {
        self.register().await?;
        self.verify().await?;
        let (access, refresh) = self.log_in_and_refresh().await?;
        self.fail_until_blocked().await?;
        let token = self.ask_for_reset().await?;
        self.reset(&token, &access, &refresh).await?;
        let access = self.log_in_again().await?;
        self.history(&access).await?;
        println!("\nThe tour is over: {} steps, everything held.", self.step);
        Ok(())
    }

    async fn register(&mut self) -> Result<()> {
        self.title("Register");
        let body = json!({
            "email": self.email, "password": PASSWORD, "password_confirm": PASSWORD, "first_name": "Ana", "locale": "en",
        });
        let answer = self.post("/api/auth/register/", body, 201).await?;
        ensure!(answer.text("status") == "check_mail", "the answer is not check_mail");
        self.event("Registered").await
    }

    async fn verify(&mut self) -> Result<()> {
        self.title("Mail → verify");
        let mail = self.mail("Confirm your e-mail address").await?;
        ensure!(mail.text.contains("Hello Ana"), "the mail does not greet Ana");
        let token = token(&mail, "/verify-email")?;
        self.post("/api/auth/email/verify/", json!({ "token": token }), 204).await?;
        self.event("EmailVerified").await?;
        println!("  The same link again is refused:");
        self.post("/api/auth/email/verify/", json!({ "token": token }), 422).await?;
        Ok(())
    }

    async fn log_in_and_refresh(&mut self) -> Result<(String, String)> {
        self.title("Log in → profile → refresh");
        let tokens = self.log_in(PASSWORD, 200).await?;
        self.event("LoggedIn").await?;
        let profile = self.get("/api/auth/profile/", tokens.text("access"), 200).await?;
        ensure!(profile.text("email") == self.email, "the profile is somebody else's");
        ensure!(profile.body["email_verified"] == true, "the address is not verified");
        let refresh = json!({ "refresh": tokens.text("refresh") });
        let next = self.post("/api/auth/token/refresh/", refresh.clone(), 200).await?;
        ensure!(next.text("refresh") != tokens.text("refresh"), "the refresh token was not rotated");
        println!("  A repeated refresh, as after a lost answer, gets the same successor:");
        let again = self.post("/api/auth/token/refresh/", refresh, 200).await?;
        ensure!(again.text("refresh") == next.text("refresh"), "the successor differs");
        Ok((next.text("access").to_owned(), next.text("refresh").to_owned()))
    }

    async fn fail_until_blocked(&mut self) -> Result<()> {
        self.title("Failed attempts → block");
        for _ in 0..5 {
            self.log_in("not the password", 401).await?;
        }
        self.event("LoginBlocked").await?;
        println!("  Now even the right password is refused:");
        let blocked = self.log_in(PASSWORD, 429).await?;
        ensure!(blocked.headers.contains_key("retry-after"), "no Retry-After");
        Ok(())
    }

    async fn ask_for_reset(&mut self) -> Result<String> {
        self.title("Reset requested → mail");
        self.post("/api/auth/password/reset/", json!({ "email": self.email }), 202).await?;
        self.event("PasswordResetRequested").await?;
        let mail = self.mail("password").await?;
        token(&mail, "/reset-password")
    }

    async fn reset(&mut self, token: &str, access: &str, refresh: &str) -> Result<()> {
        self.title("Reset");
        let body = json!({ "token": token, "new_password": NEW_PASSWORD, "new_password_confirm": NEW_PASSWORD });
        self.post("/api/auth/password/reset/confirm/", body.clone(), 204).await?;
        self.event("PasswordReset").await?;
        self.mail("was reset").await?;
        println!("  The link is spent, and the old tokens and the old password are dead:");
        self.post("/api/auth/password/reset/confirm/", body, 422).await?;
        self.get("/api/auth/profile/", access, 401).await?;
        self.post("/api/auth/token/refresh/", json!({ "refresh": refresh }), 401).await?;
        self.log_in(PASSWORD, 401).await?;
        Ok(())
    }

    async fn log_in_again(&mut self) -> Result<String> {
        self.title("Log in → sessions");
        let tokens = self.log_in(NEW_PASSWORD, 200).await?;
        let access = tokens.text("access").to_owned();
        let sessions = self.get("/api/auth/sessions/", &access, 200).await?;
        let listed = sessions.body["sessions"].as_array().map_or(0, Vec::len);
        ensure!(
            listed == 1 && sessions.body["sessions"][0]["current"] == true,
            "{listed} sessions are live, not this one"
        );
        Ok(access)
    }

    async fn history(&mut self, access: &str) -> Result<()> {
        self.title("The account's events");
        let answer = self.get("/api/auth/events/", access, 200).await?;
        let mut names: Vec<&str> =
            answer.body["events"].as_array().into_iter().flatten().filter_map(|event| event["type"].as_str()).collect();
        names.reverse();
        println!("  in order: {}", names.join(", "));
        let expected = [
            "Registered",
            "EmailVerificationRequested",
            "EmailVerified",
            "LoggedIn",
            "LoginFailed",
            "LoginBlocked",
            "PasswordResetRequested",
            "PasswordReset",
            "LoggedIn",
        ];
        let mut rest = names.iter();
        for name in expected {
            ensure!(rest.any(|seen| *seen == name), "{name} is missing, or not in its place");
        }
        self.sealed(names.len()).await
    }

    /// Every event of the account gets its position in the log.
    async fn sealed(&self, listed: usize) -> Result<()> {
        let query = "select count(*), count(s.position), max(s.position) from events e left join event_seals s using (event_id)";
        let started = std::time::Instant::now();
        loop {
            let (events, sealed, last): (i64, i64, Option<i64>) =
                sqlx::query_as(query).fetch_one(&self.owner).await.context("cannot read the log")?;
            if events == sealed && last == Some(events) {
                println!(
                    "  all {events} events of the log are sealed in positions 1 to {events}, {listed} of them Ana's"
                );
                return Ok(());
            }
            ensure!(started.elapsed() < WITHIN, "{sealed} of {events} events are sealed, the last at {last:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn title(&mut self, text: &str) {
        self.step += 1;
        println!("\n── {}. {text}", self.step);
    }

    async fn log_in(&self, password: &str, status: u16) -> Result<Answer> {
        self.post("/api/auth/login/", json!({ "email": self.email, "password": password }), status).await
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Result<Answer> {
        println!("  POST {path} {body}");
        check(self.client.post(path, body).await?, status)
    }

    async fn get(&self, path: &str, access: &str, status: u16) -> Result<Answer> {
        println!("  GET {path}");
        check(self.client.with_token(access).get(path).await?, status)
    }

    async fn mail(&self, subject: &str) -> Result<Mail> {
        let mail = self.sink.wait_for(|mail| mail.is_to(&self.email) && mail.subject.contains(subject), WITHIN).await?;
        println!("  mail to {}: {}", self.email, mail.subject);
        for line in mail.text.lines() {
            println!("  │ {line}");
        }
        ensure!(
            mail.link().is_some_and(|link| link.as_str().starts_with(FRONTEND_URL)),
            "the mail's link leads elsewhere"
        );
        Ok(mail)
    }

    /// The newest event of this name about Ana, as it is stored.
    async fn event(&self, name: &str) -> Result<()> {
        let query = "select row_to_json(e) from (select type, version, payload, actor_kind, recorded_at, octet_length(pii) as \
                     sealed_personal_data_bytes from events where type = $1 order by recorded_at desc limit 1) e";
        let row: Option<Value> =
            sqlx::query_scalar(query).bind(name).fetch_optional(&self.owner).await.context("cannot read the log")?;
        let Some(row) = row else { bail!("no {name} in the log") };
        println!("  event {row}");
        Ok(())
    }
}

fn check(answer: Answer, status: u16) -> Result<Answer> {
    println!("  → {} {}", answer.status, short(&answer.body));
    ensure!(answer.status == status, "expected {status}");
    Ok(answer)
}

/// One line that fits a terminal.
fn short(body: &Value) -> String {
    const LENGTH_MAX: usize = 160;
    if body.is_null() {
        return String::new();
    }
    let text = body.to_string();
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn token(mail: &Mail, page: &str) -> Result<String> {
    let link = mail.link().context("the mail has no link")?;
    ensure!(link.path() == page, "the link leads to {}, not to {page}", link.path());
    mail.token().context("the link has no token")
}
