use std::time::Duration;

/// From where on rules speak. `None`: never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// What is counted is counted in this time.
    pub window: Duration,
    /// What goes slowly is counted in this one: guesses at one account, orders and looks of one person.
    pub long_window: Duration,
    /// The same rule says nothing more of the same subject for so long.
    pub quiet: Duration,
    pub account_failures: Option<u32>,
    /// Distinct accounts.
    pub network_accounts: Option<u32>,
    pub login_failures: Option<u32>,
    pub login_blocks: Option<u32>,
    /// How many times the usual.
    pub surge_factor: Option<u32>,
    /// Fewer than these are no surge, however quiet it was before.
    pub surge_min: u32,
    pub resets: Option<u32>,
    pub registrations: Option<u32>,
    /// How long somebody's admin role is new.
    pub fresh_role: Option<Duration>,
    /// Distinct accounts.
    pub orders: Option<u32>,
    pub reveals: Option<u32>,
    /// Of all attempts to send a mail.
    pub mail_failure_percent: Option<u32>,
}
