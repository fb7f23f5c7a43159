//! Who may have an account, and how long what is left behind is kept.

use std::time::Duration;

use super::reader::{Reader, Refused};
use super::registry;

#[derive(Debug)]
pub struct Account {
    pub registration_mode: RegistrationMode,
    pub default_locale: DefaultLocale,
    /// Life of the personal data of people without an account.
    pub stranger_data_lifetime: Duration,
    /// After it an unverified account that never logged in is erased.
    pub unverified_account_lifetime: Duration,
    /// Time in which a deletion may be taken back.
    pub deletion_grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationMode {
    /// May log in before the address is verified.
    Open,
    /// Must verify the address first.
    Verified,
    /// Accounts are made by an admin only.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultLocale {
    En,
    Es,
}

impl Account {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let modes = [
            ("open", RegistrationMode::Open),
            ("verified", RegistrationMode::Verified),
            ("closed", RegistrationMode::Closed),
        ];
        let registration_mode = reader.choice(&registry::REGISTRATION_MODE, &modes);
        let locales = [("en", DefaultLocale::En), ("es", DefaultLocale::Es)];
        let default_locale = reader.choice(&registry::DEFAULT_LOCALE, &locales);
        let stranger_data_lifetime = reader.days(&registry::STRANGER_DATA_DAYS);
        let unverified_account_lifetime = reader.days(&registry::UNVERIFIED_ACCOUNT_DAYS);
        let deletion_grace = reader.days(&registry::ACCOUNT_DELETION_GRACE_DAYS);
        Ok(Self {
            registration_mode: registration_mode?,
            default_locale: default_locale?,
            stranger_data_lifetime: stranger_data_lifetime?,
            unverified_account_lifetime: unverified_account_lifetime?,
            deletion_grace: deletion_grace?,
        })
    }
}
