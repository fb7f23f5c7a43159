//! Each missing, weak or contradictory variable stops the start, by name and never by value.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use doorbook_core::config::registry;
use doorbook_core::config::{Environment, Process, Settings};

use crate::support::{
    JWT_SECRET_KEY, OTHER_JWT_SECRET_KEY, OTHER_SECRET_KEY, PII_KEYRING, PRODUCTION, Pair, SECRET_KEY, TestFile,
    WEBHOOK_SECRET, load, load_as, refused, with, without,
};

/// Name and value of the one variable that is wrong. An empty value means that it is missing.
const WRONG: &[Pair<'static>] = &[
    ("DEBUG", "perhaps"),
    // Keys.
    ("SECRET_KEY", ""),
    ("SECRET_KEY", "q7Lm4Tz8Rbq7Lm4Tz8Rbq7Lm4Tz8Rbq7Lm4Tz8Rbq7Lm4Tz8R"), // 49 characters
    ("SECRET_KEY", "5HnOLJM1AYBhxNd9CsA1FoYsr4dAkCp5oHRWv64d8zyARfRMBPEpAjwHo3X3S3RmrXs="),
    ("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ("SECRET_KEY", "django-insecure-x$k2p9q#7vw!m4zt8rb@y1nh6s3gd5jf0cau&eio"),
    ("SECRET_KEY", "<50-character-random-string>"),
    ("SECRET_KEY_FALLBACKS", "tooshort"),
    ("SECRET_KEY_FALLBACKS", "5HnOLJM1AYBhxNd9CsA1FoYsr4dAkCp5oHRWv64d8zyARfRMBPEpAjwHo3X3S3RmrXs="),
    ("JWT_SECRET_KEY", ""),
    ("JWT_SECRET_KEY", "kQ0vX2c7ZyLr8Gq5Tn1PwJm4sBdHf6U"), // 31 bytes
    ("JWT_SECRET_KEY", "5OVV9pnTd98ECzlGimgVhuIN92pPTpr-AnPd-7nPJZ8"),
    ("JWT_SECRET_KEY", "5HnOLJM1AYBhxNd9CsA1FoYsr4dAkCp5oHRWv64d8zyARfRMBPEpAjwHo3X3S3RmrXs="),
    ("JWT_SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ("JWT_SECRET_KEY", "01234567890123456789012345678901"),
    ("JWT_SECRET_KEY", SECRET_KEY),
    ("JWT_SECRET_KEY_FALLBACKS", SECRET_KEY),
    ("JWT_SECRET_KEY_FALLBACKS", "x,y"),
    ("PII_KEYRING", "m3Qx0p5bT8kz1uJ7cWn2vR9yLhD4sGf6aEoKiXtUyBQ="),
    ("PII_KEYRING", "2025a:c2hvcnQ="),
    // Database.
    ("DATABASE_URL", "mysql://doorbook:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"),
    ("DATABASE_URL", "db.example.com"),
    ("DATABASE_URL", "postgresql://doorbook:k2Vx9Qw7Lm4Tz8Rb@db.example.com:5432"),
    ("DATABASE_URL", "postgresql://postgres:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"),
    ("DATABASE_URL", "postgresql://doorbook:postgres@db.example.com/doorbook"),
    ("DATABASE_URL", "postgresql://doorbook:k2Vx9Qw7Lm4Tz8R@db.example.com/doorbook"), // 15 characters
    ("DATABASE_URL", "postgresql://doorbook@db.example.com/doorbook"),
    ("DATABASE_URL", "postgresql://user:password@host:5432/dbname"),
    ("DATABASE_URL", "postgresql://doorbook:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook?sslmode=perhaps"),
    ("DATABASE_URL", "postgresql://doorbook:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook?sslmod=require"),
    ("WORKER_DATABASE_URL", "postgresql://worker:postgres@db.example.com/doorbook"),
    ("DATABASE_MIGRATE_URL", "postgresql://postgres:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"),
    ("DATABASE_MAX_CONNECTIONS", "0"),
    ("DATABASE_DIRECT_URL", "postgresql://worker:postgres@db.example.com/doorbook"),
    ("DATABASE_POOLER", "session"),
    ("REDIS_URL", "http://127.0.0.1:6379"),
    ("REDIS_URL", "rediss://:hunter2@cache.example.com/0#insecure"),
    // Mail.
    ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend"),
    ("EMAIL_BACKEND", "django.core.mail.backends.filebased.EmailBackend"),
    ("EMAIL_BACKEND", "anymail.backends.sendgrid.EmailBackend"),
    ("EMAIL_HOST", ""),
    ("EMAIL_HOST", "smtp://smtp.example.com:587"),
    ("EMAIL_PORT", "65536"),
    ("EMAIL_USE_TLS", "False"),
    ("EMAIL_HOST_USER", ""),
    ("EMAIL_HOST_PASSWORD", ""),
    ("EMAIL_HOST_PASSWORD", "<sendgrid_api_key>"),
    ("EMAIL_CA_FILE", "no-such-directory/ca.pem"),
    ("EMAIL_TIMEOUT_SECONDS", "ten"),
    ("DEFAULT_FROM_EMAIL", ""),
    ("DEFAULT_FROM_EMAIL", "noreply at example.com"),
    ("DEFAULT_FROM_EMAIL", "A\nBcc: x@example.com <noreply@example.com>"),
    // HTTP.
    ("FRONTEND_URL", ""),
    ("FRONTEND_URL", "http://example.com"),
    ("FRONTEND_URL", "https://example.com/"),
    ("FRONTEND_URL", "example.com"),
    ("ALLOWED_HOSTS", ""),
    ("ALLOWED_HOSTS", "*"),
    ("ALLOWED_HOSTS", "api.example.com,*"),
    ("ALLOWED_HOSTS", "https://api.example.com"),
    ("CORS_ALLOWED_ORIGINS", "*"),
    ("CORS_ALLOWED_ORIGINS", "null"),
    ("CORS_ALLOWED_ORIGINS", "http://example.net"),
    ("CORS_ALLOWED_ORIGINS", "https://example.com/app"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "proxy.example.com"),
    ("TRUSTED_PROXIES", "10.0.0.1,0.0.0.0/0"),
    ("API_BIND", "localhost"),
    ("API_OPS_BIND", "0.0.0.0:8000"),
    ("WORKER_OPS_BIND", ":9001"),
    ("REQUEST_TIMEOUT_SECONDS", "0"),
    ("SECURE_SSL_REDIRECT", "maybe"),
    ("SECURE_PROXY_SSL_HEADER", "X-Forwarded-Proto"),
    ("SECURE_HSTS_SECONDS", "-1"),
    ("X_FRAME_OPTIONS", "ALLOW-FROM https://example.com"),
    ("SESSION_COOKIE_SECURE", "False"),
    ("SESSION_COOKIE_HTTPONLY", "False"),
    ("SESSION_COOKIE_SAMESITE", "None"),
    ("CSRF_COOKIE_SECURE", "False"),
    ("CSRF_COOKIE_HTTPONLY", "perhaps"),
    ("CSRF_COOKIE_SAMESITE", "None"),
    // Tokens.
    ("JWT_ALGORITHM", "none"),
    ("JWT_ALGORITHM", "HS512"),
    ("JWT_PUBLIC_KEY_FALLBACKS", "secret"),
    ("JWT_ACCESS_TOKEN_LIFETIME_MINUTES", "0"),
    ("JWT_ACCESS_TOKEN_LIFETIME_MINUTES", "61"),
    ("JWT_ACCESS_TOKEN_LIFETIME_MINUTES", "1.5"),
    ("JWT_REFRESH_TOKEN_LIFETIME_DAYS", "forever"),
    ("PASSWORD_RESET_TOKEN_EXPIRY_HOURS", "25"),
    ("SESSIONS_MAX", "99999999999999999999"),
    // Passwords.
    ("PASSWORD_MIN_LENGTH", "7"),
    ("PASSWORD_MIN_LENGTH", "65"),
    ("PASSWORD_VALIDATORS", "length,strong"),
    ("PASSWORD_VALIDATORS", ","),
    ("PASSWORD_BREACHED_FILE", "no-such-directory/breached.txt"),
    ("ARGON2_MEMORY_KIB", "19455"),
    ("ARGON2_TIME_COST", "1"),
    ("ARGON2_PARALLELISM", "0"),
    ("ARGON2_CONCURRENCY", "+2"),
    // Limits, accounts, logging.
    ("MAX_LOGIN_ATTEMPTS", "0"),
    ("LOGIN_RATE_WINDOW_MINUTES", "0"),
    ("LOGIN_BLOCK_DURATION_MINUTES", "5m"),
    ("MAX_REGISTRATION_ATTEMPTS", "unlimited"),
    ("RESET_RATE_WINDOW_HOURS", "0.5"),
    ("REGISTRATION_MODE", "invite"),
    ("DEFAULT_LOCALE", "fr"),
    ("LOG_FORMAT", "xml"),
    ("LOG_LEVEL", "verbose"),
    ("LOG_EMAIL", "full"),
    ("LOG_FILE", "/var/log/doorbook/"),
    ("LOG_FILE_MAX_BYTES", "10MB"),
    ("LOG_FILE_BACKUPS", "1001"),
    ("ACCOUNT_DELETION_GRACE_DAYS", "0"),
    ("RETENTION_ATTEMPTS_DAYS", "never"),
    ("RETENTION_NOTIFICATIONS_DAYS", "3651"),
    ("KEY_BACKUP_DAYS", "0"),
    ("ARGON2_ENGINE", "fastest"),
    // What watches.
    ("DATABASE_DIRECT_URL", "postgresql://doorbook:postgres@db.example.com/doorbook"),
    ("MAIL_TEMPLATES_DIR", "no-such-directory"),
    ("SESSION_COOKIE_SECURE", "sometimes"),
    ("SESSION_COOKIE_SAMESITE", "Anywhere"),
    ("CSRF_COOKIE_HTTPONLY", "maybe"),
    ("CSRF_COOKIE_SAMESITE", "Laxer"),
    ("SECURITY_CONTACT", "ask at the desk"),
    ("SENTRY_DSN", "https://examplePublicKey@o0.ingest.sentry.io/0"),
    ("SENTRY_DSN", "http://4f1a2b3c@sentry.example.com/42"),
    ("SENTRY_ENVIRONMENT", "eu/production"),
    ("SENTRY_TRACES_SAMPLE_RATE", "1.01"),
    ("SENTRY_RELEASE", "doorbook 1"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:hunter2hunter2@collector.example.com"),
    ("ALERT_EMAILS", "security@example.com, nobody"),
    ("ALERT_WEBHOOK_SECRET", ""),
    ("ALERT_LOGIN_FAILURES", "many"),
    ("CHECKPOINT_SINK", "http://sink.example.com/doorbook"),
    ("CHECKPOINT_PRIVATE_KEY", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
];

/// `DATABASE_URL` may be left out, but then the parts are needed.
const WRONG_PARTS: &[Pair<'static>] = &[
    ("POSTGRES_DB", ""),
    ("POSTGRES_USER", ""),
    ("POSTGRES_USER", "postgres"),
    ("POSTGRES_PASSWORD", ""),
    ("POSTGRES_PASSWORD", "postgres"),
    ("POSTGRES_PASSWORD", "k2Vx9Qw7Lm4Tz8R"), // 15 characters
    ("POSTGRES_PASSWORD", "<strong_password>"),
    ("POSTGRES_HOST", ""),
    ("POSTGRES_HOST", "<db_host_or_rds_endpoint>"),
    ("POSTGRES_HOST", "db.example.com:5432"),
    ("POSTGRES_HOST", "db.example.com/other?host="),
    ("POSTGRES_PORT", "0"),
];

const PARTS: [Pair<'static>; 4] = [
    ("POSTGRES_DB", "doorbook"),
    ("POSTGRES_USER", "doorbook_api"),
    ("POSTGRES_PASSWORD", "k2Vx9Qw7Lm4Tz8Rb"),
    ("POSTGRES_HOST", "db.example.com"),
];

/// The variable is the only one refused, by every process, and the report has no value of the configuration that its
/// own words do not bring along.
fn assert_refused(name: &str, value: &str, pairs: &[Pair<'_>]) {
    let case = format!("{name}={value}");
    for process in [Process::Api, Process::Worker, Process::Cli] {
        let faults = load_as(process, pairs).expect_err(&case);
        let refused: Vec<_> = faults.iter().map(|fault| fault.variable.as_ref()).collect();
        assert_eq!(refused, [name], "{case}\n{faults}");
    }
    let report = load(pairs).expect_err(&case).to_string();
    let rule = registry::ALL.iter().find(|variable| variable.name == name).unwrap().rule.to_string();
    for (_, other) in pairs.iter().filter(|(_, other)| other.len() > 3 && !rule.contains(other)) {
        assert!(!report.contains(other), "{case}\n{report}");
    }
}

#[test]
fn each_wrong_variable_is_refused_by_name_and_without_its_value() {
    for (name, value) in WRONG {
        // A webhook needs both: without its secret, the address alone is no use.
        let beside = [("ALERT_WEBHOOK_URL", "https://hooks.example.com/4f1a2b"), (*name, *value)];
        let is_webhook = name.starts_with("ALERT_WEBHOOK");
        assert_refused(name, value, &with(if is_webhook { &beside } else { &beside[1..] }));
    }
}

#[test]
fn each_wrong_part_of_the_database_is_refused_by_name_and_without_its_value() {
    for (name, value) in WRONG_PARTS {
        let mut pairs = without(&["DATABASE_URL"], &PARTS);
        pairs.push((name, value));
        assert_refused(name, value, &pairs);
    }
}

#[test]
fn the_cases_differ_and_are_no_fewer_than_sixty() {
    let cases: BTreeSet<_> = WRONG.iter().chain(WRONG_PARTS).collect();
    assert_eq!(cases.len(), WRONG.len() + WRONG_PARTS.len());
    assert!(cases.len() >= 60);
}

#[test]
fn what_is_missing_is_refused_like_what_is_empty() {
    for (name, _) in PRODUCTION.iter().filter(|(name, _)| *name != "DATABASE_URL") {
        assert_refused(name, "", &without(&[name], &[]));
    }
    assert_eq!(refused(&without(&["DATABASE_URL"], &[])), ["POSTGRES_DB", "POSTGRES_USER", "POSTGRES_HOST"]);
}

#[test]
fn all_faults_are_reported_together() {
    let pairs: Vec<Pair<'_>> = vec![
        ("SECRET_KEY", "short"),
        ("DATABASE_URL", "nowhere"),
        ("REDIS_URL", "nowhere"),
        ("EMAIL_HOST", "smtp.example.com"),
        ("EMAIL_USE_TLS", "no"),
        ("ALLOWED_HOSTS", "*"),
        ("FRONTEND_URL", "nowhere"),
        ("JWT_ACCESS_TOKEN_LIFETIME_MINUTES", "0"),
        ("ARGON2_MEMORY_KIB", "8"),
        ("ARGON2_TIME_COST", "1"),
        ("MAX_LOGIN_ATTEMPTS", "0"),
        ("LOG_FORMAT", "xml"),
    ];
    let mut expected = vec!["JWT_SECRET_KEY", "DEFAULT_FROM_EMAIL"];
    expected.extend(pairs.iter().map(|(name, _)| *name).filter(|name| *name != "EMAIL_HOST"));
    let mut refused = refused(&pairs);
    expected.sort_unstable();
    refused.sort_unstable();
    assert_eq!(refused, expected);
}

#[test]
fn several_faults_of_one_thing_are_reported_together() {
    let login = [("POSTGRES_USER", "postgres"), ("POSTGRES_PASSWORD", "postgres")];
    let mut pairs = without(&["DATABASE_URL"], &PARTS);
    pairs.retain(|(name, _)| login.iter().all(|(changed, _)| name != changed));
    pairs.extend(login);
    assert_eq!(refused(&pairs), ["POSTGRES_USER", "POSTGRES_PASSWORD"]);
    let cookies = [("SESSION_COOKIE_HTTPONLY", "False"), ("SESSION_COOKIE_SECURE", "False")];
    assert_eq!(refused(&with(&cookies)), ["SESSION_COOKIE_HTTPONLY", "SESSION_COOKIE_SECURE"]);
    let keys = [("SECRET_KEY", OTHER_SECRET_KEY), ("JWT_SECRET_KEY", OTHER_SECRET_KEY), ("PII_KEYRING", "2025a")];
    assert_eq!(refused(&with(&keys)), ["PII_KEYRING", "JWT_SECRET_KEY"]);
}

#[test]
fn variables_that_contradict_each_other_are_refused() {
    let cases: [(&str, &[Pair<'_>]); 7] = [
        ("ALERT_WEBHOOK_URL", &[("ALERT_WEBHOOK_SECRET", WEBHOOK_SECRET)]),
        ("EMAIL_USE_SSL", &[("EMAIL_USE_SSL", "True"), ("EMAIL_USE_TLS", "True")]),
        ("ARGON2_PARALLELISM", &[("DEBUG", "True"), ("ARGON2_MEMORY_KIB", "63"), ("ARGON2_PARALLELISM", "8")]),
        ("PASSWORD_BREACHED_FILE", &[("PASSWORD_VALIDATORS", "length,breached")]),
        ("JWT_SECRET_KEY", &[("JWT_SECRET_KEY", OTHER_SECRET_KEY), ("SECRET_KEY_FALLBACKS", OTHER_SECRET_KEY)]),
        ("API_OPS_BIND", &[("API_BIND", "127.0.0.1:9000")]),
        ("EMAIL_USE_TLS", &[("EMAIL_USE_TLS", "0"), ("EMAIL_USE_SSL", "0"), ("EMAIL_HOST", "10.0.0.1")]),
    ];
    for (name, changes) in cases {
        assert_eq!(refused(&with(changes)), [name], "{changes:?}");
    }
}

#[test]
fn rings_and_lists_have_limits() {
    let nine = |item: &str| [item; 9].join(",");
    let ring: Vec<_> = (0..9).map(|index| PII_KEYRING.replace("2025a", &format!("k{index}"))).collect();
    for (name, value) in [
        ("SECRET_KEY_FALLBACKS", nine(OTHER_SECRET_KEY)),
        ("JWT_SECRET_KEY_FALLBACKS", nine(OTHER_JWT_SECRET_KEY)),
        ("PII_KEYRING", ring.join(",")),
        ("PII_KEYRING", [PII_KEYRING; 2].join(",")),
        ("ALLOWED_HOSTS", vec!["example.com"; 257].join(",")),
    ] {
        assert_refused(name, &value, &with(&[(name, &value)]));
    }
}

/// Breaks when `core/src/config/tokens.rs`: `idle <= *access` → `idle < *access`.
#[test]
fn sessions_that_would_end_before_their_access_tokens_are_refused() {
    assert_eq!(refused(&with(&[("SESSION_IDLE_MINUTES", "15")])), ["SESSION_IDLE_MINUTES"]);
    let shorter = [("SESSION_IDLE_MINUTES", "15"), ("JWT_ACCESS_TOKEN_LIFETIME_MINUTES", "14")];
    for pairs in [&shorter[..], &[("SESSION_IDLE_MINUTES", "16")], &[("SESSION_IDLE_MINUTES", "0")]] {
        assert!(load(&with(pairs)).is_ok(), "{pairs:?}");
    }
}

#[test]
fn a_value_that_is_not_utf8_is_refused() {
    let pairs = PRODUCTION.iter().map(|(name, value)| (*name, OsString::from(value)));
    let bytes = ("SECRET_KEY", OsString::from_vec(b"\xff\xfe".repeat(40)));
    let environment: Environment = pairs.chain([bytes]).collect();
    let faults = Settings::load(&environment, Process::Api).unwrap_err();
    assert_eq!(faults.to_string(), "SECRET_KEY: must be UTF-8 text");
}

#[test]
fn a_secret_file_that_cannot_give_a_secret_is_refused_by_its_own_name() {
    let (empty, binary) = (TestFile::with("empty", b"\n"), TestFile::with("binary", b"\xff\xfe"));
    let unset = &["JWT_SECRET_KEY"];
    for path in ["no-such-directory/key", empty.path(), binary.path(), "/"] {
        let pairs = without(unset, &[("JWT_SECRET_KEY_FILE", path)]);
        assert_eq!(refused(&pairs), ["JWT_SECRET_KEY_FILE"], "{path}");
        assert!(path == "/" || !load(&pairs).unwrap_err().to_string().contains(path));
    }
    let key = TestFile::with("both", OTHER_JWT_SECRET_KEY.as_bytes());
    assert_eq!(refused(&with(&[("JWT_SECRET_KEY_FILE", key.path())])), ["JWT_SECRET_KEY_FILE"]);
    let weak = TestFile::with("weak", b"canary");
    let faults = load(&without(unset, &[("JWT_SECRET_KEY_FILE", weak.path())])).unwrap_err();
    assert_eq!(faults.to_string(), "JWT_SECRET_KEY: must have at least 32 bytes");
}

#[test]
fn a_file_is_read_for_secrets_only() {
    let host = TestFile::with("host", b"smtp.example.com");
    assert_eq!(refused(&without(&["EMAIL_HOST"], &[("EMAIL_HOST_FILE", host.path())])), ["EMAIL_HOST"]);
}

#[test]
fn the_debug_output_of_settings_has_no_secret() {
    let changes = [
        ("SECRET_KEY_FALLBACKS", OTHER_SECRET_KEY),
        ("JWT_SECRET_KEY_FALLBACKS", OTHER_JWT_SECRET_KEY),
        ("PII_KEYRING", PII_KEYRING),
        ("REDIS_URL", "redis://:hunter2hunter2@127.0.0.1/0"),
    ];
    let shown = format!("{:?}", load(&with(&changes)).unwrap());
    assert!(shown.contains("smtp.example.com"));
    for secret in [SECRET_KEY, JWT_SECRET_KEY, OTHER_SECRET_KEY, OTHER_JWT_SECRET_KEY] {
        assert!(!shown.contains(secret));
    }
    for secret in ["k2Vx9Qw7Lm4Tz8Rb", "SG.q7Lm4Tz8Rb", "hunter2", "m3Qx0p5b", "109, 220"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn settings_of_log_file_and_receivers_are_checked() {
    let wrong = [
        ("LOG_FILE", "/"),
        ("LOG_FILE_MAX_BYTES", "10MB"),
        ("LOG_FILE_BACKUPS", "1001"),
        ("SENTRY_DSN", "https://sentry.example.com/1"),
        ("SENTRY_ENVIRONMENT", "my stage"),
        ("SENTRY_RELEASE", "a/b"),
        ("SENTRY_TRACES_SAMPLE_RATE", "2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ];
    for (name, value) in wrong {
        assert_eq!(refused(&with(&[(name, value)])), [name]);
    }
    let dsn = "https://hunter2hunter2@sentry.example.com/42";
    let otlp = "http://127.0.0.1:4318";
    let settings = load(&with(&[
        ("SENTRY_DSN", dsn),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", otlp),
        ("LOG_FILE", "/var/log/doorbook/application.log"),
    ]))
    .unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let sentry = settings.monitoring.sentry.unwrap();
    assert_eq!(sentry.endpoint.as_str(), "https://sentry.example.com/api/42/envelope/");
    assert_eq!((sentry.environment.as_str(), sentry.release.as_str()), ("production", env!("CARGO_PKG_VERSION")));
    let file = settings.logging.file.unwrap();
    assert_eq!((file.max_bytes, file.backups), (10_485_760, 5));
}
