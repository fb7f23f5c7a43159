//! How a job ends, and when it is tried again.

use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::copies;
use doorbook_core::job;
use doorbook_core::service::mail::Handover;
use doorbook_core::store::jobs::{Claimed, Outcome};
use doorbook_core::store::pacing::Destination;
use doorbook_core::store::query::deliveries::DeliveryRow;

use crate::jobs::Verdict;
use crate::schedule;

/// How a job ends: what is written about it.
pub enum Ending {
    Job(Outcome),
    /// It has not begun, and waits.
    Held {
        by: Option<Destination>,
        pause: Duration,
    },
    /// With an event in the trail and the delivery's state, in the same statement.
    Mail(Handover),
}

impl Ending {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Job(Outcome::Done) => "done",
            Self::Job(Outcome::Retry { .. }) => "retried",
            Self::Job(Outcome::Dead { .. }) => "dead",
            Self::Mail(Handover::Sent { .. }) => "sent",
            Self::Mail(Handover::Deferred { .. }) => "deferred",
            Self::Mail(Handover::Failed { .. }) => "failed",
            Self::Mail(Handover::Unheard { .. }) => "unheard",
            Self::Mail(Handover::Suppressed { .. }) => "suppressed",
        }
    }
}

/// From what the work said, of a mail about this delivery, to what is written: all rules about trying again are here. `chance` spreads
/// the tries.
pub fn conclude(job: &Claimed, verdict: Verdict, delivery: Option<&DeliveryRow>, now: Timestamp, chance: u8) -> Ending {
    let again_at = now.plus(job::back_off(u32::try_from(job.attempt).unwrap_or(0), chance));
    let too_late = again_at > job.created_at.plus(job::LIFE);
    match verdict {
        Verdict::Done => Ending::Job(Outcome::Done),
        Verdict::Sent { answer } => Ending::Mail(Handover::Sent { answer }),
        Verdict::Unneeded { reason } => Ending::Mail(Handover::Suppressed { reason, unheard: job.starts > 1 }),
        Verdict::Deferred { answer } if too_late => Ending::Mail(Handover::Failed { answer }),
        Verdict::Deferred { answer } => Ending::Mail(Handover::Deferred { answer, at: again_at }),
        Verdict::Unheard { answer } => {
            let may_go_again = delivery.is_none_or(|row| copies::may_send_again(&row.template, row.unheard));
            Ending::Mail(Handover::Unheard { answer, at: Some(again_at).filter(|_| may_go_again && !too_late) })
        }
        Verdict::Held { .. } if now > job.created_at.plus(job::LIFE) => {
            Ending::Mail(Handover::Failed { answer: "its server or domain took no mails for a day".to_owned() })
        }
        Verdict::Held { by, pause } => {
            Ending::Held { by, pause: pause + pause.mul_f64(f64::from(chance) / 255.0 / 5.0) }
        }
        Verdict::Refused { answer } => Ending::Mail(Handover::Failed { answer }),
        // The next tick does the same work: nothing to repeat, nobody to ask.
        Verdict::Retry { error } if schedule::is_superseded(job, again_at) => {
            tracing::warn!(error, "failed; the next tick does it");
            Ending::Job(Outcome::Done)
        }
        Verdict::Retry { error } if !too_late => Ending::Job(Outcome::Retry { at: again_at, error }),
        Verdict::Retry { error } if job.kind == job::MAIL => Ending::Mail(Handover::Failed { answer: error }),
        Verdict::Retry { error } | Verdict::Dead { error } => Ending::Job(Outcome::Dead { error }),
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::value::JobId;

    use super::*;

    const CREATED: Timestamp = Timestamp::from_seconds(1_000_000);

    fn claimed(kind: &str, attempt: i32) -> Claimed {
        Claimed {
            job_id: JobId(uuid::Uuid::from_u128(1)),
            kind: kind.to_owned(),
            reference: uuid::Uuid::from_u128(2),
            priority: 0,
            attempt,
            starts: 1,
            fence: 1,
            trace_id: None,
            span_id: None,
            trouble: false,
            created_at: CREATED,
            now: CREATED,
        }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_deferred_mail_is_tried_again_after_ever_longer_pauses() {
        for (attempt, pause) in [(0, 10), (1, 20), (3, 80), (30, 3_600)] {
            let verdict = Verdict::Deferred { answer: "451 later".into() };
            let Ending::Mail(Handover::Deferred { at, answer }) =
                conclude(&claimed(job::MAIL, attempt), verdict, None, CREATED, 0)
            else {
                panic!("not deferred");
            };
            assert_eq!((at, answer.as_str()), (CREATED.plus(seconds(pause)), "451 later"));
        }
    }

    #[test]
    fn a_mail_whose_next_try_lies_beyond_a_day_has_failed_whatever_kept_it() {
        let late = CREATED.plus(seconds(24 * 3_600 - 5));
        for verdict in
            [Verdict::Deferred { answer: "451 later".into() }, Verdict::Retry { error: "panicked: index".into() }]
        {
            assert!(matches!(
                conclude(&claimed(job::MAIL, 0), verdict, None, late, 0),
                Ending::Mail(Handover::Failed { .. })
            ));
        }
    }

    #[test]
    fn a_refused_mail_fails_at_once() {
        let verdict = Verdict::Refused { answer: "550 no such user".into() };
        let ending = conclude(&claimed(job::MAIL, 0), verdict, None, CREATED, 0);
        assert!(matches!(ending, Ending::Mail(Handover::Failed { answer }) if answer == "550 no such user"));
    }

    #[test]
    fn a_recurring_job_is_tried_again_until_its_next_tick_takes_over() {
        let failed = || Verdict::Retry { error: "no connection".into() };
        let ending = conclude(&claimed(job::PURGE, 0), failed(), None, CREATED, 0);
        assert!(matches!(ending, Ending::Job(Outcome::Retry { at, .. }) if at == CREATED.plus(seconds(10))));
        let ending = conclude(&claimed(job::PURGE, 0), failed(), None, CREATED.plus(seconds(3_595)), 0);
        assert!(matches!(ending, Ending::Job(Outcome::Done)));
    }

    #[test]
    fn an_unknown_kind_waits_for_an_operator() {
        let ending = conclude(&claimed("dance", 0), Verdict::Dead { error: "unknown kind".into() }, None, CREATED, 0);
        assert!(matches!(ending, Ending::Job(Outcome::Dead { .. })));
    }
}
