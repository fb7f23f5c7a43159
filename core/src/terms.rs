//! What an event can be found by, and how much attention it asks for. Pure: the store turns each value into a keyed hash.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;
use crate::alert::SecurityEvent;
use crate::attempt::AttemptEvent;
use crate::event::{Event, Personal};
use crate::notification::NotificationEvent;
use crate::operator::OperatorEvent;
use crate::session::SessionEvent;
use crate::value::Email;

/// A field that a search may name. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The account that the event is about.
    Account = 1,
    /// The account that did it.
    Actor = 2,
    Type = 3,
    Session = 4,
    /// This severity or a higher one.
    Severity = 5,
    Address = 6,
    Network = 7,
    Email = 8,
    EmailDomain = 9,
}

impl Field {
    pub const fn number(self) -> i16 {
        self as i16
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Actor => "actor",
            Self::Type => "type",
            Self::Session => "session",
            Self::Severity => "severity",
            Self::Address => "address",
            Self::Network => "network",
            Self::Email => "email",
            Self::EmailDomain => "email_domain",
        }
    }

    /// What an erasure must take away: it was sealed in the event.
    pub const PERSONAL: [Self; 4] = [Self::Address, Self::Network, Self::Email, Self::EmailDomain];
}

/// How much attention an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Everyday.
    Info,
    /// Changes what somebody may do, or how they get in.
    Notice,
    /// Somebody was kept out, or something did not work.
    Warning,
    /// Looks like an attack that got somewhere.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Info, Self::Notice, Self::Warning, Self::Critical];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }

    pub const fn of(event: &Event) -> Self {
        match event {
            Event::Account(event) => of_account(event),
            Event::Session(event) => of_session(event),
            Event::Attempt(event) => of_attempt(event),
            Event::Notification(event) => of_notification(event),
            Event::Operator(event) => of_operator(event),
            Event::Security(SecurityEvent::SecurityAlertRaised { severity, .. }) => *severity,
            Event::Security(SecurityEvent::SecurityAlertAcknowledged { .. }) => Self::Notice,
        }
    }
}

const fn of_account(event: &AccountEvent) -> Severity {
    use AccountEvent as E;
    match event {
        E::Registered { .. }
        | E::AccountImported { .. }
        | E::EmailVerificationRequested { .. }
        | E::EmailVerificationExpired { .. }
        | E::EmailVerified { .. }
        | E::ProfileUpdated { .. }
        | E::PasswordRehashed { .. }
        | E::PasswordResetExpired { .. }
        | E::EmailChangeExpired { .. } => Severity::Info,
        E::PasswordChanged { .. }
        | E::PasswordResetRequested { .. }
        | E::PasswordReset { .. }
        | E::EmailChangeRequested { .. }
        | E::EmailChanged { .. }
        | E::AccountUnlocked { .. }
        | E::AccountEnabled { .. }
        | E::DeletionCancelled { .. }
        | E::AllSessionsRevoked { .. } => Severity::Notice,
        E::EmailChangeUndone { .. }
        | E::AccountLocked { .. }
        | E::AccountDisabled { .. }
        | E::AccountFrozenByOwner { .. }
        | E::PasswordResetForced { .. }
        | E::RoleGranted { .. }
        | E::RoleRevoked { .. }
        | E::DeletionRequested { .. }
        | E::AccountErased { .. }
        | E::DataKeyShredded { .. } => Severity::Warning,
    }
}

const fn of_session(event: &SessionEvent) -> Severity {
    match event {
        SessionEvent::LoggedIn { .. } | SessionEvent::LoggedOut | SessionEvent::SessionExpired => Severity::Info,
        SessionEvent::SessionRevoked { .. } => Severity::Notice,
        SessionEvent::RefreshTokenReused { .. } => Severity::Critical,
    }
}

const fn of_attempt(event: &AttemptEvent) -> Severity {
    match event {
        AttemptEvent::LoginFailed { .. }
        | AttemptEvent::RegistrationAttemptedForTakenEmail { .. }
        | AttemptEvent::PasswordResetRequestedForUnknown
        // A flood of them is told by an alert, and would drive everything else out of a list of warnings.
        | AttemptEvent::LoginAttemptsSuppressed { .. } => Severity::Notice,
        AttemptEvent::LoginBlocked { .. } | AttemptEvent::LimitExceeded { .. } => Severity::Warning,
    }
}

const fn of_notification(event: &NotificationEvent) -> Severity {
    match event {
        NotificationEvent::MailQueued { .. }
        | NotificationEvent::MailSent { .. }
        | NotificationEvent::MailSuppressed { .. } => Severity::Info,
        NotificationEvent::MailDeferred { .. } => Severity::Notice,
        NotificationEvent::MailFailed { .. } => Severity::Warning,
    }
}

const fn of_operator(event: &OperatorEvent) -> Severity {
    match event {
        OperatorEvent::AccountViewed | OperatorEvent::AuditSearched { .. } | OperatorEvent::CheckpointSigned { .. } => {
            Severity::Info
        }
        OperatorEvent::PersonalDataRevealed { .. }
        | OperatorEvent::AuditExported { .. }
        | OperatorEvent::AuditStreamOpened { .. }
        | OperatorEvent::SettingsLoaded { .. }
        | OperatorEvent::EventsRetired { .. }
        | OperatorEvent::KeyRotated { .. }
        | OperatorEvent::ProjectionRebuilt { .. } => Severity::Notice,
        OperatorEvent::AuthorizationDenied { .. } => Severity::Warning,
    }
}

/// The network that a search names: /24 of IPv4, /48 of IPv6, as the roll-ups of attempts do.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) & 0xffff_ff00).into()),
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// Fields and values of one event. `personal` is `None` when its key is gone.
pub fn of(
    event: &Event,
    (subject, actor, session): (Option<uuid::Uuid>, Option<uuid::Uuid>, Option<uuid::Uuid>),
    personal: Option<&Personal>,
) -> Vec<(Field, String)> {
    let mut terms = vec![(Field::Type, event.stored().0)];
    for (field, id) in [(Field::Account, subject), (Field::Actor, actor), (Field::Session, session)] {
        terms.extend(id.map(|id| (field, id.to_string())));
    }
    // An alert about an account is not for its owner to read in his history, so the account is not the event's subject.
    if let Event::Security(SecurityEvent::SecurityAlertRaised { account: Some(account), .. }) = event {
        terms.push((Field::Account, account.to_string()));
    }
    let reached = Severity::ALL.into_iter().filter(|level| *level > Severity::Info && *level <= Severity::of(event));
    terms.extend(reached.map(|level| (Field::Severity, level.as_str().to_owned())));
    let Some(personal) = personal else { return terms };
    if let Some(address) = personal.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok()) {
        terms.push((Field::Address, address.to_string()));
        terms.push((Field::Network, network(address).to_string()));
    }
    if let Some(email) = personal.email.as_deref().and_then(|text| Email::parse(text).ok()) {
        terms.push((Field::Email, email.normal_form().to_owned()));
        terms.push((Field::EmailDomain, email.domain().to_owned()));
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Profile;
    use crate::value::{CredentialId, Locale};

    fn registered() -> Event {
        let profile = Profile { email: "Ana@Example.com".into(), first_name: "Ana".into(), last_name: String::new() };
        let credential = CredentialId(uuid::Uuid::nil());
        Event::Account(AccountEvent::Registered { locale: Locale::En, credential, profile: Some(profile) })
    }

    #[test]
    fn an_event_is_found_by_what_it_is_about_and_where_it_came_from() {
        let event = registered();
        let personal = Personal { address: Some("203.0.113.77".into()), ..event.personal() };
        let subject = uuid::Uuid::from_u128(7);
        let terms = of(&event, (Some(subject), None, None), Some(&personal));
        let expected = [
            (Field::Type, "Registered"),
            (Field::Account, "00000000-0000-0000-0000-000000000007"),
            (Field::Address, "203.0.113.77"),
            (Field::Network, "203.0.113.0"),
            (Field::Email, "ana@example.com"),
            (Field::EmailDomain, "example.com"),
        ];
        assert_eq!(terms, expected.map(|(field, value)| (field, value.to_owned())));
    }

    #[test]
    fn an_erased_event_is_found_by_nothing_personal() {
        let terms = of(&registered(), (None, None, None), None);
        assert_eq!(terms, [(Field::Type, "Registered".to_owned())]);
    }

    #[test]
    fn a_severity_is_found_by_every_level_that_it_reaches() {
        let reused = Event::Session(SessionEvent::RefreshTokenReused { generation: 2 });
        let terms = of(&reused, (None, None, None), None);
        let levels: Vec<_> = terms.iter().filter(|(field, _)| *field == Field::Severity).map(|(_, v)| &**v).collect();
        assert_eq!(levels, ["notice", "warning", "critical"]);
    }

    #[test]
    fn networks_are_those_of_the_roll_ups() {
        for (address, expected) in [("198.51.100.9", "198.51.100.0"), ("2001:db8:1:2:3::4", "2001:db8:1::")] {
            assert_eq!(network(address.parse().unwrap()).to_string(), expected);
        }
    }
}
