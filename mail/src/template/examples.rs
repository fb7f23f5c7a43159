//! One example of every mail: what an operator's own templates are tried with, and shown by.

use std::net::{IpAddr, Ipv4Addr};

use time::OffsetDateTime;
use url::Url;

use super::{Alert, Link, Origin, Remedy, Template};

/// In the link of every example that has one, and nowhere else.
pub(crate) const MARK: &str = "example-of-a-token";

fn link(site: &Url, page: &str) -> Link {
    let mut url = site.clone();
    url.set_path(page);
    url.set_query(Some(&format!("token={MARK}")));
    Link::from(url)
}

fn alert(at: OffsetDateTime) -> Alert {
    Alert {
        at,
        about: "Many wrong passwords for one account".to_owned(),
        rule: "account_guessing".to_owned(),
        severity: "warning".to_owned(),
        subjects: vec!["Account: 01990000-0000-7000-8000-000000000007".to_owned()],
        count: 21,
        threshold: 20,
        seconds: 86_400,
        id: "01990000-0000-7000-8000-000000000006".to_owned(),
    }
}

impl Template {
    /// All mails, with links below `site`.
    pub fn examples(site: &Url, at: OffsetDateTime) -> Vec<Self> {
        let origin = Origin { at, address: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))), device: None };
        let new_address = || "maria.lopez@example.net".to_owned();
        let link = |page| link(site, page);
        let remedy = || Remedy::NotMe { link: link("not-me"), valid_days: 7 };
        let role = || "auditor".to_owned();
        vec![
            Self::Verify { origin, link: link("verify-email"), valid_hours: 24 },
            Self::RegistrationAttempt { origin, reset_page: link("reset-password") },
            Self::RegistrationUnverified { origin, link: link("reset-password"), valid_hours: 24 },
            Self::Reset { link: link("reset-password"), valid_hours: 1 },
            Self::ResetForced { link: link("reset-password"), valid_hours: 1 },
            Self::ResetFrozen { link: link("reset-password"), valid_hours: 1 },
            Self::PasswordChanged { origin, remedy: remedy() },
            Self::PasswordResetDone { origin, remedy: remedy() },
            Self::EmailChangeConfirm { link: link("confirm-email"), valid_hours: 24 },
            Self::EmailChangeNotice { origin, new_address: new_address(), undo: link("undo-email"), valid_days: 7 },
            Self::EmailChanged { origin, new_address: new_address(), reset_page: link("reset-password") },
            Self::EmailChangeUndone { origin, remedy: remedy() },
            Self::DeletionRequested { origin, cancel: link("cancel-deletion"), valid_days: 14 },
            Self::TokenReused { origin, remedy: remedy() },
            Self::LoginNewPlace { origin, remedy: remedy() },
            Self::LoginAfterFailures { origin, remedy: remedy() },
            Self::LoginBlocked { origin, remedy: remedy() },
            Self::AccountLocked { origin, remedy: remedy() },
            Self::RoleGranted { origin, role: role(), remedy: remedy() },
            Self::RoleRevoked { origin, role: role(), remedy: remedy() },
            Self::SecurityAlert(alert(at)),
        ]
    }
}
