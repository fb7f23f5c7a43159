//! A deployment by production's rules, on servers of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use doorbook_dev::{Cluster, Database, Options, Role, Sink, ensure_binaries, free_port};
use serde_json::Value;
use tokio::sync::OnceCell;

pub const SECRET_KEY: &str = "xT7qLm2Vz9Kp4Wn8Rb1Yc6Hd3Gf5Js0aUeIoQvXtBnMlPkZwEryS";
pub const JWT_SECRET_KEY: &str = "hN4vQ-8xKp2Lw7ZrT5mB1yGd9Jf_3sCa6Eo0Ui4tXqR";

/// Servers of this test process that keep what is committed through a crash, as `check --deploy` demands.
pub async fn cluster() -> &'static Cluster {
    static DURABLE: OnceCell<Cluster> = OnceCell::const_new();
    DURABLE
        .get_or_init(|| async {
            let guard = ensure_binaries().await.unwrap().join("doorbook-dev");
            Cluster::start(Options { durable: true, ..Options::temporary(guard) }).await.unwrap()
        })
        .await
}

pub type Environment = BTreeMap<String, String>;

pub struct Deployment {
    pub database: Database,
    pub sink: Sink,
    /// Of this deployment alone; gone with the run.
    pub folder: PathBuf,
    pub environment: Environment,
}

/// A deployment of which nothing is wrong.
pub async fn deployment() -> Deployment {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let cluster = cluster().await;
    let database = Database::fresh(cluster).await.unwrap();
    let sink = Sink::start(None).await.unwrap();
    let folder = cluster.run().folder().join(format!("deployment-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("backup.stamp"), "").unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let bind = || format!("127.0.0.1:{}", free_port().unwrap());
    let pairs = [
        ("SECRET_KEY", SECRET_KEY.to_owned()),
        ("JWT_SECRET_KEY", JWT_SECRET_KEY.to_owned()),
        ("ALLOWED_HOSTS", "api.example.com,localhost".to_owned()),
        ("DATABASE_URL", database.url_for(Role::Api)),
        ("WORKER_DATABASE_URL", database.url_for(Role::Worker)),
        ("DATABASE_MIGRATE_URL", database.url_for(Role::Migrator)),
        ("REDIS_URL", cluster.fresh_redis_url().unwrap()),
        ("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend".to_owned()),
        ("EMAIL_HOST", "127.0.0.1".to_owned()),
        ("EMAIL_PORT", sink.port().to_string()),
        ("EMAIL_USE_TLS", "False".to_owned()),
        ("DEFAULT_FROM_EMAIL", "Doorbook <noreply@example.com>".to_owned()),
        ("FRONTEND_URL", "https://example.com".to_owned()),
        ("CORS_ALLOWED_ORIGINS", "https://example.com".to_owned()),
        ("SECURE_SSL_REDIRECT", "True".to_owned()),
        ("PASSWORD_MIN_LENGTH", "15".to_owned()),
        ("SENTRY_DSN", "https://4f1a2b3c4d5e@127.0.0.1/42".to_owned()),
        ("BACKUP_STAMP_FILE", path("backup.stamp")),
        ("API_BIND", bind()),
        ("API_OPS_BIND", bind()),
        ("WORKER_OPS_BIND", bind()),
        ("ARGON2_MEMORY_KIB", "19456".to_owned()),
    ];
    let environment = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Deployment { database, sink, folder, environment }
}

/// What a run of `doorbook` has come to.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks of this verdict, in the order of the report.
    pub fn with_verdict(&self, verdict: &str) -> Vec<String> {
        let json = self.json();
        let lines = json["lines"].as_array().unwrap().iter().filter(|line| line["verdict"] == verdict);
        lines.map(|line| line["check"].as_str().unwrap().to_owned()).collect()
    }

    pub fn note(&self, check: &str) -> String {
        let json = self.json();
        let line = json["lines"].as_array().unwrap().iter().find(|line| line["check"] == check);
        line.unwrap_or_else(|| panic!("no line {check}: {json:#}"))["note"].as_str().unwrap().to_owned()
    }
}

impl Deployment {
    /// The environment with some variables set otherwise; an empty value unsets.
    pub fn with(&self, changes: &[(&str, &str)]) -> Environment {
        let mut environment = self.environment.clone();
        environment.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        environment.retain(|_, value| !value.is_empty());
        environment
    }

    /// Runs `doorbook` with these arguments in an environment.
    pub async fn run(&self, arguments: &[&str], environment: &Environment) -> Ran {
        let binary = ensure_binaries().await.unwrap().join("doorbook");
        let mut command = tokio::process::Command::from(cluster().await.run().command(&binary));
        command.env_clear().envs(environment).args(arguments).current_dir(&self.folder);
        command.stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// `doorbook check --deploy --json` with some variables set otherwise.
    pub async fn check(&self, changes: &[(&str, &str)]) -> Ran {
        self.run(&["check", "--deploy", "--json"], &self.with(changes)).await
    }
}
