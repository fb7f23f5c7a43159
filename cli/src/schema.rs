//! The schema and its roles, with the owner's login.

use std::io::Write;

use doorbook_core::store;

use crate::{Outcome, settings};

pub async fn migrate(out: &mut impl Write) -> anyhow::Result<Outcome> {
    store::migrate(settings::load()?.database.migrate_url.expose()).await?;
    writeln!(out, "The schema is up to date and the roles are granted.")?;
    Ok(Outcome::Done)
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
