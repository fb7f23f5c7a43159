//! A refresh family whose newest token a thief may copy.

use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::session::{Family, Presentation, judge};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::hold;

const BEGINNING: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[derive(Clone, Copy, Debug)]
enum Step {
    OwnerRefreshes,
    /// The answer is lost on its way: the owner goes on with the token it has.
    OwnerHearsNothing,
    ThiefCopies,
    ThiefRefreshes,
    /// Any token that was ever made.
    SomebodyPresents(u32),
    Logout,
    Wait(u64),
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    grace: Duration,
    lifetime: Duration,
    idle: Option<Duration>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::OwnerRefreshes),
        2 => Just(Step::OwnerHearsNothing),
        2 => Just(Step::ThiefCopies),
        4 => Just(Step::ThiefRefreshes),
        1 => (1_u32..12).prop_map(Step::SomebodyPresents),
        1 => Just(Step::Logout),
        6 => (0_u64..40).prop_map(Step::Wait),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    (0_u64..20, 1_u64..1_000, proptest::option::of(1_u64..200)).prop_map(|(grace, lifetime, idle)| Terms {
        grace: Duration::from_secs(grace),
        lifetime: Duration::from_secs(lifetime),
        idle: idle.map(Duration::from_secs),
    })
}

struct World {
    terms: Terms,
    now: Timestamp,
    family: Family,
    /// Generations that were spent for a successor.
    spent: Vec<u32>,
    is_over: bool,
}

impl World {
    fn new(terms: Terms) -> Self {
        let family = Family {
            generation: 1,
            rotated_at: BEGINNING,
            absolute_end: BEGINNING.plus(terms.lifetime),
            idle_end: terms.idle.map(|idle| BEGINNING.plus(idle)),
            revoked: false,
        };
        Self { terms, now: BEGINNING, family, spent: Vec::new(), is_over: false }
    }

    /// Does what the service does with a genuine token; the token that is answered.
    fn present(&mut self, token: u32) -> Result<Option<u32>, TestCaseError> {
        let before = self.family;
        let judged = judge(&before, token, self.now, self.terms.grace);
        prop_assert!(!self.is_over || judged == Presentation::Ended, "what is over stays over: {judged:?}");
        let has_run_out = self.now >= before.absolute_end || before.idle_end.is_some_and(|end| self.now >= end);
        prop_assert!(!has_run_out || judged == Presentation::Ended, "time ends a session: {judged:?}");
        match judged {
            Presentation::Current => {
                prop_assert!(!self.spent.contains(&token), "a token is spent once");
                self.spent.push(token);
                self.family.generation += 1;
                self.family.rotated_at = self.now;
                self.family.idle_end = self.terms.idle.map(|idle| self.now.plus(idle));
                Ok(Some(self.family.generation))
            }
            Presentation::Repeated => {
                prop_assert_eq!(token + 1, before.generation, "the one before the newest alone is answered again");
                prop_assert!(self.now.since(before.rotated_at) <= self.terms.grace);
                Ok(Some(before.generation))
            }
            Presentation::Reused => {
                prop_assert!(self.spent.contains(&token), "whoever comes with what was never spent is no thief");
                self.family.revoked = true;
                self.is_over = true;
                Ok(None)
            }
            Presentation::Ended => {
                let is_from_nowhere = token > before.generation;
                prop_assert!(self.is_over || has_run_out || is_from_nowhere, "nothing has ended this session");
                self.is_over |= has_run_out;
                Ok(None)
            }
        }
    }
}

fn live((terms, steps): (Terms, Vec<Step>)) -> TestCaseResult {
    let mut world = World::new(terms);
    let (mut owner, mut thief) = (Some(1), None);
    for step in steps {
        match step {
            Step::OwnerRefreshes => owner = owner.map(|token| world.present(token)).transpose()?.flatten(),
            Step::OwnerHearsNothing => drop(owner.map(|token| world.present(token)).transpose()?),
            Step::ThiefCopies => thief = owner,
            Step::ThiefRefreshes => thief = thief.map(|token| world.present(token)).transpose()?.flatten(),
            Step::SomebodyPresents(token) => drop(world.present(token)?),
            Step::Logout => (world.family.revoked, world.is_over) = (true, true),
            Step::Wait(seconds) => world.now = world.now.plus(Duration::from_secs(seconds)),
        }
        let stale = |holder: Option<u32>| holder.is_some_and(|token| token < world.family.generation);
        let past_grace = world.now.since(world.family.rotated_at) > terms.grace;
        // One has gone on without the other: as soon as the other comes, both are out.
        for holder in [owner, thief].into_iter().filter(|holder| stale(*holder) && past_grace) {
            let judged = judge(&world.family, holder.unwrap_or_default(), world.now, terms.grace);
            prop_assert!(matches!(judged, Presentation::Reused | Presentation::Ended), "{judged:?} with a spent token");
        }
    }
    Ok(())
}

/// C076. Breaks when `core/src/session/refresh.rs`: `now.since(family.rotated_at) <= grace` → `now.since(family.rotated_at) >= grace`.
#[test]
fn in_any_history_a_token_is_spent_once_and_owner_and_thief_do_not_both_go_on() {
    hold(&(terms(), proptest::collection::vec(step(), 1..60)), live);
}
