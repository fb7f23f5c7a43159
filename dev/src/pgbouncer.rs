//! A private PgBouncer in transaction mode before a cluster's Postgres, set up as `docs/POOLING.md` shows.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::guard::Ending;
use crate::run::Run;
use crate::secret;
use crate::server::{Kind, Server};

/// Time for one try to connect.
const TRY: Duration = Duration::from_secs(2);

/// Servers for each database and login: few, so that clients really share them.
pub const SERVERS: u32 = 4;

/// A database whose every statement may go to another server, which is of no use to the service.
pub const STATEMENT_MODE: &str = "statement_mode";

/// The login of PgBouncer's own console.
const ADMIN: &str = "dev_pooler";

/// The page whose example is the configuration.
const PAGE: &str = include_str!("../../docs/POOLING.md");

/// What makes a server a PgBouncer.
pub struct PgBouncer {
    run: Arc<Run>,
    executable: PathBuf,
    postgres_port: u16,
    password: String,
}

impl PgBouncer {
    /// Starts it for these logins.
    pub(crate) async fn open(
        run: Arc<Run>,
        executable: PathBuf,
        postgres_port: u16,
        password: String,
        logins: &[(String, String)],
    ) -> Result<Server<Self>> {
        let pooler = Self { run, executable, postgres_port, password };
        let own = [(ADMIN.to_owned(), pooler.password.clone())];
        let lines = logins.iter().chain(&own).map(|(login, password)| format!("\"{login}\" \"{password}\"\n"));
        pooler.write("pgbouncer.users", &lines.collect::<String>())?;
        Server::open(pooler).await
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        secret::write_private(&path, text)?;
        self.run.hand_over(&path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.run.folder().join(name)
    }
}

/// Settings of the page's example, without the databases it names.
fn example(page: &str) -> Option<&str> {
    page.split_once("```ini\n")?.1.split_once("```")?.0.split_once("[pgbouncer]\n").map(|(_, settings)| settings)
}

impl Kind for PgBouncer {
    const NAME: &'static str = "PgBouncer";

    /// It takes its port from the file alone. Of a setting that is given twice the last counts.
    fn prepare(&self, port: u16) -> Result<()> {
        let text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={postgres}\n\
             {STATEMENT_MODE} = host=127.0.0.1 port={postgres} dbname=postgres pool_mode=statement\n\n\
             [pgbouncer]\n{example}\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_file = {users}\n\
             admin_users = {ADMIN}\n\
             default_pool_size = {SERVERS}\n\
             logfile =\n\
             pidfile =\n",
            postgres = self.postgres_port,
            example = example(PAGE).context("docs/POOLING.md shows no pgbouncer.ini")?,
            users = self.path("pgbouncer.users").display(),
        );
        self.write("pgbouncer.ini", &text)
    }

    fn command(&self, _: u16) -> Command {
        let mut command = self.run.unprivileged(&self.executable);
        command.arg(self.path("pgbouncer.ini"));
        command
    }

    fn log(&self) -> PathBuf {
        self.path("pgbouncer.log")
    }

    fn closing(&self) -> Signal {
        match self.run.ending() {
            Ending::Keep => Signal::INT,
            Ending::Remove => Signal::KILL,
        }
    }

    async fn answers(&self, port: u16) -> bool {
        // Our random password is accepted by our own server alone.
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(ADMIN)
            .password(&self.password)
            .database("pgbouncer")
            .extra_float_digits(None);
        match timeout(TRY, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => connection.close().await.is_ok(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE, example};

    #[test]
    fn the_page_shows_settings_for_transaction_mode() {
        let settings = example(PAGE).unwrap();
        assert!(settings.lines().any(|line| line == "pool_mode = transaction"), "{settings}");
    }
}
