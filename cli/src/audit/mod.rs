//! Proofs over the event log: that it is what was signed, here or far away from it.

mod bundle;
mod export;
mod gone;
mod live;
mod receipt;
mod report;
mod trust;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use doorbook_core::audit::note::Verifier;

use crate::Outcome;

pub use export::write_bundle;

#[derive(Subcommand)]
pub enum Command {
    /// Compare the log with its seals and its signed checkpoints; the status is 0 only if everything holds
    Verify(Verify),
    /// Write a part of the log to a file that can be verified without the database
    Export(Export),
    /// Verify a receipt of an erasure; the status is 0 only if it is genuine
    Receipt(receipt::Options),
}

#[derive(Args)]
pub struct Verify {
    /// A public key to trust, as `doorbook keys` prints it; may be repeated. Without one: the keys of the settings
    #[arg(long = "key", value_name = "NAME+ID+KEY")]
    keys: Vec<Verifier>,
    /// Another database than that of the settings
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Checkpoints that were kept outside the database; may be repeated. They alone show a cut end or an old dump put back
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Verify a file of `doorbook audit export` instead of a database
    #[arg(long, value_name = "FILE", requires = "keys", conflicts_with_all = ["database", "checkpoints"])]
    bundle: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Export {
    /// First position
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), default_value_t = 1)]
    from: u64,
    /// Last position; without it the last one that is under a checkpoint
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Must not exist yet
    file: PathBuf,
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Verify(options) => {
            let report = match &options.bundle {
                Some(file) => bundle::verify(file, &options.keys)?,
                None => live::verify(&options).await?,
            };
            let written = report.print(options.json, out);
            // That nobody reads to the end must not turn a finding into a success.
            if report.holds() { written.map(|()| Outcome::Done) } else { Ok(Outcome::Found) }
        }
        Command::Export(options) => export::run(&options, out).await,
        Command::Receipt(options) => receipt::run(&options, out).await,
    }
}
