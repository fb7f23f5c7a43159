//! How much happened when, drawn: an SVG within the page, whose colours are the style sheet's.

use doorbook_core::clock::Timestamp;
use doorbook_core::service::audit::Series;
use plotters::prelude::*;

/// In the units of the drawing; the page scales it.
const SIZE: (u32, u32) = (480, 250);
/// Stand-ins, which the style sheet replaces: the first for lines and words, the others for the series.
const INK: RGBColor = RGBColor(1, 0, 0);
const GRID: RGBColor = RGBColor(2, 0, 0);
const SERIES: [RGBColor; 4] = [RGBColor(0, 1, 0), RGBColor(0, 2, 0), RGBColor(0, 3, 0), RGBColor(0, 4, 0)];
/// Names of the series' colours in the style sheet.
pub const SWATCHES: [&str; SERIES.len()] = ["s1", "s2", "s3", "s4"];

/// What the axes are about.
pub struct Axes {
    pub from: Timestamp,
    pub step_seconds: i64,
    /// Such as `events per hour`.
    pub unit: String,
}

impl Axes {
    /// The beginning of a step.
    pub fn start(&self, index: usize) -> Timestamp {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        Timestamp::from_seconds(self.from.seconds().saturating_add(index.saturating_mul(self.step_seconds)))
    }

    /// Day, or hour within a day, of a step.
    fn label(&self, index: i64) -> String {
        let text = self.start(usize::try_from(index).unwrap_or(0)).rfc3339();
        let part = if self.step_seconds < 24 * 3_600 { text.get(5..16) } else { text.get(5..10) };
        part.unwrap_or_default().replace('T', " ")
    }
}

/// The drawing; `None` when it cannot be made, and then the table beside it says the same.
pub fn svg(axes: &Axes, series: &[&Series]) -> Option<String> {
    let mut svg = String::new();
    match draw(&mut svg, axes, series) {
        Ok(()) => Some(svg),
        Err(error) => {
            tracing::warn!(%error, "a plot could not be drawn");
            None
        }
    }
}

fn draw(svg: &mut String, axes: &Axes, series: &[&Series]) -> Result<(), Box<dyn std::error::Error>> {
    let steps = series.iter().map(|series| series.counts.len()).max().unwrap_or(0);
    let last = i64::try_from(steps.saturating_sub(1)).unwrap_or(0).max(1);
    let most = series.iter().flat_map(|series| &series.counts).copied().max().unwrap_or(0).max(4);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(60)
        .build_cartesian_2d(0..last, 0..most + most / 10)?;
    let words = ("sans-serif", 14).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(words.clone())
        .axis_desc_style(words)
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|index| axes.label(*index))
        .y_label_formatter(&|count| super::layout::number(*count))
        .x_desc("time, UTC")
        .y_desc(axes.unit.as_str())
        .draw()?;
    for (series, colour) in series.iter().zip(SERIES) {
        let points = (0i64..).zip(series.counts.iter().copied());
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_axes_with_units_and_a_line_a_series_and_styles_nothing_inline() {
        let axes = Axes { from: Timestamp::from_seconds(0), step_seconds: 3_600, unit: "events per hour".into() };
        let series =
            [Series { name: "LoggedIn", counts: vec![1, 2, 3] }, Series { name: "LoginFailed", counts: vec![0, 0, 9] }];
        let svg = svg(&axes, &series.iter().collect::<Vec<_>>()).unwrap();
        for wanted in ["events per hour", "time, UTC", "#000100", "#000200", "01-01 00:00"] {
            assert!(svg.contains(wanted), "{wanted}: {svg}");
        }
        assert!(!svg.contains("style="), "the policy of the page allows no inline styles: {svg}");
    }

    #[test]
    fn nothing_at_all_can_be_drawn_too() {
        let axes = Axes { from: Timestamp::from_seconds(0), step_seconds: 86_400, unit: "events per day".into() };
        assert!(svg(&axes, &[&Series { name: "LoggedIn", counts: vec![] }]).is_some());
        assert!(svg(&axes, &[]).is_some());
    }
}
