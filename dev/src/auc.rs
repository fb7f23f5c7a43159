//! Whether two kinds of requests can be told apart by how long they take.

use std::fmt;
use std::time::Duration;

/// How often a randomly drawn time of one kind exceeds one of the other: the area under the ROC curve, which is the
/// statistic of Mann and Whitney. 0.5: the times tell nothing. 0 or 1: one time tells all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub auc: f64,
    /// Medians of the first and of the second kind.
    pub medians: [Duration; 2],
}

/// How much the times of two kinds may differ.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Largest distance of the AUC from 0.5.
    pub distance_max: f64,
    /// Largest distance of the medians, whatever their size.
    pub median_difference_max: Duration,
    /// Largest distance of the medians as a part of the smaller one.
    pub median_ratio_max: f64,
    /// Whether both must be kept, or one is enough.
    pub both: bool,
}

impl Rule {
    /// The release bar's, for 1,000 times of each kind: noise moves the AUC by 0.013 (one standard deviation), so 0.05
    /// is nearly four of them.
    pub const FULL: Self = Self {
        distance_max: 0.05,
        median_difference_max: Duration::from_millis(2),
        median_ratio_max: 0.03,
        both: true,
    };

    /// For 60 of each kind, where noise moves the AUC by 0.053: only a difference that anyone would see is refused.
    pub const COARSE: Self =
        Self { distance_max: 0.3, median_difference_max: Duration::from_millis(2), median_ratio_max: 0.3, both: false };
}

impl Comparison {
    /// Compares at least one time of each kind.
    ///
    /// # Panics
    /// Without any.
    pub fn of(first: &[Duration], second: &[Duration]) -> Self {
        assert!(!first.is_empty() && !second.is_empty(), "there is nothing to compare");
        let mut sorted = second.to_vec();
        sorted.sort_unstable();
        // Twice the number of pairs that the first wins, so that a tie counts as one.
        let wins: usize = first
            .iter()
            .map(|time| sorted.partition_point(|other| other < time) + sorted.partition_point(|other| other <= time))
            .sum();
        Self { auc: ratio(wins, 2 * first.len() * second.len()), medians: [median(first), median(second)] }
    }

    pub fn keeps(&self, rule: &Rule) -> bool {
        let [first, second] = self.medians;
        let allowed = rule.median_difference_max.max(first.min(second).mul_f64(rule.median_ratio_max));
        let (by_auc, by_median) = ((self.auc - 0.5).abs() <= rule.distance_max, first.abs_diff(second) <= allowed);
        if rule.both { by_auc && by_median } else { by_auc || by_median }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AUC {:.3}, medians {:?} and {:?}", self.auc, self.medians[0], self.medians[1])
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Exact for counts below 2^32, which would be 46,000 times of each kind.
fn ratio(part: usize, whole: usize) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    float(part) / float(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn equal_times_tell_nothing_and_separate_ones_tell_all() {
        let auc = |first: &[u64], second: &[u64]| {
            Comparison::of(&times(first.iter().copied()), &times(second.iter().copied())).auc
        };
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(close(auc(&[5, 5, 5], &[5, 5]), 0.5));
        assert!(close(auc(&[1, 2], &[3, 4]), 0.0));
        assert!(close(auc(&[3, 4], &[1, 2]), 1.0));
        // Of nine pairs the first wins three and ties two.
        assert!(close(auc(&[1, 2, 3], &[1, 2, 4]), 4.0 / 9.0));
    }

    #[test]
    fn the_full_rule_wants_both_and_the_coarse_one_either() {
        let flat = times(100..200);
        assert!(Comparison::of(&flat, &flat).keeps(&Rule::FULL));
        // Every time a little longer: the medians are close, the order is not.
        let shifted = times(120..220);
        assert!(!Comparison::of(&flat, &shifted).keeps(&Rule::FULL));
        let slower = times(300..400);
        assert!(!Comparison::of(&flat, &slower).keeps(&Rule::COARSE));
        // Told apart by microseconds only: below what the coarse rule looks at.
        let (one, other) = (vec![Duration::from_millis(1); 60], vec![Duration::from_micros(1_100); 60]);
        assert!(Comparison::of(&one, &other).keeps(&Rule::COARSE));
        assert!(!Comparison::of(&one, &other).keeps(&Rule::FULL));
    }

    #[test]
    fn a_median_may_differ_by_two_milliseconds_or_three_percent() {
        let compared = |first: u64, second: u64| {
            let [first, second] = [first, second].map(Duration::from_micros);
            Comparison { auc: 0.5, medians: [first, second] }.keeps(&Rule::FULL)
        };
        assert!(compared(3_000, 5_000));
        assert!(!compared(3_000, 5_001));
        assert!(compared(1_000_000, 1_030_000));
        assert!(!compared(1_031_000, 1_000_000));
    }
}
