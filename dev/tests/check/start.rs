//! What a start does with settings: refuses, warns, reads secrets from files, and keeps them to itself.

use std::time::Duration;

use doorbook_dev::{Launch, Program};
use serde_json::json;

use crate::common::*;

const SOON: Duration = Duration::from_secs(60);

const PROCESSES: [&str; 2] = ["doorbook-api", "doorbook-worker"];

/// Variable and a value that stops a start; an empty one stands for none.
const WRONG: [(&str, &str); 12] = [
    ("SECRET_KEY", "canary-canary-canary"),
    ("SECRET_KEY", "5HnOLJM1AYBhxNd9CsA1FoYsr4dAkCp5oHRWv64d8zyARfRMBPEpAjwHo3X3S3RmrXs="),
    ("JWT_SECRET_KEY", ""),
    ("JWT_SECRET_KEY", SECRET_KEY),
    ("DATABASE_URL", "postgresql://postgres:canary-canary-canary@127.0.0.1/doorbook"),
    ("ALLOWED_HOSTS", "*"),
    ("CORS_ALLOWED_ORIGINS", "http://canary.example.com"),
    ("TRUSTED_PROXIES", "canary/8"),
    ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend"),
    ("FRONTEND_URL", "https://canary.example.com/"),
    ("SENTRY_DSN", "canary"),
    ("SESSION_COOKIE_SAMESITE", "canary"),
];

async fn start(name: &str, environment: &Environment) -> Program {
    Launch::workspace(name).await.unwrap().envs(environment.clone()).start(cluster().await.run()).unwrap()
}

fn base(environment: &Environment) -> String {
    format!("http://{}", environment["API_BIND"])
}

/// C063. Breaks when `api/src/main.rs`: `return ExitCode::from(EXIT_SETTINGS);` → `return ExitCode::FAILURE;`.
#[tokio::test]
async fn a_wrong_setting_stops_either_process_before_it_opens_a_port() {
    let deployment = deployment().await;
    for (name, value) in WRONG {
        let environment = deployment.with(&[(name, value)]);
        for process in PROCESSES {
            let mut program = start(process, &environment).await;
            let status = program.ended(SOON).await.unwrap();
            let log = program.log().unwrap();
            assert_eq!(status.code(), Some(2), "{process} {name}: {log}");
            assert!(log.starts_with(&format!("{name}: ")) && log.lines().count() == 1, "{process} {name}: {log}");
            assert!(value.is_empty() || name == "EMAIL_BACKEND" || value == "*" || !log.contains(value), "{log}");
            assert!(!log.contains("canary") && !log.contains(SECRET_KEY), "{log}");
        }
    }
    let all = deployment.with(&[("SECRET_KEY", ""), ("EMAIL_HOST", ""), ("LOG_LEVEL", "loud")]);
    let mut program = start("doorbook-api", &all).await;
    assert_eq!(program.ended(SOON).await.unwrap().code(), Some(2));
    let log = program.log().unwrap();
    assert!(["SECRET_KEY: ", "EMAIL_HOST: ", "LOG_LEVEL: "].iter().all(|name| log.contains(name)), "{log}");
}

/// C064. Breaks when `core/src/config/reader.rs`: `if variable.secret {\n            value = ` → `if false {\n            value = `.
#[tokio::test]
async fn secrets_come_from_files_and_are_told_to_no_one() {
    let deployment = deployment().await;
    let mut environment = deployment.environment.clone();
    let mut secrets = Vec::new();
    for name in ["SECRET_KEY", "JWT_SECRET_KEY", "DATABASE_URL", "WORKER_DATABASE_URL", "REDIS_URL", "SENTRY_DSN"] {
        let path = deployment.folder.join(name);
        let value = environment.remove(name).unwrap();
        std::fs::write(&path, format!("{value}\n")).unwrap();
        environment.insert(format!("{name}_FILE"), path.to_str().unwrap().to_owned());
        secrets.push(value);
    }
    // What is secret of a database's URL is its password.
    let password = secrets[2].split_once('@').unwrap().0.rsplit_once(':').unwrap().1.to_owned();
    secrets[2] = password;
    environment.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
    let mut api = start("doorbook-api", &environment).await;
    let worker = start("doorbook-worker", &environment).await;
    api.wait_ready(&base(&environment), SOON).await.unwrap();

    let client = doorbook_dev::loopback().build().unwrap();
    let mut said = String::new();
    for (path, body) in [
        ("/api/openapi.json", None),
        ("/api/auth/profile/", None),
        ("/no-such-page", None),
        ("/api/auth/login/", Some(json!({ "email": "nobody@example.com", "password": "wrong wrong wrong" }))),
        ("/api/auth/register/", Some(json!({ "email": 7 }))),
        ("/api/auth/token/refresh/", Some(json!({ "refresh": "dbr_forged" }))),
    ] {
        let url = format!("{}{path}", base(&environment));
        let request = body.map_or_else(|| client.get(&url), |body| client.post(&url).json(&body));
        let answer =
            request.header("Host", "api.example.com").header("X-Forwarded-Proto", "https").send().await.unwrap();
        assert_ne!(answer.status().as_u16(), 403, "{path} goes through");
        for (name, value) in answer.headers() {
            said += name.as_str();
            said += &String::from_utf8_lossy(value.as_bytes());
        }
        said += &answer.text().await.unwrap();
    }
    for program in [&api, &worker] {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", program.pid())).unwrap_or_default();
        said += &String::from_utf8_lossy(&arguments);
        said += &program.log().unwrap();
    }
    said += &deployment.run(&["check"], &environment).await.out;
    assert!(said.contains("set, from a file"));
    for secret in &secrets {
        assert!(!said.contains(secret.as_str()), "a secret was told");
    }
}

#[tokio::test]
async fn a_name_that_looks_misspelt_is_warned_of_at_start() {
    let deployment = deployment().await;
    let changes = [("CORS_ALLOWED_ORIGIN", "https://example.com"), ("DJANGO_SETTINGS_MODULE", "config.settings")];
    let environment = deployment.with(&changes);
    let mut api = start("doorbook-api", &environment).await;
    let mut worker = start("doorbook-worker", &environment).await;
    api.wait_ready(&base(&environment), SOON).await.unwrap();
    worker.terminate().unwrap();
    worker.ended(SOON).await.unwrap();
    for program in [&api, &worker] {
        let log = program.log().unwrap();
        assert!(log.contains("CORS_ALLOWED_ORIGIN is set and not read: is CORS_ALLOWED_ORIGINS meant?"), "{log}");
        assert!(!log.contains("DJANGO_SETTINGS_MODULE"), "{log}");
    }
}

/// C066. Breaks when `core/src/config/http.rs`: `docs_enabled?.unwrap_or(is_debug)` → `docs_enabled?.unwrap_or(true)`.
#[tokio::test]
async fn production_serves_no_page_for_developers_unless_told_to() {
    let deployment = deployment().await;
    let environment = deployment.with(&[("SECURITY_CONTACT", "security@example.com")]);
    let mut api = start("doorbook-api", &environment).await;
    api.wait_ready(&base(&environment), SOON).await.unwrap();
    let client = doorbook_dev::loopback().build().unwrap();
    let get = async |path: &str| {
        let url = format!("{}{path}", base(&environment));
        client.get(url).header("Host", "api.example.com").header("X-Forwarded-Proto", "https").send().await.unwrap()
    };
    for path in ["/docs/", "/docs", "/swagger/", "/redoc/", "/metrics", "/debug", "/.env", "/.git/config", "/test/"] {
        assert_eq!(get(path).await.status().as_u16(), 404, "{path}");
    }
    let contact = get("/.well-known/security.txt").await.text().await.unwrap();
    assert!(contact.starts_with("Contact: mailto:security@example.com\n"), "{contact}");
}
