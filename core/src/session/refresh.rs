//! What a presented refresh token is, once its MAC has proved genuine.

use std::time::Duration;

use crate::clock::Timestamp;

/// The columns of a session row that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    pub generation: u32,
    pub rotated_at: Timestamp,
    pub absolute_end: Timestamp,
    pub idle_end: Option<Timestamp>,
    pub revoked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// The newest token: it is spent now, the next generation answers.
    Current,
    /// The one before, within the grace: the client lost our answer and gets the same successor.
    Repeated,
    /// Genuine, but spent: somebody copied it.
    Reused,
    /// The family is over.
    Ended,
}

pub fn judge(family: &Family, presented: u32, now: Timestamp, grace: Duration) -> Presentation {
    if family.revoked || now >= family.absolute_end || family.idle_end.is_some_and(|end| now >= end) {
        Presentation::Ended
    } else if presented == family.generation {
        Presentation::Current
    } else if presented.checked_add(1) == Some(family.generation) && now.since(family.rotated_at) <= grace {
        Presentation::Repeated
    } else if presented < family.generation {
        Presentation::Reused
    } else {
        // A generation that was never issued cannot carry a right MAC unless the row was put back from a dump.
        Presentation::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const GRACE: Duration = Duration::from_secs(10);

    fn family(generation: u32) -> Family {
        Family {
            generation,
            rotated_at: NOON,
            absolute_end: NOON.plus(Duration::from_secs(3600)),
            idle_end: None,
            revoked: false,
        }
    }

    fn after(seconds: u64) -> Timestamp {
        NOON.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn the_newest_token_rotates() {
        assert_eq!(judge(&family(4), 4, after(60), GRACE), Presentation::Current);
    }

    #[test]
    fn the_one_before_repeats_within_the_grace_and_is_reuse_after_it() {
        assert_eq!(judge(&family(4), 3, after(10), GRACE), Presentation::Repeated);
        assert_eq!(judge(&family(4), 3, after(11), GRACE), Presentation::Reused);
    }

    #[test]
    fn two_generations_back_is_reuse_even_within_the_grace() {
        assert_eq!(judge(&family(4), 2, after(1), GRACE), Presentation::Reused);
    }

    #[test]
    fn an_ended_family_answers_nothing_and_accuses_nobody() {
        let mut ended = family(4);
        ended.revoked = true;
        assert_eq!(judge(&ended, 4, after(1), GRACE), Presentation::Ended);
        assert_eq!(judge(&ended, 1, after(1), GRACE), Presentation::Ended);
        assert_eq!(judge(&family(4), 4, after(3600), GRACE), Presentation::Ended);
        let mut idle = family(4);
        idle.idle_end = Some(after(60));
        assert_eq!(judge(&idle, 4, after(60), GRACE), Presentation::Ended);
        assert_eq!(judge(&idle, 4, after(59), GRACE), Presentation::Current);
    }

    #[test]
    fn a_generation_of_the_future_is_refused() {
        assert_eq!(judge(&family(4), 5, after(1), GRACE), Presentation::Ended);
        assert_eq!(judge(&family(4), u32::MAX, after(1), GRACE), Presentation::Ended);
    }
}
