//! Use cases: read, decide, write; one file a flow. Nothing here knows HTTP or SQL, and no database connection is held while a
//! password is hashed.

pub mod access;
pub mod admin;
pub mod alert_list;
pub mod alert_mail;
pub mod alert_replay;
pub mod alerts;
pub mod append;
pub mod audit;
pub mod checkpoints;
mod confirm;
pub mod csrf;
pub mod email_change;
pub mod erasure;
pub mod expiry;
mod figures;
pub mod health;
pub mod history;
pub mod idempotent;
pub mod import;
pub mod limits;
pub mod login;
mod lookup;
pub mod mail;
pub mod not_me;
mod notes;
mod notices;
pub mod pacing;
pub mod password;
pub mod profile;
pub mod refresh;
pub mod register;
pub mod retention;
mod rollup;
pub mod sessions;
pub mod start;
pub mod system;
pub mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::alert::Thresholds;
use crate::clock::{Clock, Timestamp};
use crate::config::LogEmail;
use crate::event::Actor;
use crate::limit::Rule;
use crate::password::{Hasher, PasswordPolicy};
use crate::store::keys::{KeyError, Vault};
use crate::store::{Db, StoreError};
use crate::token::access::{AccessTokens, TokenKeys};
use crate::token::keys::RootRing;
use crate::value::{AccountId, ClientOrigin, Locale};

/// Decisions are made this often when somebody else was faster, then the caller gets 503. Source: measured with 100 commands at
/// once on one account through two processes; at 5 tries and pauses of some 10 ms a fifth of them was refused.
const CONFLICTS_MAX: u32 = 20;
/// No decision is made again after so long: its client has been told to come back, and what holds the rows may hold them for minutes, as an
/// operator's lock on a table does.
const CONFLICTS_WITHIN: Duration = Duration::from_secs(10);
/// Bound of the first pause between two tries, in microseconds; it doubles each time.
const PAUSE_FIRST_MICROS: u64 = 4_000;
/// Bound of any pause, in microseconds: all of them together are two seconds or so.
const PAUSE_MAX_MICROS: u64 = 250_000;
/// How long a change of address can be undone, and the old address stays reserved. Source: openapi/doorbook.v1.yaml.
pub const UNDO_WINDOW: Duration = Duration::from_hours(7 * 24);
/// How long the owner may say of a notice that it was not he.
pub const NOT_ME_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// How long a new address may take to be confirmed.
pub const EMAIL_CHANGE_EXPIRY: Duration = Duration::from_hours(24);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationMode {
    Open,
    Verified,
    Closed,
}

/// When alerts are raised, and whom they are told.
pub struct Alerting {
    pub thresholds: Thresholds,
    pub emails: Vec<String>,
    /// Whether there is somebody to post them to.
    pub webhook: bool,
}

/// The settings that rules depend on.
pub struct Policy {
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    pub refresh_grace: Duration,
    pub session_idle: Option<Duration>,
    pub sessions_max: u32,
    pub verification_expiry: Duration,
    pub reset_expiry: Duration,
    pub login: Rule,
    /// Distinct identifiers that may fail from one network in the login window.
    pub login_address_max: u32,
    pub registration: Rule,
    pub reset: Rule,
    pub registration_mode: RegistrationMode,
    pub default_locale: Locale,
    pub password: PasswordPolicy,
    /// Time in which a deletion may be taken back.
    pub deletion_grace: Duration,
    /// After it an unverified account that never logged in is erased.
    pub unverified_lifetime: Duration,
    /// Life of the personal data of people without an account.
    pub stranger_lifetime: Duration,
    /// How long a backup of keys is kept.
    pub key_backup_lifetime: Duration,
    pub alerts: Alerting,
    /// Host of the pages that mailed links lead to, on the right of every Message-ID.
    pub site: String,
    /// How the line about a failed login names the address.
    pub log_email: LogEmail,
}

/// Everything a use case needs; one a process.
pub struct Doorbook {
    pub db: Db,
    pub clock: Clock,
    pub hasher: Hasher,
    pub policy: Policy,
    pub(crate) vault: Arc<Vault>,
    pub(crate) roots: Arc<RootRing>,
    pub(crate) access: AccessTokens,
    /// Who listens to the trail.
    live: audit::Hub,
}

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Context {
    pub origin: ClientOrigin,
    pub actor: Actor,
}

impl Context {
    pub const fn stranger(origin: ClientOrigin) -> Self {
        Self { origin, actor: Actor::Stranger }
    }

    #[must_use]
    pub const fn acting(mut self, account: AccountId) -> Self {
        self.actor = Actor::Account(account);
        self
    }
}

/// One field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    pub field: &'static str,
    pub code: &'static str,
    pub message: String,
}

impl FieldFault {
    pub fn new(field: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { field, code, message: message.into() }
    }
}

/// Why a use case did not do what was asked. The API turns each into one status.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the input breaks a rule")]
    Invalid(Vec<FieldFault>),
    #[error("the credentials are not valid")]
    InvalidCredentials,
    #[error("the access or refresh token is not valid")]
    Unauthenticated,
    #[error("the request does not prove that our own page made it")]
    Forged,
    #[error("the mailed token is not valid any more")]
    InvalidToken,
    #[error("too many failures: blocked")]
    Blocked { retry_after: Duration },
    #[error("too many guesses at once")]
    Busy,
    #[error("too many requests")]
    Limited { retry_after: Duration },
    #[error("the mail: {0}")]
    Mail(#[from] admin::MailRefusal),
    #[error("no checkpoint is about this event yet")]
    NotSigned,
    #[error("the caller lacks the right to do that")]
    Forbidden,
    #[error("the password must be given again first")]
    StepUpRequired,
    #[error("not found")]
    NotFound,
    #[error("the account is disabled")]
    AccountDisabled,
    #[error("no other admin would be left")]
    LastAdmin,
    #[error("registration is closed")]
    RegistrationClosed,
    #[error("the address belongs to another account by now")]
    EmailTaken,
    #[error("the address is verified already")]
    AlreadyVerified,
    #[error("this idempotency key was used for another request")]
    IdempotencyMismatch,
    #[error("the session of the first request is over")]
    IdempotencySessionOver,
    #[error("no more hashes can be computed now")]
    Overloaded { retry_after: Duration },
    #[error("the store cannot be used now: {0}")]
    Unavailable(StoreError),
    #[error("internal: {0}")]
    Internal(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict | StoreError::Unavailable(_) => Self::Unavailable(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<crate::seal::SealError> for Refusal {
    fn from(error: crate::seal::SealError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<crate::password::HashError> for Refusal {
    fn from(error: crate::password::HashError) -> Self {
        match error {
            crate::password::HashError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            failed @ crate::password::HashError::Failed => Self::Internal(failed.to_string()),
        }
    }
}

impl From<crate::account::Rejection> for Refusal {
    fn from(rejection: crate::account::Rejection) -> Self {
        use crate::account::Rejection;
        match rejection {
            Rejection::AlreadyVerified => Self::AlreadyVerified,
            Rejection::Exists => Self::EmailTaken,
            Rejection::Absent | Rejection::Disabled | Rejection::Erased => Self::NotFound,
        }
    }
}

/// The secrets a process is started with.
pub struct RootSecrets {
    pub secret_key: Zeroizing<Vec<u8>>,
    pub secret_key_fallbacks: Vec<Zeroizing<Vec<u8>>>,
    /// PII_KEYRING: ids and keys, the wrapping one first.
    pub keyring: Vec<(String, Zeroizing<[u8; 32]>)>,
    pub tokens: TokenKeys,
    pub issuer: String,
    pub audience: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the self-test of access tokens failed: this build cannot sign or verify them")]
    AccessTokens,
}

impl Doorbook {
    /// Opens the vault, sets the clock, checks the epoch and tests the signatures. Nothing is served before this is done.
    pub async fn open(db: Db, hasher: Hasher, policy: Policy, secrets: &RootSecrets) -> Result<Self, StartError> {
        let fallbacks: Vec<&[u8]> = secrets.secret_key_fallbacks.iter().map(|key| key.as_slice()).collect();
        let roots = Arc::new(RootRing::new(&secrets.secret_key, &fallbacks).with_keyring(secrets.keyring.clone()));
        let access = AccessTokens::new(&secrets.tokens, &secrets.issuer, &secrets.audience);
        let clock = Clock::default();
        crate::store::epoch::ensure(&db).await?;
        clock.observe(crate::store::query::now(&db).await?);
        if !access.self_test(clock.now()) {
            return Err(StartError::AccessTokens);
        }
        let vault = Vault::open(&db, Arc::clone(&roots)).await?;
        Ok(Self { db, clock, hasher, policy, vault: Arc::new(vault), roots, access, live: audit::Hub::default() })
    }

    /// The database's time, to the millisecond: what events and projections are stamped with.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().to_millisecond()
    }
}

/// Runs `attempt` until it does not end in a conflict, at most `CONFLICTS_MAX` times and within `CONFLICTS_WITHIN`. Pauses are drawn from
/// a range that doubles: of many that want the same row each finds a moment of its own.
pub(crate) async fn retrying<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let began = Instant::now();
    for round in 1..CONFLICTS_MAX {
        match attempt().await {
            Err(Refusal::Unavailable(StoreError::Conflict)) if began.elapsed() < CONFLICTS_WITHIN => {
                let bound = (PAUSE_FIRST_MICROS << (round - 1)).min(PAUSE_MAX_MICROS);
                let chance = u64::from(u32::from_be_bytes(crate::token::random()));
                tokio::time::sleep(Duration::from_micros((chance * bound) >> 32)).await;
            }
            other => return other,
        }
    }
    attempt().await
}
