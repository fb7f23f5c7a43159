//! The schema and its roles, with the owner's login.

use std::io::Write;

use doorbook_core::store;
use doorbook_core::store::migrations::{Lack, Migrated, pending};

use crate::{Outcome, settings};

pub async fn migrate(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let said = match store::migrate(settings::load()?.database.migrate_url.expose()).await? {
        Migrated::UpToDate => "The schema is up to date and the roles are granted.",
        Migrated::Newer => "The schema is a newer release's, beside which this one may run. Nothing was changed.",
    };
    writeln!(out, "{said}")?;
    Ok(Outcome::Done)
}

/// What `migrate` would do.
pub async fn check(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let pending = pending(settings::load()?.database.migrate_url.expose()).await?;
    if pending.is_empty() {
        writeln!(out, "Every migration of this release is applied.")?;
        return Ok(Outcome::Done);
    }
    for migration in &pending {
        writeln!(out, "{migration}")?;
    }
    let is_served = pending.iter().all(|migration| migration.lack == Lack::Newer);
    Ok(if is_served { Outcome::Done } else { Outcome::Found })
}

pub async fn roles(sql: bool, out: &mut impl Write) -> anyhow::Result<Outcome> {
    if sql {
        write!(out, "{}", store::ROLES_SQL)?;
        return Ok(Outcome::Done);
    }
    store::grant_roles(settings::load()?.database.migrate_url.expose()).await?;
    writeln!(out, "The roles are granted.")?;
    Ok(Outcome::Done)
}
