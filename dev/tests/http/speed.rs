//! How fast a few clients are answered who ask without pause. What counts in every build is how often the database is asked; rates
//! count in the whole dose alone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use doorbook_dev::load::{Load, Outcome, Script, Until};
use doorbook_dev::{Cluster, Options, Stand};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::common::*;
use crate::imports;

/// Clients at once, as in the release bar.
const CLIENTS: usize = 8;

/// Requests of a client in the small dose.
const FEW: usize = 200;

/// A service on a Postgres that writes as a real one does, to the disk.
async fn durable() -> (Cluster, Stand) {
    let options = Options { durable: true, ..Options::temporary(env!("CARGO_BIN_EXE_doorbook-dev")) };
    let cluster = Cluster::start(options).await.unwrap();
    let stand = Stand::start_api(&cluster, &[]).await.unwrap();
    (cluster, stand)
}

async fn ask<S: Script>(stand: &Stand, scripts: Vec<S>) -> Outcome {
    let until = dose(Until::Requests(FEW), Until::Elapsed(Duration::from_secs(60)));
    let outcome = Load::closed(until).run(&stand.base, scripts).await;
    outcome.unwrap_or_else(|error| panic!("{error:#}\n{}", stand.api.log().unwrap()))
}

fn get(stand: &Stand, path: &str, headers: &str) -> Vec<u8> {
    let host = stand.base.strip_prefix("http://").unwrap();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").into_bytes()
}

/// Statements that the database has committed in the service's life, which ends: a session tells its numbers at its end.
async fn statements(cluster: &Cluster, stand: &mut Stand) -> f64 {
    stand.api.kill().await.unwrap();
    let mut connection = PgConnection::connect(&cluster.superuser_url("postgres")).await.unwrap();
    let name = stand.database.name();
    loop {
        // A pooler keeps sessions beyond the life of whom they served.
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1";
        let open: i64 = sqlx::query_scalar(end).bind(name).fetch_one(&mut connection).await.unwrap();
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::query_scalar("select xact_commit::float8 from pg_stat_database where datname = $1")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// Fails when a request asks the database more often than `most` times. What the service and its users do beside the requests is
/// some hundred statements.
async fn assert_statements(cluster: &Cluster, mut stand: Stand, outcome: &Outcome, most: f64) {
    let requests = f64::from(u32::try_from(outcome.requests()).unwrap());
    let each = statements(cluster, &mut stand).await / requests;
    println!("figure: {each:.2} statements a request, those of the start and of {CLIENTS} logins among them");
    assert!(each < most + 0.9, "{each} statements a request");
}

/// C114. Breaks when `api/src/routes/index.rs`: `Json(Index {` → `tokio::time::sleep(std::time::Duration::from_secs(2)).await; Json(Index {`.
/// Release: the bar names a time.
#[tokio::test]
async fn the_front_page_costs_no_more_than_a_constant_page() {
    let (_cluster, stand) = durable().await;
    let load = Load { reconnect: true, ..Load::closed(Until::Requests(10)) };
    let mut outcomes = Vec::new();
    for path in ["/health/live", "/api/auth/"] {
        let scripts = (0..10).map(|_| {
            let request = get(&stand, path, "Connection: close\r\n");
            move |_: &[u8]| Ok(request.clone())
        });
        let outcome = load.run(&stand.base, scripts.collect()).await.unwrap();
        println!("figure: {path}, ten clients at once, a connection a request: {outcome}");
        outcomes.push(outcome);
    }
    let [constant, page] = outcomes.try_into().unwrap();
    assert!(page.mean() <= constant.mean() * 10, "{page} against {constant}");
    if is_full_dose() {
        assert!(page.mean() < Duration::from_millis(500), "{page}");
    }
}

/// Reads the profile of a token's holder.
pub fn reading(stand: &Stand, access: &str) -> impl Script + use<> {
    let request = get(stand, "/api/auth/profile/", &format!("Authorization: Bearer {access}\r\n"));
    move |_: &[u8]| Ok(request.clone())
}

/// C114. Breaks when `core/src/service/profile.rs`: `let claims = self.claims(token)?;` → `let claims = self.claims(token)?; self.authenticate(token).await?;`.
/// Release: the bar names a rate.
#[tokio::test]
async fn a_profile_is_read_with_one_statement_at_the_bar_s_rate() {
    let (cluster, stand) = durable().await;
    let mut scripts = Vec::new();
    for _ in 0..CLIENTS {
        let (_, answer) = welcomed(&stand).await;
        scripts.push(reading(&stand, answer.text("access")));
    }
    let outcome = ask(&stand, scripts).await;
    println!("figure: profile, {CLIENTS} connections: {outcome}");
    if is_full_dose() {
        assert!(outcome.rate() >= 1_500.0 && outcome.turned_away() == 0, "{outcome}");
    }
    assert_statements(&cluster, stand, &outcome, 1.0).await;
}

/// Logs the same person in again and again.
pub fn logging_in(stand: &Stand, email: &str) -> impl Script + use<> {
    let (host, body) = (stand.base.strip_prefix("http://").unwrap(), credentials(email, PASSWORD).to_string());
    let head = format!("POST /api/auth/login/ HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    move |_: &[u8]| Ok(request.clone())
}

/// Who it is, whether the password may be tried, that it is tried; what decides on the session, and that it has begun.
///
/// Breaks when `core/src/service/login.rs`: `match self.begin_session(guess, read, remember, context).await {` → `match Err(StoreError::Conflict.into()) {`.
#[tokio::test]
async fn a_login_takes_five_statements() {
    let (cluster, stand) = durable().await;
    let mut scripts = Vec::new();
    for _ in 0..CLIENTS {
        let email = registered(&stand).await;
        scripts.push(logging_in(&stand, &email));
    }
    let outcome = Load::closed(Until::Requests(FEW / 4)).run(&stand.base, scripts).await.unwrap();
    println!("figure: login, {CLIENTS} connections: {outcome}");
    assert_statements(&cluster, stand, &outcome, 5.0).await;
}

/// Asks for one change after the other, each under an `Idempotency-Key` of its own.
fn keyed<B>(stand: &Stand, path: &'static str, access: &str, mut body: B) -> impl Script + use<B>
where
    B: FnMut() -> Value + Send + 'static,
{
    let host = stand.base.strip_prefix("http://").unwrap().to_owned();
    let (mut number, access, address) = (0, access.to_owned(), somewhere());
    move |_: &[u8]| {
        number += 1;
        let body = body().to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nX-Forwarded-For: {address}\r\n\
             Authorization: Bearer {access}\r\nIdempotency-Key: {number}\r\n"
        );
        Ok(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }
}

/// Changes the password of somebody to the other one of two, again and again.
fn changing(stand: &Stand, access: &str) -> impl Script + use<> {
    let mut words = [PASSWORD, OTHER_PASSWORD];
    keyed(stand, "/api/auth/password/change/", access, move || {
        let [current, new] = words;
        words.reverse();
        json!({ "current_password": current, "new_password": new, "new_password_confirm": new })
    })
}

/// Has the link for a new address mailed, to another one each time.
fn changing_address(stand: &Stand, access: &str) -> impl Script + use<> {
    keyed(stand, "/api/auth/email/change/", access, || json!({ "password": PASSWORD, "new_email": someone() }))
}

/// How many statements a change takes, of which an account may make at least twenty an hour: so few that what is done beside them would be two
/// statements of each.
async fn statements_of_a_change<S: Script>(change: impl Fn(&Stand, &str) -> S) -> f64 {
    let mut asked = Vec::new();
    for changes in [1, 20] {
        let (cluster, mut stand) = durable().await;
        let mut scripts = Vec::new();
        for _ in 0..CLIENTS {
            let (_, answer) = welcomed(&stand).await;
            scripts.push(change(&stand, answer.text("access")));
        }
        let outcome = Load::closed(Until::Requests(changes)).run(&stand.base, scripts).await.unwrap();
        asked.push(statements(&cluster, &mut stand).await / f64::from(u32::try_from(outcome.requests()).unwrap()));
        println!("figure: a change, {CLIENTS} connections: {outcome}");
    }
    let each = (asked[1] * 20.0 - asked[0]) / 19.0;
    println!("figure: {each:.2} statements a change");
    each
}

/// The token, the key of the request, who it is; whether the password may be tried, that it is tried, what it counts against, that it
/// was right; then who it is by now, and in which session, and that it has changed. At a database 100 ms away there is time for twelve.
///
/// Breaks when `core/src/service/password.rs`: `        self.once_within(header, context, async |key| {\n            let owner =` → `        self.once(header, context, async |key| {\n            let owner =`.
#[tokio::test]
async fn a_change_of_a_password_takes_ten_statements() {
    let each = statements_of_a_change(changing).await;
    // Connections that were opened meanwhile, and what Postgres does by itself, are half a statement of each.
    assert!(each < 11.2, "{each} statements a change");
}

/// The same.
///
/// Breaks when `core/src/service/email_change.rs`: `self.once_within(header, context, async |key| {` → `self.once(header, context, async |key| {`.
#[tokio::test]
async fn a_request_for_a_change_of_address_takes_ten_statements() {
    let each = statements_of_a_change(changing_address).await;
    assert!(each < 11.2, "{each} statements a request");
}

/// Breaks when `cli/src/import/mod.rs`: `while let Some(page) = source.page(2 * self.options.batch).await? {` → `while let Some(page) = source.page(2).await? {`.
/// Release: it is to bring two thousand accounts a second.
#[tokio::test]
async fn an_import_brings_many_accounts_a_statement() {
    let (cluster, mut stand) = durable().await;
    let users = dose(400, 20_000);
    let path = imports::csv("speed.csv", users);
    let (status, report) = imports::import(&stand, &["--csv", &path]).await;
    assert_eq!((status, report["imported"].as_u64()), (0, Some(users as u64)), "{report}");
    println!("figure: {users} accounts imported, {} a second", report["accounts_per_second"]);
    if is_full_dose() {
        assert!(report["accounts_per_second"].as_f64().unwrap() >= 2_000.0, "{report}");
    }
    let each = statements(&cluster, &mut stand).await / f64::from(u32::try_from(users).unwrap());
    println!("figure: {each:.3} statements an account, those of the start among them");
    assert!(each < 0.5, "{each} statements an account");
}

/// Spends the refresh token of the last answer, first the one of the login.
pub fn refreshing(stand: &Stand, first: &str) -> impl Script + use<> {
    let (host, mut token) = (stand.base.strip_prefix("http://").unwrap().to_owned(), first.to_owned());
    move |last: &[u8]| -> Result<Vec<u8>> {
        if !last.is_empty() {
            let answer: Value = serde_json::from_slice(last)?;
            answer["refresh"].as_str().context("no refresh token")?.clone_into(&mut token);
        }
        let body = format!(r#"{{"refresh":"{token}"}}"#);
        let head =
            format!("POST /api/auth/token/refresh/ HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
        Ok(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }
}

/// C114. Breaks when `core/src/service/refresh.rs`: `            crate::failpoint!("refresh.presented");` → `            self.token_guesses_left(&context.origin).await?;`.
/// Release: the bar names a rate.
#[tokio::test]
async fn a_refresh_takes_one_statement_at_the_bar_s_rate() {
    let (cluster, stand) = durable().await;
    let mut scripts = Vec::new();
    for _ in 0..CLIENTS {
        let (_, answer) = welcomed(&stand).await;
        scripts.push(refreshing(&stand, answer.text("refresh")));
    }
    let outcome = ask(&stand, scripts).await;
    println!("figure: refresh, {CLIENTS} connections: {outcome}");
    if is_full_dose() {
        assert!(outcome.rate() >= 300.0 && outcome.turned_away() == 0, "{outcome}");
    }
    assert_statements(&cluster, stand, &outcome, 1.0).await;
}
