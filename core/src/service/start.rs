//! From settings to a running service: every process that has one starts here.

use std::num::NonZeroUsize;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Alerting, Doorbook, Policy, RegistrationMode, RootSecrets, StartError};
use crate::config::{self, PasswordValidator, Secret, Settings};
use crate::limit::Rule;
use crate::password::{BreachedList, ContextWords, Engine, HashCost, Hasher, PasswordPolicy, Validator};
use crate::store;
use crate::value::Locale;

/// What the product is called in context words.
const PRODUCT: &str = "Doorbook";

/// Why a process cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Database(#[from] store::PoolerError),
    #[error("PASSWORD_BREACHED_FILE cannot be read: {0}")]
    Breached(std::io::Error),
    #[error("passwords cannot be hashed: {0}")]
    Hasher(#[from] crate::password::StartError),
    #[error(transparent)]
    Service(#[from] StartError),
}

impl SettingsError {
    /// Whether the same settings may work a moment later: the database is away.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Database(error) => error.is_temporary(),
            Self::Service(error) => {
                matches!(error, StartError::Store(_) | StartError::Keys(store::keys::KeyError::Store(_)))
            }
            _ => false,
        }
    }

    /// Whether no start succeeds before somebody has changed the settings. What the machine lacks is no fault of theirs.
    pub const fn is_of_settings(&self) -> bool {
        !self.is_temporary() && !matches!(self, Self::Hasher(_))
    }
}

/// The service as the settings want it.
pub async fn start(settings: &Settings) -> Result<Doorbook, SettingsError> {
    let db = database(settings).await?;
    let argon2 = settings.password.argon2;
    let cost = HashCost { memory_kib: argon2.memory_kib, time_cost: argon2.time_cost, parallelism: argon2.parallelism };
    let permits = usize::try_from(settings.password.hashing_concurrency).ok().and_then(NonZeroUsize::new);
    let engine = match settings.password.engine {
        config::Argon2Engine::Argon2 => Engine::Argon2,
        config::Argon2Engine::Simd => Engine::Simd,
    };
    let hasher = Hasher::start(cost, engine, permits.unwrap_or(NonZeroUsize::MIN))?;
    Ok(Doorbook::open(db, hasher, policy(settings)?, &secrets(settings)).await?)
}

/// Connections as the settings want them, tested.
pub async fn database(settings: &Settings) -> Result<store::Db, store::PoolerError> {
    let database = &settings.database;
    let pooler = match database.pooler {
        config::Pooler::None => store::Pooler::None,
        config::Pooler::Transaction => store::Pooler::Transaction,
    };
    store::Db::open(database.url.expose(), database.max_connections, pooler).await
}

fn policy(settings: &Settings) -> Result<Policy, SettingsError> {
    let (tokens, limits) = (&settings.tokens, &settings.limits);
    let plain = |limit: config::RateLimit| Rule {
        max: limit.max_attempts,
        window: limit.window,
        block: std::time::Duration::ZERO,
    };
    Ok(Policy {
        access_lifetime: tokens.access_lifetime,
        refresh_lifetime: tokens.session_lifetime,
        refresh_grace: tokens.refresh_grace,
        session_idle: tokens.session_idle,
        sessions_max: tokens.sessions_max,
        verification_expiry: tokens.email_verification_lifetime,
        reset_expiry: tokens.password_reset_lifetime,
        login: Rule { max: limits.login.max_attempts, window: limits.login.window, block: limits.login.block },
        login_address_max: limits.login.address_max_failures,
        registration: plain(limits.registration),
        reset: plain(limits.reset),
        registration_mode: match settings.account.registration_mode {
            config::RegistrationMode::Open => RegistrationMode::Open,
            config::RegistrationMode::Verified => RegistrationMode::Verified,
            config::RegistrationMode::Closed => RegistrationMode::Closed,
        },
        default_locale: match settings.account.default_locale {
            config::DefaultLocale::En => Locale::En,
            config::DefaultLocale::Es => Locale::Es,
        },
        password: PasswordPolicy {
            min_length: usize::try_from(settings.password.min_length).unwrap_or(usize::MAX),
            validators: validators(settings)?,
        },
        deletion_grace: settings.account.deletion_grace,
        unverified_lifetime: settings.account.unverified_account_lifetime,
        stranger_lifetime: settings.account.stranger_data_lifetime,
        key_backup_lifetime: settings.secrets.key_backup_age_max,
        alerts: alerting(&settings.watching.alerts),
        site: site(settings),
        log_email: settings.logging.email,
    })
}

fn alerting(alerts: &config::Alerts) -> Alerting {
    Alerting { thresholds: alerts.thresholds.clone(), emails: alerts.emails.clone(), webhook: alerts.webhook.is_some() }
}

fn validators(settings: &Settings) -> Result<Vec<Validator>, SettingsError> {
    let mut validators = Vec::new();
    for validator in &settings.password.validators {
        validators.push(match validator {
            PasswordValidator::Similarity => Validator::Similarity,
            PasswordValidator::Length => Validator::Length,
            PasswordValidator::Common => Validator::Common,
            PasswordValidator::Numeric => Validator::Numeric,
            PasswordValidator::Context => Validator::Context(ContextWords::new(PRODUCT, &site(settings))),
            PasswordValidator::Breached => {
                let Some(path) = &settings.password.breached_file else { continue };
                Validator::Breached(Arc::new(BreachedList::load(path).map_err(SettingsError::Breached)?))
            }
        });
    }
    Ok(validators)
}

/// Host of the frontend: what people know the service by.
pub fn site(settings: &Settings) -> String {
    url::Url::parse(&settings.http.frontend_url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default()
}

fn secrets(settings: &Settings) -> RootSecrets {
    let bytes = |secret: &Secret| Zeroizing::new(secret.expose().as_bytes().to_vec());
    let secrets = &settings.secrets;
    RootSecrets {
        secret_key: bytes(&secrets.secret_key),
        secret_key_fallbacks: secrets.secret_key_fallbacks.iter().map(bytes).collect(),
        keyring: secrets
            .pii_keyring
            .iter()
            .filter_map(|key| Some((key.id.clone(), Zeroizing::new(key.key.expose().as_slice().try_into().ok()?))))
            .collect(),
        tokens: secrets.tokens.clone(),
        issuer: settings.tokens.jwt_issuer.clone(),
        audience: settings.tokens.jwt_audience.clone(),
    }
}
