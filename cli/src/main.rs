//! `doorbook`: what operators do from the command line. One file a group of commands.
//!
//! Exit status: 0 done, 1 failed or something was found, 2 wrong usage or settings.

mod account;
mod alerts;
mod audit;
mod check;
mod events;
mod health;
mod import;
mod jobs;
mod keys;
mod mail;
mod password;
mod projections;
mod retention;
mod schema;
mod settings;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Status for wrong settings; clap gives the same for wrong usage.
const WRONG_SETTINGS: u8 = 2;

/// Operate Doorbook
#[derive(Parser)]
#[command(name = "doorbook", version, arg_required_else_help = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply the migrations that the database lacks, and grant the roles
    Migrate {
        /// Change nothing: print what is not applied, and end with status 1 if there is any
        #[arg(long)]
        check: bool,
    },
    /// Ask a process over http whether it is well: for health checks of containers
    Health {
        /// Such as http://127.0.0.1:8000/health/ready
        url: health::ProbeUrl,
    },
    /// Grant the database roles, or print the SQL that does
    Roles {
        /// Print the SQL instead of running it
        #[arg(long)]
        sql: bool,
    },
    /// Show the settings in force, judge a deployment, or probe a running one
    Check(check::Options),
    /// Create, list and change accounts
    #[command(subcommand)]
    Account(account::Command),
    /// Bring the accounts of another service over
    #[command(subcommand)]
    Import(import::Command),
    /// Read the event log
    #[command(subcommand)]
    Events(events::Command),
    /// Try the rules of security alerts on what has happened already
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Prove that the event log is what was signed
    #[command(subcommand)]
    Audit(audit::Command),
    /// Make, list, re-wrap, back up and restore keys; alone it lists them
    Keys {
        #[command(subcommand)]
        command: Option<keys::Command>,
    },
    /// Send a test mail; list mails, have one sent anew or call it off
    #[command(subcommand)]
    Mail(mail::Command),
    /// See to jobs that have failed for good
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Compare what is derived from the log with a replay of it, or make it anew
    #[command(subcommand)]
    Projections(projections::Command),
    /// Let go of months of attempts, mails and looks that have been kept for long enough
    #[command(subcommand)]
    Retention(retention::Command),
}

/// What a command has come to.
pub enum Outcome {
    Done,
    /// It ran to its end and found what it looks for, or nothing to work on.
    Found,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = io::stdout().lock();
    let outcome = run(cli.command, &mut out).await;
    match outcome.and_then(|outcome| Ok(out.flush().map(|()| outcome)?)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::FAILURE,
        // Whoever reads the output has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed, the status alone tells.
            let _ = writeln!(io::stderr(), "doorbook: {error:#}");
            if settings::is_at_fault(&error) { ExitCode::from(WRONG_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(command: Command, out: &mut impl io::Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Migrate { check: false } => schema::migrate(out).await,
        Command::Migrate { check: true } => schema::check(out).await,
        Command::Health { url } => health::probe(&url, out),
        Command::Roles { sql } => schema::roles(sql, out).await,
        Command::Check(options) => check::run(&options, out).await,
        Command::Account(command) => account::run(command, out).await,
        Command::Import(import::Command::Django(command)) => import::django(*command, out).await,
        Command::Events(command) => events::run(command, out).await,
        Command::Alerts(command) => alerts::run(command, out).await,
        Command::Audit(command) => audit::run(command, out).await,
        Command::Keys { command } => Box::pin(keys::run(command.unwrap_or(keys::Command::List), out)).await,
        Command::Mail(command) => Box::pin(mail::run(command, out)).await,
        Command::Jobs(command) => jobs::run(command, out).await,
        Command::Projections(command) => projections::run(command, out).await,
        Command::Retention(command) => retention::run(command, out).await,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn refused(line: &str) -> String {
        Cli::try_parse_from(line.split(' ')).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_change_of_an_account_needs_a_reason() {
        for change in ["disable", "enable", "revoke-sessions"] {
            assert!(refused(&format!("doorbook account {change} ana@example.com")).contains("--reason"), "{change}");
        }
        for order in ["resend", "cancel"] {
            assert!(refused(&format!("doorbook mail {order} {}", uuid::Uuid::nil())).contains("--reason"), "{order}");
        }
        assert!(refused("doorbook account role grant ana@example.com admin").contains("--reason"));
        assert!(refused("doorbook account role revoke ana@example.com admin").contains("--reason"));
    }

    #[test]
    fn addresses_roles_and_ids_are_checked_before_anything_is_opened() {
        assert!(refused("doorbook account create ana").contains("e-mail address"));
        assert!(refused("doorbook account create ana@example.com --role owner").contains("admin"));
        assert!(refused("doorbook events show 12").contains("invalid value '12'"));
        let import = "doorbook import django";
        assert!(refused(import).contains("required"));
        assert!(refused(&format!("{import} --csv a --ndjson b")).contains("cannot be used with"));
        assert!(refused(&format!("{import} --csv a --column e-mail=b")).contains("NAME must be one of"));
        assert!(refused(&format!("{import} --csv a --batch 5000")).contains("invalid value '5000'"));
        assert!(refused("doorbook jobs redrive x").contains("invalid value 'x'"));
        assert!(refused("doorbook mail list --state lost").contains("suppressed"));
        assert!(refused("doorbook events tail --last 0").contains("invalid value '0'"));
        assert!(refused("doorbook health https://127.0.0.1:8000/health").contains("http://"));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let closed = |kind| is_closed_pipe(&anyhow::Error::from(io::Error::from(kind)));
        assert!(closed(io::ErrorKind::BrokenPipe) && !closed(io::ErrorKind::StorageFull));
    }
}
