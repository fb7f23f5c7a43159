//! Letting go of months of the log that have been kept for long enough.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use doorbook_core::service::retention::Ended;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::token::random;
use uuid::Uuid;

use crate::{Outcome, audit, settings};

#[derive(Subcommand)]
pub enum Command {
    /// List the months that `apply` would drop, and what holds others back; changes nothing
    List,
    /// Write each month that has been kept for long enough to a file that proves itself, then drop it
    Apply(Apply),
}

#[derive(Args)]
pub struct Apply {
    /// Where the files go: one a month
    #[arg(long)]
    folder: PathBuf,
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let settings = settings::load()?;
    // Both are in the same partitions, so the longer counts.
    let age = settings.watching.attempts_retention.max(settings.watching.notifications_retention);
    let doorbook = settings::doorbook().await?;
    let ended = doorbook.months_ended(age).await?;
    if ended.is_empty() {
        writeln!(out, "no month has been kept for {} days yet", age.as_secs() / 86_400)?;
        return Ok(Outcome::Done);
    }
    let Command::Apply(Apply { folder }) = command else {
        return list(&ended, out);
    };
    let owner = settings::owner_pool(&settings).await?;
    for month in &ended {
        if let Some(reason) = month.held_by {
            writeln!(out, "{} stays: {reason}", month.month)?;
            return Ok(Outcome::Found);
        }
        if let Some(span) = month.span {
            write_out(&doorbook, &folder, month, span).await?;
        }
        doorbook.retire(&owner, month, &Context::operator(Uuid::from_bytes(random()))).await?;
        writeln!(out, "{}: {} events dropped", month.month, month.events)?;
    }
    Ok(Outcome::Done)
}

fn list(ended: &[Ended], out: &mut impl Write) -> anyhow::Result<Outcome> {
    for month in ended {
        let held = month.held_by.map(|reason| format!("; stays for now: {reason}")).unwrap_or_default();
        writeln!(out, "{}: {} events{held}", month.month, month.events)?;
    }
    Ok(Outcome::Done)
}

/// Writes all positions that a month's events lie between. A file that is there already was written whole.
async fn write_out(doorbook: &Doorbook, folder: &Path, month: &Ended, (first, last): (i64, i64)) -> anyhow::Result<()> {
    let whole = folder.join(format!("events-{}.jsonl", month.month));
    if whole.exists() {
        return Ok(());
    }
    let part = folder.join(format!("events-{}.jsonl.part", month.month));
    if part.exists() {
        std::fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    audit::write_bundle(doorbook, u64::try_from(first)?, u64::try_from(last)?, &part).await?;
    std::fs::rename(&part, &whole).with_context(|| format!("cannot rename {}", part.display()))
}
