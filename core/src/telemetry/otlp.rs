//! What traces and metrics have in common on their way to a collector.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use url::Url;

use crate::token::random;

/// Longest time for handing one batch over.
pub(super) const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// Who sends: the program, its release, and which of the processes that run it.
pub(super) fn resource(process_name: &str) -> Resource {
    Resource::builder_empty()
        .with_service_name(format!("doorbook-{process_name}"))
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance()),
        ])
        .build()
}

/// Another one at each start: the numbers of two processes must not be taken for those of one. Source: OpenTelemetry's semantic
/// conventions, service attributes.
fn instance() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| uuid::Builder::from_random_bytes(random()).into_uuid().to_string()).clone()
}

/// Where a kind of telemetry goes. Source: OTLP specification, "OTLP/HTTP request".
pub(super) fn address(endpoint: &Url, kind: &str) -> String {
    format!("{}/v1/{kind}", endpoint.as_str().trim_end_matches('/'))
}
