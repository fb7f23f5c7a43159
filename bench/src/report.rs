//! The results for people: a table for the terminal and for the document, between its marks.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::goals::{Against, Goal};
use crate::results::{DOORBOOK, FLOOR, Judged, Results};
use crate::scenario::Scenario;

/// Digits behind the point of what would be rounded to its goal and misses it: the first, and more than any number here has.
const EXACT: usize = 3;
const MOST_EXACT: usize = 18;

/// As exact as is worth reading, with commas between thousands.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    grouped(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
}

fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// What is held against a goal, so exact that it does not look like the goal where it misses it.
fn held(value: f64, goal: &Goal) -> String {
    let limit = goal.limit();
    if goal.is_met_by(value) || number(value) != number(limit) {
        return number(value);
    }
    let exact = (EXACT..MOST_EXACT).find(|&digits| format!("{value:.digits$}") != format!("{limit:.digits$}"));
    exact.map_or_else(|| number(value), |digits| grouped(&format!("{value:.digits$}")))
}

/// What is measured, with its unit.
fn figure(value: Option<f64>, name: &str) -> String {
    let unit = match name {
        "rate" => "/s",
        _ if name.ends_with("_ms") => " ms",
        _ if name.ends_with("_mib") => " MiB",
        _ => "",
    };
    value.map_or_else(|| "–".to_owned(), |value| number(value) + unit)
}

pub fn verdict(judged: &Judged<'_>) -> &'static str {
    match judged.met() {
        Some(true) => "met",
        Some(false) => "**not met**",
        None => "not measured",
    }
}

/// Both tables, in Markdown.
pub fn tables(results: &Results, goals: &[Goal]) -> String {
    let mut text = heading(results);
    text.push_str("\n\n");
    goals_table(&mut text, results, goals);
    text.push('\n');
    times_table(&mut text, results);
    if !results.errors.is_empty() {
        text.push_str("\nWhat could not be measured:\n\n");
        for error in &results.errors {
            // An error may carry a whole answer, or the end of a log.
            let line = error.lines().next().unwrap_or_default();
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

/// When, where and how it was measured.
pub fn heading(results: &Results) -> String {
    let machine = &results.machine;
    let load = results.load().map_or_else(String::new, |(before, most)| {
        format!(" Load before the run {}, at most {} within it.", number(before), number(most))
    });
    format!(
        "{}: {}, {} cores, {} GiB, Linux {}, Postgres {}, {} profile, hashes by {}; {} rounds of {} s, medians; {} accounts.{load}",
        results.date,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.postgres,
        machine.profile,
        machine.engine,
        results.rounds,
        results.seconds,
        number(results.accounts.into()),
    )
}

fn goals_table(text: &mut String, results: &Results, goals: &[Goal]) {
    text.push_str("| job | figure |");
    for peer in &results.peers {
        let _ = write!(text, " {peer} |");
    }
    text.push_str(" floor | Doorbook | held against the goal | goal | |\n|---|---|");
    text.push_str(&"---|".repeat(results.peers.len() + 5));
    text.push('\n');
    for judged in results.judged(goals).iter().filter(|judged| is_shown(judged, results)) {
        let goal = judged.goal;
        let of = |side: &str| figure(results.median(goal.scenario, side, goal.figure), goal.figure);
        let _ = write!(text, "| {} | {} |", goal.scenario.title(), goal.words);
        for peer in &results.peers {
            let _ = write!(text, " {} |", of(peer));
        }
        let held = judged.measured.map_or_else(
            || "–".to_owned(),
            |value| match goal.against {
                Against::Nothing(unit) => held(value, goal) + unit,
                Against::Floor | Against::Peer(_) => held(value, goal) + " ×",
            },
        );
        let _ =
            writeln!(text, " {} | {} | {held} | {} | {} |", of(FLOOR), of(DOORBOOK), goal.wanted(), verdict(judged));
    }
}

/// Whether this run was to measure it. What was not asked for is no row: nor is a goal against a peer that is not there.
pub fn is_shown(judged: &Judged<'_>, results: &Results) -> bool {
    let is_there = match judged.goal.against {
        Against::Peer(peer) => results.peers.iter().any(|there| there == peer),
        Against::Nothing(_) | Against::Floor => true,
    };
    is_there && results.scenarios.contains(&judged.goal.scenario)
}

fn times_table(text: &mut String, results: &Results) {
    text.push_str("| job | of | rate | p50 | p99 |\n|---|---|---|---|---|\n");
    let sides = [DOORBOOK, FLOOR].into_iter().chain(results.peers.iter().map(String::as_str));
    for scenario in Scenario::ALL {
        for side in sides.clone() {
            let of = |name: &str| figure(results.median(scenario, side, name), name);
            let cells = ["rate", "p50_ms", "p99_ms"].map(of);
            if cells.iter().all(|cell| cell == "–") {
                continue;
            }
            let name = match side {
                FLOOR => scenario.floor().unwrap_or(FLOOR),
                other => other,
            };
            let _ = writeln!(text, "| {} | {name} | {} |", scenario.title(), cells.join(" | "));
        }
    }
}

/// The document with `text` between the marks of this name, everything else as it was.
pub fn between(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = document.split_once(&begin).with_context(|| format!("no mark {}", begin.trim()))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no mark {end}"))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_exact_as_is_worth_reading() {
        let cases =
            [(0.949, "0.95"), (10.0, "10"), (12.34, "12.3"), (150.0, "150"), (9_876.5, "9,876"), (1e6, "1,000,000")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(figure(Some(2.0), "p99_ms"), "2 ms");
        assert_eq!(figure(None, "rate"), "–");
    }

    #[test]
    fn what_misses_its_goal_does_not_look_like_it() {
        let goals = crate::goals::all(200.0);
        let (login, reset) = (&goals[0], &goals[7]);
        let cases = [
            (login, 0.949, "0.949"),
            (login, 0.9499, "0.9499"),
            (login, 0.95, "0.95"),
            (login, 0.954, "0.95"),
            (login, 0.9, "0.9"),
            (reset, 1_999.7, "1,999.700"),
        ];
        for (goal, value, text) in cases {
            assert_eq!(held(value, goal), text);
        }
    }

    #[test]
    fn the_document_has_the_marks_of_both_commands() {
        let path = std::path::Path::new(doorbook_dev::checks::ROOT).join(crate::run::DOCUMENT);
        let document = std::fs::read_to_string(path).unwrap();
        for marks in [crate::run::MARKS, crate::growth::MARKS] {
            let changed = between(&document, marks, "new\n").unwrap();
            assert_eq!(between(&changed, marks, "newer\n").unwrap().matches("newer").count(), 1, "{marks}");
        }
    }

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let document = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n";
        assert_eq!(between(document, "x", "new\n").unwrap(), "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n");
        assert!(between(document, "y", "new").is_err());
    }
}
