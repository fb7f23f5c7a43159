//! The only file that knows where settings come from and what is opened with them.

use anyhow::Context as _;
use doorbook_core::config::{Environment, Faults, Process, Settings};
use doorbook_core::service::Doorbook;
use doorbook_core::service::start::{self, SettingsError};
use doorbook_core::store::keys::Vault;
use doorbook_core::store::{Db, Pooler, PoolerError};
use doorbook_core::token::keys::RootRing;
use zeroize::Zeroizing;

/// Settings of this process, checked as a whole.
pub fn load() -> Result<Settings, Faults> {
    Settings::load(&environment()?, Process::Cli)
}

/// What settings are read from, for those who look at single ones.
pub fn environment() -> Result<Environment, Faults> {
    Environment::of_process()
}

/// The whole service, as the api has it.
pub async fn doorbook() -> anyhow::Result<Doorbook> {
    Ok(start::start(&load()?).await?)
}

/// Connections as the service's own login.
pub async fn pool(settings: &Settings) -> anyhow::Result<Db> {
    Ok(start::database(settings).await?)
}

/// One connection as the owner, straight to Postgres: for what no process may do.
pub async fn owner_pool(settings: &Settings) -> anyhow::Result<Db> {
    Db::open(settings.database.migrate_url.expose(), 1, Pooler::None)
        .await
        .context("DATABASE_MIGRATE_URL cannot be used")
}

/// The keys that wrap keys.
pub fn roots(settings: &Settings) -> RootRing {
    let secrets = &settings.secrets;
    let fallbacks: Vec<&[u8]> = secrets.secret_key_fallbacks.iter().map(|key| key.expose().as_bytes()).collect();
    let keyring = secrets
        .pii_keyring
        .iter()
        .filter_map(|key| Some((key.id.clone(), Zeroizing::new(key.key.expose().as_slice().try_into().ok()?))));
    RootRing::new(secrets.secret_key.expose().as_bytes(), &fallbacks).with_keyring(keyring.collect())
}

/// The service keys, unwrapped.
pub async fn vault(settings: &Settings, db: &Db) -> anyhow::Result<Vault> {
    Ok(Vault::open(db, roots(settings)).await?)
}

/// Whether an error is one of settings, which trying again does not cure.
pub fn is_at_fault(error: &anyhow::Error) -> bool {
    error.is::<Faults>()
        || error.downcast_ref::<PoolerError>().is_some_and(|error| !error.is_temporary())
        || error.downcast_ref::<SettingsError>().is_some_and(SettingsError::is_of_settings)
}
