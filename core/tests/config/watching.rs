//! What a correct configuration of logs, reports, cookies, alerts and backups means.

use std::path::PathBuf;
use std::time::Duration;

use doorbook_core::alert::Thresholds;
use doorbook_core::config::check::{Parts, Verdict, effective, judge};
use doorbook_core::config::{Argon2Engine, CheckpointSink, Environment, Process, SameSite, Settings};

use crate::support::{PRODUCTION, Pair, SECRET_KEY, SENTRY_DSN, load, with};

const DAY: Duration = Duration::from_hours(24);

#[test]
fn the_defaults_are_those_of_the_contract() {
    let Settings { logging, monitoring, cookies, watching, account, password, mail, database, http, .. } =
        load(&PRODUCTION).unwrap();
    assert!(logging.file.is_none() && monitoring.sentry.is_none() && monitoring.otlp_endpoint.is_none());
    for cookie in [cookies.session, cookies.csrf] {
        assert!(cookie.secure && cookie.http_only && cookie.same_site == SameSite::Strict);
    }
    assert!(watching.alerts.emails.is_empty() && watching.alerts.webhook.is_none());
    assert_eq!(watching.alerts.thresholds, Thresholds::default());
    assert!(watching.checkpoints.sink.is_none() && watching.checkpoints.private_key.is_none());
    assert_eq!((watching.attempts_retention, watching.notifications_retention), (365 * DAY, 365 * DAY));
    assert_eq!(account.deletion_grace, 14 * DAY);
    assert_eq!((password.engine, &mail.templates_dir), (Argon2Engine::Argon2, &None));
    assert!(database.direct_url.is_none() && http.security_contact.is_none() && watching.backup_stamp_file.is_none());
}

#[test]
fn what_is_given_is_passed_on_as_it_is_meant() {
    let directory = std::env::temp_dir();
    let settings = load(&with(&[
        ("LOG_FILE", "/var/log/django/application.log"),
        ("LOG_FILE_BACKUPS", "7"),
        ("SENTRY_DSN", SENTRY_DSN),
        ("SENTRY_TRACES_SAMPLE_RATE", "0.25"),
        ("SENTRY_RELEASE", "doorbook@1.2.3"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("SESSION_COOKIE_SAMESITE", "lax"),
        ("CSRF_COOKIE_HTTPONLY", "no"),
        ("ALERT_EMAILS", "security@example.com, ops@example.com"),
        ("ALERT_LOGIN_BLOCKS", "12"),
        ("CHECKPOINT_SINK", "/mnt/worm/doorbook"),
        ("MAIL_TEMPLATES_DIR", directory.to_str().unwrap()),
        ("SECURITY_CONTACT", "security@example.com"),
    ]))
    .unwrap();
    let file = settings.logging.file.unwrap();
    assert_eq!(file.of("worker"), PathBuf::from("/var/log/django/application-worker.log"));
    assert_eq!((file.max_bytes, file.backups), (10_485_760, 7));
    let sentry = settings.monitoring.sentry.unwrap();
    assert_eq!((sentry.environment.as_str(), sentry.release.as_str()), ("production", "doorbook@1.2.3"));
    assert_eq!(settings.monitoring.otlp_endpoint.unwrap().as_str(), "http://collector:4318/");
    assert_eq!((settings.cookies.session.same_site, settings.cookies.csrf.http_only), (SameSite::Lax, false));
    assert_eq!(settings.watching.alerts.emails, ["security@example.com", "ops@example.com"]);
    assert_eq!(settings.watching.alerts.thresholds.login_blocks, Some(12));
    assert_eq!(settings.watching.checkpoints.sink, Some(CheckpointSink::File("/mnt/worm/doorbook".into())));
    assert_eq!(settings.mail.templates_dir, Some(directory));
    assert_eq!(settings.http.security_contact.as_deref(), Some("mailto:security@example.com"));
}

#[test]
fn a_misspelt_name_is_kept_as_a_suspect_and_stops_nothing() {
    let settings = load(&with(&[("ALLOWED_HOST", "x"), ("DJANGO_SETTINGS_MODULE", "config.settings")])).unwrap();
    let suspects: Vec<_> = settings.suspects.iter().map(ToString::to_string).collect();
    assert_eq!(suspects, ["ALLOWED_HOST is set and not read: is ALLOWED_HOSTS meant?"]);
}

#[test]
fn what_is_in_force_is_shown_without_secrets() {
    let environment = with(&[("SESSIONS_MAX", "7"), ("EMAIL_USE_SSL", "1")]).into_iter().collect::<Environment>();
    let settings = Settings::load(&environment, Process::Cli).unwrap();
    let shown = effective(&environment, Some(&settings));
    let value = |name: &str| shown.iter().find(|one| one.name == name).unwrap().value.as_str();
    assert_eq!((value("SECRET_KEY"), value("PII_KEYRING")), ("set", "unset"));
    assert_eq!((value("SESSIONS_MAX"), value("JWT_AUDIENCE")), ("7", "doorbook"));
    assert_eq!((value("EMAIL_PORT"), value("EMAIL_USE_TLS"), value("DOCS_ENABLED")), ("465", "False", "False"));
    assert_eq!((value("JWT_ISSUER"), value("EMAIL_BACKEND")), ("https://example.com", "smtp"));
    let all = format!("{shown:?}");
    for secret in [SECRET_KEY, "k2Vx9Qw7Lm4Tz8Rb", "SG.q7Lm4Tz8Rb"] {
        assert!(!all.contains(secret));
    }
    // Something was refused, so a secret may stand where none belongs.
    let environment = with(&[("EMAIL_HOST_USER", "SG.canary"), ("DEBUG", "?")]).into_iter().collect::<Environment>();
    assert!(!format!("{:?}", effective(&environment, None)).contains("canary"));
}

/// One change of good settings and the line that it turns to a failure.
const BROKEN: &[(Pair<'static>, &str)] = &[
    (("SECRET_KEY", "short"), "keys"),
    (("SECRET_KEY", "change-me-to-a-long-random-string-of-at-least-fifty-characters"), "keys"),
    (("JWT_SECRET_KEY", SECRET_KEY), "keys"),
    (("PII_KEYRING", "2025a"), "keys"),
    (("ALLOWED_HOSTS", "*"), "hosts"),
    (("ALLOWED_HOSTS", "localhost,127.0.0.1"), "hosts"),
    (("DATABASE_URL", "postgresql://postgres:k2Vx9Qw7Lm4Tz8Rb@db.example.com/doorbook"), "database login"),
    (("DATABASE_URL", "postgresql://doorbook:postgres@db.example.com/doorbook"), "database login"),
    (("REDIS_URL", "http://127.0.0.1"), "redis address"),
    (("EMAIL_BACKEND", "console"), "mail settings"),
    (("FRONTEND_URL", "http://example.com"), "frontend"),
    (("CORS_ALLOWED_ORIGINS", "http://example.com"), "cors"),
    (("TRUSTED_PROXIES", "10.0.0.0/40"), "proxies"),
    (("SECURE_SSL_REDIRECT", "False"), "https"),
    (("SECURE_CONTENT_TYPE_NOSNIFF", "False"), "https"),
    (("CSRF_COOKIE_HTTPONLY", "False"), "cookies"),
    (("PASSWORD_MIN_LENGTH", "7"), "passwords"),
    (("ARGON2_MEMORY_KIB", "1024"), "passwords"),
    (("LOG_LEVEL", "loud"), "log"),
    (("SENTRY_DSN", "https://examplePublicKey@o0.ingest.sentry.io/0"), "sentry"),
    (("CHECKPOINT_SINK", "s3://bucket"), "checkpoints"),
    (("ALERT_EMAILS", "nobody"), "alerts"),
    (("MAX_LOGIN_ATTEMPTS", "0"), "other settings"),
    (("REFRESH_GRACE_SECONDS", "61"), "other settings"),
];

fn judged(changes: &[Pair<'_>]) -> Vec<(&'static str, Verdict, String)> {
    let environment = with(changes).into_iter().collect::<Environment>();
    let lines = judge(&environment, &Parts::read(&environment, Process::Cli));
    lines.into_iter().map(|line| (line.check, line.verdict, line.note)).collect()
}

fn failed(changes: &[Pair<'_>]) -> Vec<&'static str> {
    judged(changes).into_iter().filter(|(_, verdict, _)| *verdict == Verdict::Fail).map(|(check, ..)| check).collect()
}

/// C063. Breaks when `core/src/config/check/judge.rs`: `if public == 0 {` → `if false {`.
#[test]
fn one_wrong_setting_fails_its_own_line_and_no_other() {
    assert_eq!(failed(&[]), [""; 0]);
    for (change, line) in BROKEN {
        assert_eq!(failed(&[*change]), [*line], "{change:?}");
        let (name, value) = change;
        let shown = judged(&[*change]).into_iter().find(|(check, ..)| check == line).unwrap().2;
        assert!(value.len() < 8 || shown.contains(name) || !shown.contains(value), "{shown}");
    }
    assert_eq!(failed(&[("DEBUG", "True")]), ["debug", "mail settings", "https"]);
}

#[test]
fn what_works_and_may_not_be_wanted_is_a_warning() {
    let warned = |changes: &[Pair<'_>], line: &str| {
        judged(changes).into_iter().any(|(check, verdict, _)| check == line && verdict == Verdict::Warn)
    };
    for (changes, line) in [
        (("PASSWORD_MIN_LENGTH", "14"), "passwords"),
        (("SENTRY_ENVIRONMENT", "test"), "sentry"),
        (("SECURE_HSTS_SECONDS", "3600"), "https"),
        (("TRUSTED_PROXIES", ""), "proxies"),
        (("REDIS_URL", "redis://cache.example.com/0"), "redis address"),
        (("ALOWED_HOSTS", "x"), "names"),
        (("JWT_REFRESH_TOKEN_LIFETIME_DAYS", "31"), "other settings"),
    ] {
        assert!(warned(&[changes], line), "{changes:?}");
    }
    let good = [
        ("PASSWORD_MIN_LENGTH", "15"),
        ("SENTRY_DSN", SENTRY_DSN),
        ("CORS_ALLOWED_ORIGINS", "https://example.com"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ("BACKUP_STAMP_FILE", "/var/lib/backup/stamp"),
        ("CHECKPOINT_SINK", "/mnt/worm/doorbook"),
    ];
    let left: Vec<_> = judged(&good).into_iter().filter(|(_, verdict, _)| *verdict != Verdict::Ok).collect();
    assert_eq!(left, []);
}
