//! What `doorbook migrate` would do, without doing it.

use sqlx::{Connection as _, PgConnection};

use super::{MIGRATOR, MigrateError};

/// What a migration lacks before this build and the database agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// `doorbook migrate` would apply it.
    NotApplied,
    /// It began and did not end: `doorbook migrate` refuses until somebody has looked.
    Unfinished,
    /// The database has another text under this number: another build has made it.
    OtherText,
    /// The database has it and this build does not: a newer release was here.
    Unknown,
}

/// A migration on which this build and the database do not agree.
#[derive(Debug, PartialEq, Eq)]
pub struct Pending {
    pub version: i64,
    /// Empty for one that this build does not know.
    pub description: String,
    pub lack: Lack,
}

/// Every migration on which this build and the database do not agree, by version. Changes nothing. `url` is the owner's.
pub async fn pending(url: &str) -> Result<Vec<Pending>, MigrateError> {
    let mut owner = PgConnection::connect_with(&super::db::options(url)?).await?;
    let begun: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&mut owner).await?;
    let applied: Vec<(i64, Vec<u8>, bool)> = if begun {
        sqlx::query_as("select version, checksum, success from _sqlx_migrations order by version")
            .fetch_all(&mut owner)
            .await?
    } else {
        Vec::new()
    };
    owner.close().await?;
    Ok(compare(&applied))
}

fn compare(applied: &[(i64, Vec<u8>, bool)]) -> Vec<Pending> {
    let known = MIGRATOR.iter().filter_map(|migration| {
        let lack = match applied.iter().find(|(version, ..)| *version == migration.version) {
            None => Lack::NotApplied,
            Some((_, _, false)) => Lack::Unfinished,
            Some((_, checksum, true)) if checksum.as_slice() != &*migration.checksum => Lack::OtherText,
            Some(_) => return None,
        };
        Some(Pending { version: migration.version, description: migration.description.to_string(), lack })
    });
    let unknown = applied.iter().filter(|(version, ..)| !MIGRATOR.version_exists(*version));
    let unknown =
        unknown.map(|(version, ..)| Pending { version: *version, description: String::new(), lack: Lack::Unknown });
    let mut all: Vec<_> = known.chain(unknown).collect();
    all.sort_by_key(|pending| pending.version);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied() -> Vec<(i64, Vec<u8>, bool)> {
        MIGRATOR.iter().map(|migration| (migration.version, migration.checksum.to_vec(), true)).collect()
    }

    fn lacks(applied: &[(i64, Vec<u8>, bool)]) -> Vec<(i64, Lack)> {
        compare(applied).iter().map(|pending| (pending.version, pending.lack)).collect()
    }

    #[test]
    fn a_database_with_every_migration_lacks_nothing() {
        assert_eq!(lacks(&applied()), []);
    }

    #[test]
    fn each_way_to_disagree_is_told_apart() {
        assert_eq!(compare(&[]).len(), MIGRATOR.iter().count());
        let mut rows = applied();
        let last = rows.pop().unwrap();
        assert_eq!(lacks(&rows), [(last.0, Lack::NotApplied)]);
        rows.push((last.0, last.1.clone(), false));
        assert_eq!(lacks(&rows), [(last.0, Lack::Unfinished)]);
        *rows.last_mut().unwrap() = (last.0, vec![0], true);
        assert_eq!(lacks(&rows), [(last.0, Lack::OtherText)]);
        *rows.last_mut().unwrap() = last;
        rows.push((9_999, vec![0], true));
        assert_eq!(lacks(&rows), [(9_999, Lack::Unknown)]);
    }
}
