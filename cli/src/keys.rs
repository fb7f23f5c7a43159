//! Keys: fresh secrets for settings, what hangs on each, the service keys that they wrap, and backups of those.

mod backup;
mod list;
mod rotate;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use doorbook_core::config::new_secret_block_for;
use doorbook_core::store::keys;
use doorbook_core::token::signing::Algorithm;

use crate::{Outcome, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Print fresh secrets as lines for `.env`
    New {
        /// How access tokens shall be signed; all but HS256 get a key pair
        #[arg(long, value_parser = algorithm(), default_value = "HS256")]
        algorithm: Algorithm,
    },
    /// List every key of settings and database, and what hangs on it
    List,
    /// Wrap every service key by the current key, so that earlier ones may be dropped
    Rewrap,
    /// Change a service key while the service runs. It can be broken off anywhere and run again
    Rotate {
        #[arg(value_enum)]
        purpose: rotate::Purpose,
    },
    /// Write the service keys and the data keys to a sealed file
    Backup {
        file: PathBuf,
        #[command(flatten)]
        recipient: backup::Recipient,
    },
    /// Put keys back that are missing. What was erased stays erased
    Restore {
        file: PathBuf,
        #[command(flatten)]
        recipient: backup::Recipient,
        /// Take a backup older than KEY_BACKUP_DAYS: people who were erased since may come back if the log knows nothing of it
        #[arg(long)]
        despite_age: bool,
    },
}

fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name))
        .try_map(|name| Algorithm::ALL.into_iter().find(|own| own.name() == name).ok_or("no such algorithm"))
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        Command::New { algorithm } => {
            let block = new_secret_block_for(algorithm).context("the system has no randomness to give")?;
            write!(out, "{}", block.as_str())?;
        }
        Command::List => list::run(out).await?,
        Command::Rewrap => {
            let settings = settings::load()?;
            let owner = settings::owner_pool(&settings).await?;
            let changed = keys::rewrap(&owner, &settings::roots(&settings)).await?;
            writeln!(out, "{changed} service keys were wrapped anew.")?;
        }
        Command::Rotate { purpose } => return Box::pin(rotate::run(purpose, out)).await,
        Command::Backup { file, recipient } => backup::write(&file, &recipient, out).await?,
        Command::Restore { file, recipient, despite_age } => {
            backup::restore(&file, &recipient, despite_age, out).await?;
        }
    }
    Ok(Outcome::Done)
}
