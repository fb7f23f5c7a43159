//! `cargo dev -- prepare`: writes `.sqlx`, what the `query!` macros need to check SQL without a database.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::{Cluster, Database, Options};

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.sqlx");
const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
/// The crate with all the SQL.
const CRATE_ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/src/lib.rs");

/// Asks a freshly migrated database about every query. With `check`, fails when the files of the checkout are others.
pub async fn prepare(check: bool) -> Result<()> {
    let (cluster, _database, url) = migrated().await?;
    let folder = cluster.run().folder().join("sqlx");
    fs::create_dir(&folder).context("cannot make a folder for the queries")?;
    // Cargo knows nothing of the database that the macros ask: without a newer file it would not run them.
    let root = File::options().append(true).open(CRATE_ROOT).with_context(|| format!("cannot open {CRATE_ROOT}"))?;
    let modified = root.metadata().and_then(|root| root.modified()).context("a file tells no time")?;
    #[expect(clippy::disallowed_methods, reason = "the time of a file of the checkout, not of an event")]
    set_modified(&root, SystemTime::now())?;
    let described = describe(Path::new("."), &url, &folder);
    if check {
        // Or else everything that was built from it would be built once more.
        set_modified(&root, modified)?;
    }
    described?;
    let fresh = read(&folder)?;
    ensure!(!fresh.is_empty(), "cargo has written no query");
    let kept = read(Path::new(CHECKED_IN))?;
    if check {
        ensure!(fresh == kept, ".sqlx is not what the code makes: run `cargo dev -- prepare` and commit it");
        return Ok(());
    }
    for name in kept.keys().filter(|name| !fresh.contains_key(*name)) {
        fs::remove_file(Path::new(CHECKED_IN).join(name)).with_context(|| format!("cannot remove {name}"))?;
    }
    for (name, text) in &fresh {
        fs::write(Path::new(CHECKED_IN).join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    println!("{} queries in .sqlx", fresh.len());
    Ok(())
}

/// A freshly migrated database, which goes when it is dropped, and its superuser's URL.
pub(crate) async fn migrated() -> Result<(Cluster, Database, String)> {
    let guard = std::env::current_exe().context("cannot find the running executable")?;
    let cluster = Cluster::start(Options::temporary(guard)).await?;
    let database = Database::fresh(&cluster).await?;
    let url = cluster.superuser_url(database.name());
    apply_newer(&url).await?;
    Ok((cluster, database, url))
}

/// Has what a database says of every query of a checkout written to a folder.
pub(crate) fn describe(checkout: &Path, url: &str, folder: &Path) -> Result<()> {
    let status = std::process::Command::new(cargo())
        .args(["check", "--quiet", "--package", "doorbook-core"])
        .current_dir(checkout)
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE_DIR", folder)
        .env_remove("SQLX_OFFLINE")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the queries do not fit the schema");
    Ok(())
}

/// Applies the migrations of the checkout that this program was built without: it may have been built before they were written.
async fn apply_newer(url: &str) -> Result<()> {
    let mut migrator =
        sqlx::migrate::Migrator::new(Path::new(MIGRATIONS)).await.context("cannot read the migrations")?;
    migrator.set_locking(false);
    let pool = sqlx::PgPool::connect(url).await.context("cannot connect to the fresh database")?;
    migrator.run(&pool).await.context("a migration of the checkout cannot be applied")?;
    pool.close().await;
    Ok(())
}

pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn set_modified(file: &File, at: SystemTime) -> Result<()> {
    file.set_modified(at).context("cannot touch the root of the crate")
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.context("cannot read a folder")?;
        let text =
            fs::read_to_string(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}
