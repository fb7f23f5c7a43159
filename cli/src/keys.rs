//! Keys: fresh secrets for settings, and the service keys that they wrap.

use std::io::Write;

use anyhow::Context as _;
use clap::Subcommand;
use doorbook_core::config::new_secret_block;
use doorbook_core::store::keys;

use crate::{Outcome, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Print fresh secrets as lines for `.env`
    New,
    /// List the service keys, which outlive SECRET_KEY, and what wraps them
    List,
    /// Wrap every service key by the current key, so that earlier ones may be dropped
    Rewrap,
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        Command::New => {
            write!(out, "{}", new_secret_block().context("the system has no randomness to give")?.as_str())?;
        }
        Command::List => list(out).await?,
        Command::Rewrap => {
            let settings = settings::load()?;
            let owner = settings::owner_pool(&settings).await?;
            let changed = keys::rewrap(&owner, &settings::roots(&settings)).await?;
            writeln!(out, "{changed} service keys were wrapped anew.")?;
        }
    }
    Ok(Outcome::Done)
}

async fn list(out: &mut impl Write) -> anyhow::Result<()> {
    let settings = settings::load()?;
    let roots = settings::roots(&settings);
    let wrapping: Vec<&str> = roots.wrapping_keys().map(|(id, _)| id).collect();
    for key in keys::list(&settings::pool(&settings).await?).await? {
        let wrapped_by = match wrapping.iter().position(|id| *id == key.wrapped_by) {
            Some(0) => "the current key",
            Some(_) => "an earlier key: run `doorbook keys rewrap`",
            None => "a key that is not in the settings",
        };
        writeln!(
            out,
            "{:<13}  {}  {}  {:<8}  wrapped by {} ({wrapped_by})",
            key.purpose,
            key.key_id,
            key.created_at.to_millisecond().rfc3339(),
            if key.active { "active" } else { "retired" },
            key.wrapped_by
        )?;
    }
    Ok(())
}
