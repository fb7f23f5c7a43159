//! `cargo bench-all`: Doorbook beside the physical limit and beside other services, on the same machine in the same run.

mod append;
mod flood;
mod floor;
mod goals;
mod growth;
mod hashing;
mod house;
mod machine;
mod peer;
mod plot;
mod queue;
mod report;
mod requests;
mod results;
mod run;
mod scenario;
mod steady;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::scenario::Scenario;

/// Exit status when everything was measured and a goal was missed, and when something could not be measured at all.
const MISSED: u8 = 1;
const FAILED: u8 = 2;

#[derive(Parser, Debug)]
#[command(
    about = "Measures Doorbook beside its floors and peers; exit status 1 if a goal is missed, 2 if something could not be measured"
)]
struct Arguments {
    /// Once and for a second each: to see that everything works. Writes no documents.
    #[arg(long)]
    quick: bool,
    /// Only these rows.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// How often each is measured [default: 3, or 1 with --quick].
    #[arg(long)]
    rounds: Option<u32>,
    /// How long each load lasts [default: 5, or 1 with --quick].
    #[arg(long)]
    seconds: Option<u64>,
    /// No round begins after so many minutes.
    #[arg(long, default_value_t = 9)]
    minutes: u64,
    /// Accounts that are there [default: 50000, or 1000 with --quick; with --growth 1000000, those of the large one].
    #[arg(long)]
    accounts: Option<u32>,
    /// Events that are in the log beside theirs [default: 0; with --growth 10000000].
    #[arg(long)]
    events: Option<i64>,
    /// What computes Doorbook's hashes (`ARGON2_ENGINE`); the floor is `argon2` in any case. Writes no documents with `simd`.
    #[arg(long, value_parser = ["argon2", "simd"], default_value = "argon2")]
    engine: String,
    /// Measures how login, profile, refresh and a page of the trail do in a small and in a large service, and nothing else. Takes an hour.
    #[arg(long)]
    growth: bool,
    /// Another service under the same load: `django`, which is started here, or a file that maps its routes.
    #[arg(long)]
    peer: Vec<String>,
    /// Where a service is that was named by its file, such as http://127.0.0.1:8080.
    #[arg(long)]
    peer_base: Option<String>,
    /// Lets the load go to another machine than this one.
    #[arg(long)]
    allow_remote: bool,
    /// Writes bench.json and bench.svg into this folder, and no documents.
    #[arg(long)]
    results: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Task>,
}

impl Arguments {
    /// Whether everything is measured as the published figures are: nothing else is published.
    fn is_by_default(&self) -> bool {
        let given = [self.rounds.is_some(), self.seconds.is_some(), self.accounts.is_some(), self.events.is_some()];
        !self.quick && self.results.is_none() && self.engine == "argon2" && !given.contains(&true)
    }
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Serve the floors.
    #[command(hide = true)]
    Floor { bind: String, database: String },
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("doorbook-bench: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn start(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    if let Some(Task::Floor { bind, database }) = &arguments.command {
        runtime.block_on(floor::serve(bind, database))?;
        return Ok(ExitCode::SUCCESS);
    }
    let ending = if arguments.growth {
        runtime.block_on(growth::run(arguments))?
    } else {
        runtime.block_on(run::run(arguments))?
    };
    Ok(match ending {
        Ending::Met => ExitCode::SUCCESS,
        Ending::Missed => ExitCode::from(MISSED),
        Ending::Failed => ExitCode::from(FAILED),
    })
}

/// How a run has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Met,
    Missed,
    Failed,
}
