//! Guesses that run at the same time, fail, succeed, are given up or never come back.

use std::time::Duration;

use doorbook_core::clock::Timestamp;
use doorbook_core::limit::{Admission, CONSECUTIVE_FAILURES_MAX, Counter, RESERVATION, Rule, Target};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::json;
use uuid::Uuid;

use crate::hold;

const BEGINNING: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[derive(Clone, Copy, Debug)]
enum Step {
    Guess(u32),
    /// One of those in flight ends so.
    Fails(usize),
    Succeeds(usize),
    IsReleased(usize),
    /// Its process dies: nobody ever tells how it ended.
    Dies(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u32..3).prop_map(Step::Guess),
        6 => (0_usize..8).prop_map(Step::Fails),
        1 => (0_usize..8).prop_map(Step::Succeeds),
        1 => (0_usize..8).prop_map(Step::IsReleased),
        1 => (0_usize..8).prop_map(Step::Dies),
        3 => (0_u64..60).prop_map(Step::Wait),
        1 => (60_u64..2_000).prop_map(Step::Wait),
    ]
}

/// Who has reached the limit waits at least as long as his failures would have counted.
fn rule() -> impl Strategy<Value = Rule> {
    (1_u32..6, 1_u64..400, 0_u64..900).prop_map(|(max, window, more)| Rule {
        max,
        window: Duration::from_secs(window),
        block: Duration::from_secs(window + more),
    })
}

/// A guess that was let in.
#[derive(Clone, Copy)]
struct Flight {
    id: Uuid,
    target: Target,
    until: Timestamp,
}

struct World {
    rule: Rule,
    now: Timestamp,
    counter: Counter,
    flights: Vec<Flight>,
    /// Died, and not yet counted.
    dead: Vec<Flight>,
    /// Every failure that no success has made be forgotten, in the order of their counting.
    failures: Vec<(Timestamp, Target)>,
    /// Failures in a row, by target.
    runs: [u32; 3],
    made: u128,
}

impl World {
    /// Counts as failures what was never settled, as the counter does the next time it is looked at.
    fn let_lapse(&mut self) {
        let now = self.now;
        let lapsed = self.flights.extract_if(.., |flight| flight.until <= now).collect::<Vec<_>>();
        for flight in self.dead.extract_if(.., |flight| flight.until <= now).chain(lapsed) {
            self.failures.push((flight.until, flight.target));
            self.runs[flight.target.0 as usize] += 1;
        }
    }

    fn guess(&mut self, target: Target) -> TestCaseResult {
        self.let_lapse();
        self.made += 1;
        let id = Uuid::from_u128(self.made);
        let run = self.runs[target.0 as usize];
        match self.counter.clone().reserve(self.rule, self.now, id, target) {
            Admission::Granted(counter) => {
                prop_assert!(run < CONSECUTIVE_FAILURES_MAX, "whoever has failed {run} times in a row is let in");
                self.counter = counter;
                self.flights.push(Flight { id, target, until: self.now.plus(RESERVATION) });
            }
            Admission::Blocked { until } => {
                prop_assert!(until > self.now && until <= self.now.plus(self.rule.block), "a block ends");
                let later = self.counter.clone().reserve(self.rule, until, id, target);
                let is_let_in = !matches!(later, Admission::Blocked { .. });
                prop_assert!(is_let_in || !self.dead.is_empty() || !self.flights.is_empty() || run >= 100, "{later:?}");
            }
            Admission::Busy => {
                let open = self.flights.len() + self.dead.len() + self.in_window(self.now);
                prop_assert!(open >= self.rule.max as usize, "busy with {open} of {}", self.rule.max);
            }
        }
        Ok(())
    }

    fn in_window(&self, end: Timestamp) -> usize {
        self.failures.iter().filter(|(at, _)| *at <= end && at.plus(self.rule.window) > end).count()
    }

    /// One of those in flight, if there is any.
    fn landed(&mut self, number: usize) -> Option<Flight> {
        self.let_lapse();
        (!self.flights.is_empty()).then(|| self.flights.remove(number % self.flights.len()))
    }

    fn fails(&mut self, flight: Flight) -> TestCaseResult {
        let settled = self.counter.clone().settle_failure(self.rule, self.now, flight.id);
        self.counter = settled.counter;
        self.failures.push((self.now, flight.target));
        let run = &mut self.runs[flight.target.0 as usize];
        *run += 1;
        prop_assert_eq!(settled.locked, *run >= CONSECUTIVE_FAILURES_MAX, "the hundredth failure in a row locks");
        Ok(())
    }

    fn succeeds(&mut self, flight: Flight) {
        self.counter = self.counter.clone().settle_success(self.rule, self.now, flight.id);
        self.failures.retain(|(_, target)| *target != flight.target);
        self.runs[flight.target.0 as usize] = 0;
    }

    fn is_released(&mut self, flight: Flight) {
        self.counter = self.counter.clone().release(self.rule, self.now, flight.id);
    }

    /// Whatever has happened.
    fn is_sound(&self) -> TestCaseResult {
        for (at, _) in &self.failures {
            let counted = self.in_window(*at);
            prop_assert!(counted <= self.rule.max as usize, "{counted} wrong guesses within {:?}", self.rule.window);
        }
        let open = self.flights.len() + self.dead.len() + self.in_window(self.now);
        prop_assert!(open <= self.rule.max as usize, "{open} guesses are wrong or may yet be");
        let stored = serde_json::to_value(&self.counter).unwrap();
        prop_assert_eq!(&serde_json::from_value::<Counter>(stored).unwrap(), &self.counter, "a row holds all of it");
        Ok(())
    }
}

fn guess((rule, before, steps): (Rule, [u32; 3], Vec<Step>)) -> TestCaseResult {
    let runs: Vec<_> = before.iter().enumerate().collect();
    let state = json!({ "hits": [], "held": [], "blocked_until": null, "runs": runs });
    let mut world = World {
        rule,
        now: BEGINNING,
        counter: serde_json::from_value(state).unwrap(),
        flights: Vec::new(),
        dead: Vec::new(),
        failures: Vec::new(),
        runs: before,
        made: 0,
    };
    for step in steps {
        match step {
            Step::Guess(target) => world.guess(Target(target))?,
            Step::Fails(number) => world.landed(number).map_or(Ok(()), |flight| world.fails(flight))?,
            Step::Succeeds(number) => world.landed(number).into_iter().for_each(|flight| world.succeeds(flight)),
            Step::IsReleased(number) => world.landed(number).into_iter().for_each(|flight| world.is_released(flight)),
            Step::Dies(number) => {
                let flight = world.landed(number);
                world.dead.extend(flight);
            }
            Step::Wait(seconds) => world.now = world.now.plus(Duration::from_secs(seconds)),
        }
        world.is_sound()?;
        for (target, run) in (0..).zip(world.runs) {
            let known = world.counter.run(Target(target));
            prop_assert!(known <= run, "{known} failures in a row are known where {run} happened");
        }
    }
    Ok(())
}

/// C076. Breaks when `core/src/limit/mod.rs`: `if counter.hits.len() + counter.held.len() >= usize::try_from(rule.max)` → `if counter.hits.len() >= usize::try_from(rule.max)`.
#[test]
fn whatever_happens_to_guesses_no_window_holds_more_wrong_ones_than_allowed() {
    hold(&(rule(), proptest::array::uniform3(90_u32..100), proptest::collection::vec(step(), 1..80)), guess);
}

/// C076. Breaks when `core/src/limit/mod.rs`: `self.hits.first().map_or(now, |(oldest, _)| oldest.plus(rule.window))` → `self.hits.last().map_or(now, |(oldest, _)| oldest.plus(rule.window))`.
#[test]
fn a_plain_limit_holds_in_every_window_and_says_truly_when_it_ends() {
    let waits = proptest::collection::vec(0_u64..100, 1..60);
    hold(&(rule(), waits), |(rule, waits)| {
        let (mut counter, mut now, mut let_in) = (Counter::default(), BEGINNING, Vec::new());
        for wait in waits {
            now = now.plus(Duration::from_secs(wait));
            match counter.clone().count(rule, now) {
                Ok(next) => {
                    counter = next;
                    let_in.push(now);
                }
                Err(at) => {
                    prop_assert!(counter.clone().count(rule, at).is_ok(), "the next is allowed when it was said to be");
                    let just_before = at.minus(Duration::from_micros(1));
                    prop_assert!(counter.clone().count(rule, just_before).is_err(), "and no sooner");
                }
            }
            let in_window = let_in.iter().filter(|at| at.plus(rule.window) > now).count();
            prop_assert!(in_window <= rule.max as usize);
        }
        Ok(())
    });
}
