//! What is to be reached, and whether it is. A ratio is against what the same run has measured.

use crate::peer::DJANGO;
use crate::scenario::Scenario;

/// What a figure is held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Against {
    /// Itself, in this unit.
    Nothing(&'static str),
    Floor,
    Peer(&'static str),
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

pub struct Goal {
    pub scenario: Scenario,
    /// Of Doorbook's figures, and of the one that it is held against.
    pub figure: &'static str,
    /// The figure in words.
    pub words: &'static str,
    pub against: Against,
    pub bound: Bound,
}

impl Goal {
    const fn new(
        scenario: Scenario,
        figure: &'static str,
        words: &'static str,
        against: Against,
        bound: Bound,
    ) -> Self {
        Self { scenario, figure, words, against, bound }
    }

    pub fn is_met_by(&self, measured: f64) -> bool {
        match self.bound {
            Bound::AtLeast(least) => measured >= least,
            Bound::AtMost(most) => measured <= most,
        }
    }

    /// How far: 1 is the goal, more is better.
    pub fn share(&self, measured: f64) -> f64 {
        match self.bound {
            Bound::AtLeast(least) => measured / least,
            Bound::AtMost(most) => most / measured.max(f64::MIN_POSITIVE),
        }
    }

    /// Where it is met, and no longer or not yet.
    pub fn limit(&self) -> f64 {
        match self.bound {
            Bound::AtLeast(limit) | Bound::AtMost(limit) => limit,
        }
    }

    /// Such as `at least 0.95 × floor`.
    pub fn wanted(&self) -> String {
        let word = match self.bound {
            Bound::AtLeast(_) => "at least",
            Bound::AtMost(_) => "at most",
        };
        let number = self.limit();
        match self.against {
            Against::Nothing(unit) => format!("{word} {}{unit}", crate::report::number(number)),
            Against::Floor => format!("{word} {number} × floor"),
            Against::Peer(peer) => format!("{word} {number} × {peer}"),
        }
    }
}

/// All goals. `permits_mib` is the memory that hashes may take: one permit a core.
pub fn all(permits_mib: f64) -> Vec<Goal> {
    use Against::{Floor, Nothing, Peer};
    use Bound::{AtLeast, AtMost};
    use Scenario::{
        Append, Flood, Live, Login, Memory, Profile, Queue, Ready, Refresh, Register, Reset, Start, Steady,
    };
    vec![
        Goal::new(Login, "rate", "rate", Floor, AtLeast(0.95)),
        Goal::new(Login, "rate", "rate", Peer(DJANGO), AtLeast(3.0)),
        Goal::new(Register, "rate", "rate", Floor, AtLeast(0.95)),
        Goal::new(Register, "rate", "rate", Peer(DJANGO), AtLeast(3.0)),
        Goal::new(Profile, "rate", "rate", Floor, AtLeast(0.9)),
        Goal::new(Profile, "rate", "rate", Peer(DJANGO), AtLeast(15.0)),
        Goal::new(Refresh, "rate", "rate", Floor, AtLeast(0.9)),
        Goal::new(Reset, "rate", "rate", Nothing("/s"), AtLeast(2_000.0)),
        Goal::new(Live, "rate", "rate", Floor, AtLeast(0.8)),
        Goal::new(Ready, "rate", "rate", Nothing("/s"), AtLeast(10_000.0)),
        Goal::new(Flood, "p99_ms", "p99 of the profile", Nothing(" ms"), AtMost(10.0)),
        Goal::new(Flood, "admitted_share", "admitted logins, of their rate alone", Nothing(""), AtLeast(0.9)),
        Goal::new(Flood, "login_p99_ms", "p99 of admitted logins", Nothing(" ms"), AtMost(2_500.0)),
        Goal::new(Flood, "surplus_p99_ms", "p99 of the 503 of the surplus", Nothing(" ms"), AtMost(50.0)),
        Goal::new(Flood, "api_mib", "most memory of the api", Nothing(" MiB"), AtMost(30.0 + permits_mib)),
        Goal::new(Steady, "p95_ms", "p95 of a login", Nothing(" ms"), AtMost(500.0)),
        Goal::new(Steady, "found_ms", "longest until a search of the trail finds one", Nothing(" ms"), AtMost(1_000.0)),
        Goal::new(Memory, "api_mib", "api", Nothing(" MiB"), AtMost(30.0)),
        Goal::new(Memory, "worker_mib", "worker", Nothing(" MiB"), AtMost(30.0)),
        Goal::new(Append, "rate", "rate", Floor, AtLeast(0.8)),
        Goal::new(Queue, "p50_ms", "p50 from commit to outcome", Nothing(" ms"), AtMost(5.0)),
        Goal::new(Queue, "rate", "jobs with their outcome", Nothing("/s"), AtLeast(1_000.0)),
        Goal::new(Start, "p50_ms", "time", Nothing(" ms"), AtMost(150.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_at_its_bound_and_on_its_good_side() {
        let goals = all(200.0);
        let (rate, most) = (&goals[0], &goals[10]);
        assert!(rate.is_met_by(0.95) && rate.is_met_by(1.2) && !rate.is_met_by(0.94));
        assert!(most.is_met_by(10.0) && !most.is_met_by(10.1));
        assert!((most.share(20.0) - 0.5).abs() < 1e-9 && (rate.share(0.475) - 0.5).abs() < 1e-9);
        assert_eq!(rate.wanted(), "at least 0.95 × floor");
        assert_eq!(goals[7].wanted(), "at least 2,000/s");
    }

    #[test]
    fn every_row_has_a_goal() {
        for scenario in Scenario::ALL {
            assert!(all(200.0).iter().any(|goal| goal.scenario == scenario), "{scenario:?}");
        }
    }
}
