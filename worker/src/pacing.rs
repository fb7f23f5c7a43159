//! Sends mails so that no destination in trouble holds up the others: what is closed waits in Postgres, and of what is slow only some
//! are under way (docs/adr/0023).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbook_core::service::Doorbook;
use doorbook_core::service::pacing::{Admission, Destinations, Trouble};
use doorbook_core::store::StoreError;
use doorbook_core::store::jobs::Claimed;
use doorbook_core::store::pacing::Destination;
use doorbook_core::store::project::outbox::Priority;
use doorbook_mail::{CONNECTIONS_MAX, OutgoingMail, SendError, Transport};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use crate::jobs::Verdict;

/// Connections for mails that are not urgent, wherever they go: one is always left to codes and resets.
const UNHURRIED_MAX: usize = CONNECTIONS_MAX - 1;
/// Urgent mails to one domain under way in this process: one connection is always left to others.
const UNDER_WAY_MAX: usize = CONNECTIONS_MAX - 1;
/// What others take of these: an urgent mail finds a place behind any number of them.
const UNDER_WAY_UNHURRIED: usize = UNDER_WAY_MAX - 1;
/// To a domain that had trouble since its last mail that got through.
const UNDER_WAY_IN_TROUBLE: usize = 1;
/// A mail that takes longer makes its domain a slow one: further mails to it do not wait here, where they would be in the way.
const SLOW: Duration = Duration::from_secs(1);
/// A mail to a slow domain is put back for half its age, within these bounds: so each is looked at a few times, however many wait.
const PUT_BACK_MIN: Duration = Duration::from_secs(2);
const PUT_BACK_MAX: Duration = Duration::from_mins(1);
/// A mail to a closed destination is looked at after this long in any case; the sweep makes it due as soon as that is open.
const HELD: Duration = Duration::from_hours(1);

/// How the mail fared, and what is to be done.
pub struct Passage {
    pub verdict: Verdict,
    /// Whether the server took it or spoke for good; `None` when that was not tried.
    pub taken: Option<bool>,
}

/// Mails of this process that are under way.
pub struct Pacing {
    /// By domain: when each began.
    under_way: Mutex<HashMap<Destination, Vec<Instant>>>,
    freed: Notify,
    unhurried: Semaphore,
}

impl Default for Pacing {
    fn default() -> Self {
        let unhurried = Semaphore::new(UNHURRIED_MAX);
        Self { under_way: Mutex::default(), freed: Notify::new(), unhurried }
    }
}

impl Pacing {
    /// Sends a mail if its destination takes mails now.
    pub async fn send(
        &self,
        doorbook: &Doorbook,
        transport: &Transport,
        mail: &OutgoingMail,
        job: &Claimed,
    ) -> Result<Passage, StoreError> {
        let to = doorbook.destinations(mail.recipient_domain());
        let admission = if job.trouble { doorbook.may_go(to).await? } else { Admission::Go { troubled: Vec::new() } };
        let troubled = match admission {
            Admission::Go { troubled } => troubled,
            Admission::Held(by) => {
                let taken = (by == to.server).then_some(false);
                return Ok(Passage { verdict: Verdict::Held { by: Some(by), pause: HELD }, taken });
            }
        };
        let urgent = job.priority == Priority::Urgent.as_i16();
        let most = if troubled.contains(&to.domain) {
            UNDER_WAY_IN_TROUBLE
        } else if urgent {
            UNDER_WAY_MAX
        } else {
            UNDER_WAY_UNHURRIED
        };
        let Some(mut place) = self.enter(to.domain, most).await else {
            let pause = (doorbook.clock.now().since(job.created_at) / 2).clamp(PUT_BACK_MIN, PUT_BACK_MAX);
            return Ok(Passage { verdict: Verdict::Held { by: None, pause }, taken: None });
        };
        // Closed never: without a permit, it goes all the same.
        let _permit = if urgent { None } else { self.unhurried.acquire().await.ok() };
        place.begin();
        doorbook_core::failpoint!("mail.claimed");
        let sent = transport.send(mail).await;
        drop(place);
        doorbook_core::failpoint!("mail.sent");
        let (verdict, trouble) = judged(sent);
        // What nobody heard of keeps its pause: sooner would be another copy.
        let hastened = matches!(verdict, Verdict::Deferred { .. }).then_some(job.job_id);
        note(doorbook, to, &troubled, trouble, hastened).await;
        Ok(Passage { verdict, taken: Some(trouble.is_none()) })
    }

    /// A place among the mails to a domain; `None` when it is a slow one and has no place left.
    async fn enter(&self, domain: Destination, most: usize) -> Option<Place<'_>> {
        loop {
            let freed = self.freed.notified();
            let oldest = {
                let mut under_way = self.lock();
                let begun = under_way.entry(domain).or_default();
                if begun.len() < most {
                    let since = Instant::now();
                    begun.push(since);
                    return Some(Place { pacing: self, domain, since });
                }
                begun.iter().min().copied()
            };
            let patience = oldest.map_or(SLOW, |oldest| SLOW.saturating_sub(oldest.elapsed()));
            if patience.is_zero() {
                return None;
            }
            // Whoever is woken looks again, also by time.
            drop(timeout(patience, freed).await);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Destination, Vec<Instant>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Given back when dropped, also by a panic or when the lease is lost.
struct Place<'a> {
    pacing: &'a Pacing,
    domain: Destination,
    since: Instant,
}

impl Place<'_> {
    /// What was waited for until now says nothing of the domain.
    fn begin(&mut self) {
        let now = Instant::now();
        let mut under_way = self.pacing.lock();
        let begun = under_way.get_mut(&self.domain).and_then(|begun| begun.iter_mut().find(|it| **it == self.since));
        if let Some(since) = begun {
            *since = now;
            self.since = now;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.pacing.lock();
        if let Some(begun) = under_way.get_mut(&self.domain) {
            if let Some(index) = begun.iter().position(|since| *since == self.since) {
                begun.swap_remove(index);
            }
            if begun.is_empty() {
                under_way.remove(&self.domain);
            }
        }
        drop(under_way);
        self.pacing.freed.notify_waiters();
    }
}

fn judged(sent: Result<doorbook_mail::Accepted, SendError>) -> (Verdict, Option<Trouble>) {
    match sent {
        Ok(accepted) => (Verdict::Sent { answer: accepted.server_answer }, None),
        Err(SendError::Refused { answer }) => (Verdict::Refused { answer }, None),
        Err(SendError::Deferred { answer }) => (Verdict::Deferred { answer }, Some(Trouble::Server)),
        Err(SendError::Delayed { answer, silent }) => {
            let trouble = if silent { Trouble::Silence } else { Trouble::Refusal };
            (Verdict::Deferred { answer }, Some(trouble))
        }
        Err(SendError::Unknown { answer }) => (Verdict::Unheard { answer }, Some(Trouble::Silence)),
    }
}

/// The outcome counts whether or not this could be written: at worst another mail finds out anew.
async fn note(
    doorbook: &Doorbook,
    to: Destinations,
    troubled: &[Destination],
    trouble: Option<Trouble>,
    job: Option<doorbook_core::value::JobId>,
) {
    if let Err(error) = doorbook.note_passage(to, troubled, trouble, job).await {
        tracing::warn!(%error, "what became of a mail's destination was not noted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Destination = Destination([1; 32]);
    const OTHER: Destination = Destination([2; 32]);

    #[tokio::test(start_paused = true)]
    async fn mails_to_one_domain_wait_for_a_place_as_long_as_it_is_quick() {
        let pacing = Pacing::default();
        let first = pacing.enter(ONE, 1).await.unwrap();
        let soon = async {
            tokio::time::sleep(SLOW / 2).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(pacing.enter(ONE, 1), soon);
        assert!(second.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn mails_to_a_slow_domain_are_turned_away_and_those_to_others_go() {
        let pacing = Pacing::default();
        let _first = pacing.enter(ONE, 1).await.unwrap();
        assert!(pacing.enter(ONE, 1).await.is_none());
        let before = Instant::now();
        assert!(pacing.enter(ONE, 1).await.is_none() && before.elapsed().is_zero(), "it is known to be slow");
        assert!(pacing.enter(OTHER, 1).await.is_some());
    }
}
