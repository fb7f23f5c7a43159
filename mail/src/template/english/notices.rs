//! Notices in English: what has happened, and what to do about it.

use super::super::{Origin, Remedy, Wording};
use super::{counted, moment, on_from};

/// A notice: what has happened, and what to do about it.
fn notice(subject: String, what: String, if_you: &str, remedy: &Remedy) -> Wording {
    let (if_not, action, after) = match remedy {
        Remedy::NotMe { valid_days, .. } => (
            "If it was not you, tell us with this link: the account is closed to everybody at once, and you are mailed \
             another link to choose a new password.",
            "This was not me",
            vec![format!("The link works once and for {}.", counted(*valid_days, "day", "days"))],
        ),
        Remedy::ResetPage(_) => ("If it was not you, choose a new password here:", "Reset password", vec![]),
    };
    Wording { subject, before: vec![what, format!("{if_you} {if_not}")], action, after }
}

pub(super) fn password_changed(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Your password for {site} was changed"),
        format!(
            "{} the password of your account at {site} was changed. All other sessions were logged out.",
            on_from(origin)
        ),
        "If it was you, you need do nothing.",
        remedy,
    )
}

pub(super) fn password_reset_done(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Your password for {site} was reset"),
        format!(
            "{} a new password for your account at {site} was set with a link from one of our mails. All sessions were \
             logged out; log in with the new password.",
            on_from(origin)
        ),
        "If it was you, you need do nothing else. Otherwise someone may be able to read your mail: secure your mailbox first.",
        remedy,
    )
}

pub(super) fn email_change_undone(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("The change of your e-mail address at {site} was undone"),
        format!(
            "{} the change of the e-mail address of your account at {site} was undone. This address is the account's again, \
             and all sessions were logged out.",
            on_from(origin)
        ),
        "Whoever asked for that change knew your password. If it was you, you need do nothing.",
        remedy,
    )
}

pub(super) fn token_reused(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("A session of your account at {site} was ended"),
        format!(
            "{} a key of one of your sessions at {site} was used a second time, after it had been replaced. That can mean \
             that somebody copied it, so the session was ended on every device that held it.",
            on_from(origin)
        ),
        "If it was you, you can simply log in again.",
        remedy,
    )
}

pub(super) fn login_new_place(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("New login to your account at {site}"),
        format!(
            "{} somebody who knew the password logged in to your account at {site}. We had not seen that device before, and \
             nobody had logged in to the account from that network for 90 days.",
            on_from(origin)
        ),
        "If it was you, you need do nothing.",
        remedy,
    )
}

pub(super) fn login_after_failures(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Login to your account at {site} after failed attempts"),
        format!(
            "{} somebody who knew the password logged in to your account at {site}. At least three attempts with wrong \
             passwords had come before.",
            on_from(origin)
        ),
        "If it was you, you need do nothing.",
        remedy,
    )
}

pub(super) fn login_blocked(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Failed attempts to log in to your account at {site}"),
        format!(
            "{} the last of several attempts to log in to your account at {site} with a wrong password was made. Nobody got in, \
             and for a while nobody can log in, not even with the right password. A device that you had let us remember still can. \
             Should it happen again today, we will not write again.",
            on_from(origin)
        ),
        "If it was you, wait a little or ask for a new password.",
        remedy,
    )
}

pub(super) fn account_locked(site: &str, origin: &Origin, remedy: &Remedy) -> Wording {
    notice(
        format!("Your account at {site} is locked"),
        format!(
            "{} the last of a hundred attempts in a row to log in to your account at {site} with a wrong password was made. \
             Nobody got in, and nobody can log in until a new password is chosen.",
            on_from(origin)
        ),
        "If it was you, ask for a new password where you log in.",
        remedy,
    )
}

pub(super) fn role_granted(site: &str, origin: &Origin, role: &str, remedy: &Remedy) -> Wording {
    notice(
        format!("Your account at {site} has another role"),
        format!(
            "On {}, those who run the service gave the role \"{role}\" to your account at {site}.",
            moment(origin.at)
        ),
        "If you know of it, you need do nothing.",
        remedy,
    )
}

pub(super) fn role_revoked(site: &str, origin: &Origin, role: &str, remedy: &Remedy) -> Wording {
    notice(
        format!("Your account at {site} has lost a role"),
        format!(
            "On {}, those who run the service took the role \"{role}\" away from your account at {site}.",
            moment(origin.at)
        ),
        "If you know of it, you need do nothing.",
        remedy,
    )
}
