//! A migrated database, the binary with settings for it, and the service itself to make a history with.

use std::io::Write as _;
use std::process::{Output, Stdio};

use doorbook_core::config::{Environment, Process, Settings};
use doorbook_core::password::PasswordPlain;
use doorbook_core::service::login::{Login, Tokens};
use doorbook_core::service::register::Registration;
use doorbook_core::service::{Context, Doorbook, Refusal, start};
use doorbook_core::value::{ClientOrigin, Email, PersonName};
use doorbook_dev::{Cluster, Database, Role};
use sqlx::PgPool;

pub const PASSWORD: &str = "violet harbour 73";
pub const OTHER_PASSWORD: &str = "amber lighthouse 42";

pub struct House {
    pub database: Database,
    pub owner: PgPool,
    settings: Vec<(&'static str, String)>,
}

pub async fn house() -> House {
    let database = Database::fresh(Cluster::shared().await.unwrap()).await.unwrap();
    let owner = database.pool(Role::Migrator).await.unwrap();
    let settings = [
        ("DEBUG", "True"),
        ("SECRET_KEY", "k7Qw9zXc2Vb5Nm8Lp3Jh6Gf4Ds1Aq0We7Rt2Yu5Io8Pk3Ml6Nb9"),
        ("JWT_SECRET_KEY", "vJ-3xT_9qLw7Zr5NkB1mYh8PdGf2sCa6Eo4Ui0tXyRQ"),
        ("DEFAULT_FROM_EMAIL", "Doorbook <doorbook@example.com>"),
        ("FRONTEND_URL", "https://app.example.com"),
        ("ARGON2_MEMORY_KIB", "64"),
        ("ARGON2_TIME_COST", "1"),
        ("ARGON2_PARALLELISM", "1"),
    ];
    let urls = [
        ("DATABASE_URL", database.url_for(Role::Api)),
        ("WORKER_DATABASE_URL", database.url_for(Role::Worker)),
        ("DATABASE_MIGRATE_URL", database.url_for(Role::Migrator)),
    ];
    let settings = settings.map(|(name, value)| (name, value.to_owned())).into_iter().chain(urls).collect();
    House { database, owner, settings }
}

/// What a run of the binary has come to.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl House {
    /// Runs `doorbook` with these arguments and `input` piped in.
    pub async fn run_with(&self, arguments: &[&str], changed: &[(&str, &str)], input: &str) -> Ran {
        let mut command = Cluster::shared().await.unwrap().run().command(env!("CARGO_BIN_EXE_doorbook"));
        command.args(arguments).envs(self.settings.iter().map(|(name, value)| (*name, value)));
        command.envs(changed.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// The same; it must succeed.
    pub async fn run(&self, line: &str) -> String {
        let ran = self.run_with(&line.split(' ').collect::<Vec<_>>(), &[], "").await;
        assert_eq!(ran.status, 0, "{line}: {ran:?}");
        ran.out
    }

    pub fn setting(&self, wanted: &str) -> &str {
        &self.settings.iter().find(|(name, _)| *name == wanted).unwrap().1
    }

    /// The service with the same settings.
    pub async fn book(&self) -> Doorbook {
        self.book_as(Process::Api).await
    }

    /// With the rights of this process.
    pub async fn book_as(&self, process: Process) -> Doorbook {
        let environment: Environment = self.settings.iter().map(|(name, value)| (*name, value)).collect();
        start::start(&Settings::load(&environment, process).unwrap()).await.unwrap()
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.unwrap()
    }
}

pub fn anywhere() -> Context {
    Context::stranger(ClientOrigin::new("203.0.113.7".parse().unwrap(), "test", uuid::Uuid::nil()))
}

pub fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

pub fn password(text: &str) -> PasswordPlain {
    PasswordPlain::parse(text.to_owned()).unwrap()
}

pub async fn register(book: &Doorbook, address: &str) {
    let registration = Registration {
        email: email(address),
        password: password(PASSWORD),
        first_name: PersonName::parse("Ana").unwrap(),
        last_name: PersonName::parse("Lima").unwrap(),
        locale: None,
        idempotency: None,
    };
    book.register(registration, &anywhere()).await.unwrap();
}

pub async fn login(book: &Doorbook, address: &str, text: &str) -> Result<Tokens, Refusal> {
    let login = Login { email: email(address), password: password(text), remember_device: true, device_token: None };
    book.login(&login, &anywhere()).await
}
