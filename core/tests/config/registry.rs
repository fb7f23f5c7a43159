//! The registry is complete: all of it is read, and `.env.example` and `docs/SETTINGS.md` are made of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use doorbook_core::config::{env_example, registry, settings_page};

use crate::support::{PRODUCTION, load};

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn example_path() -> PathBuf {
    package().join("../.env.example")
}

fn page_path() -> PathBuf {
    package().join("../docs/SETTINGS.md")
}

#[test]
fn each_variable_is_read_somewhere() {
    let sources: String = std::fs::read_dir(package().join("src/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "registry.rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let words: BTreeSet<_> = sources.split(|other: char| !other.is_ascii_alphanumeric() && other != '_').collect();
    for variable in registry::ALL {
        assert!(words.contains(variable.name), "{} is in the registry and nothing reads it", variable.name);
    }
}

#[test]
fn no_variable_is_listed_twice() {
    let names: BTreeSet<_> = registry::ALL.iter().map(|variable| variable.name).collect();
    assert_eq!(names.len(), registry::ALL.len());
}

#[test]
fn the_example_file_is_up_to_date() {
    let written = std::fs::read_to_string(example_path()).unwrap();
    assert!(
        written == env_example(),
        "run `cargo test -p doorbook-core --test config -- --ignored` to write .env.example anew"
    );
}

#[test]
#[ignore = "writes .env.example; run by name when the registry has changed"]
fn write_the_example_file() {
    std::fs::write(example_path(), env_example()).unwrap();
}

#[test]
fn the_page_of_settings_is_up_to_date_and_has_a_row_for_each() {
    let written = std::fs::read_to_string(page_path()).unwrap();
    assert!(
        written == settings_page(),
        "run `cargo test -p doorbook-core --test config -- --ignored` to write docs/SETTINGS.md anew"
    );
    for variable in registry::ALL {
        let rows = written.matches(&format!("| `{}`", variable.name)).count();
        assert_eq!(rows, 1, "{}", variable.name);
    }
    // A stray bar would make a cell of half a sentence.
    assert!(written.lines().filter(|line| line.starts_with("| `")).all(|row| row.matches(" | ").count() == 3));
}

#[test]
#[ignore = "writes docs/SETTINGS.md; run by name when the registry has changed"]
fn write_the_page_of_settings() {
    std::fs::write(page_path(), settings_page()).unwrap();
}

#[test]
fn the_example_file_leaves_open_what_production_needs_and_sets_nothing_else() {
    let example = env_example();
    let set: Vec<_> = example.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let expected = [
        "SECRET_KEY=",
        "JWT_SECRET_KEY=",
        "DATABASE_URL=",
        "EMAIL_HOST=",
        "DEFAULT_FROM_EMAIL=",
        "FRONTEND_URL=",
        "ALLOWED_HOSTS=",
    ];
    assert_eq!(set, expected);
    for variable in registry::ALL {
        assert!(example.contains(&format!("{}=", variable.name)), "{}", variable.name);
    }
}

#[test]
fn what_the_example_file_shows_as_default_is_accepted_as_a_value() {
    let example = env_example();
    let defaults = example.lines().filter_map(|line| line.strip_prefix("# ")?.split_once('='));
    let given = defaults.filter(|(name, value)| {
        let is_variable = registry::ALL.iter().any(|variable| variable.name == *name);
        is_variable && !value.is_empty() && !value.starts_with(" # [")
    });
    let pairs: Vec<_> = PRODUCTION.into_iter().chain(given).collect();
    assert!(pairs.len() > 50);
    load(&pairs).unwrap();
}

/// Variables that a release must have.
const CONTRACT: &str = "SECRET_KEY SECRET_KEY_FALLBACKS JWT_SECRET_KEY JWT_SECRET_KEY_FALLBACKS JWT_ALGORITHM PII_KEYRING \
     KEY_BACKUP_DAYS STRANGER_DATA_DAYS JWT_ISSUER JWT_AUDIENCE DEBUG ALLOWED_HOSTS DATABASE_URL POSTGRES_DB POSTGRES_USER \
     POSTGRES_PASSWORD POSTGRES_HOST POSTGRES_PORT WORKER_DATABASE_URL DATABASE_MIGRATE_URL DATABASE_DIRECT_URL \
     DATABASE_MAX_CONNECTIONS DATABASE_POOLER REDIS_URL EMAIL_BACKEND EMAIL_FILE_PATH EMAIL_HOST EMAIL_PORT EMAIL_USE_TLS \
     EMAIL_USE_SSL EMAIL_HOST_USER EMAIL_HOST_PASSWORD EMAIL_TIMEOUT_SECONDS DEFAULT_FROM_EMAIL ALERT_EMAILS \
     CORS_ALLOWED_ORIGINS FRONTEND_URL JWT_ACCESS_TOKEN_LIFETIME_MINUTES JWT_REFRESH_TOKEN_LIFETIME_DAYS \
     REFRESH_GRACE_SECONDS SESSION_IDLE_MINUTES SESSIONS_MAX PASSWORD_MIN_LENGTH PASSWORD_VALIDATORS PASSWORD_BREACHED_FILE \
     ARGON2_MEMORY_KIB ARGON2_TIME_COST ARGON2_PARALLELISM ARGON2_CONCURRENCY PASSWORD_RESET_TOKEN_EXPIRY_HOURS \
     ARGON2_ENGINE EMAIL_VERIFICATION_EXPIRY_HOURS REGISTRATION_MODE UNVERIFIED_ACCOUNT_DAYS ACCOUNT_DELETION_GRACE_DAYS \
     MAX_LOGIN_ATTEMPTS LOGIN_RATE_WINDOW_MINUTES LOGIN_BLOCK_DURATION_MINUTES MAX_REGISTRATION_ATTEMPTS \
     REGISTRATION_RATE_WINDOW_HOURS MAX_RESET_ATTEMPTS RESET_RATE_WINDOW_HOURS LOGIN_ADDRESS_MAX_FAILURES TRUSTED_PROXIES \
     SECURE_PROXY_SSL_HEADER SECURE_SSL_REDIRECT SECURE_HSTS_SECONDS SECURE_HSTS_INCLUDE_SUBDOMAINS SECURE_HSTS_PRELOAD \
     SECURE_CONTENT_TYPE_NOSNIFF SECURE_BROWSER_XSS_FILTER X_FRAME_OPTIONS SESSION_COOKIE_SECURE SESSION_COOKIE_HTTPONLY \
     SESSION_COOKIE_SAMESITE CSRF_COOKIE_SECURE CSRF_COOKIE_HTTPONLY CSRF_COOKIE_SAMESITE SENTRY_DSN SENTRY_ENVIRONMENT \
     SENTRY_TRACES_SAMPLE_RATE OTEL_EXPORTER_OTLP_ENDPOINT LOG_FORMAT LOG_LEVEL LOG_FILE LOG_FILE_MAX_BYTES LOG_FILE_BACKUPS \
     LOG_EMAIL API_BIND API_OPS_BIND WORKER_OPS_BIND REQUEST_TIMEOUT_SECONDS API_WORKER_THREADS DOCS_ENABLED DEFAULT_LOCALE \
     SECURITY_CONTACT SENTRY_RELEASE MAIL_TEMPLATES_DIR EMAIL_CA_FILE CHECKPOINT_SINK CHECKPOINT_PRIVATE_KEY \
     ALERT_WEBHOOK_URL ALERT_WEBHOOK_SECRET RETENTION_ATTEMPTS_DAYS RETENTION_NOTIFICATIONS_DAYS BACKUP_STAMP_FILE";

#[test]
fn every_variable_of_the_contract_is_in_the_registry() {
    for name in CONTRACT.split_whitespace() {
        assert!(registry::ALL.iter().any(|variable| variable.name == name), "{name}");
    }
}
