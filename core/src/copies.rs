//! How many copies of a mail there may be. A connection that is lost after the message and before the answer leaves open whether the
//! server has it: whoever sends it again may have sent it twice, whoever does not, never.

/// Copies of a mail that its reader cannot do without. Each may follow ten seconds without an answer from a slow server that took all
/// of them: a day of that would be thirty. Source: ours.
const NEEDED_MAX: i32 = 4;
/// Copies of a mail that only tells.
const TOLD_MAX: i32 = 1;

/// Whether a mail is sent once more of which nobody heard, now and `unheard_before` times before, whether the server has it.
pub fn may_send_again(template: &str, unheard_before: i32) -> bool {
    unheard_before + 1 < copies_max(template)
}

/// By template. A copy is dropped by many mailboxes, because it has the same Message-ID; others show it.
fn copies_max(template: &str) -> i32 {
    match template {
        // A second mail would tell of a second login or change, which did not happen. The account's log has the first in any case, and
        // the mail is listed as failed.
        "registration_attempt"
        | "login_new_place"
        | "login_after_failures"
        | "token_reused"
        | "role_granted"
        | "role_revoked"
        | "email_change_undone" => TOLD_MAX,
        // Without its link nobody gets in, or takes back what somebody else has done; the others tell the owner that the account may
        // be somebody else's by now, or operators of an attack: to be told twice is better than not at all.
        _ => NEEDED_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_sent_four_times_at_most_and_a_notice_once() {
        assert!((0..3).all(|before| may_send_again("reset", before)));
        assert!(!may_send_again("reset", 3));
        assert!(!may_send_again("login_new_place", 0));
    }

    #[test]
    fn what_a_newer_release_sends_is_sent_again() {
        assert!(may_send_again("a_mail_of_another_release", 0));
    }
}
