//! Variables that nothing reads and that look like a misspelt setting: an operator who writes `ALLOWED_HOST` believes to
//! have set something.

use std::fmt;

use super::env::Environment;
use super::registry::{self, Variable};

/// Most edits at which two names are taken for the same, for names long enough that no other word is so near.
const EDITS_MAX: usize = 2;

/// Names shorter than this are too near to too many words: one edit at most.
const LONG_NAME: usize = 8;

/// Prefixes that people put before the settings of a service of their own.
const PREFIXES: [&str; 2] = ["DJANGO_", "DOORBOOK_"];

/// A variable that is set and not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    pub name: String,
    /// The setting it looks like.
    pub meant: &'static str,
    /// It names a file for a setting that is no secret.
    is_file: bool,
}

impl fmt::Display for Suspect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, meant, is_file } = self;
        if *is_file {
            write!(formatter, "{name} is set and not read: {meant} is no secret and takes no file")
        } else {
            write!(formatter, "{name} is set and not read: is {meant} meant?")
        }
    }
}

/// All of them, in the order of their names.
pub fn suspects(environment: &Environment) -> Vec<Suspect> {
    environment.names().filter_map(suspect).collect()
}

fn suspect(name: &str) -> Option<Suspect> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !is_plain || registry::ALL.iter().any(|variable| is_read(variable, name)) {
        return None;
    }
    let found = |meant, is_file| Some(Suspect { name: name.to_owned(), meant, is_file });
    let upper = name.to_ascii_uppercase();
    let named = |text: &str| registry::ALL.iter().find(|variable| variable.name == text);
    if let Some(variable) = upper.strip_suffix("_FILE").and_then(named) {
        return found(variable.name, !variable.secret);
    }
    if let Some(variable) = PREFIXES.iter().find_map(|prefix| named(upper.strip_prefix(prefix)?)) {
        return found(variable.name, false);
    }
    let file_of = |variable: &&Variable| variable.secret && is_near(&upper, &format!("{}_FILE", variable.name));
    let near = registry::ALL.iter().find(|variable| is_near(&upper, variable.name));
    near.or_else(|| registry::ALL.iter().find(file_of)).and_then(|variable| found(variable.name, false))
}

fn is_read(variable: &Variable, name: &str) -> bool {
    variable.name == name || (variable.secret && name.strip_suffix("_FILE") == Some(variable.name))
}

fn is_near(one: &str, other: &str) -> bool {
    let allowed = if one.len().min(other.len()) < LONG_NAME { 1 } else { EDITS_MAX };
    one.len().abs_diff(other.len()) <= allowed && strsim::osa_distance(one, other) <= allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_is_suspected_and_what_is_meant_named() {
        for (name, meant) in [
            ("SECRETKEY", "SECRET_KEY"),
            ("ALLOWED_HOST", "ALLOWED_HOSTS"),
            ("EMAIL_USE_TSL", "EMAIL_USE_TLS"),
            ("REDIS_URI", "REDIS_URL"),
            ("debug", "DEBUG"),
            ("DBUG", "DEBUG"),
            ("CORS_ALOWED_ORIGIN", "CORS_ALLOWED_ORIGINS"),
            ("DJANGO_DEBUG", "DEBUG"),
            ("DOORBOOK_SECRET_KEY", "SECRET_KEY"),
            ("SECRET_KEY_FIEL", "SECRET_KEY"),
            ("JWT-SECRET-KEY", "JWT_SECRET_KEY"),
        ] {
            assert_eq!(suspect(name).map(|suspect| suspect.meant), Some(meant), "{name}");
        }
        let file = suspect("EMAIL_HOST_FILE").unwrap();
        assert_eq!(file.to_string(), "EMAIL_HOST_FILE is set and not read: EMAIL_HOST is no secret and takes no file");
    }

    #[test]
    fn settings_and_what_any_machine_has_are_not_suspected() {
        let settings = registry::ALL.iter().map(|variable| variable.name.to_owned());
        let files = registry::ALL.iter().filter(|variable| variable.secret).map(|it| format!("{}_FILE", it.name));
        for name in settings.chain(files) {
            assert_eq!(suspect(&name), None, "{name}");
        }
        // Shells, containers, orchestrators, and settings of Django that Doorbook does not have.
        let others = "PATH HOME USER LANG LC_ALL PWD SHLVL TERM TZ HOSTNAME TMPDIR HOST PORT MAIL LOGNAME EDITOR \
                      DJANGO_SETTINGS_MODULE EMAIL_TIMEOUT EMAIL_SUBJECT_PREFIX EMAIL_SSL_CERTFILE SESSION_COOKIE_AGE \
                      SESSION_COOKIE_NAME CSRF_COOKIE_NAME CSRF_COOKIE_DOMAIN CSRF_TRUSTED_ORIGINS STATIC_URL \
                      SECURE_REFERRER_POLICY SECURE_SSL_HOST SERVER_EMAIL ADMINS LANGUAGE_CODE TIME_ZONE REDIS_HOST \
                      POSTGRES_INITDB_ARGS POSTGRES_HOST_AUTH_METHOD PGHOST DATABASE_NAME SENTRY_ORG SENTRY_AUTH_TOKEN \
                      OTEL_EXPORTER_OTLP_HEADERS OTEL_SERVICE_NAME KUBERNETES_SERVICE_HOST NO_PROXY RUST_LOG \
                      RUST_BACKTRACE SSL_CERT_FILE GUNICORN_CMD_ARGS WEB_CONCURRENCY PYTHONUNBUFFERED DOORBOOK_DOSE";
        for name in others.split_whitespace() {
            assert_eq!(suspect(name), None, "{name}");
        }
    }
}
