//! A configuration that production accepts, to be changed by one thing at a time.

use std::path::PathBuf;

use doorbook_core::config::{Environment, Faults, MailBackend, Process, Settings, Smtp};

pub const SECRET_KEY: &str = "Zx8Qm2Lw9Vt4Rb7Yk1Np6Hs3Gd5Jf0CaUeIoXiTnMvBqKzPlWr";
pub const OTHER_SECRET_KEY: &str = "b4Tn8Wq1Zr6Xk3Vm9Lp2Hs7Gd5Jf0CyUeIoAiQnMvBtKzPlRwEx";
pub const JWT_SECRET_KEY: &str = "vJ-3xT_9qLw7Zr5NkB1mYh8PdGf2sCa6Eo4Ui0tXyRQ";
pub const OTHER_JWT_SECRET_KEY: &str = "pW_7cK-2nHx9Ld4TzQ1vRb6MgYs3Ja8Fe5Uo0iXtBqE";
pub const PII_KEYRING: &str = "2025a:m3Qx0p5bT8kz1uJ7cWn2vR9yLhD4sGf6aEoKiXtUyBQ=";
pub const WEBHOOK_SECRET: &str = "whsec_m3Qx0p5bT8kz1uJ7cWn2vR9yLhD4sGf6aEoKiXtUyBQ=";
pub const SENTRY_DSN: &str = "https://4f1a2b3c4d5e@o1.ingest.sentry.io/42";
/// Made for these tests alone.
pub const CHECKPOINT_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
     MC4CAQAwBQYDK2VwBCIEIOjXvZ0eKmFwGcSljI+hsXmRJoPzwRjXw0eAuX1gl7ND\n\
     -----END PRIVATE KEY-----";
pub const PASSWORD: &str = "gT7#xq%2Lm+9 Vz&k";

/// Variable and value.
pub type Pair<'a> = (&'a str, &'a str);

/// The least that production needs.
pub const PRODUCTION: [Pair<'static>; 9] = [
    ("SECRET_KEY", SECRET_KEY),
    ("JWT_SECRET_KEY", JWT_SECRET_KEY),
    ("ALLOWED_HOSTS", "api.example.com,.example.org"),
    ("DATABASE_URL", "postgresql://doorbook:k2Vx9Qw7Lm4Tz8Rb@db.example.com:5432/doorbook"),
    ("EMAIL_HOST", "smtp.example.com"),
    ("EMAIL_HOST_USER", "apikey"),
    ("EMAIL_HOST_PASSWORD", "SG.q7Lm4Tz8Rb"),
    ("DEFAULT_FROM_EMAIL", "noreply@example.com"),
    ("FRONTEND_URL", "https://example.com"),
];

/// The base with some variables set otherwise; of two values of one variable the later counts.
pub fn with<'a>(changes: &[Pair<'a>]) -> Vec<Pair<'a>> {
    PRODUCTION.iter().chain(changes).copied().collect()
}

/// The base without some variables, and with others set.
pub fn without<'a>(names: &[&str], changes: &[Pair<'a>]) -> Vec<Pair<'a>> {
    let mut pairs = with(changes);
    pairs.retain(|(name, _)| !names.contains(name));
    pairs
}

pub fn load(pairs: &[Pair<'_>]) -> Result<Settings, Faults> {
    load_as(Process::Api, pairs)
}

pub fn load_as(process: Process, pairs: &[Pair<'_>]) -> Result<Settings, Faults> {
    Settings::load(&pairs.iter().copied().collect::<Environment>(), process)
}

/// What was refused, in the order of the report.
pub fn refused(pairs: &[Pair<'_>]) -> Vec<String> {
    match load(pairs) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| fault.variable.to_string()).collect(),
    }
}

/// The settings of the smtp backend, which production always has.
pub fn smtp(settings: &Settings) -> &Smtp {
    match &settings.mail.backend {
        MailBackend::Smtp(smtp) => smtp,
        other => panic!("mail goes to {other:?}"),
    }
}

/// A file of one test, removed at its end.
pub struct TestFile(PathBuf);

impl TestFile {
    pub fn with(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("doorbook-config-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
