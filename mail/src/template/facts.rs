//! The facts of a mail, one by one, for templates that put them into words of their own.

use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::{Alert, Origin, Remedy, Template, masked};

/// A template that asks for one that its mail does not have cannot be used.
#[derive(Default, Serialize)]
pub(super) struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_hours: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_days: Option<u32>,
    /// Masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// Empty where the system did it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Alert>,
}

impl Facts {
    fn of(origin: &Origin) -> Self {
        Self {
            at: utc(origin.at),
            client_address: Some(origin.address.map(|address| address.to_string()).unwrap_or_default()),
            ..Self::default()
        }
    }

    /// A notice whose link closes the account works for so many days; where it is the page for a new password, 0.
    fn with(remedy: &Remedy, origin: &Origin) -> Self {
        let valid_days = match remedy {
            Remedy::NotMe { valid_days, .. } => *valid_days,
            Remedy::ResetPage(_) => 0,
        };
        Self { valid_days: Some(valid_days), ..Self::of(origin) }
    }
}

fn utc(at: OffsetDateTime) -> Option<String> {
    at.to_offset(UtcOffset::UTC).format(&Rfc3339).ok()
}

impl Template {
    pub(super) fn facts(&self) -> Facts {
        match self {
            Self::Reset { valid_hours, .. }
            | Self::ResetForced { valid_hours, .. }
            | Self::ResetFrozen { valid_hours, .. }
            | Self::EmailChangeConfirm { valid_hours, .. } => {
                Facts { valid_hours: Some(*valid_hours), ..Facts::default() }
            }
            Self::Verify { origin, valid_hours, .. } | Self::RegistrationUnverified { origin, valid_hours, .. } => {
                Facts { valid_hours: Some(*valid_hours), ..Facts::of(origin) }
            }
            Self::RegistrationAttempt { origin, .. } => Facts::of(origin),
            Self::PasswordChanged { origin, remedy }
            | Self::PasswordResetDone { origin, remedy }
            | Self::EmailChangeUndone { origin, remedy }
            | Self::TokenReused { origin, remedy }
            | Self::LoginNewPlace { origin, remedy }
            | Self::LoginAfterFailures { origin, remedy }
            | Self::LoginBlocked { origin, remedy }
            | Self::AccountLocked { origin, remedy } => Facts::with(remedy, origin),
            Self::RoleGranted { origin, role, remedy } | Self::RoleRevoked { origin, role, remedy } => {
                Facts { role: Some(role.clone()), ..Facts::with(remedy, origin) }
            }
            Self::EmailChangeNotice { origin, new_address, valid_days, .. } => {
                Facts { valid_days: Some(*valid_days), new_address: Some(masked(new_address)), ..Facts::of(origin) }
            }
            Self::EmailChanged { origin, new_address, .. } => {
                Facts { new_address: Some(masked(new_address)), ..Facts::of(origin) }
            }
            Self::DeletionRequested { origin, valid_days, .. } => {
                Facts { valid_days: Some(*valid_days), ..Facts::of(origin) }
            }
            Self::SecurityAlert(alert) => Facts { at: utc(alert.at), alert: Some(alert.clone()), ..Facts::default() },
        }
    }
}
