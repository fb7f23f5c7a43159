//! `cargo faults`: kills, freezes, cuts off and fills up what the service runs on, and says whether anything was lost.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use doorbook_faults::campaign;
use doorbook_faults::rows::{ROWS, Row};

/// Status when there was nothing to judge.
const NOT_HELD: u8 = 2;

/// Seeds to choose from: short enough to be typed.
const SEEDS: u64 = 1_000_000;

#[derive(Parser)]
#[command(
    about = "Runs a campaign of faults against a service of its own; status 1 if anything was lost, 2 if it could not be held"
)]
struct Arguments {
    /// Which one; `list` names them.
    #[arg(default_value = "short")]
    row: String,
    /// The schedule and what is chosen for people to do follow from it; who of them is free does not.
    #[arg(long)]
    seed: Option<u64>,
    /// The whole dose.
    #[arg(long)]
    full: bool,
    /// Rounds of its faults, instead of those of the dose.
    #[arg(long)]
    times: Option<usize>,
    /// People with accounts.
    #[arg(long)]
    people: Option<usize>,
    /// Operations a second.
    #[arg(long)]
    rate: Option<u32>,
}

fn main() -> ExitCode {
    let done = tokio::runtime::Runtime::new().context("no runtime").and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("doorbook-faults: {error:#}");
            ExitCode::from(NOT_HELD)
        }
    }
}

async fn run() -> Result<bool> {
    let arguments = Arguments::parse();
    if arguments.row == "list" {
        for row in &ROWS {
            println!("{:18} {}", row.name, row.about);
        }
        return Ok(true);
    }
    let row = Row::named(&arguments.row)?;
    let mut plan = row.plan(arguments.seed.unwrap_or_else(|| fastrand::u64(..SEEDS)), arguments.full);
    // Others may have too little to be spoilt.
    plan.judges_judges = row.name == "short";
    plan.times = arguments.times.unwrap_or(plan.times);
    plan.people = arguments.people.unwrap_or(plan.people);
    plan.rate = arguments.rate.unwrap_or(plan.rate);
    let report = campaign::run(&plan).await?;
    report.print();
    let faults = report.faults();
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    let full = if arguments.full { " --full" } else { "" };
    let given = [
        ("times", arguments.times.map(|times| times.to_string())),
        ("people", arguments.people.map(|people| people.to_string())),
        ("rate", arguments.rate.map(|rate| rate.to_string())),
    ];
    let given: String =
        given.iter().filter_map(|(name, value)| Some(format!(" --{name} {}", value.as_ref()?))).collect();
    let (count, name, seed) = (report.strikes.len(), row.name, plan.seed);
    println!("{count} faults; the same schedule again with: cargo faults {name} --seed {seed}{full}{given}");
    Ok(faults.is_empty())
}
