//! Secrets stand nowhere but with their owners: every place that a run leaves something in is searched for everything secret that
//! went through it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use doorbook_core::store::columns::TABLES;
use doorbook_dev::search::{Search, forms, hex};
use doorbook_dev::sink::Access;
use doorbook_dev::{Answer, Client, Cluster, Options, Role, ensure_binaries};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::common::*;
use crate::receiver::Receiver;

const SECRET_KEY: &str = "cAnArYsK8vL2mN5pR9tY3wZ6bC1dF4gH7jK0sA8uE2iO5xQ9nM3vB6kD1cX4rT7y";
const JWT_SECRET_KEY: &str = "cAnArYjWt7wQ1nX8cV5bJ2mH6gF9dS3aL0yRuE";
/// 32 bytes in base64.
const PII_KEY: &str = "Y2FuYXJ5LXBpaS1rZXktNWY4ZDJiN2MxZTkwYTM0NmQ=";
const SMTP_USER: &str = "apikey";
const SMTP_PASSWORD: &str = "cAnArYsMtP4xK9vW2nQ7";
/// Where the frontend is served.
const PAGE: &str = "https://app.example.com";
const PASSWORDS: [&str; 4] = ["canary first 4711", "canary second 4712", "canary wrong 4713", "canary third 4714"];

/// Somebody who uses the service, and every problem that was the answer.
struct Visitor<'a> {
    house: &'a House,
    client: Client,
    problems: Mutex<Vec<String>>,
    /// Every token that the service has issued to it.
    tokens: Mutex<Vec<String>>,
}

impl Visitor<'_> {
    async fn send(&self, client: &Client, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let method = if body.is_null() { Method::GET } else { Method::POST };
        let answer = client.send(method, path, Some(body).filter(|body| !body.is_null()), headers).await.unwrap();
        if answer.status >= 400 {
            self.problems.lock().unwrap().push(answer.body.to_string());
        }
        let cookie = answer.headers.get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        let cookie = cookie.and_then(|cookie| Some(cookie.split_once('=')?.1.split(';').next()?.to_owned()));
        let issued = ["access", "refresh", "device_token", "csrf"].map(|field| answer.text(field).to_owned());
        self.tokens.lock().unwrap().extend(issued.into_iter().chain(cookie).filter(|token| !token.is_empty()));
        answer
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(&self.client, path, body, &[]).await
    }

    /// The same, which must go well.
    async fn done(&self, client: &Client, path: &str, body: Value) -> Answer {
        let answer = self.send(client, path, body, &[("Idempotency-Key", &format!("k-{}", someone()))]).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer
    }

    async fn mailed(&self, email: &str, prefix: &str) -> String {
        let token = self.house.mailed(email, prefix).await;
        self.tokens.lock().unwrap().push(token.clone());
        token
    }

    /// All flows that carry secrets.
    async fn live(&self) -> String {
        let [first, second, wrong, third] = PASSWORDS;
        let (email, out) = (someone(), &self.client);
        let credentials = |password: &str| json!({ "email": email, "password": password, "remember_device": true });
        let twice = |password: &str| json!({ "email": email, "password": password, "password_confirm": password });
        self.done(out, "/api/auth/register/", twice(first)).await;
        let verify = self.mailed(&email, "dbv_").await;
        self.done(out, "/api/auth/email/verify/", json!({ "token": verify })).await;
        assert_eq!(self.post("/api/auth/login/", credentials(wrong)).await.status, 401);
        let login = self.post("/api/auth/login/", credentials(first)).await;
        let refresh = self.post("/api/auth/token/refresh/", json!({ "refresh": login.text("refresh") })).await;
        assert_eq!((login.status, refresh.status), (200, 200), "{refresh:?}");
        let inside = self.client.with_token(refresh.text("access"));
        let change = json!({ "current_password": first, "new_password": second, "new_password_confirm": second });
        self.done(&inside, "/api/auth/password/change/", change).await;
        self.done(out, "/api/auth/password/reset/", json!({ "email": email })).await;
        let reset = self.mailed(&email, "dbp_").await;
        let confirm = json!({ "token": reset, "new_password": third, "new_password_confirm": third });
        self.done(out, "/api/auth/password/reset/confirm/", confirm).await;
        let cookie = json!({ "email": email, "password": third, "transport": "cookie" });
        let origin = [("Origin", PAGE)];
        let browser = self.send(out, "/api/auth/login/", cookie, &origin).await;
        assert_eq!(browser.status, 200, "{browser:?}");
        let inside = self.client.with_token(browser.text("access"));
        let next = format!("new-{email}");
        self.done(&inside, "/api/auth/email/change/", json!({ "password": third, "new_email": next })).await;
        let confirm = self.mailed(&next, "dbe_").await;
        self.done(out, "/api/auth/email/change/confirm/", json!({ "token": confirm })).await;
        let undo = self.mailed(&email, "dbu_").await;
        self.done(out, "/api/auth/email/change/undo/", json!({ "token": undo })).await;
        let last = self.post("/api/auth/login/", credentials(third)).await;
        self.done(
            &self.client.with_token(last.text("access")),
            "/api/auth/logout/",
            json!({ "refresh": last.text("refresh") }),
        )
        .await;
        email
    }

    /// Every secret where it has no business, so that what is wrong with a request is told of it.
    async fn blunder(&self, email: &str) {
        let tokens = self.tokens.lock().unwrap().clone();
        let inside = |token: &str| self.client.with_token(token);
        for secret in tokens.iter().map(String::as_str).chain(PASSWORDS) {
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for body in [
                json!({ "email": secret, "password": secret }),
                json!({ "email": email, "password": [secret] }),
                json!({ "email": email, "password": "x", "passwrd": secret, "device_token": secret }),
                json!(secret),
            ] {
                self.post("/api/auth/login/", body).await;
            }
            let short = json!({ "email": secret, "password": secret, "password_confirm": format!("{secret}x") });
            self.post("/api/auth/register/", short).await;
            for path in ["/api/auth/email/verify/", "/api/auth/email/change/confirm/", "/api/auth/email/change/undo/"] {
                self.post(path, json!({ "token": secret })).await;
                self.post(path, json!({ "token": format!("{secret}x") })).await;
            }
            self.post("/api/auth/token/refresh/", json!({ "refresh": secret })).await;
            self.post("/api/auth/token/verify/", json!({ "token": format!("{secret}x") })).await;
            let reset = json!({ "token": secret, "new_password": secret, "new_password_confirm": "x" });
            self.post("/api/auth/password/reset/confirm/", reset).await;
            self.send(&inside(&format!("{secret}x")), "/api/auth/profile/", Value::Null, &[]).await;
            self.send(&self.client, &format!("/api/auth/profile/?t={encoded}"), Value::Null, &[]).await;
            self.send(&self.client, &format!("/no/such/?t={encoded}"), Value::Null, &[]).await;
            let cookie = format!("__Host-doorbook-refresh={encoded}; doorbook-refresh={encoded}");
            for header in [
                ("Authorization", secret),
                ("Idempotency-Key", secret),
                ("Cookie", &cookie),
                ("X-CSRF-Token", secret),
                ("traceparent", secret),
                ("Origin", secret),
                ("X-Forwarded-Proto", secret),
                ("Accept-Language", secret),
            ] {
                self.send(&self.client, "/api/auth/token/refresh/", json!({}), &[header]).await;
            }
            let broken = format!("{{\"email\": \"{email}\", \"password\": \"{secret}\", ");
            self.raw(broken).await;
            self.raw(format!("{{\"password\": \"{}\"}}", secret.repeat(70_000 / secret.len()))).await;
        }
    }

    /// A body that is no JSON.
    async fn raw(&self, body: String) {
        let http = doorbook_dev::loopback().build().unwrap();
        let url = format!("{}/api/auth/login/", self.house.stand.base);
        let answer = http.post(url).header("Content-Type", "application/json").body(body).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{answer:?}");
        let problem = answer.text().await.unwrap();
        self.problems.lock().unwrap().push(problem);
    }
}

/// What would give a secret away: itself, its second half, itself as a dump shows bytes, and what a token is made of.
fn shapes(secret: &str) -> Vec<Vec<u8>> {
    let is_token = secret.starts_with("db") || secret.split('.').count() == 3;
    let inside = if is_token { forms(secret) } else { Vec::new() };
    [vec![secret.into(), secret[secret.len() / 2..].into(), hex(secret.as_bytes())], inside].concat()
}

/// Files of a run in which nothing secret may stand: what servers and processes have logged, and what Redis was told.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_log = path.extension().is_some_and(|extension| extension == "log" || extension == "aof");
        if path.is_dir() && !path.ends_with("postgres") {
            files(&path, found);
        } else if is_log {
            found.push(path);
        }
    }
}

/// Every row of every table, as text.
fn dump(cluster: &Cluster, house: &House) -> Vec<u8> {
    let mut pg_dump = cluster.run().command(cluster.postgres_tool("pg_dump").unwrap());
    pg_dump.args(["--dbname", &cluster.superuser_url(house.stand.database.name())]);
    let output = pg_dump.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for table in TABLES {
        // Events and seals lie in partitions of that name.
        let name = table.name.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!(".{name} (")) || text.contains(&format!(".{name}_")),
            "{name} is not in the dump"
        );
    }
    output.stdout
}

/// What the processes and servers of the run have left, by place.
async fn places(cluster: &Cluster, house: &House, folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let mut paths = ["a-api.log", "a-worker.log"].map(|name| folder.path(name).into()).to_vec();
    files(cluster.run().folder(), &mut paths);
    let read = |path: &PathBuf| (path.display().to_string(), std::fs::read(path).unwrap());
    let mut places: Vec<_> = paths.iter().map(read).collect();
    for (name, log) in [("api", house.stand.api.log().unwrap()), ("worker", house.worker_log())] {
        places.push((format!("console of {name}"), log.into_bytes()));
    }
    for pid in [house.stand.api.pid(), house.stand.worker.as_ref().unwrap().pid()] {
        places.push((format!("arguments of {pid}"), std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()));
    }
    for ops in [&house.api_ops, &house.worker_ops] {
        let text = reqwest::get(format!("{ops}/metrics")).await.unwrap().text().await.unwrap();
        places.push((format!("numbers at {ops}"), text.into_bytes()));
    }
    let check = house.stand.doorbook(&["check", "--json"]).await.unwrap();
    places.push(("doorbook check".to_owned(), check.into_bytes()));
    places.push(("dump".to_owned(), dump(cluster, house)));
    places
}

/// C064, C088. Breaks when `api/src/routes/login.rs`: `let tokens = asked.doorbook.login(&login, &asked.context).await?;` → `let tokens = asked.doorbook.login(&login, &asked.context).await?; tracing::trace!(refresh = tokens.refresh.expose(), "logged in");`.
#[tokio::test]
async fn no_secret_stands_in_logs_tables_redis_mails_problems_or_what_goes_to_receivers() {
    let guard = ensure_binaries().await.unwrap().join("doorbook-dev");
    // Durable: then Redis writes down all that it is told.
    let cluster = Cluster::start(Options { durable: true, ..Options::temporary(guard) }).await.unwrap();
    let (folder, receiver) = (Folder::new(), Receiver::start().await);
    let dsn = format!("{}/42", receiver.base.replace("http://", "http://abc123@"));
    let keyring = format!("canary:{PII_KEY}");
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("LOG_FILE", &folder.path("a.log")),
        ("SECRET_KEY", SECRET_KEY),
        ("JWT_SECRET_KEY", JWT_SECRET_KEY),
        ("PII_KEYRING", &keyring),
        ("EMAIL_HOST_USER", SMTP_USER),
        ("EMAIL_HOST_PASSWORD", SMTP_PASSWORD),
        ("SENTRY_DSN", &dsn),
        ("SENTRY_TRACES_SAMPLE_RATE", "1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.base),
        ("CORS_ALLOWED_ORIGINS", PAGE),
        ("MAX_LOGIN_ATTEMPTS", "1000"),
        ("LOGIN_ADDRESS_MAX_FAILURES", "100000"),
        ("MAX_REGISTRATION_ATTEMPTS", "1000"),
        ("MAX_RESET_ATTEMPTS", "1000"),
        ("RUST_LOG", "trace"),
    ];
    let house = house_on(&cluster, &settings).await;
    let login = Some((SMTP_USER.to_owned(), SMTP_PASSWORD.to_owned()));
    house.stand.sink.demand(Access { login, ..Access::default() });
    let (problems, tokens) = (Mutex::default(), Mutex::default());
    let visitor = Visitor { house: &house, client: house.client(), problems, tokens };
    let email = visitor.live().await;
    visitor.blunder(&email).await;
    // One process more, which panics in the middle of a login.
    let panics = [("DOORBOOK_FAILPOINTS", "login.reserved=panic"), ("LOG_FILE", "")];
    let (broken, base) = house.stand.another_api_with(&panics).await.unwrap();
    let body = json!({ "email": email, "password": PASSWORDS[0] });
    assert_eq!(visitor.send(&visitor.client.at(&base), "/api/auth/login/", body, &[]).await.status, 500);
    until("a report, a transaction, a span and numbers have arrived", async || {
        let sentry = receiver.bodies("/api/42/envelope/").concat();
        let has = |text: &str| Search::new([text.as_bytes().to_vec()].into_iter()).hits(&sentry) > 0;
        let pushed = ["/v1/traces", "/v1/metrics"].iter().all(|path| !receiver.bodies(path).is_empty());
        pushed && has("\"fatal\"") && has("POST /api/auth/login/")
    })
    .await;

    let tokens = visitor.tokens.into_inner().unwrap();
    assert!(tokens.len() >= 15, "{}", tokens.len());
    let mut secrets: Vec<String> = PASSWORDS
        .iter()
        .chain(&[SECRET_KEY, JWT_SECRET_KEY, PII_KEY, SMTP_PASSWORD])
        .map(|one| (*one).to_owned())
        .collect();
    secrets.push(BASE64.encode(format!("\0{SMTP_USER}\0{SMTP_PASSWORD}")));
    let urls = [Role::Api, Role::Worker, Role::Migrator].map(|role| house.stand.database.url_for(role));
    for url in urls.iter().chain([&house.stand.redis_url]) {
        secrets.extend(Url::parse(url).unwrap().password().map(str::to_owned));
    }
    assert_eq!(secrets.len(), 13);
    let mails = house.stand.sink.mails();
    assert!(mails.len() >= 5, "{}", mails.len());
    let in_mails = mails.iter().map(|mail| [mail.raw.to_vec(), mail.text.clone().into_bytes()].concat());
    let in_mails = in_mails.collect::<Vec<_>>().concat();
    // What must be found, or the search finds nothing: a mail is where a token belongs.
    assert!(Search::new(tokens.iter().flat_map(|token| shapes(token))).hits(&in_mails) >= 4);
    nowhere(&[("a mail".to_owned(), in_mails)], &secrets);

    let mut places = places(&cluster, &house, &folder).await;
    let problems = visitor.problems.into_inner().unwrap();
    println!("figure: {} problems, {} tokens, {} other secrets", problems.len(), tokens.len(), secrets.len());
    assert!(problems.len() >= 400, "{}", problems.len());
    places.extend(problems.into_iter().map(|problem| (format!("the problem {problem}"), problem.into_bytes())));
    places.push(("console of the broken api".to_owned(), broken.log().unwrap().into_bytes()));
    let posted = receiver.posted().into_iter().map(|posted| [posted.head.into_bytes(), posted.body].concat());
    places.push(("what was posted".to_owned(), posted.collect::<Vec<_>>().concat()));
    nowhere(&places, &[secrets, tokens].concat());
}

/// No secret is in any of the places; and the search does find what is there.
fn nowhere(places: &[(String, Vec<u8>)], secrets: &[String]) {
    let search = Search::new(secrets.iter().flat_map(|secret| shapes(secret)));
    for (place, bytes) in places {
        assert!(!bytes.is_empty() || place.contains("arguments"), "{place} is empty");
        if search.hits(bytes) > 0 {
            let is_in = |secret: &&String| Search::new(shapes(secret).into_iter()).hits(bytes) > 0;
            panic!("{:?} in {place}", secrets.iter().filter(is_in).collect::<Vec<_>>());
        }
    }
}
