//! Changing a service key while the service runs (`docs/adr/0013`): look-ups of addresses by expanding, re-keying and contracting,
//! the others in one moment.

use std::io::Write;

use clap::ValueEnum;
use doorbook_core::service::Context;
use doorbook_core::store::Db;
use doorbook_core::store::keys::change::{self, Rewrapped};
use doorbook_core::store::keys::rotate::{self, Progress};
use doorbook_core::token::random;
use uuid::Uuid;

use crate::{Outcome, settings};

#[derive(Clone, Copy, ValueEnum)]
pub enum Purpose {
    /// What addresses are looked up by
    EmailLookup,
    /// What buckets of limits are named by
    Identifier,
    /// What wraps data keys
    PersonalData,
    /// What signs checkpoints of the log
    Checkpoint,
    /// What the trail's search view is made with
    Search,
}

pub async fn run(purpose: Purpose, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match purpose {
        Purpose::EmailLookup => Box::pin(email_lookup(out)).await,
        Purpose::Identifier => identifier(out).await,
        Purpose::PersonalData => personal_data(out).await,
        Purpose::Checkpoint => checkpoint(out).await,
        Purpose::Search => search(out).await,
    }
}

async fn checkpoint(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let owner = settings::owner_pool(&settings::load()?).await?;
    let key_id = change_key(&owner, change::Purpose::Checkpoint).await?;
    writeln!(
        out,
        "Changed to key {key_id}: it signs from now on, the earlier one beside it for 30 days. Give the new public key, which \
         `doorbook keys` prints, to whoever verifies; make a backup of the keys."
    )?;
    Ok(Outcome::Done)
}

async fn search(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let owner = settings::owner_pool(&settings::load()?).await?;
    let key_id = change_key(&owner, change::Purpose::Search).await?;
    writeln!(
        out,
        "Changed to key {key_id}. Workers make the search view anew from the first event on; until `doorbook_worker_followers_behind_events` is \
         back at 0, searches miss the newest events. Make a backup of the keys."
    )?;
    Ok(Outcome::Done)
}

async fn identifier(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let owner = settings::owner_pool(&settings::load()?).await?;
    let gone = change::forget_identifiers(&owner).await?;
    if gone > 0 {
        writeln!(out, "{gone} earlier keys are gone: nothing hung on them.")?;
    }
    let key_id = change_key(&owner, change::Purpose::Identifier).await?;
    writeln!(out, "Changed to key {key_id}. What was counted under the old one goes on; make a backup of the keys.")?;
    Ok(Outcome::Done)
}

async fn change_key(owner: &Db, purpose: change::Purpose) -> anyhow::Result<String> {
    let operator = Context::operator(Uuid::from_bytes(random()));
    Ok(settings::doorbook().await?.change_key(owner, purpose, &operator).await?)
}

async fn personal_data(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let owner = settings::owner_pool(&settings::load()?).await?;
    // What a run that was broken off has left, or a backup brought back, comes first and is a run of its own.
    let mut total = rewrap_all(&owner).await?;
    if total.changed == 0 {
        let key_id = change_key(&owner, change::Purpose::PersonalData).await?;
        writeln!(out, "next key {key_id} wraps from now on")?;
        total = rewrap_all(&owner).await?;
    }
    writeln!(out, "{} data keys were wrapped anew. Make a backup of the keys.", total.changed)?;
    if total.closed == 0 {
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "{} data keys do not open, and stay as they are: `doorbook keys` says what wraps them.",
        total.closed
    )?;
    Ok(Outcome::Found)
}

async fn rewrap_all(owner: &Db) -> anyhow::Result<Rewrapped> {
    let vault = settings::vault(&settings::load()?, owner).await?;
    let (mut total, mut after) = (Rewrapped::default(), Uuid::nil());
    loop {
        let batch = change::rewrap_data_keys(owner, &vault, after).await?;
        total.changed += batch.changed;
        total.closed += batch.closed;
        let Some(last) = batch.last else { return Ok(total) };
        after = last;
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
