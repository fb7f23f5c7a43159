//! Every setting of this release: name, default, rule and effect, one line each. Readers, fault texts, `.env.example`
//! and `docs/SETTINGS.md` all take them from here; `core/tests/config/registry.rs` fails on a setting that nothing reads.

use std::fmt;

use Unset::{Derived, Empty, Required, RequiredUnless, Value};

/// One environment variable.
pub struct Variable {
    pub name: &'static str,
    pub group: &'static str,
    pub default: Unset,
    pub rule: Rule,
    /// What it does, for the operator.
    pub about: &'static str,
    /// Its value is never shown, and `NAME_FILE` may name a file that holds it.
    pub secret: bool,
}

/// What holds when the variable is unset or empty.
#[derive(Clone, Copy)]
pub enum Unset {
    /// Nothing: the process does not start.
    Required,
    /// The same, but for the case that the text names.
    RequiredUnless(&'static str),
    /// The feature is off, or the list is empty.
    Empty,
    Value(&'static str),
    /// Follows from something else, which the text names.
    Derived(&'static str),
}

/// What a value must be: completes the sentence "must be …".
#[derive(Clone, Copy)]
pub enum Rule {
    Flag,
    /// Both bounds are allowed.
    Whole {
        min: u32,
        max: u32,
    },
    Text(&'static str),
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => formatter.write_str("True or False"),
            Self::Whole { min, max } => write!(formatter, "a whole number from {min} to {max}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// What the table says of a variable before its kind does.
#[derive(Clone, Copy)]
struct Entry {
    name: &'static str,
    group: &'static str,
}

const fn flag(entry: Entry, default: Unset, about: &'static str) -> Variable {
    Variable { name: entry.name, group: entry.group, default, rule: Rule::Flag, about, secret: false }
}

const fn whole(entry: Entry, default: Unset, min: u32, max: u32, about: &'static str) -> Variable {
    let rule = Rule::Whole { min, max };
    Variable { name: entry.name, group: entry.group, default, rule, about, secret: false }
}

const fn text(entry: Entry, default: Unset, rule: &'static str, about: &'static str) -> Variable {
    Variable { name: entry.name, group: entry.group, default, rule: Rule::Text(rule), about, secret: false }
}

const fn secret(entry: Entry, default: Unset, rule: &'static str, about: &'static str) -> Variable {
    Variable { name: entry.name, group: entry.group, default, rule: Rule::Text(rule), about, secret: true }
}

/// Makes a constant of each line and lists all of them in `ALL`.
macro_rules! variables {
    ($( $group:literal { $( $name:ident = $kind:ident($($argument:expr),+); )+ } )+) => {
        $( $(
            pub const $name: Variable = $kind(Entry { name: stringify!($name), group: $group }, $($argument),+);
        )+ )+

        /// All variables, in the order of `.env.example`.
        pub const ALL: &[Variable] = &[ $( $( $name, )+ )+ ];
    };
}

/// Number of cores of the machine, as far as the process may use them.
const CORES: Unset = Derived("the number of cores");

#[rustfmt::skip] // One line a variable: that is the point of the table.
mod table {
    use super::{CORES, Derived, Empty, Entry, Required, RequiredUnless, Value, Variable, flag, secret, text, whole};

    variables! {
"Mode" {
    DEBUG = flag(Value("False"), "True only for development: console mail, docs page, localhost hosts, relaxed start rules.");
}
"Keys (`doorbook keys new` prints fresh ones)" {
    SECRET_KEY = secret(Required, "at least 50 random characters, not a published example", "Root of mailed, refresh and device tokens.");
    SECRET_KEY_FALLBACKS = secret(Empty, "at most 8 earlier keys with commas between, each as good as SECRET_KEY", "Still verify during a rotation; nothing new is made with them.");
    JWT_SECRET_KEY = secret(RequiredUnless("JWT_ALGORITHM is EdDSA, ES256 or RS256"), "at least 32 random bytes, not a published example, unlike SECRET_KEY", "Signs access tokens when JWT_ALGORITHM is HS256; otherwise not read.");
    JWT_SECRET_KEY_FALLBACKS = secret(Empty, "at most 8 earlier keys with commas between, each as good as JWT_SECRET_KEY", "Verify only: rotation without logging anyone out.");
    JWT_PRIVATE_KEY = secret(Empty, "one unencrypted PKCS#8 key in PEM that fits JWT_ALGORITHM: Ed25519, P-256, or RSA of 2048 to 4096 bits", "Signs access tokens unless JWT_ALGORITHM is HS256. Line breaks may be written as \\n.");
    JWT_PUBLIC_KEY_FALLBACKS = secret(Empty, "at most 8 public keys, PEM blocks (BEGIN PUBLIC KEY) one after the other", "Verify only, and are published: earlier keys, or the next one. Any algorithm but HS256.");
    PII_KEYRING = secret(Empty, "at most 8 entries id:key with commas between, keys of 32 random bytes in base64", "Wraps the keys of personal data: the first wraps, all unwrap. Unset, SECRET_KEY does.");
    KEY_BACKUP_DAYS = whole(Value("30"), 1, 365, "Oldest backup of the keys that `doorbook keys restore` takes; keep none longer.");
}
"Database" {
    DATABASE_URL = secret(RequiredUnless("POSTGRES_* are set, of which it is then made"), "a URL such as postgresql://user:password@host:5432/name", "Wins over POSTGRES_*.");
    POSTGRES_DB = text(Derived("needed without DATABASE_URL"), "the name of a database", "Database.");
    POSTGRES_USER = text(Derived("needed without DATABASE_URL"), "a dedicated user, not postgres", "Login.");
    POSTGRES_PASSWORD = secret(Empty, "at least 16 characters", "Needed unless the host is a Unix socket.");
    POSTGRES_HOST = text(Derived("needed without DATABASE_URL"), "a host name, an IP address or the directory of a Unix socket", "Server.");
    POSTGRES_PORT = whole(Value("5432"), 1, 65_535, "Port.");
    WORKER_DATABASE_URL = secret(Derived("the database above"), "a URL such as postgresql://user:password@host:5432/name", "The worker's own login.");
    DATABASE_MIGRATE_URL = secret(Derived("the database above"), "a URL such as postgresql://user:password@host:5432/name", "The owner's login, used by `doorbook migrate` alone.");
    DATABASE_DIRECT_URL = secret(Derived("the database above"), "a URL such as postgresql://user:password@host:5432/name", "Behind a pooler: the server itself, for LISTEN.");
    DATABASE_MAX_CONNECTIONS = whole(Derived("16 for the api, 8 for the worker"), 1, 1_000, "Connections that one process opens at most; a worker needs 4.");
    DATABASE_POOLER = text(Value("none"), "none or transaction (PgBouncer in that mode)", "What stands between Doorbook and Postgres.");
}
"Redis (worker only)" {
    REDIS_URL = secret(Value("redis://127.0.0.1:6379/0"), "redis://host:port/number or rediss://host:port/number", "Carries the ids of due jobs.");
}
"Mail" {
    EMAIL_BACKEND = text(Derived("smtp; console when DEBUG is True"), "smtp, console or file, or Django's class path of one; console and file only when DEBUG is True", "Where mail goes.");
    EMAIL_FILE_PATH = text(Value(".dev/mail"), "a directory", "For the file backend: one .eml a message.");
    EMAIL_HOST = text(RequiredUnless("EMAIL_BACKEND is console or file"), "a host name or an IP address", "SMTP server.");
    EMAIL_PORT = whole(Derived("587; 465 when EMAIL_USE_SSL is True"), 1, 65_535, "Port.");
    EMAIL_USE_TLS = flag(Derived("True; False when EMAIL_USE_SSL is True"), "STARTTLS, required and never merely tried.");
    EMAIL_USE_SSL = flag(Value("False"), "TLS from the first byte. With neither, mail goes in clear text: outside development to this machine only.");
    EMAIL_HOST_USER = text(Empty, "set together with EMAIL_HOST_PASSWORD", "SMTP login.");
    EMAIL_HOST_PASSWORD = secret(Empty, "set together with EMAIL_HOST_USER", "SMTP password.");
    EMAIL_CA_FILE = text(Derived("the system's certificates"), "a readable file of PEM certificates", "Authorities that may vouch for the SMTP server.");
    EMAIL_TIMEOUT_SECONDS = whole(Value("10"), 1, 300, "Longest wait for each SMTP command.");
    DEFAULT_FROM_EMAIL = text(Required, "an address, or a name and an <address>", "Sender of all mail.");
    MAIL_TEMPLATES_DIR = text(Derived("built-in"), "a directory that can be read", "Your own wording and layout of mails (docs/MAILS.md). The worker refuses to start on a template that cannot be used.");
}
"HTTP" {
    FRONTEND_URL = text(Required, "an absolute URL without trailing slash, query or login; https unless DEBUG is True", "Every mailed link starts with it, and goes on with /verify-email, /reset-password, /confirm-email, /undo-email, /cancel-deletion or /not-me (docs/FROM-DJANGO.md).");
    ALLOWED_HOSTS = text(RequiredUnless("DEBUG is True, which allows localhost,127.0.0.1,[::1]"), "host names with commas between; .example.com means the domain and its subdomains; no *, scheme or port", "Hosts that the api answers for.");
    CORS_ALLOWED_ORIGINS = text(Empty, "exact origins such as https://example.com with commas between; no *, null or path; https unless DEBUG is True", "Origins whose pages may call the api.");
    TRUSTED_PROXIES = text(Value("127.0.0.0/8,::1"), "networks such as 10.0.0.0/8 with commas between, not the whole internet", "Forwarded headers count only from these. Set but empty: from none.");
    API_BIND = text(Value("0.0.0.0:8000"), "an IP address and a port", "Public listener of the api.");
    API_OPS_BIND = text(Value("127.0.0.1:9000"), "an IP address and a port, not those of API_BIND", "Metrics and readiness detail of the api.");
    WORKER_OPS_BIND = text(Value("127.0.0.1:9001"), "an IP address and a port", "Metrics and readiness detail of the worker.");
    REQUEST_TIMEOUT_SECONDS = whole(Value("15"), 1, 300, "Longest time for one request.");
    API_WORKER_THREADS = whole(CORES, 1, 1_024, "Threads that serve requests.");
    DOCS_ENABLED = flag(Derived("DEBUG"), "Serves the page with the API's documentation.");
    SECURE_SSL_REDIRECT = flag(Derived("True; False when DEBUG is True"), "Redirects http to https and refuses what cannot be redirected.");
    SECURE_PROXY_SSL_HEADER = text(Value("X-Forwarded-Proto: https"), "a header's name and value with a colon between", "Tells that a trusted proxy was reached over https.");
    SECURE_HSTS_SECONDS = whole(Value("31536000"), 0, 315_360_000, "Time for which browsers use https only; 0 sends no such header.");
    SECURE_HSTS_INCLUDE_SUBDOMAINS = flag(Value("True"), "The same for all subdomains.");
    SECURE_HSTS_PRELOAD = flag(Value("True"), "Allows browsers to ship with the rule.");
    SECURE_CONTENT_TYPE_NOSNIFF = flag(Value("True"), "Sends X-Content-Type-Options: nosniff.");
    SECURE_BROWSER_XSS_FILTER = flag(Value("True"), "Sends X-XSS-Protection: 1; mode=block, otherwise 0.");
    X_FRAME_OPTIONS = text(Value("DENY"), "DENY or SAMEORIGIN", "Who may show answers in a frame.");
    SESSION_COOKIE_SECURE = flag(Value("True"), "Cookies of sessions go over https only, under a name with __Host-; False only when DEBUG is True.");
    SESSION_COOKIE_HTTPONLY = flag(Value("True"), "No script can read them; False only when DEBUG is True.");
    SESSION_COOKIE_SAMESITE = text(Value("Strict"), "Strict or Lax", "Whether they go with requests that other sites cause.");
    CSRF_COOKIE_SECURE = flag(Value("True"), "Taken over from Django and checked like the session's. No such cookie is set: tokens against forged requests stand in forms and answers.");
    CSRF_COOKIE_HTTPONLY = flag(Value("True"), "The same for it.");
    CSRF_COOKIE_SAMESITE = text(Value("Strict"), "Strict or Lax", "The same for it.");
    SECURITY_CONTACT = text(Empty, "an e-mail address, mailto:address or an https URL", "Whom finders of a hole write to: makes /.well-known/security.txt.");
}
"Tokens and sessions" {
    JWT_ALGORITHM = text(Value("HS256"), "HS256, EdDSA, ES256 or RS256", "How access tokens are signed.");
    JWT_ISSUER = text(Derived("FRONTEND_URL"), "at most 255 printable characters", "Claim `iss`.");
    JWT_AUDIENCE = text(Value("doorbook"), "at most 255 printable characters", "Claim `aud`.");
    JWT_ACCESS_TOKEN_LIFETIME_MINUTES = whole(Value("15"), 1, 60, "Life of an access token.");
    JWT_REFRESH_TOKEN_LIFETIME_DAYS = whole(Value("7"), 1, 365, "Absolute end of a session; no refresh extends it.");
    REFRESH_GRACE_SECONDS = whole(Value("10"), 0, 60, "A refresh repeated within it gets the same successor.");
    SESSION_IDLE_MINUTES = whole(Value("0"), 0, 525_600, "Ends a session that was not refreshed for so long; 0 never does. More than JWT_ACCESS_TOKEN_LIFETIME_MINUTES: whoever is at work refreshes no sooner.");
    SESSIONS_MAX = whole(Value("20"), 1, 1_000, "Sessions that one account may have at once.");
    EMAIL_VERIFICATION_EXPIRY_HOURS = whole(Value("24"), 1, 720, "Life of a verification link.");
    PASSWORD_RESET_TOKEN_EXPIRY_HOURS = whole(Value("1"), 1, 24, "Life of a reset link.");
}
"Passwords" {
    PASSWORD_MIN_LENGTH = whole(Value("8"), 8, 64, "Shortest password, in characters.");
    PASSWORD_VALIDATORS = text(Value("similarity,length,common,numeric"), "a list of similarity, length, common, numeric, breached, context", "What a new password is checked for, and in this order; its length always is.");
    PASSWORD_BREACHED_FILE = text(Empty, "a readable file, given when PASSWORD_VALIDATORS lists breached", "Passwords known from breaches.");
    ARGON2_MEMORY_KIB = whole(Value("102400"), 8, 4_194_304, "Memory for one hash; at least 19456 unless DEBUG is True.");
    ARGON2_TIME_COST = whole(Value("2"), 1, 100, "Passes over it; at least 2 unless DEBUG is True.");
    ARGON2_PARALLELISM = whole(Value("8"), 1, 64, "Lanes; each needs 8 KiB of the memory.");
    ARGON2_CONCURRENCY = whole(CORES, 1, 1_024, "Hashes computed at once; bounds the memory.");
    ARGON2_ENGINE = text(Value("argon2"), "argon2 or simd", "What computes hashes: the reference, or vector instructions, which take half the time.");
}
"Limits" {
    MAX_LOGIN_ATTEMPTS = whole(Value("5"), 1, 10_000, "Failed logins of one identifier in the window before it is blocked.");
    LOGIN_RATE_WINDOW_MINUTES = whole(Value("5"), 1, 1_440, "The window.");
    LOGIN_BLOCK_DURATION_MINUTES = whole(Value("15"), 1, 1_440, "The block.");
    LOGIN_ADDRESS_MAX_FAILURES = whole(Value("30"), 1, 1_000_000, "Identifiers that may fail from one client address in the window.");
    MAX_REGISTRATION_ATTEMPTS = whole(Value("3"), 1, 1_000_000, "Registrations of one client address in the window.");
    REGISTRATION_RATE_WINDOW_HOURS = whole(Value("1"), 1, 168, "The window.");
    MAX_RESET_ATTEMPTS = whole(Value("3"), 1, 10_000, "Reset mails for one identifier in the window.");
    RESET_RATE_WINDOW_HOURS = whole(Value("1"), 1, 168, "The window.");
}
"Accounts" {
    REGISTRATION_MODE = text(Value("open"), "open, verified or closed", "open: may log in before verifying; verified: must verify first; closed: accounts by an admin only.");
    DEFAULT_LOCALE = text(Value("en"), "en or es", "Language of those who ask for none.");
    STRANGER_DATA_DAYS = whole(Value("30"), 1, 3_650, "Life of the personal data of people without an account.");
    UNVERIFIED_ACCOUNT_DAYS = whole(Value("30"), 1, 3_650, "Unverified accounts that never logged in are erased after it.");
    ACCOUNT_DELETION_GRACE_DAYS = whole(Value("14"), 1, 365, "Time in which a deletion may be taken back.");
    RETENTION_ATTEMPTS_DAYS = whole(Value("365"), 1, 3_650, "Life of events about attempts: `doorbook retention` lets go of whole months of it.");
    RETENTION_NOTIFICATIONS_DAYS = whole(Value("365"), 1, 3_650, "Life of events about mails, in the same months: the longer of the two counts.");
}
"Logging" {
    LOG_FORMAT = text(Value("json"), "json or console", "One JSON object a line, or text.");
    LOG_LEVEL = text(Value("info"), "error, warn, info, debug or trace", "Least serious line written.");
    LOG_EMAIL = text(Value("masked"), "plain, masked or hash", "How the line about a failed login names the address.");
    LOG_FILE = text(Empty, "the path of a file", "Lines go there as well as to the console; -api or -worker goes before its extension.");
    LOG_FILE_MAX_BYTES = whole(Value("10485760"), 0, u32::MAX, "Size at which the file is renamed and begun anew; 0 never does.");
    LOG_FILE_BACKUPS = whole(Value("5"), 0, 1_000, "Renamed files that are kept, .1 being the newest; 0 never renames.");
}
"Monitoring" {
    SENTRY_DSN = secret(Empty, "a DSN such as https://key@sentry.example.com/1", "Where errors and panics are reported, without personal data.");
    SENTRY_ENVIRONMENT = text(Value("production"), "at most 64 letters, digits or . - _ @ +", "Name of this installation in the reports.");
    SENTRY_RELEASE = text(Derived("the version of this release"), "at most 64 letters, digits or . - _ @ +", "Name of the release in the reports.");
    SENTRY_TRACES_SAMPLE_RATE = text(Value("0.1"), "a number from 0 to 1", "Share of the requests whose route, status and duration Sentry is told; 0 tells none.");
    OTEL_EXPORTER_OTLP_ENDPOINT = text(Empty, "an absolute URL without login and query, such as http://127.0.0.1:4318", "Collector of traces and metrics, by OTLP over HTTP.");
}
"Watching" {
    ALERT_EMAILS = text(Empty, "e-mail addresses with commas between", "Operators who are mailed security alerts, in English.");
    ALERT_WEBHOOK_URL = secret(Empty, "an https URL, set together with ALERT_WEBHOOK_SECRET", "Gets security alerts by POST (docs/MONITORING.md).");
    ALERT_WEBHOOK_SECRET = secret(Empty, "whsec_ and 24 to 64 random bytes in base64, set together with ALERT_WEBHOOK_URL", "Signs them as Standard Webhooks says.");
    ALERT_WINDOW_MINUTES = whole(Value("15"), 1, 1_440, "What alerts count is counted in this time.");
    ALERT_LONG_WINDOW_HOURS = whole(Value("24"), 1, 168, "What goes slowly is counted in this one: guesses at one account, orders and looks of one admin or auditor.");
    ALERT_QUIET_MINUTES = whole(Value("60"), 1, 10_080, "The same alert about the same account, network or person is raised once in this time.");
    ALERT_ACCOUNT_FAILURES = whole(Value("20"), 0, 1_000_000, "Wrong passwords for one account in the long window that raise an alert; 0 never do.");
    ALERT_NETWORK_ACCOUNTS = whole(Value("20"), 0, 1_000, "Accounts that logins of one network (/24, /48) fail at in the window that raise one; 0 never do.");
    ALERT_LOGIN_FAILURES = whole(Value("0"), 0, 1_000_000, "Failed logins of all in the window that raise one; 0 never do.");
    ALERT_LOGIN_BLOCKS = whole(Value("0"), 0, 1_000_000, "Blocked identifiers in the window that raise one; 0 never do.");
    ALERT_SURGE_FACTOR = whole(Value("10"), 0, 1_000, "So many times as many failed logins of all as in a usual window of the last week raise one; 0 never does.");
    ALERT_SURGE_MIN = whole(Value("100"), 1, 1_000_000, "Fewer are no surge, however few are usual.");
    ALERT_RESETS = whole(Value("50"), 0, 1_000_000, "Requests of all for password resets in the window that raise one; 0 never do.");
    ALERT_REGISTRATIONS = whole(Value("100"), 0, 1_000_000, "Registrations of all in the window that raise one; 0 never do.");
    ALERT_FRESH_ROLE_MINUTES = whole(Value("60"), 0, 10_080, "Orders of somebody who has been an admin for less raise one; 0 switches this off.");
    ALERT_ORDERS = whole(Value("10"), 0, 1_000, "Accounts that one admin gives orders about in the long window that raise one; 0 never do.");
    ALERT_REVEALS = whole(Value("20"), 0, 1_000_000, "Reveals and exports of one person in the long window that raise one; 0 never do.");
    ALERT_MAIL_FAILURE_PERCENT = whole(Value("50"), 0, 100, "Share of at least 20 tries to send mails in the window that must fail to raise one; 0 switches this off.");
    CHECKPOINT_SINK = text(Empty, "an absolute path, a file:// or an https:// URL", "Where the worker keeps signed checkpoints of the log outside the database: appended to the file, or sent by POST (docs/AUDIT-FORMAT.md).");
    CHECKPOINT_PRIVATE_KEY = secret(Derived("a service key"), "an Ed25519 private key, PKCS#8 in PEM", "Signs checkpoints of the log; the service key signs them as well.");
    BACKUP_STAMP_FILE = text(Empty, "the path of a file", "Touched by your backup when it has succeeded; its age is what `doorbook check --deploy` reads.");
}
    }
}

pub use table::*;
