//! What all rounds have found, its medians, and how they stand to the goals.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::goals::{Against, Goal};
use crate::machine::{self, Machine};
use crate::scenario::{Figures, Scenario, median};

/// Doorbook's own column, and that of the floors.
pub const DOORBOOK: &str = "doorbook";
pub const FLOOR: &str = "floor";

pub struct Results {
    pub machine: Machine,
    pub date: String,
    pub rounds: u32,
    pub seconds: u64,
    pub accounts: u32,
    pub events: i64,
    /// The rows of the run.
    pub scenarios: Vec<Scenario>,
    /// Keys of the peers, in the order of their columns.
    pub peers: Vec<String>,
    /// Before the first measurement, and the highest before any.
    load: Option<(f64, f64)>,
    /// The round that is under way, from 1.
    pub round: u32,
    /// By round: one in which a side failed must not shift what follows.
    measured: BTreeMap<(Scenario, String), BTreeMap<u32, Figures>>,
    pub errors: Vec<String>,
}

/// A goal and what came of it. What was not measured, such as a peer that was not asked for, is neither met nor missed.
pub struct Judged<'a> {
    pub goal: &'a Goal,
    pub measured: Option<f64>,
}

impl Judged<'_> {
    pub fn met(&self) -> Option<bool> {
        self.measured.map(|measured| self.goal.is_met_by(measured))
    }
}

impl Results {
    pub fn new(machine: Machine, date: String, rounds: u32, seconds: u64) -> Self {
        Self {
            machine,
            date,
            rounds,
            seconds,
            accounts: 0,
            events: 0,
            scenarios: Scenario::ALL.to_vec(),
            peers: Vec::new(),
            load: None,
            round: 1,
            measured: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    /// Notes how busy the machine is. The first time nothing of the bench runs yet: it is what others do.
    pub fn note_load(&mut self) {
        let Some(now) = machine::load() else { return };
        let (first, most) = self.load.unwrap_or((now, now));
        self.load = Some((first, most.max(now)));
    }

    pub fn load(&self) -> Option<(f64, f64)> {
        self.load
    }

    pub fn add(&mut self, scenario: Scenario, side: &str, found: Result<Figures>) {
        match found {
            Ok(figures) => {
                self.measured.entry((scenario, side.to_owned())).or_default().insert(self.round, figures);
            }
            Err(error) => self.errors.push(format!("{} of {side}: {error:#}", scenario.title())),
        }
    }

    /// The middle of what the rounds have found.
    pub fn median(&self, scenario: Scenario, side: &str, figure: &str) -> Option<f64> {
        let rounds = self.measured.get(&(scenario, side.to_owned()))?;
        median(rounds.values().filter_map(|figures| figures.get(figure).copied()).collect())
    }

    /// Figure of a goal, or the middle of its rounds' ratios: what was measured side by side is compared, as the machine's pace changes.
    fn against(&self, goal: &Goal) -> Option<f64> {
        let other = match goal.against {
            Against::Nothing(_) => return self.median(goal.scenario, DOORBOOK, goal.figure),
            Against::Floor => FLOOR,
            Against::Peer(peer) => peer,
        };
        let rounds = |side: &str| self.measured.get(&(goal.scenario, side.to_owned()));
        let (own, other) = (rounds(DOORBOOK)?, rounds(other)?);
        let ratio = |(round, figures): (&u32, &Figures)| {
            let (own, other) = (figures.get(goal.figure)?, other.get(round)?.get(goal.figure)?);
            (*other > 0.0).then(|| own / other)
        };
        median(own.iter().filter_map(ratio).collect())
    }

    pub fn judged<'a>(&self, goals: &'a [Goal]) -> Vec<Judged<'a>> {
        goals.iter().map(|goal| Judged { goal, measured: self.against(goal) }).collect()
    }

    /// Everything, for programs.
    pub fn json(&self, goals: &[Goal]) -> Value {
        let mut rows = Map::new();
        for ((scenario, side), rounds) in &self.measured {
            let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
            for (name, value) in rounds.values().flatten() {
                figures.entry(name).or_default().push(*value);
            }
            let figures: Map<String, Value> = figures
                .into_iter()
                .map(|(name, rounds)| (name.to_owned(), json!({ "median": median(rounds.clone()), "rounds": rounds })))
                .collect();
            let row = rows.entry(scenario.key()).or_insert_with(|| json!({}));
            row[side] = figures.into();
        }
        let judged = self.judged(goals);
        let goals: Vec<Value> = judged
            .iter()
            .map(|judged| {
                let goal = judged.goal;
                json!({ "row": goal.scenario.key(), "figure": goal.figure, "wanted": goal.wanted(),
                        "measured": judged.measured, "met": judged.met() })
            })
            .collect();
        json!({
            "date": self.date, "machine": self.machine, "rounds": self.rounds, "seconds": self.seconds,
            "accounts": self.accounts, "events": self.events,
            "load": self.load.map(|(before, most)| json!({ "before": before, "most": most })),
            "rows": rows, "goals": goals, "errors": self.errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals;

    pub fn results() -> Results {
        let mut results = Results::new(Machine::here(2, "15".to_owned()), "2026-01-02".to_owned(), 3, 5);
        for (round, own, floor) in [(1, 9.0, 10.0), (2, 8.0, 12.0), (3, 11.0, 10.5)] {
            results.round = round;
            results.add(Scenario::Login, DOORBOOK, Ok(Figures::from([("rate", own)])));
            results.add(Scenario::Login, FLOOR, Ok(Figures::from([("rate", floor)])));
        }
        results
    }

    #[test]
    fn a_ratio_is_the_middle_of_the_rounds_ratios_and_what_was_not_measured_is_not_judged() {
        let (results, goals) = (results(), goals::all(200.0));
        let judged = results.judged(&goals);
        assert_eq!(judged[0].measured, Some(0.9));
        assert_eq!(judged[0].met(), Some(false));
        assert!(judged[1..].iter().all(|judged| judged.met().is_none()));
    }

    #[test]
    fn a_round_in_which_a_side_failed_is_compared_with_no_other() {
        let mut results = Results::new(Machine::here(2, "15".to_owned()), "2026-01-02".to_owned(), 2, 5);
        let rate = |value| Ok(Figures::from([("rate", value)]));
        results.add(Scenario::Login, FLOOR, rate(10.0));
        results.add(Scenario::Login, DOORBOOK, Err(anyhow::anyhow!("no answer")));
        results.round = 2;
        results.add(Scenario::Login, FLOOR, rate(20.0));
        results.add(Scenario::Login, DOORBOOK, rate(10.0));
        assert_eq!(results.judged(&goals::all(200.0))[0].measured, Some(0.5));
    }

    #[test]
    fn an_error_is_kept_and_takes_nothing_away() {
        let mut results = results();
        results.add(Scenario::Login, DOORBOOK, Err(anyhow::anyhow!("no answer")));
        assert_eq!(results.errors, ["login, 10 at once of doorbook: no answer"]);
        let json = results.json(&goals::all(200.0));
        assert_eq!(json["rows"]["login"]["doorbook"]["rate"]["median"], 9.0);
        assert_eq!(json["goals"][0]["met"], false);
        assert_eq!(json["goals"][1]["met"], Value::Null);
    }
}
