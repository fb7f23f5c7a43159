//! What a correct configuration means.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use doorbook_core::config::{
    Argon2, DefaultLocale, FrameOptions, LogEmail, LogFormat, MailBackend, PasswordValidator, Pooler, Process,
    RegistrationMode, Settings, SmtpSecurity, new_secret_block, registry,
};
use doorbook_core::token::access::SigningKey;
use sqlx::postgres::PgConnectOptions;

use crate::support::{
    CHECKPOINT_KEY, JWT_SECRET_KEY, OTHER_JWT_SECRET_KEY, OTHER_SECRET_KEY, PASSWORD, PII_KEYRING, PRODUCTION, Pair,
    SECRET_KEY, SENTRY_DSN, TestFile, WEBHOOK_SECRET, load, load_as, smtp, with, without,
};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

#[test]
fn the_defaults_for_tokens_limits_and_accounts_are_those_of_the_contract() {
    let Settings { debug, tokens, limits, account, .. } = load(&PRODUCTION).unwrap();
    assert!(!debug);
    assert_eq!((tokens.jwt_issuer.as_str(), tokens.jwt_audience.as_str()), ("https://example.com", "doorbook"));
    assert_eq!((tokens.access_lifetime, tokens.session_lifetime), (15 * MINUTE, 7 * DAY));
    assert_eq!((tokens.refresh_grace, tokens.session_idle), (Duration::from_secs(10), None));
    assert_eq!((tokens.sessions_max, tokens.email_verification_lifetime), (20, 24 * HOUR));
    assert_eq!(tokens.password_reset_lifetime, HOUR);
    assert_eq!((limits.login.max_attempts, limits.login.address_max_failures), (5, 30));
    assert_eq!((limits.login.window, limits.login.block), (5 * MINUTE, 15 * MINUTE));
    assert_eq!((limits.registration.max_attempts, limits.registration.window), (3, HOUR));
    assert_eq!((limits.reset.max_attempts, limits.reset.window), (3, HOUR));
    assert_eq!((account.registration_mode, account.default_locale), (RegistrationMode::Open, DefaultLocale::En));
    assert_eq!((account.stranger_data_lifetime, account.unverified_account_lifetime), (30 * DAY, 30 * DAY));
}

#[test]
fn the_defaults_for_passwords_mail_and_logging_are_those_of_the_contract() {
    use PasswordValidator::{Common, Length, Numeric, Similarity};
    let settings = load(&PRODUCTION).unwrap();
    let Settings { password, logging, redis, .. } = &settings;
    assert_eq!((password.min_length, &password.breached_file), (8, &None));
    assert_eq!(password.validators, [Similarity, Length, Common, Numeric]);
    assert_eq!(password.argon2, Argon2 { memory_kib: 102_400, time_cost: 2, parallelism: 8 });
    assert!(password.hashing_concurrency >= 1);
    assert_eq!((logging.format, logging.email), (LogFormat::Json, LogEmail::Masked));
    assert_eq!(logging.level, tracing::level_filters::LevelFilter::INFO);
    assert_eq!(redis.url.expose(), "redis://127.0.0.1:6379/0");
    let smtp = smtp(&settings);
    assert_eq!((smtp.port, smtp.security, smtp.timeout), (587, SmtpSecurity::StartTls, Duration::from_secs(10)));
}

#[test]
fn the_defaults_for_http_are_those_of_the_contract() {
    let http = load(&PRODUCTION).unwrap().http;
    assert_eq!(http.api_bind.to_string(), "0.0.0.0:8000");
    assert_eq!((http.api_ops_bind.to_string(), http.worker_ops_bind.to_string()), {
        ("127.0.0.1:9000".to_owned(), "127.0.0.1:9001".to_owned())
    });
    assert!(http.cors_allowed_origins.is_empty() && !http.docs_enabled && http.worker_threads >= 1);
    let proxies: Vec<_> = http.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(http.request_timeout, Duration::from_secs(15));
    let security = http.security;
    assert!(security.ssl_redirect && security.content_type_nosniff && security.browser_xss_filter);
    assert_eq!(security.frame_options, FrameOptions::Deny);
    assert_eq!((security.proxy_ssl_header.name.as_str(), security.proxy_ssl_header.value.as_str()), {
        ("x-forwarded-proto", "https")
    });
    let hsts = security.hsts.unwrap();
    assert!(hsts.max_age_seconds == 31_536_000 && hsts.include_subdomains && hsts.preload);
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let is_free = |name: &str| name != "TRUSTED_PROXIES" && PRODUCTION.iter().all(|(known, _)| *known != name);
    let names = registry::ALL.iter().map(|variable| variable.name).filter(|name| is_free(name));
    let emptied: Vec<Pair<'_>> = names.map(|name| (name, "")).collect();
    let unset = format!("{:?}", load(&PRODUCTION).unwrap());
    assert_eq!(format!("{:?}", load(&with(&emptied)).unwrap()), unset);
}

#[test]
fn an_empty_list_of_trusted_proxies_trusts_none() {
    assert!(load(&with(&[("TRUSTED_PROXIES", "")])).unwrap().http.trusted_proxies.is_empty());
}

#[test]
fn every_secret_may_come_from_a_file() {
    let all: Vec<Pair<'_>> = with(&[
        ("SECRET_KEY_FALLBACKS", OTHER_SECRET_KEY),
        ("JWT_SECRET_KEY_FALLBACKS", OTHER_JWT_SECRET_KEY),
        ("JWT_PRIVATE_KEY", include_str!("../vectors/keys/ed25519.pem")),
        ("JWT_PUBLIC_KEY_FALLBACKS", include_str!("../vectors/keys/p256-public.pem")),
        ("PII_KEYRING", PII_KEYRING),
        ("WORKER_DATABASE_URL", "postgresql://worker:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"),
        ("DATABASE_MIGRATE_URL", "postgresql://owner:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"),
        ("DATABASE_DIRECT_URL", "postgresql://direct:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"),
        ("REDIS_URL", "redis://cache.example.com/1"),
        ("SENTRY_DSN", SENTRY_DSN),
        ("ALERT_WEBHOOK_URL", "https://hooks.example.com/4f1a2b"),
        ("ALERT_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("CHECKPOINT_PRIVATE_KEY", CHECKPOINT_KEY),
    ]);
    let secrets: Vec<_> =
        registry::ALL.iter().filter(|variable| variable.secret).map(|variable| variable.name).collect();
    assert!(secrets.len() >= 10);
    for name in secrets.into_iter().filter(|name| *name != "POSTGRES_PASSWORD") {
        let value = all.iter().find(|(known, _)| *known == name).unwrap().1;
        let file = TestFile::with(name, format!("{value}\r\n").as_bytes());
        let file_name = format!("{name}_FILE");
        let mut pairs = all.clone();
        pairs.retain(|(known, _)| *known != name);
        pairs.push((&file_name, file.path()));
        let settings = load_as(Process::Worker, &pairs).unwrap();
        let read = match name {
            "SECRET_KEY" => settings.secrets.secret_key.expose(),
            "SECRET_KEY_FALLBACKS" => settings.secrets.secret_key_fallbacks[0].expose(),
            "JWT_SECRET_KEY" => match &settings.secrets.tokens.current {
                SigningKey::Shared(key) => std::str::from_utf8(&key.0).unwrap(),
                SigningKey::Private(_) => panic!("{name}"),
            },
            "JWT_SECRET_KEY_FALLBACKS" => std::str::from_utf8(&settings.secrets.tokens.shared_fallbacks[0].0).unwrap(),
            // Read with another algorithm only: token_keys.rs.
            "JWT_PRIVATE_KEY" => continue,
            "JWT_PUBLIC_KEY_FALLBACKS" => {
                assert_eq!(settings.secrets.tokens.public_fallbacks.len(), 1);
                continue;
            }
            "PII_KEYRING" => {
                assert_eq!(settings.secrets.pii_keyring[0].key.expose()[..3], [0x9b, 0x74, 0x31]);
                continue;
            }
            "DATABASE_URL" => {
                let settings = load(&pairs).unwrap();
                assert_eq!(settings.database.url.expose(), value);
                continue;
            }
            "SENTRY_DSN" => {
                let key = settings.monitoring.sentry.as_ref().unwrap().key.expose();
                assert!(SENTRY_DSN.contains(key) && !key.is_empty());
                continue;
            }
            "WORKER_DATABASE_URL" => settings.database.url.expose(),
            "DATABASE_DIRECT_URL" => settings.database.direct_url.as_ref().unwrap().expose(),
            "DATABASE_MIGRATE_URL" => settings.database.migrate_url.expose(),
            "REDIS_URL" => settings.redis.url.expose(),
            "ALERT_WEBHOOK_URL" => settings.watching.alerts.webhook.as_ref().unwrap().url.expose(),
            "ALERT_WEBHOOK_SECRET" => {
                let webhook = settings.watching.alerts.webhook.unwrap();
                assert_eq!(webhook.secret.expose()[..3], [0x9b, 0x74, 0x31]);
                continue;
            }
            "CHECKPOINT_PRIVATE_KEY" => settings.watching.checkpoints.private_key.as_ref().unwrap().expose(),
            "EMAIL_HOST_PASSWORD" => smtp(&settings).login.as_ref().unwrap().password.expose(),
            other => panic!("{other} is not tested"),
        };
        assert_eq!(read, value, "{name}");
    }
}

#[test]
fn each_process_has_its_own_pool_and_the_worker_its_own_login() {
    let worker_url = "postgresql://worker:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook";
    let owner_url = "postgresql://owner:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook";
    let shared_url = PRODUCTION[3].1;
    let pairs = with(&[("WORKER_DATABASE_URL", worker_url), ("DATABASE_MIGRATE_URL", owner_url)]);
    for (process, connections, url) in
        [(Process::Api, 16, shared_url), (Process::Worker, 8, worker_url), (Process::Cli, 4, shared_url)]
    {
        let database = load_as(process, &pairs).unwrap().database;
        assert_eq!((database.max_connections, database.url.expose().as_str()), (connections, url));
        assert_eq!(database.migrate_url.expose(), owner_url);
        let database = load_as(process, &with(&[("DATABASE_MAX_CONNECTIONS", "5")])).unwrap().database;
        assert_eq!((database.max_connections, database.url.expose().as_str()), (5, shared_url));
        assert_eq!(database.migrate_url.expose(), shared_url);
    }
    let few = with(&[("DATABASE_MAX_CONNECTIONS", "3")]);
    assert!(load_as(Process::Worker, &few).is_err(), "a worker would wait for itself");
    load_as(Process::Api, &few).unwrap();
}

#[test]
fn behind_a_pooler_the_direct_url_stands_in_for_the_owners() {
    let direct_url = "postgresql://direct:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook";
    let shared_url = PRODUCTION[3].1;
    for (pooler, expected, owner_url) in
        [("none", Pooler::None, shared_url), ("transaction", Pooler::Transaction, direct_url)]
    {
        let pairs = with(&[("DATABASE_POOLER", pooler), ("DATABASE_DIRECT_URL", direct_url)]);
        let database = load(&pairs).unwrap().database;
        assert_eq!((database.pooler, database.migrate_url.expose().as_str()), (expected, owner_url));
        assert_eq!(database.url.expose(), shared_url);
    }
}

#[test]
fn the_parts_of_a_database_make_a_url_that_means_the_same() {
    let password_file = TestFile::with("password", PASSWORD.as_bytes());
    for (host, expected_host) in
        [("db.example.com", "db.example.com"), ("10.0.0.7", "10.0.0.7"), ("fd00::7", "fd00::7")]
    {
        let parts = [
            ("POSTGRES_DB", "door book"),
            ("POSTGRES_USER", "door@book"),
            ("POSTGRES_PASSWORD_FILE", password_file.path()),
            ("POSTGRES_HOST", host),
            ("POSTGRES_PORT", "6543"),
        ];
        let settings = load(&without(&["DATABASE_URL"], &parts)).unwrap();
        let url = settings.database.url.expose();
        let options = PgConnectOptions::from_str(url).unwrap();
        assert_eq!((options.get_host(), options.get_port()), (expected_host, 6543));
        assert_eq!((options.get_username(), options.get_database()), ("door@book", Some("door book")));
        assert!(url.contains(":gT7%23xq%252Lm%2B9%20Vz%26k@"), "{url}");
    }
}

#[test]
fn a_socket_needs_no_password() {
    let parts = [("POSTGRES_DB", "doorbook"), ("POSTGRES_USER", "doorbook"), ("POSTGRES_HOST", "/run/postgresql")];
    let settings = load(&without(&["DATABASE_URL"], &parts)).unwrap();
    let options = PgConnectOptions::from_str(settings.database.url.expose()).unwrap();
    assert_eq!(options.get_socket(), Some(&PathBuf::from("/run/postgresql")));
}

#[test]
fn implicit_tls_brings_its_port_and_replaces_starttls() {
    let settings = load(&with(&[("EMAIL_USE_SSL", "True")])).unwrap();
    assert_eq!((smtp(&settings).port, smtp(&settings).security), (465, SmtpSecurity::ImplicitTls));
}

#[test]
fn production_sends_clear_text_to_its_own_machine_only() {
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let settings = load(&with(&[("EMAIL_USE_TLS", "False"), ("EMAIL_HOST", host)])).unwrap();
        assert_eq!(smtp(&settings).security, SmtpSecurity::ClearText);
    }
}

#[test]
fn development_needs_little_and_allows_more() {
    let settings = load(&[
        ("DEBUG", "True"),
        ("SECRET_KEY", SECRET_KEY),
        ("JWT_SECRET_KEY", JWT_SECRET_KEY),
        ("DATABASE_URL", "postgresql://postgres:postgres@db/doorbook"),
        ("FRONTEND_URL", "http://localhost:3000"),
        ("DEFAULT_FROM_EMAIL", "noreply@localhost"),
        ("CORS_ALLOWED_ORIGINS", "http://localhost:3000"),
        ("ARGON2_MEMORY_KIB", "64"),
        ("ARGON2_TIME_COST", "1"),
        ("ARGON2_PARALLELISM", "1"),
    ])
    .unwrap();
    assert!(settings.debug && settings.http.docs_enabled && !settings.http.security.ssl_redirect);
    assert!(matches!(settings.mail.backend, MailBackend::Console));
    for host in ["localhost:8000", "127.0.0.1", "[::1]:8000"] {
        assert!(settings.http.allowed_hosts.allows(host), "{host}");
    }
    assert!(!settings.http.allowed_hosts.allows("example.com"));
    assert_eq!(settings.tokens.jwt_issuer, "http://localhost:3000");
    let changes = [("DEBUG", "1"), ("EMAIL_USE_TLS", "off"), ("EMAIL_BACKEND", "smtp")];
    assert_eq!(smtp(&load(&with(&changes)).unwrap()).security, SmtpSecurity::ClearText);
    let changes = [("DEBUG", "yes"), ("EMAIL_BACKEND", "django.core.mail.backends.filebased.EmailBackend")];
    let MailBackend::File { directory } = load(&with(&changes)).unwrap().mail.backend else { panic!("not a file") };
    assert_eq!(directory, PathBuf::from(".dev/mail"));
}

#[test]
fn breached_passwords_come_from_the_file_given() {
    let file = TestFile::with("breached", b"");
    let changes = [("PASSWORD_VALIDATORS", "breached, length,breached"), ("PASSWORD_BREACHED_FILE", file.path())];
    let password = load(&with(&changes)).unwrap().password;
    assert_eq!(password.validators, [PasswordValidator::Breached, PasswordValidator::Length]);
    assert_eq!(password.breached_file, Some(PathBuf::from(file.path())));
}

#[test]
fn fresh_keys_are_accepted_and_never_the_same() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let block = new_secret_block().unwrap();
        let keys: Vec<Pair<'_>> = block.lines().filter_map(|line| line.split_once('=')).collect();
        assert_eq!(keys.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["SECRET_KEY", "JWT_SECRET_KEY"]);
        load(&with(&keys)).unwrap();
        assert!(seen.insert(block.to_string()));
    }
}

#[test]
fn a_flag_may_be_said_in_any_of_the_usual_words() {
    for (word, expected) in [("True", true), ("ON", true), ("1", true), ("No", false), ("off", false), ("0\r", false)] {
        let settings = load(&with(&[("SECURE_SSL_REDIRECT", word)])).unwrap();
        assert_eq!(settings.http.security.ssl_redirect, expected, "{word}");
    }
}
