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

impl Default for Thresholds {
    /// As the settings have them when they say nothing.
    fn default() -> Self {
        Self {
            window: Duration::from_mins(15),
            long_window: Duration::from_hours(24),
            quiet: Duration::from_hours(1),
            account_failures: Some(20),
            network_accounts: Some(20),
            login_failures: None,
            login_blocks: None,
            surge_factor: Some(10),
            surge_min: 100,
            resets: Some(50),
            registrations: Some(100),
            fresh_role: Some(Duration::from_hours(1)),
            orders: Some(10),
            reveals: Some(20),
            mail_failure_percent: Some(50),
        }
    }
}
