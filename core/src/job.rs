//! Kinds of jobs and how they are tried again. A job is an id and a question: is it still needed?

use std::time::Duration;

/// Sends one delivery, be it by webhook; `ref` is its id.
pub const MAIL: &str = "mail";
/// Tells an owner of a block or a lock; `ref` is the event that told of it, or would have.
pub const GUESSES: &str = "guesses";
/// Appends what failed logins are rolled up to.
pub const ROLL_UP: &str = "roll_up";
/// Appends expiry events of tokens and sessions, and erases accounts whose owners asked for it.
pub const EXPIRE: &str = "expire";
/// Deletes what counts nothing any more, unverified accounts and keys of strangers' days among it.
pub const PURGE: &str = "purge";
/// Makes the event partitions of the months ahead.
pub const PARTITIONS: &str = "partitions";

/// First pause after a failure. Source: design 6.
const BACK_OFF_FIRST: Duration = Duration::from_secs(10);
/// Longest pause between two tries.
const BACK_OFF_MAX: Duration = Duration::from_hours(1);
/// A mail that could not be handed over for this long is given up.
pub const LIFE: Duration = Duration::from_hours(24);

/// Pause before the next try: doubling from 10 s to 1 h, spread by up to a fifth so that a backlog does not come back at once.
pub fn back_off(attempt: u32, chance: u8) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << attempt.min(16)).min(BACK_OFF_MAX);
    doubled + doubled.mul_f64(f64::from(chance) / 255.0 / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_ten_seconds_to_an_hour() {
        assert_eq!(back_off(0, 0), Duration::from_secs(10));
        assert_eq!(back_off(1, 0), Duration::from_secs(20));
        assert_eq!(back_off(5, 0), Duration::from_secs(320));
        assert_eq!(back_off(40, 0), Duration::from_hours(1));
        assert_eq!(back_off(0, 255), Duration::from_secs(12));
    }
}
