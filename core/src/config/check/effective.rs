//! What is in force: every variable with its value or what stands for it, secrets only as set or unset.

use std::ffi::OsStr;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::super::registry::{self, Unset, Variable};
use super::super::{Environment, MailBackend, Settings};

/// One variable as an operator may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    pub name: &'static str,
    pub group: &'static str,
    /// Never a secret, nor a value that was refused.
    pub value: String,
    /// Whether the operator set it.
    pub given: bool,
}

/// All variables. Without settings, some were refused, and then no given value is shown: one may be in the wrong place.
pub fn effective(environment: &Environment, settings: Option<&Settings>) -> Vec<Effective> {
    registry::ALL.iter().map(|variable| one(variable, environment, settings)).collect()
}

/// Names of the variables that the operator set.
pub fn given(environment: &Environment) -> Vec<&'static str> {
    effective(environment, None).into_iter().filter(|one| one.given).map(|one| one.name).collect()
}

/// A hash of all variables: what the operator gave, else what the default says. Of a secret only whether it is set, so that nobody
/// can try secrets against it; and neither what the machine decides nor where a process listens, so that those set up alike are alike.
pub(in super::super) fn fingerprint(environment: &Environment) -> String {
    let mut lines = String::new();
    for variable in registry::ALL.iter().filter(|variable| !variable.name.ends_with("_BIND")) {
        let one = one(variable, environment, None);
        let given = environment.get(variable.name).filter(|_| one.given && !variable.secret);
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{}={}", one.name, given.map_or(one.value, shown));
    }
    let digest = digest(&SHA256, lines.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn one(variable: &Variable, environment: &Environment, settings: Option<&Settings>) -> Effective {
    let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
    let from_file = variable.secret && is_set(&format!("{}_FILE", variable.name));
    let given = is_set(variable.name) || from_file;
    let value = match (given, variable.secret) {
        (true, true) => if from_file { "set, from a file" } else { "set" }.to_owned(),
        (false, true) => match variable.default {
            Unset::Value(_) => "unset, its default is in force".to_owned(),
            _ => "unset".to_owned(),
        },
        (true, false) if settings.is_none() => "set".to_owned(),
        (true, false) => environment.get(variable.name).map(shown).unwrap_or_default(),
        (false, false) => unset(variable, settings),
    };
    Effective { name: variable.name, group: variable.group, value, given }
}

fn shown(value: &OsStr) -> String {
    value.to_string_lossy().trim().escape_debug().to_string()
}

fn unset(variable: &Variable, settings: Option<&Settings>) -> String {
    match (variable.default, settings) {
        (Unset::Value(value), _) => value.to_owned(),
        (Unset::Empty, _) => "none".to_owned(),
        (Unset::Required, _) => "missing".to_owned(),
        (Unset::RequiredUnless(_) | Unset::Derived(_), Some(settings)) => {
            derived(variable, settings).unwrap_or_else(|| words(variable.default))
        }
        (Unset::RequiredUnless(_) | Unset::Derived(_), None) => words(variable.default),
    }
}

fn words(default: Unset) -> String {
    match default {
        Unset::RequiredUnless(case) => format!("unset: {case}"),
        Unset::Derived(from) => format!("({from})"),
        _ => String::new(),
    }
}

/// What follows from other settings or from the machine, where that is a plain value.
fn derived(variable: &Variable, settings: &Settings) -> Option<String> {
    let smtp = match &settings.mail.backend {
        MailBackend::Smtp(smtp) => Some(smtp),
        MailBackend::Console | MailBackend::File { .. } => None,
    };
    let flag = |flag: bool| Some(if flag { "True" } else { "False" }.to_owned());
    match variable.name {
        "ALLOWED_HOSTS" => Some(settings.http.allowed_hosts.patterns().collect::<Vec<_>>().join(",")),
        "EMAIL_BACKEND" => Some(if smtp.is_some() { "smtp" } else { "console" }.to_owned()),
        "EMAIL_PORT" => smtp.map(|smtp| smtp.port.to_string()),
        "EMAIL_USE_TLS" => flag(smtp.is_some_and(|smtp| smtp.security == super::super::SmtpSecurity::StartTls)),
        "API_WORKER_THREADS" => Some(settings.http.worker_threads.to_string()),
        "ARGON2_CONCURRENCY" => Some(settings.password.hashing_concurrency.to_string()),
        "DOCS_ENABLED" => flag(settings.http.docs_enabled),
        "SECURE_SSL_REDIRECT" => flag(settings.http.security.ssl_redirect),
        "JWT_ISSUER" => Some(settings.tokens.jwt_issuer.clone()),
        _ => None,
    }
}
