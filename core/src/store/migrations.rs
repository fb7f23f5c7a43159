//! Migrations: what this build and a database make of each other, and applying what is missing while processes of this release and
//! of the one before go on (docs/adr/0014).

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{Migrate as _, Migration, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::sleep;

use super::keys::erasure;
use super::{Db, ROLES_SQL, StoreError, db, epoch, self_test};

/// All migrations, compiled in: a release needs no files beside it.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Where sqlx notes what is applied.
const APPLIED: &str = "_sqlx_migrations";

/// Key of the advisory lock of a migration: `doormove` read as a number, any value that nobody else takes.
const MIGRATION_LOCK: i64 = 0x646f_6f72_6d6f_7665;

/// A migration that waits for a table makes everybody wait behind it, so it waits shortly and comes again. Bar 6 allows 200 ms
/// for both this wait and the change itself.
const LOCKS_BRIEFLY: &str = "set lock_timeout = '100ms'";
/// Outside a transaction nothing is held while an index that comes or goes `concurrently` waits for older transactions, so nobody waits behind it.
const LOCKS_PATIENTLY: &str = "set lock_timeout = 0";
/// Tries for a lock, and the pause after each: somewhat more than a minute.
const LOCK_TRIES: u32 = 120;
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Longest time for a connection to be opened. No request waits for it, and a Postgres that is slow for some seconds ends no deployment.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database cannot be reached or refused a statement: {0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "the owner's connection goes through a pooler in transaction mode: DATABASE_MIGRATE_URL must lead to Postgres itself"
    )]
    Pooler,
    #[error(
        "nothing was changed: the database is that of a Django service, whose login would lose rights here: Doorbook needs one of its own"
    )]
    Foreign,
    #[error("nothing was changed: migration {0}")]
    Refused(Pending),
    #[error("a migration failed and is undone, those before it stay: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(
        "{what} got no lock in {tries} tries: a transaction is open for long, see pg_stat_activity; then migrate again",
        tries = LOCK_TRIES
    )]
    Locked { what: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a migration lacks before this build and the database agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// `doorbook migrate` would apply it.
    NotApplied,
    /// It began and did not end: `doorbook migrate` refuses until somebody has looked.
    Unfinished,
    /// The database has another text under this number: another build has made it, or the file was edited.
    OtherText,
    /// A newer release was here; the database serves this build as well.
    Newer,
    /// The database serves only builds that know this migration, and this one does not.
    Needed,
}

/// A migration on which this build and the database do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub version: i64,
    /// Empty for one that this build does not know.
    pub description: Cow<'static, str>,
    pub lack: Lack,
}

impl std::fmt::Display for Pending {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lack = match self.lack {
            Lack::NotApplied => "is not applied: run `doorbook migrate`",
            Lack::Unfinished => "began and did not end: look at the database before you migrate again",
            Lack::OtherText => {
                "was applied with another text: it was edited since, or another build made this database"
            }
            Lack::Newer => "was applied by a newer release, beside which this one may run",
            Lack::Needed => "was applied by a newer release, and the database serves none that is older",
        };
        let gap = if self.description.is_empty() { "" } else { " " };
        write!(out, "{:04} {}{gap}{lack}", self.version, self.description)
    }
}

/// What a database says of its migrations.
#[derive(Default)]
struct Applied {
    /// Version, checksum, and whether it ended.
    rows: Vec<(i64, Vec<u8>, bool)>,
    /// The migration that a build must know to be served; 0 for any build.
    floor: i64,
}

/// The newest migration of this build, by which a database tells builds apart.
pub fn level() -> i64 {
    level_of(&MIGRATOR.migrations)
}

fn level_of(known: &[Migration]) -> i64 {
    known.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Every migration on which this build and the database do not agree, by version. Changes nothing. `url` is the owner's.
pub async fn pending(url: &str) -> Result<Vec<Pending>, MigrateError> {
    let mut owner = db::connect(&db::options(url)?, CONNECT_TIMEOUT).await?;
    let pending = pending_on(&mut owner).await?;
    owner.close().await?;
    Ok(pending)
}

/// The same on a connection of any login that may see the migrations.
pub async fn pending_on(db: &mut PgConnection) -> Result<Vec<Pending>, sqlx::Error> {
    Ok(compare(&MIGRATOR.migrations, &applied(db).await?))
}

async fn applied(db: &mut PgConnection) -> Result<Applied, sqlx::Error> {
    let (is_begun, has_floor): (bool, bool) =
        sqlx::query_as("select to_regclass('_sqlx_migrations') is not null, to_regclass('schema_floor') is not null")
            .fetch_one(&mut *db)
            .await?;
    let mut applied = Applied::default();
    if is_begun {
        applied.rows = sqlx::query_as("select version, checksum, success from _sqlx_migrations order by version")
            .fetch_all(&mut *db)
            .await?;
    }
    if has_floor {
        applied.floor = sqlx::query_scalar("select version from schema_floor").fetch_one(db).await?;
    }
    Ok(applied)
}

/// What stands between this build and the database, by version, from the rows of its migrations.
pub(super) fn differences(rows: Vec<(i64, Vec<u8>, bool)>) -> Vec<Pending> {
    compare(&MIGRATOR.migrations, &Applied { rows, floor: 0 })
}

fn compare(known: &[Migration], applied: &Applied) -> Vec<Pending> {
    let ours = known.iter().filter_map(|migration| {
        let lack = match applied.rows.iter().find(|(version, ..)| *version == migration.version) {
            None => Lack::NotApplied,
            Some((_, _, false)) => Lack::Unfinished,
            Some((_, checksum, true)) if checksum.as_slice() != &*migration.checksum => Lack::OtherText,
            Some(_) => return None,
        };
        Some(Pending { version: migration.version, description: migration.description.clone(), lack })
    });
    let is_known = |version: i64| known.iter().any(|migration| migration.version == version);
    let newer = applied.rows.iter().map(|(version, ..)| *version).filter(|version| !is_known(*version));
    let needed = (applied.floor > level_of(known)).then_some(applied.floor);
    let theirs = newer.filter(|version| Some(*version) != needed).map(|version| (version, Lack::Newer));
    let theirs = theirs.chain(needed.map(|version| (version, Lack::Needed)));
    let theirs = theirs.map(|(version, lack)| Pending { version, description: Cow::Borrowed(""), lack });
    let mut all: Vec<_> = ours.chain(theirs).collect();
    all.sort_by_key(|pending| pending.version);
    all
}

/// What `migrate` has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The schema is that of this release, and the roles have their rights.
    UpToDate,
    /// The schema is that of a newer release, beside which this one may run. Nothing was changed.
    Newer,
}

/// Applies what is missing and grants the roles. `url` is the owner's, straight to Postgres. Of several at once, one works and the
/// others wait.
pub async fn migrate(url: &str) -> Result<Migrated, MigrateError> {
    apply(url, &MIGRATOR.migrations).await
}

/// The same with other migrations than this build's: a test's stand for those of the next release.
pub async fn apply(url: &str, known: &[Migration]) -> Result<Migrated, MigrateError> {
    let options = db::options(url)?;
    let (mut one, mut other) =
        (db::connect(&options, CONNECT_TIMEOUT).await?, db::connect(&options, CONNECT_TIMEOUT).await?);
    if !self_test::are_apart(&mut one, &mut other).await? {
        return Err(MigrateError::Pooler);
    }
    one.close().await?;
    other.close().await?;
    // Without the settings of a service's connections: a migration may take its time once it has its locks.
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(CONNECT_TIMEOUT).connect_lazy_with(options);
    let db = Db::from(pool.clone());
    let mut lock = db.begin().await?;
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0").execute(&mut lock).await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut lock).await?;
    let mut owner = pool.acquire().await?;
    let migrated = bring_up(&mut owner, known).await?;
    drop(owner);
    if migrated == Migrated::UpToDate {
        epoch::ensure(&db).await?;
        // What a restore of the keys has brought back is gone again before anything is served.
        erasure::reapply(&db).await?;
    }
    lock.commit().await?;
    pool.close().await;
    Ok(migrated)
}

async fn bring_up(owner: &mut PgConnection, known: &[Migration]) -> Result<Migrated, MigrateError> {
    if is_foreign(owner).await? {
        return Err(MigrateError::Foreign);
    }
    owner.ensure_migrations_table(APPLIED).await?;
    let pending = compare(known, &applied(owner).await?);
    let is_newer = pending.iter().any(|pending| pending.lack == Lack::Newer);
    for pending in &pending {
        match pending.lack {
            // A gap below a newer release's migrations: two builds that do not follow one another.
            Lack::NotApplied if !is_newer => {}
            Lack::Newer => {}
            Lack::NotApplied | Lack::Unfinished | Lack::OtherText | Lack::Needed => {
                return Err(MigrateError::Refused(pending.clone()));
            }
        }
    }
    if is_newer {
        return Ok(Migrated::Newer);
    }
    let is_pending = |version| pending.iter().any(|pending| pending.version == version);
    for migration in known.iter().filter(|migration| is_pending(migration.version)) {
        step(owner, migration).await?;
    }
    grant(owner).await?;
    Ok(Migrated::UpToDate)
}

/// Whether this is the database of the service that Doorbook takes over from, as its settings name it. The rights that `roles.sql` takes
/// from `public` may be all that its login has.
async fn is_foreign(owner: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select to_regclass('_sqlx_migrations') is null and to_regclass('django_migrations') is not null",
    )
    .fetch_one(owner)
    .await
}

/// One migration, as often as it takes to get its locks.
async fn step(owner: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    for _ in 0..LOCK_TRIES {
        if migration.no_tx {
            sqlx::raw_sql(LOCKS_PATIENTLY).execute(&mut *owner).await?;
            drop_half_built_indexes(owner).await?;
        } else {
            sqlx::raw_sql(LOCKS_BRIEFLY).execute(&mut *owner).await?;
        }
        match owner.apply(APPLIED, migration).await {
            Ok(_) => return Ok(()),
            Err(error) if is_contention(&error) => sleep(LOCK_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(MigrateError::Locked { what: format!("migration {:04} {}", migration.version, migration.description) })
}

/// `create index concurrently` that was cut off leaves an index that is written to and never read.
async fn drop_half_built_indexes(owner: &mut PgConnection) -> Result<(), MigrateError> {
    let indexes: Vec<String> = sqlx::query_scalar(
        "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indexrelid
         where not i.indisvalid and c.relkind = 'i' and c.relnamespace in (to_regnamespace('public'), to_regnamespace('keys'))",
    )
    .fetch_all(&mut *owner)
    .await?;
    for index in indexes {
        let drop = AssertSqlSafe(format!("drop index concurrently if exists {index}"));
        sqlx::raw_sql(drop).execute(&mut *owner).await?;
    }
    Ok(())
}

async fn grant(owner: &mut PgConnection) -> Result<(), MigrateError> {
    sqlx::raw_sql(LOCKS_BRIEFLY).execute(&mut *owner).await?;
    for _ in 0..LOCK_TRIES {
        match sqlx::raw_sql(ROLES_SQL).execute(&mut *owner).await {
            Ok(_) => return Ok(()),
            Err(error) if is_lost(&error) => sleep(LOCK_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(MigrateError::Locked { what: "the grant of rights".to_owned() })
}

fn is_contention(error: &sqlx::migrate::MigrateError) -> bool {
    match error {
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            is_lost(error)
        }
        _ => false,
    }
}

/// Whether somebody else was there first: `lock_not_available`, `deadlock_detected`, or a catalogue row that a vacuum has touched.
fn is_lost(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| match error.code().as_deref() {
        Some("55P03" | "40P01") => true,
        Some("XX000") => error.message().contains("concurrently updated"),
        _ => false,
    })
}

/// Makes the roles that are missing and grants their rights anew. `url` is the owner's.
pub async fn grant_roles(url: &str) -> Result<(), MigrateError> {
    let mut owner = db::connect(&db::options(url)?, CONNECT_TIMEOUT).await?;
    grant(&mut owner).await?;
    owner.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> Applied {
        let row = |migration: &Migration| (migration.version, migration.checksum.to_vec(), true);
        Applied { rows: MIGRATOR.iter().map(row).collect(), floor: 0 }
    }

    fn lacks(applied: &Applied) -> Vec<(i64, Lack)> {
        compare(&MIGRATOR.migrations, applied).iter().map(|pending| (pending.version, pending.lack)).collect()
    }

    #[test]
    fn a_database_with_every_migration_lacks_nothing() {
        assert_eq!(lacks(&current()), []);
        assert_eq!(lacks(&Applied { floor: level(), ..current() }), [], "nor one that serves no older build");
    }

    #[test]
    fn each_way_to_disagree_is_told_apart() {
        assert_eq!(lacks(&Applied::default()).len(), MIGRATOR.iter().count());
        let mut applied = current();
        let last = applied.rows.pop().unwrap();
        assert_eq!(lacks(&applied), [(last.0, Lack::NotApplied)]);
        applied.rows.push((last.0, last.1.clone(), false));
        assert_eq!(lacks(&applied), [(last.0, Lack::Unfinished)]);
        *applied.rows.last_mut().unwrap() = (last.0, vec![0], true);
        assert_eq!(lacks(&applied), [(last.0, Lack::OtherText)]);
    }

    #[test]
    fn newer_migrations_exclude_this_build_only_when_the_floor_says_so() {
        let mut applied = current();
        applied.rows.extend([(9_998, vec![0], true), (9_999, vec![0], true)]);
        assert_eq!(lacks(&applied), [(9_998, Lack::Newer), (9_999, Lack::Newer)]);
        applied.floor = level();
        assert_eq!(lacks(&applied), [(9_998, Lack::Newer), (9_999, Lack::Newer)]);
        applied.floor = 9_998;
        assert_eq!(lacks(&applied), [(9_998, Lack::Needed), (9_999, Lack::Newer)]);
    }

    #[test]
    fn only_an_index_that_comes_or_goes_concurrently_waits_without_a_limit() {
        let ways = ["create index concurrently if not exists", "drop index concurrently if exists"];
        for migration in MIGRATOR.iter().filter(|migration| migration.no_tx) {
            assert!(ways.iter().any(|way| migration.sql.as_str().contains(way)), "{}", migration.version);
        }
    }

    /// Breaks when `migrations/0032_sessions_account.sql`: `-- no-transaction` → `--`.
    #[test]
    fn an_index_of_a_table_that_is_in_use_comes_concurrently() {
        // 3 and 31 are of tables with a few rows; 9 and 30 came before anybody had a database to upgrade.
        let known = [3, 9, 30, 31];
        for migration in MIGRATOR.iter().filter(|migration| !migration.no_tx && !known.contains(&migration.version)) {
            let (sql, version) = (migration.sql.as_str(), migration.version);
            let indexes = sql.lines().filter(|line| line.starts_with("create ") && line.contains("index "));
            for table in indexes.filter_map(|line| line.split_once(" on ")?.1.split([' ', '(']).next()) {
                assert!(sql.contains(&format!("create table {table} ")), "{version}: {table} is there already");
            }
        }
    }

    #[test]
    fn what_it_lacks_is_said_with_its_number_and_name() {
        let pending = Pending { version: 2, description: Cow::Borrowed("state"), lack: Lack::OtherText };
        assert!(MigrateError::Refused(pending).to_string().contains("0002 state was applied with another text"));
    }
}
