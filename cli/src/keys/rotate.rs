//! Changing a service key: expand, re-key, contract (`docs/adr/0013`).

use std::io::Write;

use clap::ValueEnum;
use doorbook_core::service::Context;
use doorbook_core::store::keys::rotate::{self, Progress};
use doorbook_core::token::random;
use uuid::Uuid;

use crate::{Outcome, settings};

#[derive(Clone, Copy, ValueEnum)]
pub enum Purpose {
    /// What addresses are looked up by
    EmailLookup,
}

pub async fn run(purpose: Purpose, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match purpose {
        Purpose::EmailLookup => email_lookup(out).await,
    }
}

async fn email_lookup(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let settings = settings::load()?;
    let (db, roots) = (settings::owner_pool(&settings).await?, settings::roots(&settings));
    let finishing = rotate::is_to_finish(&db).await?;
    if !finishing {
        writeln!(out, "next key {}", rotate::expand(&db, &roots).await?)?;
    }
    let vault = settings::vault(&settings, &db).await?;
    if !finishing {
        let (mut after, mut total) = (Vec::new(), 0);
        loop {
            let (written, last) = rotate::rekey(&db, &vault, &after).await?;
            total += written;
            let Some(last) = last else { break };
            after = last;
        }
        writeln!(out, "{total} addresses re-keyed")?;
    }
    match rotate::contract(&db, &vault).await? {
        Progress::Settling { until } => {
            writeln!(out, "Every process learns of it by {}: run this again then.", until.to_millisecond().rfc3339())?;
            Ok(Outcome::Found)
        }
        Progress::Reserved { count, until } => {
            let until = until.to_millisecond().rfc3339();
            writeln!(out, "{count} reserved addresses cannot be re-keyed and end by {until}: run this again then.")?;
            Ok(Outcome::Found)
        }
        Progress::Done { retired_rows } => {
            let doorbook = settings::doorbook().await?;
            let key_id = settings::vault(&settings, &db).await?.email_key_id();
            let operator = Context::operator(Uuid::from_bytes(random()));
            doorbook.note_key_rotated("email_lookup", &key_id, &operator).await?;
            writeln!(
                out,
                "Changed to key {key_id}; {retired_rows} rows of the old one are gone. Make a backup of the keys."
            )?;
            Ok(Outcome::Done)
        }
    }
}
