//! A service that has little to do: how soon a login is answered, and how soon whoever reads the trail finds it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doorbook_dev::load::{Load, Pace, Surplus, Until};
use doorbook_dev::{Answer, Client};
use serde_json::json;
use tokio::time::sleep;

use crate::house::{AUDITOR, House};
use crate::requests::HASHING_CLIENTS;
use crate::scenario::{Dose, Figures, millis};
use crate::target::PASSWORD;

const LOGINS_A_SECOND: f64 = 2.0;
/// So that ninety-five of a hundred can be told apart.
const TIMES_LONGER: u32 = 4;
/// Whose logins are looked for: not the auditor's, as each login of an account may end its oldest session.
const OWNER: &str = "user2@example.com";
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const FOUND_WITHIN: Duration = Duration::from_secs(10);

pub async fn measure(house: &House, dose: Dose) -> Result<Figures> {
    let lasting = TIMES_LONGER * dose.lasting;
    let load =
        Load { pace: Pace::Open(LOGINS_A_SECOND), surplus: Surplus::Fail, ..Load::closed(Until::Elapsed(lasting)) };
    let clients = (0..HASHING_CLIENTS).map(|_| house.doorbook.asking("login")).collect();
    let logins = load.run(house.doorbook.base(), clients).await?;
    house.appoint_auditor().await?;
    let anyone = Client::new(&house.stand.base);
    let auditor = anyone.with_token(login(&anyone, AUDITOR).await?.text("access"));
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < lasting {
        longest = longest.max(found_after(&anyone, &auditor).await?);
    }
    Ok(Figures::from([("p95_ms", millis(logins.percentile(95))), ("found_ms", millis(longest))]))
}

/// How long after the answer to a login its event was found. A look takes a few milliseconds, which count.
async fn found_after(anyone: &Client, auditor: &Client) -> Result<Duration> {
    let told = login(anyone, OWNER).await?;
    let answered = Instant::now();
    let session = anyone.post("/api/auth/token/verify/", json!({ "token": told.text("access") })).await?;
    let path = format!("/api/admin/audit/events/?type=LoggedIn&session={}", session.text("session_id"));
    loop {
        let page = auditor.get(&path).await?;
        ensure!(page.status == 200, "the trail cannot be read: {page:?}");
        if !page.body["events"].as_array().context("no events")?.is_empty() {
            return Ok(answered.elapsed());
        }
        ensure!(answered.elapsed() < FOUND_WITHIN, "a login is not found");
        sleep(LOOK_EVERY).await;
    }
}

async fn login(client: &Client, email: &str) -> Result<Answer> {
    let told = client.post("/api/auth/login/", json!({ "email": email, "password": PASSWORD })).await?;
    ensure!(told.status == 200, "{email} cannot log in: {told:?}");
    Ok(told)
}
