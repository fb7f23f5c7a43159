//! The lines that settings alone decide: a broken rule fails the line its variable belongs to, and no other.

use std::net::IpAddr;
use std::time::Duration;

use url::Url;

use super::super::secrets::is_low_entropy;
use super::super::{
    CookieAttributes, Environment, Fault, Faults, Http, HttpSecurity, Logging, Mail, MailBackend, Monitoring, Password,
    Process, Secrets, Settings, Watching, mail, registry, suspects,
};
use super::{Line, Parts, Verdict};

/// Shortest password that needs no second factor beside it. Source: NIST SP 800-63B-4, 3.1.1.2.
const PASSWORD_LENGTH_ADVISED: u32 = 15;

/// Least `max-age` that preload lists and scanners ask for. Source: hstspreload.org.
const HSTS_SECONDS_ADVISED: u32 = 31_536_000;

/// A session that lives longer than this on one password is worth a look. Source: NIST SP 800-63B-4, 2.1.3.
const SESSION_ADVISED: Duration = Duration::from_hours(30 * 24);

/// Lines in the order of a report, each with the beginnings of the variables that belong to it. What belongs to no other
/// belongs to the last.
const LINES: [(&str, &[&str]); 18] = [
    ("keys", &["SECRET_KEY", "JWT_SECRET_KEY", "JWT_PRIVATE", "JWT_PUBLIC", "JWT_ALGORITHM", "PII_KEYRING"]),
    ("debug", &["DEBUG"]),
    ("hosts", &["ALLOWED_HOSTS"]),
    ("database login", &["DATABASE_", "POSTGRES_", "WORKER_DATABASE_URL"]),
    ("redis address", &["REDIS_URL"]),
    (
        "mail settings",
        &[
            "EMAIL_BACKEND",
            "EMAIL_FILE",
            "EMAIL_HOST",
            "EMAIL_PORT",
            "EMAIL_USE",
            "EMAIL_CA",
            "EMAIL_TIMEOUT",
            "DEFAULT_FROM_EMAIL",
            "MAIL_TEMPLATES_DIR",
        ],
    ),
    ("frontend", &["FRONTEND_URL"]),
    ("cors", &["CORS_"]),
    ("proxies", &["TRUSTED_PROXIES", "SECURE_PROXY_SSL_HEADER"]),
    ("https", &["SECURE_SSL_REDIRECT", "SECURE_HSTS", "SECURE_CONTENT", "SECURE_BROWSER", "X_FRAME_OPTIONS"]),
    ("cookies", &["SESSION_COOKIE_", "CSRF_COOKIE_"]),
    ("passwords", &["PASSWORD_MIN", "PASSWORD_VALIDATORS", "PASSWORD_BREACHED", "ARGON2_"]),
    ("log", &["LOG_"]),
    ("sentry", &["SENTRY_"]),
    ("checkpoints", &["CHECKPOINT_"]),
    ("alerts", &["ALERT_"]),
    ("backup", &["BACKUP_"]),
    ("other settings", &[]),
];

type Judged = (Verdict, String);

/// All lines about settings, in a fixed order.
pub fn judge(environment: &Environment, parts: &Parts) -> Vec<Line> {
    let settings = Settings::load(environment, Process::Cli);
    let faults: Vec<&Fault> = settings.as_ref().err().into_iter().flat_map(Faults::iter).collect();
    let mut lines: Vec<Line> = LINES
        .iter()
        .map(|(check, _)| {
            let broken: Vec<String> =
                faults.iter().filter(|fault| line_of(&fault.variable) == *check).map(ToString::to_string).collect();
            let (verdict, note) = if broken.is_empty() {
                sound(check, parts, settings.as_ref().ok())
            } else {
                (Verdict::Fail, broken.join("; "))
            };
            Line { check, verdict, note }
        })
        .collect();
    lines.push(names(environment));
    lines
}

/// The line that a variable, or the file that holds it, belongs to.
fn line_of(variable: &str) -> &'static str {
    let is_variable = registry::ALL.iter().any(|known| known.name == variable);
    let name = if is_variable { variable } else { variable.strip_suffix("_FILE").unwrap_or(variable) };
    let belongs = |(_, beginnings): &&(&str, &[&str])| beginnings.iter().any(|beginning| name.starts_with(beginning));
    LINES.iter().find(belongs).map_or("other settings", |(check, _)| check)
}

/// What there is to say of variables that keep their rules.
fn sound(check: &str, parts: &Parts, settings: Option<&Settings>) -> Judged {
    let judged = match check {
        "keys" => parts.secrets.as_ref().map(keys),
        "debug" => Some(debug(parts.debug)),
        "hosts" => parts.http.as_ref().map(hosts),
        "redis address" => parts.redis.as_ref().map(|redis| redis_address(redis.url.expose())),
        "mail settings" => parts.mail.as_ref().map(mail_settings),
        "frontend" => parts.http.as_ref().map(frontend),
        "cors" => parts.http.as_ref().map(cors),
        "proxies" => parts.http.as_ref().map(proxies),
        "https" => parts.http.as_ref().map(|http| https(&http.security)),
        "cookies" => parts.cookies.as_ref().map(|cookies| self::cookies(&[cookies.session, cookies.csrf])),
        "passwords" => parts.password.as_ref().map(passwords),
        "log" => parts.logging.as_ref().map(log),
        "sentry" => parts.monitoring.as_ref().map(sentry),
        "checkpoints" => parts.watching.as_ref().map(checkpoints),
        "backup" => parts.watching.as_ref().map(backup),
        "other settings" => settings.map(others),
        _ => None,
    };
    judged.unwrap_or_else(|| ok("its settings keep their rules"))
}

fn ok(note: impl Into<String>) -> Judged {
    (Verdict::Ok, note.into())
}

fn warn(note: impl Into<String>) -> Judged {
    (Verdict::Warn, note.into())
}

fn fail(note: impl Into<String>) -> Judged {
    (Verdict::Fail, note.into())
}

fn keys(secrets: &Secrets) -> Judged {
    // A start lets it pass: the key may be the one that all rows hang on.
    if is_low_entropy(secrets.secret_key.expose()) {
        fail("SECRET_KEY is one that people make, not a random one: `doorbook keys new` makes one")
    } else if secrets.secret_key_fallbacks.is_empty()
        && secrets.tokens.shared_fallbacks.is_empty()
        && secrets.tokens.public_fallbacks.is_empty()
    {
        ok("long, random, different and not published")
    } else {
        warn("earlier keys still count: drop the fallbacks when all that they made has ended")
    }
}

fn debug(debug: bool) -> Judged {
    if debug { fail("DEBUG is True, which turns protection off: set DEBUG=False") } else { ok("off") }
}

fn hosts(http: &Http) -> Judged {
    let is_local = |host: &str| {
        let bare = host.trim_start_matches('.').trim_matches(['[', ']']);
        bare.parse::<IpAddr>().is_ok() || !bare.contains('.') || bare.ends_with(".localhost")
    };
    let public = http.allowed_hosts.patterns().filter(|host| !is_local(host)).count();
    if public == 0 {
        fail("ALLOWED_HOSTS names no domain: add the one that clients use")
    } else {
        ok(format!("{public} with a domain"))
    }
}

fn redis_address(url: &str) -> Judged {
    let url = Url::parse(url).ok();
    let is_clear = url.as_ref().is_some_and(|url| url.scheme() == "redis");
    let is_here = url.as_ref().and_then(Url::host_str).is_some_and(mail::is_loopback);
    if is_clear && !is_here {
        warn("REDIS_URL is clear text to another machine: use rediss:// or a private network")
    } else {
        ok("on this machine, or with TLS")
    }
}

fn mail_settings(mail: &Mail) -> Judged {
    match &mail.backend {
        MailBackend::Smtp(smtp) if smtp.login.is_some() || mail::is_loopback(&smtp.host) => ok("smtp"),
        MailBackend::Smtp(_) => {
            warn("no login: set EMAIL_HOST_USER and EMAIL_HOST_PASSWORD unless the server knows this machine")
        }
        MailBackend::Console | MailBackend::File { .. } => fail("no mail leaves: set EMAIL_BACKEND=smtp"),
    }
}

fn frontend(http: &Http) -> Judged {
    if http.frontend_url.starts_with("https://") {
        ok("https")
    } else {
        fail("mailed links go over clear text: FRONTEND_URL must be https")
    }
}

fn cors(http: &Http) -> Judged {
    match http.cors_allowed_origins.as_slice() {
        [] => warn("no page of another origin may call the api: set CORS_ALLOWED_ORIGINS if one has to"),
        origins if origins.iter().all(|origin| origin.starts_with("https://")) => {
            ok(format!("{} origins, all https", origins.len()))
        }
        _ => fail("an origin is http: CORS_ALLOWED_ORIGINS must be https only"),
    }
}

fn proxies(http: &Http) -> Judged {
    let is_all_local = http.trusted_proxies.iter().all(|network| network.network().is_loopback());
    if http.trusted_proxies.is_empty() && http.security.ssl_redirect {
        warn("no proxy is trusted, so no request counts as https: set TRUSTED_PROXIES to the one that ends TLS")
    } else if is_all_local && !http.api_bind.ip().is_loopback() {
        warn("only this machine is trusted: if TLS ends elsewhere, add that machine to TRUSTED_PROXIES")
    } else {
        ok(format!("{} networks", http.trusted_proxies.len()))
    }
}

fn https(security: &HttpSecurity) -> Judged {
    if !security.ssl_redirect {
        return fail("http is served: set SECURE_SSL_REDIRECT=True");
    }
    if !security.content_type_nosniff {
        return fail("browsers may guess types: set SECURE_CONTENT_TYPE_NOSNIFF=True");
    }
    match security.hsts {
        Some(hsts) if hsts.max_age_seconds >= HSTS_SECONDS_ADVISED => ok("redirect, HSTS and headers are on"),
        _ => warn("HSTS is off or under a year: set SECURE_HSTS_SECONDS=31536000 when https works everywhere"),
    }
}

fn cookies(all: &[CookieAttributes]) -> Judged {
    if all.iter().any(|cookie| !cookie.secure || !cookie.http_only) {
        fail("SESSION_COOKIE_ and CSRF_COOKIE_ SECURE and HTTPONLY must be True")
    } else {
        ok("Secure, HttpOnly and SameSite")
    }
}

fn passwords(password: &Password) -> Judged {
    if password.min_length < PASSWORD_LENGTH_ADVISED {
        warn(format!(
            "PASSWORD_MIN_LENGTH is {}: without a second factor, {PASSWORD_LENGTH_ADVISED} is advised (NIST SP 800-63B-4)",
            password.min_length
        ))
    } else {
        ok("long enough, Argon2id above the floor")
    }
}

fn log(logging: &Logging) -> Judged {
    ok(if logging.file.is_some() { "console and file" } else { "console" })
}

fn sentry(monitoring: &Monitoring) -> Judged {
    if monitoring.sentry.is_some() {
        ok("on")
    } else {
        warn("off: errors are in the log alone; set SENTRY_DSN to be told of them")
    }
}

fn checkpoints(watching: &Watching) -> Judged {
    match watching.checkpoints.sink {
        Some(_) => ok("written outside the database"),
        None => warn("no CHECKPOINT_SINK: who owns the database could rewrite the log unseen"),
    }
}

fn backup(watching: &Watching) -> Judged {
    match watching.backup_stamp_file {
        Some(_) => ok("BACKUP_STAMP_FILE is set"),
        None => warn("no BACKUP_STAMP_FILE: let the backup touch a file and name it, so that its age is checked"),
    }
}

fn others(settings: &Settings) -> Judged {
    if settings.tokens.session_lifetime > SESSION_ADVISED && settings.tokens.session_idle.is_none() {
        warn(
            "sessions outlive 30 days without an idle end: lower JWT_REFRESH_TOKEN_LIFETIME_DAYS or set SESSION_IDLE_MINUTES",
        )
    } else {
        ok("lifetimes, limits, listeners and the rest keep their rules")
    }
}

fn names(environment: &Environment) -> Line {
    const CHECK: &str = "names";
    let suspects: Vec<String> = suspects(environment).iter().map(ToString::to_string).collect();
    if suspects.is_empty() {
        Line::ok(CHECK, "no variable looks misspelt")
    } else {
        Line::warn(CHECK, suspects.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_belongs_to_a_line_and_a_file_to_the_line_of_what_it_holds() {
        assert_eq!(line_of("SECRET_KEY_FILE"), "keys");
        assert_eq!(line_of("LOG_FILE"), "log");
        assert_eq!(line_of("JWT_ISSUER"), "other settings");
        assert_eq!(line_of(".env line 3"), "other settings");
        assert_eq!(line_of("EMAIL_VERIFICATION_EXPIRY_HOURS"), "other settings");
        for (check, beginnings) in LINES {
            for beginning in beginnings {
                assert!(
                    check == "keys" || registry::ALL.iter().any(|it| it.name.starts_with(beginning)),
                    "{beginning}"
                );
            }
        }
    }
}
