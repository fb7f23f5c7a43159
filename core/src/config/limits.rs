//! How often what may be tried.

use std::time::Duration;

use super::reader::{Reader, Refused};
use super::registry;

#[derive(Debug)]
pub struct Limits {
    pub login: LoginLimit,
    /// By client address.
    pub registration: RateLimit,
    /// By identifier.
    pub reset: RateLimit,
}

#[derive(Debug, Clone, Copy)]
pub struct LoginLimit {
    /// Failures of one identifier in the window before it is blocked.
    pub max_attempts: u32,
    pub window: Duration,
    pub block: Duration,
    /// Distinct identifiers that may fail from one client address in the window.
    pub address_max_failures: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    pub max_attempts: u32,
    pub window: Duration,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let login_attempts = reader.whole(&registry::MAX_LOGIN_ATTEMPTS);
        let login_window = reader.minutes(&registry::LOGIN_RATE_WINDOW_MINUTES);
        let login_block = reader.minutes(&registry::LOGIN_BLOCK_DURATION_MINUTES);
        let address_failures = reader.whole(&registry::LOGIN_ADDRESS_MAX_FAILURES);
        let registration_attempts = reader.whole(&registry::MAX_REGISTRATION_ATTEMPTS);
        let registration_window = reader.hours(&registry::REGISTRATION_RATE_WINDOW_HOURS);
        let reset_attempts = reader.whole(&registry::MAX_RESET_ATTEMPTS);
        let reset_window = reader.hours(&registry::RESET_RATE_WINDOW_HOURS);
        Ok(Self {
            login: LoginLimit {
                max_attempts: login_attempts?,
                window: login_window?,
                block: login_block?,
                address_max_failures: address_failures?,
            },
            registration: RateLimit { max_attempts: registration_attempts?, window: registration_window? },
            reset: RateLimit { max_attempts: reset_attempts?, window: reset_window? },
        })
    }
}
