//! The developer's command: `cargo dev` starts everything, `cargo dev -- reset` forgets everything.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use doorbook_dev::guard::{self, Ending};
use doorbook_dev::up::{self, Then};
use doorbook_dev::{ci, full, mutants, prepare};

#[derive(Parser)]
#[command(about = "Starts private servers for development; Ctrl-C ends them and keeps their data")]
struct Arguments {
    /// Where the data lies.
    #[arg(long, default_value = up::DOT_DEV, hide_default_value = true)]
    folder: PathBuf,
    /// Walk through the main job, print each step, and end: exit status 0 if everything held.
    #[arg(long)]
    tour: bool,
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Remove all data of `cargo dev`.
    Reset,
    /// Write `.sqlx`, what checks SQL without a database.
    Prepare {
        /// Only compare; fail when the checkout's files are others.
        #[arg(long)]
        check: bool,
    },
    /// Run the checks of a change.
    Ci,
    /// Run the whole dose of a check, such as C026 or the name of a test, or `mutants`: whether the tests notice what each names.
    Full {
        id: String,
        /// With `mutants`: only tests of this id, or with this in their name.
        filter: Option<String>,
    },
    /// Outlive the process at the other end of standard input, then stop what it had started in FOLDER.
    #[command(hide = true)]
    Guard {
        folder: PathBuf,
        /// Keep the folder.
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doorbook-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        None => {
            let then = if arguments.tour { Then::Tour } else { Then::Wait };
            tokio::runtime::Runtime::new()?.block_on(up::up(&arguments.folder, then))
        }
        Some(Task::Prepare { check }) => tokio::runtime::Runtime::new()?.block_on(prepare::prepare(check)),
        Some(Task::Ci) => ci::ci(),
        Some(Task::Full { id, filter }) if id == "mutants" => mutants::mutants(filter.as_deref()),
        Some(Task::Full { id, .. }) => full::full(&id),
        Some(Task::Reset) => up::reset(&arguments.folder),
        Some(Task::Guard { folder, keep }) => guard::watch(&folder, if keep { Ending::Keep } else { Ending::Remove }),
    }
}
