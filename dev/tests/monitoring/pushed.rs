//! Numbers that are pushed to a collector: what a scrape would have read, and nothing personal with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use prost::Message as _;

use crate::common::*;
use crate::receiver::Receiver;

/// The last page of the service, by name.
fn page(receiver: &Receiver, service: &str) -> BTreeMap<String, Metric> {
    let mut page = BTreeMap::new();
    for body in receiver.bodies("/v1/metrics") {
        let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
        let [resource] = request.resource_metrics.as_slice() else { panic!("{request:?}") };
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert!(attributes.iter().any(|attribute| attribute.key == "service.instance.id"), "{attributes:?}");
        if format!("{attributes:?}").contains(service) {
            let metrics = resource.scope_metrics[0].metrics.iter().cloned();
            page = metrics.map(|metric| (metric.name.clone(), metric)).collect();
        }
    }
    page
}

/// The value of the one sample with these labels.
fn value(metric: &Metric, labels: &[&str]) -> Option<f64> {
    let points: Vec<NumberDataPoint> = match metric.data.clone()? {
        Data::Sum(sum) => sum.data_points,
        Data::Gauge(gauge) => gauge.data_points,
        other => panic!("{other:?}"),
    };
    let wanted = |point: &&NumberDataPoint| {
        let text = format!("{:?}", point.attributes);
        point.attributes.len() == labels.len() && labels.iter().all(|label| text.contains(&format!("{label:?}")))
    };
    points.iter().find(wanted).map(|point| match point.value.unwrap() {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => f64::from(i32::try_from(value).unwrap_or(i32::MAX)),
    })
}

/// Names of families as a scrape has them.
fn families(samples: &BTreeMap<String, f64>) -> BTreeSet<String> {
    let name = |sample: &String| sample.split('{').next().unwrap().to_owned();
    let histogram = "doorbook_http_request_duration_seconds";
    samples.keys().map(name).map(|name| if name.starts_with(histogram) { histogram.to_owned() } else { name }).collect()
}

/// Breaks when `core/src/telemetry/metrics/push.rs`: `count: histogram.count,` → `count: above,`.
#[tokio::test]
async fn a_collector_gets_the_numbers_that_a_scrape_reads_up_to_the_end_of_the_process() {
    let receiver = Receiver::start().await;
    let mut house = house(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.base)]).await;
    let email = house.registered().await;
    for (password, status) in [(PASSWORD, 200), ("wrong 1", 401), ("wrong 2", 401)] {
        assert_eq!(house.login(&email, password).await.status, status);
    }
    assert!(!house.mailed(&email, "dbv_").await.is_empty());
    let sent = "doorbook_worker_mails_total";
    until("the mail is counted", async || {
        scrape(&house.worker_ops).await[&format!("{sent}{{outcome=\"sent\"}}")] >= 1.0
    })
    .await;
    let read = [("doorbook-api", scrape(&house.api_ops).await), ("doorbook-worker", scrape(&house.worker_ops).await)];
    let worker = house.stand.worker.as_mut().unwrap();
    for program in [&mut house.stand.api, worker] {
        program.terminate().unwrap();
        assert!(program.ended(Duration::from_secs(10)).await.unwrap().success());
    }
    for (service, samples) in &read {
        let pushed: BTreeSet<String> = page(&receiver, service).into_keys().collect();
        assert_eq!(pushed, families(samples), "{service}");
    }
    let (api, worker) = (page(&receiver, "doorbook-api"), page(&receiver, "doorbook-worker"));
    assert_eq!(value(&api["doorbook_logins_total"], &["success"]), Some(1.0));
    assert_eq!(value(&api["doorbook_logins_total"], &["failed"]), Some(2.0));
    assert_eq!(value(&api["doorbook_http_requests_total"], &["/api/auth/login/", "POST", "401"]), Some(2.0));
    assert_eq!(value(&api["doorbook_db_connections_max"], &[]), Some(16.0));
    assert_eq!(value(&worker[sent], &["sent"]), Some(1.0));
    let Some(Data::Histogram(durations)) = &api["doorbook_http_request_duration_seconds"].data else { panic!() };
    let login = |text: String| text.contains("\"/api/auth/login/\"");
    let logins = durations.data_points.iter().find(|point| login(format!("{:?}", point.attributes))).unwrap();
    assert_eq!((logins.count, logins.bucket_counts.iter().sum::<u64>()), (3, 3), "{logins:?}");
    let all = format!("{api:?}{worker:?}");
    for canary in [email.as_str(), "@example.com", PASSWORD, "10.0."] {
        assert!(!all.contains(canary), "{canary}");
    }
}
