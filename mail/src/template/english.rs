//! The mails in English.

mod alert;
mod notices;

use time::{Month, OffsetDateTime, UtcOffset};

use super::{Device, Origin, Template, Wording, masked};

pub(super) fn greeting(name: Option<&str>) -> String {
    name.map_or_else(|| "Hello,".to_owned(), |name| format!("Hello {name},"))
}

pub(super) fn footer(site: &str) -> String {
    format!("Sent automatically by {site}. Answers to this mail are not read.")
}

pub(super) fn wording(template: &Template, site: &str) -> Wording {
    match template {
        Template::Verify { origin, valid_hours, .. } => verify(site, origin, *valid_hours),
        Template::RegistrationAttempt { origin, .. } => registration_attempt(site, origin),
        Template::RegistrationUnverified { origin, valid_hours, .. } => {
            registration_unverified(site, origin, *valid_hours)
        }
        Template::Reset { valid_hours, .. } => reset(site, *valid_hours),
        Template::ResetForced { valid_hours, .. } => reset_forced(site, *valid_hours),
        Template::ResetFrozen { valid_hours, .. } => reset_frozen(site, *valid_hours),
        Template::PasswordChanged { origin, remedy } => notices::password_changed(site, origin, remedy),
        Template::PasswordResetDone { origin, remedy } => notices::password_reset_done(site, origin, remedy),
        Template::EmailChangeConfirm { valid_hours, .. } => email_change_confirm(site, *valid_hours),
        Template::EmailChangeNotice { origin, new_address, valid_days, .. } => {
            email_change_notice(site, origin, &masked(new_address), *valid_days)
        }
        Template::EmailChanged { origin, new_address, .. } => email_changed(site, origin, &masked(new_address)),
        Template::EmailChangeUndone { origin, remedy } => notices::email_change_undone(site, origin, remedy),
        Template::DeletionRequested { origin, valid_days, .. } => deletion_requested(site, origin, *valid_days),
        Template::TokenReused { origin, remedy } => notices::token_reused(site, origin, remedy),
        Template::LoginNewPlace { origin, remedy } => notices::login_new_place(site, origin, remedy),
        Template::LoginAfterFailures { origin, remedy } => notices::login_after_failures(site, origin, remedy),
        Template::LoginBlocked { origin, remedy } => notices::login_blocked(site, origin, remedy),
        Template::AccountLocked { origin, remedy } => notices::account_locked(site, origin, remedy),
        Template::RoleGranted { origin, role, remedy } => notices::role_granted(site, origin, role, remedy),
        Template::RoleRevoked { origin, role, remedy } => notices::role_revoked(site, origin, role, remedy),
        Template::SecurityAlert(alert) => alert::wording(site, alert),
    }
}

fn verify(site: &str, origin: &Origin, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Confirm your e-mail address for {site}"),
        before: vec![format!(
            "An account at {site} was registered with this e-mail address. {} this mail was asked for. To confirm that the \
             address is yours, open this link:",
            on_from(origin)
        )],
        action: "Confirm e-mail address",
        after: vec![
            format!("The link works for {}.", hours(valid_hours)),
            "If you did not register, you need do nothing: the address stays unconfirmed.".to_owned(),
        ],
    }
}

fn registration_attempt(site: &str, origin: &Origin) -> Wording {
    Wording {
        subject: format!("Someone tried to register your address at {site}"),
        before: vec![
            format!(
                "{} someone tried to register a new account at {site} with your e-mail address. You already have an \
                 account, so nothing was created and nothing was changed.",
                on_from(origin)
            ),
            "If it was you and you no longer know your password, you can choose a new one here:".to_owned(),
        ],
        action: "Reset password",
        after: vec![
            "If it was not you, you need do nothing. Our answer did not reveal that you have an account.".to_owned(),
        ],
    }
}

fn registration_unverified(site: &str, origin: &Origin, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Finish your registration at {site}"),
        before: vec![
            format!(
                "{} someone registered at {site} with your e-mail address. The address had been registered before but \
                 was never confirmed.",
                on_from(origin)
            ),
            "If it was you, choose your password and confirm your address here:".to_owned(),
        ],
        action: "Choose password and confirm address",
        after: vec![
            format!(
                "The link works for {}. The password you choose replaces any given before, and everybody who is \
                 logged in to the account is logged out.",
                hours(valid_hours)
            ),
            "If it was not you, you need do nothing: the address stays unconfirmed.".to_owned(),
        ],
    }
}

fn reset(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Reset your password for {site}"),
        before: vec![format!(
            "Someone, we hope you, asked to reset the password of your account at {site}. To choose a new password, \
             open this link:"
        )],
        action: "Choose a new password",
        after: vec![
            format!("The link works once and for {}.", hours(valid_hours)),
            "If you did not ask for this, you need do nothing: your password stays as it is.".to_owned(),
        ],
    }
}

fn reset_forced(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Choose a new password for {site}"),
        before: vec![
            format!(
                "To protect your account at {site}, those who run the service have closed it until you choose a new \
                 password. All sessions were logged out, and your old password no longer works."
            ),
            "To choose a new password, open this link:".to_owned(),
        ],
        action: "Choose a new password",
        after: vec![
            format!(
                "The link works once and for {}. After that, ask for another one where you log in, as if you had \
                 forgotten your password.",
                hours(valid_hours)
            ),
            "If you use your old password anywhere else, change it there too.".to_owned(),
        ],
    }
}

fn reset_frozen(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Your account at {site} is closed until you choose a new password"),
        before: vec![
            format!(
                "You told us that it was not you who used your account at {site}. All sessions were logged out, whatever \
                 changes had been asked for were dropped, and nobody can log in until you choose a new password."
            ),
            "To choose it, open this link:".to_owned(),
        ],
        action: "Choose a new password",
        after: vec![
            format!(
                "The link works once and for {}. After that, ask for another one where you log in, as if you had \
                 forgotten your password.",
                hours(valid_hours)
            ),
            "If you use your old password anywhere else, change it there too.".to_owned(),
        ],
    }
}

fn deletion_requested(site: &str, origin: &Origin, valid_days: u32) -> Wording {
    let days = counted(valid_days, "day", "days");
    Wording {
        subject: format!("Your account at {site} will be deleted"),
        before: vec![
            format!(
                "{} somebody who gave your password asked to delete your account at {site}. All sessions were logged \
                 out, nobody can log in any more, and in {days} everything we know about you will be erased for good.",
                on_from(origin)
            ),
            "If you want to leave, you need do nothing. If you want to keep the account, open this link:".to_owned(),
        ],
        action: "Keep my account",
        after: vec![
            format!("The link works for {days}. Afterwards nobody can bring the account back."),
            "If it was not you who asked, choose a new password as soon as you have kept the account.".to_owned(),
        ],
    }
}

fn email_change_confirm(site: &str, valid_hours: u32) -> Wording {
    Wording {
        subject: format!("Confirm your new e-mail address for {site}"),
        before: vec![format!(
            "This e-mail address was given as the new address of an account at {site}. To confirm the change, open \
             this link:"
        )],
        action: "Confirm the new address",
        after: vec![
            format!("The link works for {}.", hours(valid_hours)),
            "If you know nothing of this, you need do nothing: without your confirmation the address is not used."
                .to_owned(),
        ],
    }
}

fn email_change_notice(site: &str, origin: &Origin, new_address: &str, valid_days: u32) -> Wording {
    Wording {
        subject: format!("A new e-mail address for your account at {site}"),
        before: vec![
            format!(
                "{} a change of the e-mail address of your account at {site} to {new_address} was requested.",
                on_from(origin)
            ),
            "If it was you, you need do nothing. If it was not you, undo the change here:".to_owned(),
        ],
        action: "Undo the change",
        after: vec![format!(
            "The link works for {}, also after the new address has been confirmed.",
            counted(valid_days, "day", "days")
        )],
    }
}

fn email_changed(site: &str, origin: &Origin, new_address: &str) -> Wording {
    Wording {
        subject: format!("The e-mail address of your account at {site} was changed"),
        before: vec![
            format!(
                "{} the e-mail address of your account at {site} was changed to {new_address}. From now on log in with \
                 the new address.",
                on_from(origin)
            ),
            "If it was you, you need do nothing else. If it was not you, secure your account now:".to_owned(),
        ],
        action: "Reset password",
        after: vec![],
    }
}

fn hours(count: u32) -> String {
    counted(count, "hour", "hours")
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Opens a sentence with when and from where.
fn on_from(origin: &Origin) -> String {
    let (at, with) =
        (moment(origin.at), origin.device.map(|device| format!(" ({})", named(device))).unwrap_or_default());
    match origin.address {
        Some(address) => format!("On {at}, from the IP address {address}{with},"),
        None => format!("On {at}, from an unknown IP address{with},"),
    }
}

fn named(device: Device) -> String {
    match (device.program, device.system) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "unknown device".to_owned(),
    }
}

/// In UTC and said so: the reader's zone is unknown.
fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let month = match at.month() {
        Month::January => "January",
        Month::February => "February",
        Month::March => "March",
        Month::April => "April",
        Month::May => "May",
        Month::June => "June",
        Month::July => "July",
        Month::August => "August",
        Month::September => "September",
        Month::October => "October",
        Month::November => "November",
        Month::December => "December",
    };
    format!("{} {month} {} at {:02}:{:02} UTC", at.day(), at.year(), at.hour(), at.minute())
}
