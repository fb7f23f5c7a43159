//! A page of numbers as it was read at one moment, and its Prometheus text.

use std::fmt::{self, Display, Write as _};

use super::{BOUNDS, Histogram, Snapshot};

/// Media type of the text. Source: Prometheus exposition formats, text format 0.0.4.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics under construction.
#[derive(Default)]
pub struct Page(pub(super) Vec<Family>);

/// Everything under one name.
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    Gauge,
    Histogram,
}

pub(super) struct Sample {
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: Value,
}

pub(super) enum Value {
    Number(Number),
    Histogram(Snapshot),
}

#[derive(Clone, Copy)]
pub enum Number {
    Whole(i64),
    Real(f64),
}

impl Page {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &'static str) {
        self.0.push(Family { name: name.to_owned(), kind, help, samples: Vec::new() });
    }

    /// A sample of the family begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) {
        self.add(labels, Value::Number(value.into()));
    }

    pub fn counter(&mut self, name: &str, help: &'static str, value: impl Into<Number>) {
        self.family(name, Kind::Counter, help);
        self.sample(&[], value);
    }

    pub fn gauge(&mut self, name: &str, help: &'static str, value: impl Into<Number>) {
        self.family(name, Kind::Gauge, help);
        self.sample(&[], value);
    }

    /// A histogram of the family begun last, which is of that kind.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        self.add(labels, Value::Histogram(histogram.snapshot()));
    }

    fn add(&mut self, labels: &[(&str, &str)], value: Value) {
        let Some(family) = self.0.last_mut() else { return };
        let labels = labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        family.samples.push(Sample { labels, value });
    }

    pub fn into_text(self) -> String {
        let mut text = String::new();
        for family in &self.0 {
            let (name, kind, help) = (&family.name, family.kind, family.help);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for sample in &family.samples {
                match &sample.value {
                    Value::Number(number) => line(&mut text, name, &sample.labels, number),
                    Value::Histogram(histogram) => lines(&mut text, name, &sample.labels, histogram),
                }
            }
        }
        text
    }
}

fn line(text: &mut String, name: &str, labels: &[(String, String)], value: impl Display) {
    text.push_str(name);
    for (number, (label, value)) in labels.iter().enumerate() {
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = write!(text, "{}{label}=\"{value}\"", if number == 0 { '{' } else { ',' });
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

fn lines(text: &mut String, name: &str, labels: &[(String, String)], histogram: &Snapshot) {
    let (bucket, mut below) = (format!("{name}_bucket"), 0);
    let up_to = |bound: String, count: u64, text: &mut String| {
        line(text, &bucket, &[labels, &[("le".to_owned(), bound)]].concat(), count);
    };
    for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
        below += count;
        up_to(bound.to_string(), below, text);
    }
    up_to("+Inf".to_owned(), histogram.count, text);
    line(text, &format!("{name}_sum"), labels, histogram.seconds);
    line(text, &format!("{name}_count"), labels, histogram.count);
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<i32> for Number {
    fn from(number: i32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<u64> for Number {
    /// A count beyond what OTLP can carry would take centuries.
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn buckets_count_everything_up_to_their_bound() {
        let histogram = Histogram::default();
        for millis in [5, 6, 100, 20_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        page.family("t_seconds", Kind::Histogram, "A test.");
        page.histogram(&[("route", "/a")], &histogram);
        let text = page.into_text();
        for line in [
            "# TYPE t_seconds histogram",
            "t_seconds_bucket{route=\"/a\",le=\"0.005\"} 1",
            "t_seconds_bucket{route=\"/a\",le=\"0.01\"} 2",
            "t_seconds_bucket{route=\"/a\",le=\"15\"} 3",
            "t_seconds_bucket{route=\"/a\",le=\"+Inf\"} 4",
            "t_seconds_sum{route=\"/a\"} 20.111",
            "t_seconds_count{route=\"/a\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut page = Page::default();
        page.family("m", Kind::Gauge, "A test.");
        page.sample(&[("a", "x\"} 1\nforged 2"), ("b", r"\")], 1);
        let text = page.into_text();
        assert_eq!(text.lines().last(), Some("m{a=\"x\\\"} 1\\nforged 2\",b=\"\\\\\"} 1"));
    }
}
