//! Projections against the log.

use std::io::Write;

use clap::Subcommand;
use doorbook_core::store::rebuild::{self, Report};

use crate::{Outcome, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Replay all events and list what the live rows say otherwise; writes nothing
    Check,
}

pub async fn check(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let settings = settings::load()?;
    let pool = settings::pool(&settings).await?;
    let vault = settings::vault(&settings, &pool).await?;
    print(&rebuild::check(&pool, &vault).await?, out)
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
        u64::try_from(report.differences.len())? + report.unlisted
    )?;
    Ok(if report.differences.is_empty() { Outcome::Done } else { Outcome::Found })
}
