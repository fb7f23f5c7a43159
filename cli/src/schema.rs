//! The schema and its roles, with the owner's login.

use std::io::Write;

use doorbook_core::store;
use doorbook_core::store::pending::{Lack, pending};

use crate::{Outcome, settings};

pub async fn migrate(out: &mut impl Write) -> anyhow::Result<Outcome> {
    store::migrate(settings::load()?.database.migrate_url.expose()).await?;
    writeln!(out, "The schema is up to date and the roles are granted.")?;
    Ok(Outcome::Done)
}

/// What `migrate` would do.
pub async fn check(out: &mut impl Write) -> anyhow::Result<Outcome> {
    let pending = pending(settings::load()?.database.migrate_url.expose()).await?;
    if pending.is_empty() {
        writeln!(out, "Every migration of this release is applied.")?;
        return Ok(Outcome::Done);
    }
    for migration in pending {
        let lack = match migration.lack {
            Lack::NotApplied => "is not applied: run `doorbook migrate`",
            Lack::Unfinished => "began and did not end: look at the database before you migrate again",
            Lack::OtherText => "was applied with another text: another build made this database",
            Lack::Unknown => "was applied by a newer release than this one",
        };
        writeln!(out, "{:04} {} {lack}", migration.version, migration.description)?;
    }
    Ok(Outcome::Found)
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
