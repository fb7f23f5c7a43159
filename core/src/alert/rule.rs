use crate::terms::Severity;

/// What may raise an alert. The names are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Many wrong passwords for one account.
    AccountGuessing,
    /// Somebody got in at an unknown device after as many.
    AccountGuessed,
    /// One network fails at many accounts.
    NetworkSpraying,
    /// Many failed logins of all together.
    LoginFailures,
    /// Many blocks of all together.
    LoginBlocks,
    /// Far more failed logins than usual. One account cannot do that: it is blocked after a few.
    LoginSurge,
    ResetFlood,
    RegistrationFlood,
    /// A spent refresh token came back.
    TokenReuse,
    /// The right password of an account that is disabled, locked or leaving.
    ClosedAccount,
    AdminGranted,
    /// Somebody who has been an admin for a short while gives orders.
    FreshAdmin,
    /// One admin gives orders about many accounts.
    MassOrders,
    /// One person reveals or exports much of what is masked.
    MassReveals,
    /// Mails that no server takes.
    MailFailures,
    /// Events have waited for their seal for a minute.
    SealLag,
    /// A view of the log stands still.
    FollowerStopped,
}

impl Rule {
    pub const ALL: [Self; 17] = [
        Self::AccountGuessing,
        Self::AccountGuessed,
        Self::NetworkSpraying,
        Self::LoginFailures,
        Self::LoginBlocks,
        Self::LoginSurge,
        Self::ResetFlood,
        Self::RegistrationFlood,
        Self::TokenReuse,
        Self::ClosedAccount,
        Self::AdminGranted,
        Self::FreshAdmin,
        Self::MassOrders,
        Self::MassReveals,
        Self::MailFailures,
        Self::SealLag,
        Self::FollowerStopped,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountGuessing => "account_guessing",
            Self::AccountGuessed => "account_guessed",
            Self::NetworkSpraying => "network_spraying",
            Self::LoginFailures => "login_failures",
            Self::LoginBlocks => "login_blocks",
            Self::LoginSurge => "login_surge",
            Self::ResetFlood => "reset_flood",
            Self::RegistrationFlood => "registration_flood",
            Self::TokenReuse => "token_reuse",
            Self::ClosedAccount => "closed_account",
            Self::AdminGranted => "admin_granted",
            Self::FreshAdmin => "fresh_admin",
            Self::MassOrders => "mass_orders",
            Self::MassReveals => "mass_reveals",
            Self::MailFailures => "mail_failures",
            Self::SealLag => "seal_lag",
            Self::FollowerStopped => "follower_stopped",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name)
    }

    /// One sentence for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::AccountGuessing => "Many wrong passwords for one account",
            Self::AccountGuessed => "A login from an unknown device after many wrong passwords",
            Self::NetworkSpraying => "Failed logins of one network at many accounts",
            Self::LoginFailures => "Many failed logins",
            Self::LoginBlocks => "Many blocked logins",
            Self::LoginSurge => "Far more failed logins than usual",
            Self::ResetFlood => "Many requests for password resets",
            Self::RegistrationFlood => "Many registrations",
            Self::TokenReuse => "A spent refresh token came back",
            Self::ClosedAccount => "The right password of an account that may not log in",
            Self::AdminGranted => "Somebody was made an admin",
            Self::FreshAdmin => "Orders of somebody who has just become an admin",
            Self::MassOrders => "Orders of one admin about many accounts",
            Self::MassReveals => "One person looked at much that is masked",
            Self::MailFailures => "Mails are not taken",
            Self::SealLag => "Events wait for their seal",
            Self::FollowerStopped => "A view of the log stands still",
        }
    }

    pub const fn severity(self) -> Severity {
        match self {
            Self::LoginFailures | Self::LoginBlocks | Self::ResetFlood | Self::RegistrationFlood => Severity::Info,
            Self::AccountGuessing
            | Self::NetworkSpraying
            | Self::LoginSurge
            | Self::ClosedAccount
            | Self::AdminGranted
            | Self::MassOrders
            | Self::MassReveals
            | Self::MailFailures => Severity::Warning,
            Self::AccountGuessed | Self::TokenReuse | Self::FreshAdmin | Self::SealLag | Self::FollowerStopped => {
                Severity::Critical
            }
        }
    }
}
