//! Secrets stand in no log, at any level.

use doorbook_dev::Role;
use serde_json::{Value, json};
use url::Url;

use crate::common::*;

const SECRET_KEY: &str = "cAnArYsK8vL2mN5pR9tY3wZ6bC1dF4gH7jK0sA8uE2iO5xQ9nM3vB6kD1cX4rT7y";
const JWT_SECRET_KEY: &str = "cAnArYjWt7wQ1nX8cV5bJ2mH6gF9dS3aL0yRuE";
const PASSWORDS: [&str; 3] = ["canary first 4711", "canary second 4712", "canary wrong 4713"];

/// All flows that carry secrets; every token on the way.
async fn flows(house: &House) -> Vec<String> {
    let [first, second, wrong] = PASSWORDS;
    let (client, email) = (house.client(), someone());
    let post = async |path: &str, body: Value, status: u16| {
        let answer = client.post(path, body).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        answer
    };
    let credentials = |password: &str| json!({ "email": email, "password": password, "remember_device": true });
    post("/api/auth/register/", json!({ "email": email, "password": first, "password_confirm": first }), 201).await;
    let verify = house.mailed(&email, "dbv_").await;
    let answer = client.post("/api/auth/email/verify/", json!({ "token": verify })).await.unwrap();
    assert!(answer.status < 300, "{answer:?}");
    post("/api/auth/login/", credentials(wrong), 401).await;
    let login = post("/api/auth/login/", credentials(first), 200).await;
    let refreshed = post("/api/auth/token/refresh/", json!({ "refresh": login.text("refresh") }), 200).await;
    // Spent, forged and cut tokens are refused; what was wrong with them may be logged, they may not.
    for broken in [login.text("refresh").to_owned() + "x", login.text("refresh").replace("dbr_", "dbp_")] {
        client.post("/api/auth/token/refresh/", json!({ "refresh": broken })).await.unwrap();
    }
    let inside = client.with_token(refreshed.text("access"));
    let change = json!({ "current_password": first, "new_password": second, "new_password_confirm": second });
    let changed = inside.post("/api/auth/password/change/", change).await.unwrap();
    assert!(changed.status < 300, "{changed:?}");
    inside.with_token(&format!("{}x", refreshed.text("access"))).get("/api/auth/profile/").await.unwrap();
    client.get(&format!("/api/auth/profile/?access={}", refreshed.text("access"))).await.unwrap();
    post("/api/auth/password/reset/", json!({ "email": email }), 202).await;
    let reset = house.mailed(&email, "dbp_").await;
    let confirm = json!({ "token": reset, "new_password": first, "new_password_confirm": first });
    let confirmed = client.post("/api/auth/password/reset/confirm/", confirm).await.unwrap();
    assert!(confirmed.status < 300, "{confirmed:?}");
    let mut tokens = vec![verify, reset];
    for answer in [&login, &refreshed] {
        tokens.extend(["access", "refresh", "device_token"].map(|field| answer.text(field).to_owned()));
    }
    tokens.retain(|token| !token.is_empty());
    assert!(tokens.len() >= 7, "{tokens:?}");
    tokens
}

/// C064, C088. Breaks when `api/src/routes/login.rs`: `let tokens = asked.doorbook.login(&login, &asked.context).await?;` → `let tokens = asked.doorbook.login(&login, &asked.context).await?; tracing::trace!(refresh = tokens.refresh.expose(), "logged in");`.
#[tokio::test]
async fn no_secret_is_in_any_log_at_trace_level() {
    let folder = Folder::new();
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("LOG_FILE", &folder.path("a.log")),
        ("SECRET_KEY", SECRET_KEY),
        ("JWT_SECRET_KEY", JWT_SECRET_KEY),
        ("RUST_LOG", "trace"),
    ];
    let house = house(&settings).await;
    let mut canaries = flows(&house).await;
    canaries.extend(PASSWORDS.iter().chain(&[SECRET_KEY, JWT_SECRET_KEY]).map(|secret| (*secret).to_owned()));
    let urls = [Role::Api, Role::Worker, Role::Migrator].map(|role| house.stand.database.url_for(role));
    for url in urls.iter().chain([&house.stand.redis_url]) {
        canaries.extend(Url::parse(url).unwrap().password().map(str::to_owned));
    }
    assert!(canaries.len() >= 14, "{}", canaries.len());
    let worker = house.stand.worker.as_ref().unwrap();
    let mut places = vec![house.stand.api.log().unwrap(), house.worker_log()];
    for name in ["a-api.log", "a-worker.log"] {
        places.push(std::fs::read_to_string(folder.path(name)).unwrap());
    }
    for pid in [house.stand.api.pid(), worker.pid()] {
        places.push(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
    }
    assert!(places[0].lines().count() > 10, "{}", places[0]);
    for ops in [&house.api_ops, &house.worker_ops] {
        places.push(reqwest::get(format!("{ops}/metrics")).await.unwrap().text().await.unwrap());
    }
    for place in &places {
        for canary in &canaries {
            assert!(!place.contains(canary.as_str()), "{canary} in {place}");
            // A JWT is dangerous without its last letters too.
            let half = &canary[canary.len() / 2..];
            assert!(!place.contains(half), "{half} of {canary} in {place}");
        }
    }
}
