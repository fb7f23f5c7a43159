//! Migrated databases on a cluster, with the logins that a deployment would have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::postgres::{Postgres, SUPERUSER};
use crate::secret::Secrets;

/// The database that is migrated once and copied for every test.
const TEMPLATE: &str = "doorbook_template";

/// The database of `cargo dev`.
const KEPT: &str = "doorbook";

/// Time for a test's database to be dropped; a server that a test has stopped would block for ever.
const DROP_WITHIN: Duration = Duration::from_secs(5);

/// Who connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Owns the database and its objects.
    Migrator,
    Api,
    Worker,
    Auditor,
    Shredder,
}

impl Role {
    pub(crate) const ALL: [Self; 5] = [Self::Migrator, Self::Api, Self::Worker, Self::Auditor, Self::Shredder];

    /// The login.
    pub const fn login(self) -> &'static str {
        match self {
            Self::Migrator => "dev_migrator",
            Self::Api => "dev_api",
            Self::Worker => "dev_worker",
            Self::Auditor => "dev_auditor",
            Self::Shredder => "dev_shredder",
        }
    }

    /// The role, made by the migrations, whose rights the login has.
    const fn granted(self) -> Option<&'static str> {
        match self {
            Self::Migrator => None,
            Self::Api => Some("doorbook_api"),
            Self::Worker => Some("doorbook_worker"),
            Self::Auditor => Some("doorbook_auditor"),
            Self::Shredder => Some("doorbook_shredder"),
        }
    }
}

/// Passwords of the logins, in the order of [`Role::ALL`].
#[derive(Clone)]
pub(crate) struct Logins {
    port: u16,
    passwords: [String; Role::ALL.len()],
}

impl Logins {
    fn read(secrets: &Secrets, port: u16) -> Result<Self> {
        let mut passwords = [const { String::new() }; Role::ALL.len()];
        for role in Role::ALL {
            passwords[role as usize] = secrets.get(role.login())?;
        }
        Ok(Self { port, passwords })
    }

    fn url(&self, role: Role, database: &str) -> String {
        Postgres::url(self.port, role.login(), &self.passwords[role as usize], database)
    }

    /// Makes each login, or gives an existing one its password.
    async fn create(&self, superuser: &mut PgConnection) -> Result<()> {
        for role in Role::ALL {
            let (login, password) = (role.login(), &self.passwords[role as usize]);
            if !exists(superuser, "select exists (select from pg_roles where rolname = $1)", login).await? {
                execute(superuser, format!("create role {login}")).await?;
            }
            // The migrator makes roles, as an operator's would; it is no superuser, so what needs one is found here.
            let rights = if role == Role::Migrator { "createrole" } else { "nocreaterole" };
            execute(superuser, format!("alter role {login} login {rights} password '{password}'")).await?;
        }
        Ok(())
    }

    async fn grant(superuser: &mut PgConnection) -> Result<()> {
        for role in Role::ALL {
            let Some(granted) = role.granted() else { continue };
            execute(superuser, format!("grant {granted} to {}", role.login()))
                .await
                .with_context(|| format!("cannot grant {granted}"))?;
        }
        Ok(())
    }
}

/// A migrated database. One made by [`Database::fresh`] is dropped with this value.
pub struct Database {
    name: String,
    logins: Logins,
    superuser_url: String,
    temporary: bool,
}

impl Database {
    /// A new database, migrated, empty, and no one else's.
    pub async fn fresh(cluster: &Cluster) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let logins = cluster.logins.get_or_try_init(|| make_template(cluster)).await?.clone();
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let superuser_url = cluster.superuser_url(SUPERUSER);
        let mut superuser = connect(&superuser_url).await?;
        let owner = Role::Migrator.login();
        execute(&mut superuser, format!("create database {name} template {TEMPLATE} owner {owner}")).await?;
        superuser.close().await.context("cannot close a connection")?;
        Ok(Self { name, logins, superuser_url, temporary: true })
    }

    /// The database of `cargo dev`: made and migrated if need be, and kept.
    pub async fn kept(cluster: &Cluster) -> Result<Self> {
        let logins = cluster.logins.get_or_try_init(|| migrated(cluster, KEPT)).await?.clone();
        Ok(Self { name: KEPT.into(), logins, superuser_url: cluster.superuser_url(SUPERUSER), temporary: false })
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A URL for `role`.
    pub fn url_for(&self, role: Role) -> String {
        self.logins.url(role, &self.name)
    }

    /// A URL for `role` at another port of loopback, which is a pooler's.
    pub fn url_at(&self, port: u16, role: Role) -> String {
        self.url_of(port, role, &self.name)
    }

    /// Settings by which processes find it at another port of loopback.
    pub fn settings_at(&self, port: u16) -> [(&'static str, String); 3] {
        let roles = [
            ("DATABASE_URL", Role::Api),
            ("WORKER_DATABASE_URL", Role::Worker),
            ("DATABASE_MIGRATE_URL", Role::Migrator),
        ];
        roles.map(|(name, role)| (name, self.url_at(port, role)))
    }

    /// A URL for `role` in a database of another name.
    pub fn url_of(&self, port: u16, role: Role, database: &str) -> String {
        Logins { port, ..self.logins.clone() }.url(role, database)
    }

    /// A pool for `role`.
    pub async fn pool(&self, role: Role) -> Result<PgPool> {
        PgPool::connect(&self.url_for(role))
            .await
            .with_context(|| format!("cannot connect to {} as {}", self.name, role.login()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.temporary {
            return;
        }
        let (url, name) = (self.superuser_url.clone(), std::mem::take(&mut self.name));
        // Its own thread and runtime: this may be dropped inside a runtime, where blocking is forbidden. Best effort:
        // a test may have stopped the server, and the folder is removed at the end anyway.
        let dropped = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = async {
                let mut superuser = connect(&url).await?;
                execute(&mut superuser, format!("drop database if exists {name} with (force)")).await
            };
            runtime.block_on(async { timeout(DROP_WITHIN, work).await? })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("doorbook-dev: a test's database stays: {error:#}");
        }
    }
}

async fn make_template(cluster: &Cluster) -> Result<Logins> {
    let logins = migrated(cluster, TEMPLATE).await?;
    let mut superuser = connect(&cluster.superuser_url(SUPERUSER)).await?;
    // A template with a session open cannot be copied: let no one in.
    execute(&mut superuser, format!("alter database {TEMPLATE} allow_connections false")).await?;
    Ok(logins)
}

/// Makes the logins and the database `name` if need be, and migrates it as its owner.
async fn migrated(cluster: &Cluster, name: &str) -> Result<Logins> {
    let logins = Logins::read(&cluster.secrets, cluster.postgres().port())?;
    let mut superuser = connect(&cluster.superuser_url(SUPERUSER)).await?;
    logins.create(&mut superuser).await?;
    if !exists(&mut superuser, "select exists (select from pg_database where datname = $1)", name).await? {
        execute(&mut superuser, format!("create database {name} owner {}", Role::Migrator.login())).await?;
    }
    // As `doorbook migrate` does it, by an owner that is no superuser.
    doorbook_core::store::migrate(&logins.url(Role::Migrator, name)).await.context("cannot migrate")?;
    Logins::grant(&mut superuser).await?;
    Ok(logins)
}

async fn connect(url: &str) -> Result<PgConnection> {
    PgConnection::connect(url).await.context("cannot connect to Postgres")
}

async fn exists(connection: &mut PgConnection, question: &'static str, name: &str) -> Result<bool> {
    sqlx::query_scalar(question).bind(name).fetch_one(connection).await.context("cannot ask Postgres")
}

/// Runs a statement that takes no parameters; its parts are constants of this file and base64url passwords.
async fn execute(connection: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop).context("a statement failed")
}
