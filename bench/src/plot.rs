//! How far each goal is reached, drawn: a bar a goal, and a line where all should end or be beyond.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::results::Judged;

const WIDTH: u32 = 1_040;
/// Of one bar with the space around it, and of what is around all.
const ROW: u32 = 26;
const FRAME: u32 = 90;
/// Bars end here: what is much better than it should be says no more by its length.
const LONGEST: f64 = 2.0;

const MET: RGBColor = RGBColor(46, 125, 80);
const MISSED: RGBColor = RGBColor(178, 58, 46);

/// The drawing, as SVG.
pub fn svg(judged: &[Judged<'_>]) -> Result<String> {
    let shown: Vec<_> = judged.iter().filter_map(|judged| Some((judged, judged.measured?))).collect();
    let mut svg = String::new();
    draw(&mut svg, &shown).map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, shown: &[(&Judged<'_>, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let count = i32::try_from(shown.len())?;
    let height = FRAME + ROW * u32::try_from(shown.len())?;
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    // A segment a row: as many as there are numbers, the last among them.
    let rows = 0..(count - 1).max(0);
    let label = |row: &i32| {
        let found = usize::try_from(count - 1 - row).ok().and_then(|row| shown.get(row));
        found.map_or_else(String::new, |(judged, _)| {
            let goal = judged.goal;
            format!("{}, {}: {}", goal.scenario.title(), goal.words, goal.wanted())
        })
    };
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .caption("How far each goal is reached (1 is the goal, more is better)", ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(590)
        .build_cartesian_2d(0.0..LONGEST, rows.into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(5)
        .y_labels(shown.len().max(1))
        .label_style(("sans-serif", 13))
        .y_label_formatter(&|at| match at {
            SegmentValue::CenterOf(row) | SegmentValue::Exact(row) => label(row),
            SegmentValue::Last => String::new(),
        })
        .draw()?;
    chart.draw_series((0..count).rev().zip(shown).map(|(row, (judged, measured))| {
        let end = judged.goal.share(*measured).min(LONGEST);
        let colour = if judged.goal.is_met_by(*measured) { MET } else { MISSED };
        let above = if row + 1 == count { SegmentValue::Last } else { SegmentValue::Exact(row + 1) };
        let corners = [(0.0, SegmentValue::Exact(row)), (end, above)];
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    }))?;
    let line = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Last)];
    chart.draw_series(LineSeries::new(line, BLACK.stroke_width(2)))?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals;

    #[test]
    fn a_bar_is_drawn_for_what_was_measured_in_the_colour_of_its_outcome() {
        let goals = goals::all(200.0);
        let judged = [Some(1.0), Some(1.0), None].into_iter().zip(&goals);
        let judged: Vec<_> = judged.map(|(measured, goal)| Judged { goal, measured }).collect();
        let svg = svg(&judged).unwrap();
        // The first goal is 0.95 of the floor, the second three times a peer.
        for wanted in ["#2E7D50", "#B23A2E", "at least 0.95 × floor", "at least 3 × django"] {
            assert!(svg.contains(wanted), "{wanted}: {svg}");
        }
        assert!(!svg.contains("register"), "{svg}");
        assert!(super::svg(&[]).is_ok());
    }
}
