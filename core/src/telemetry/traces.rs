//! Traces by OTLP. What leaves the process is decided at the one place where it does: only attributes of a fixed list, no events,
//! no text that a client chose. A collector that is away costs spans, which are counted, and nothing else.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, Value};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanEvents, SpanExporter, SpanLinks,
};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{Filtered, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::OWN_TARGETS;
use super::metrics::{SPANS_LOST, SPANS_SENT};
use super::otlp::{EXPORT_WITHIN, address, resource};

/// Spans that wait for the collector; more are dropped.
const QUEUE_MAX: usize = 2_048;
/// Pause between two batches.
const BATCH_EVERY: Duration = Duration::from_secs(2);
/// At the end of the process the collector gets this long for what still waits.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

pub const METHOD: &str = "http.request.method";
pub const ROUTE: &str = "http.route";
pub const STATUS: &str = "http.response.status_code";
pub const JOB: &str = "doorbook.job.kind";
pub const ATTEMPT: &str = "doorbook.job.attempt";
pub const OUTCOME: &str = "doorbook.job.outcome";

/// All attributes that may leave the process. None of them holds what a client chose.
const ATTRIBUTES: [&str; 6] = [METHOD, ROUTE, STATUS, JOB, ATTEMPT, OUTCOME];

/// Sends the spans of this process; kept until its end.
#[derive(Clone)]
pub(super) struct Traces(SdkTracerProvider);

#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("no HTTP client for traces: {0}")]
    Client(#[from] reqwest::Error),
    #[error("no exporter of traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    pub(super) fn start(endpoint: &Url, process_name: &'static str) -> Result<Self, TracesError> {
        let client = reqwest::blocking::Client::builder()
            .timeout(EXPORT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address(endpoint, "traces"))
            .with_timeout(EXPORT_WITHIN)
            .build()?;
        let config =
            BatchConfigBuilder::default().with_max_queue_size(QUEUE_MAX).with_scheduled_delay(BATCH_EVERY).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(Scrubbing(exporter)).with_batch_config(config).build())
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource(process_name))
            .build();
        Ok(Self(provider))
    }

    /// Records the spans of our own code, whatever level is logged; not those of probes, which are below info.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'l> LookupSpan<'l> + Send + Sync,
    {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("doorbook"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        let own = |metadata: &Metadata<'_>| {
            metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with(OWN_TARGETS)
        };
        let filtered: Filtered<_, _, S> = layer.with_filter(filter_fn(own));
        filtered
    }

    pub(super) fn flush(&self) {
        // What a collector does not take in time is lost; the counter has said so already.
        let _ = self.0.shutdown_with_timeout(FLUSH_WITHIN);
    }
}

/// Puts a span into the trace of this id: below the caller's span when there is one, else at its top.
pub fn join(span: &Span, trace_id: [u8; 16], parent: Option<u64>) {
    let Some(parent) = parent.map(|parent| SpanId::from_bytes(parent.to_be_bytes())).or_else(|| top(trace_id)) else {
        return;
    };
    let trace_id = TraceId::from_bytes(trace_id);
    let context = SpanContext::new(trace_id, parent, TraceFlags::SAMPLED, true, TraceState::NONE);
    // Without a collector there is nothing to join.
    let _ = span.set_parent(Context::new().with_remote_span_context(context));
}

/// The name under which a span reaches the collector; `None` without one. Join it before.
pub fn span_id(span: &Span) -> Option<u64> {
    let id = span.context().span().span_context().span_id();
    (id != SpanId::INVALID).then(|| u64::from_be_bytes(id.to_bytes()))
}

/// Sets one of the attributes of this file.
pub fn attribute(span: &Span, name: &'static str, value: impl Into<Value>) {
    span.set_attribute(name, value);
}

/// The name of a parent that does not exist: a span can be given a trace only by way of a parent.
fn top(trace_id: [u8; 16]) -> Option<SpanId> {
    let (half, _) = trace_id.split_first_chunk()?;
    let id = SpanId::from_bytes(*half);
    // All zeros name no span.
    (id != SpanId::INVALID).then_some(id)
}

#[derive(Debug)]
struct Scrubbing<E>(E);

impl<E: SpanExporter> SpanExporter for Scrubbing<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = u64::try_from(batch.len()).unwrap_or(0);
        let result = self.0.export(batch.into_iter().map(scrubbed).collect()).await;
        if result.is_ok() { &SPANS_SENT } else { &SPANS_LOST }.add(count);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn scrubbed(mut span: SpanData) -> SpanData {
    span.attributes.retain(|attribute| ATTRIBUTES.contains(&attribute.key.as_str()));
    span.events = SpanEvents::default();
    span.links = SpanLinks::default();
    if top(span.span_context.trace_id().to_bytes()) == Some(span.parent_span_id) {
        span.parent_span_id = SpanId::INVALID;
        span.parent_span_is_remote = false;
    }
    let text =
        |name: &str| span.attributes.iter().find(|attribute| attribute.key.as_str() == name).map(|a| a.value.as_str());
    let (kind, name) = match (text(METHOD), text(JOB)) {
        (Some(method), _) => {
            (SpanKind::Server, text(ROUTE).map_or_else(|| method.to_string(), |route| format!("{method} {route}")))
        }
        (None, Some(job)) => (SpanKind::Consumer, format!("job {job}")),
        (None, None) => (SpanKind::Internal, span.name.clone().into_owned()),
    };
    span.span_kind = kind;
    span.name = Cow::Owned(name);
    span
}
