//! `doorbook audit receipt`: whether a receipt of an erasure is genuine.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use doorbook_core::audit::note::{Note, Verifier};
use doorbook_core::audit::receipt;

use super::trust::Trust;
use crate::{Outcome, settings};

#[derive(Args)]
pub struct Options {
    /// A public key to trust, as `doorbook keys` prints it; may be repeated. Without one: the keys of the settings
    #[arg(long = "key", value_name = "NAME+ID+KEY")]
    keys: Vec<Verifier>,
    /// File with the receipt
    file: PathBuf,
}

pub async fn run(options: &Options, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let shown = options.file.display();
    let text = fs::read_to_string(&options.file).with_context(|| format!("cannot read {shown}"))?;
    let note: Note = text.parse().with_context(|| format!("{shown}"))?;
    let keys = if options.keys.is_empty() { own_keys().await? } else { options.keys.clone() };
    ensure!(note.is_signed_by(&keys), "{shown} is not signed by a key that is trusted, or was changed");
    ensure!(receipt::is_one(note.text()), "{shown} is signed, but no receipt of an erasure");
    write!(out, "genuine\n{}", note.text())?;
    Ok(Outcome::Done)
}

async fn own_keys() -> anyhow::Result<Vec<Verifier>> {
    let settings = settings::load()?;
    Ok(Trust::of_settings(&settings, &settings::pool(&settings).await?).await?.into_verifiers())
}
