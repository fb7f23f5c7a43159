//! The page of numbers, pushed by OTLP. What is pushed is what a scrape would have read: totals since the start of the process,
//! so that a push that gets lost costs nothing but its moment.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use tokio::task::JoinHandle;
use url::Url;

use super::page::{Family, Kind, Number, Page, Sample, Value};
use super::{BOUNDS, PUSHES_LOST, PUSHES_SENT, STARTED};
use crate::telemetry::otlp::{EXPORT_WITHIN, address, resource};
use crate::telemetry::unix_time;

/// Pause between two pushes: as often as Prometheus is usually told to read.
const PUSH_EVERY: Duration = Duration::from_secs(15);
/// Before the first push, for a process that ends soon after its start.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// At the end of the process the collector gets this long.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// Pushes the pages that `read` reads.
pub struct Push<R> {
    collector: Collector,
    read: R,
    task: JoinHandle<()>,
}

impl<R, P> Push<R>
where
    R: Fn() -> P + Clone + Send + Sync + 'static,
    P: Future<Output = Page> + Send,
{
    /// `None` without a collector, and on a machine that has no client for it: no reason to stand still.
    pub fn start(endpoint: Option<&Url>, process_name: &str, read: R) -> Option<Self> {
        let collector = match Collector::at(endpoint?, process_name) {
            Ok(collector) => collector,
            Err(error) => {
                tracing::error!(target: "doorbook::log", %error, "metrics are not pushed");
                return None;
            }
        };
        let (collects, reads) = (collector.clone(), read.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(FIRST_AFTER).await;
            loop {
                collects.push(reads().await).await;
                tokio::time::sleep(PUSH_EVERY).await;
            }
        });
        Some(Self { collector, read, task })
    }

    /// Pushes the last numbers of a process that ends.
    pub async fn end(self) {
        self.task.abort();
        let last = async { self.collector.push((self.read)().await).await };
        if tokio::time::timeout(LAST_WITHIN, last).await.is_err() {
            PUSHES_LOST.add(1);
        }
    }
}

#[derive(Clone)]
struct Collector {
    client: Client,
    address: String,
    resource: Resource,
}

impl Collector {
    fn at(endpoint: &Url, process_name: &str) -> reqwest::Result<Self> {
        let client = Client::builder().timeout(EXPORT_WITHIN).redirect(reqwest::redirect::Policy::none()).build()?;
        let resource = Resource::from(&resource(process_name));
        Ok(Self { client, address: address(endpoint, "metrics"), resource })
    }

    async fn push(&self, page: Page) {
        let request = self.request(page, unix_time());
        let post = self.client.post(&self.address).header(CONTENT_TYPE, "application/x-protobuf");
        match post.body(request.encode_to_vec()).send().await {
            Ok(response) if response.status().is_success() => PUSHES_SENT.add(1),
            Ok(_) | Err(_) => PUSHES_LOST.add(1),
        }
    }

    fn request(&self, page: Page, now: Duration) -> ExportMetricsServiceRequest {
        let started = now.saturating_sub(STARTED.get().map(Instant::elapsed).unwrap_or_default());
        let span = Span { start: nanos(started), now: nanos(now) };
        let metrics = ScopeMetrics {
            scope: Some(InstrumentationScope { name: "doorbook".to_owned(), ..InstrumentationScope::default() }),
            metrics: page.0.into_iter().map(|family| metric(family, span)).collect(),
            ..ScopeMetrics::default()
        };
        let resource = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![metrics],
            ..ResourceMetrics::default()
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }
    }
}

/// From the start of the process to now, in nanoseconds of Unix time.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn metric(family: Family, span: Span) -> Metric {
    let Family { name, kind, help, samples } = family;
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let numbers = |samples: Vec<Sample>| samples.into_iter().filter_map(|sample| number(sample, span)).collect();
    let data = match kind {
        Kind::Counter => Data::Sum(Sum { data_points: numbers(samples), aggregation_temporality, is_monotonic: true }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(samples) }),
        Kind::Histogram => {
            let data_points = samples.into_iter().filter_map(|sample| histogram(sample, span)).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }
    };
    Metric { name, description: help.to_owned(), data: Some(data), ..Metric::default() }
}

fn number(sample: Sample, span: Span) -> Option<NumberDataPoint> {
    let Value::Number(number) = sample.value else { return None };
    Some(NumberDataPoint {
        attributes: attributes(sample.labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(match number {
            Number::Whole(number) => number_data_point::Value::AsInt(number),
            Number::Real(number) => number_data_point::Value::AsDouble(number),
        }),
        ..NumberDataPoint::default()
    })
}

fn histogram(sample: Sample, span: Span) -> Option<HistogramDataPoint> {
    let Value::Histogram(histogram) = sample.value else { return None };
    let above = histogram.count - histogram.buckets.iter().sum::<u64>();
    Some(HistogramDataPoint {
        attributes: attributes(sample.labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: histogram.count,
        sum: Some(histogram.seconds),
        bucket_counts: histogram.buckets.into_iter().chain([above]).collect(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    labels.into_iter().map(|(name, text)| KeyValue::from(&opentelemetry::KeyValue::new(name, text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_pushed_bucket_by_bucket_and_a_counter_as_a_sum_that_only_grows() {
        let durations = super::super::Histogram::default();
        for millis in [5, 6, 100, 20_000] {
            durations.record(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        page.counter("a_total", "A test.", 7_u64);
        page.gauge("b_seconds", "A test.", 0.5);
        page.family("t_seconds", Kind::Histogram, "A test.");
        page.histogram(&[("route", "/a")], &durations);
        let collector = Collector::at(&Url::parse("http://127.0.0.1:4318/").unwrap(), "api").unwrap();
        assert_eq!(collector.address, "http://127.0.0.1:4318/v1/metrics");
        let request = collector.request(page, Duration::from_secs(1_000));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let [Some(Data::Sum(sum)), Some(Data::Gauge(gauge)), Some(Data::Histogram(histogram))] =
            [0, 1, 2].map(|number: usize| metrics[number].data.clone())
        else {
            panic!("{metrics:?}");
        };
        assert!(sum.is_monotonic && sum.data_points[0].value == Some(number_data_point::Value::AsInt(7)));
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(0.5)));
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.time_unix_nano), (4, Some(20.111), 1_000_000_000_000));
        assert_eq!(point.bucket_counts, [1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    }
}
