//! Projections against the log.

use std::io::Write;

use clap::Subcommand;
use doorbook_core::service::Context;
use doorbook_core::store::rebuild::{self, Report};
use doorbook_core::token::random;
use uuid::Uuid;

use crate::{Outcome, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Replay all events and list what the live rows say otherwise; writes nothing
    Check,
    /// Write the live rows that differ from a replay of all events anew, under load if need be; nothing is mailed or sent again
    Rebuild,
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Check => check(out).await,
        Command::Rebuild => rebuild(out).await,
    }
}

async fn check(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let settings = settings::load()?;
    let pool = settings::pool(&settings).await?;
    let vault = settings::vault(&settings, &pool).await?;
    print(&rebuild::check(&pool, &vault).await?, out)
}

async fn rebuild(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let owner = settings::owner_pool(&settings::load()?).await?;
    let report = settings::doorbook().await?.rebuild(&owner, &Context::operator(Uuid::from_bytes(random()))).await?;
    writeln!(out, "{} accounts written anew.", report.rebuilt)?;
    print(&report, out)
}

fn print(report: &Report, out: &mut impl Write) -> anyhow::Result<Outcome> {
    for difference in &report.differences {
        // Names and payloads that cannot be read are somebody else's text.
        writeln!(out, "{}", difference.replace(char::is_control, "\u{fffd}"))?;
    }
    if report.unlisted > 0 {
        writeln!(out, "and {} more", report.unlisted)?;
    }
    writeln!(
        out,
        "{} accounts and {} sessions compared with {} events: {} differences.",
        report.accounts,
        report.sessions,
        report.events,
        report.found()
    )?;
    Ok(if report.differences.is_empty() { Outcome::Done } else { Outcome::Found })
}
