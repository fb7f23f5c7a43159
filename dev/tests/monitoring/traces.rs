//! Traces reach a collector, one for the request and what it caused, and nothing personal with them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

use crate::common::*;
use crate::receiver::Receiver;

/// Spans by the service that sent them.
fn spans(receiver: &Receiver) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for body in receiver.bodies("/v1/traces") {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
            let name = format!("{:?}", name.value.unwrap());
            for scope in resource.scope_spans {
                spans.extend(scope.spans.into_iter().map(|span| (name.clone(), span)));
            }
        }
    }
    spans
}

fn find<'a>(spans: &'a [(String, Span)], service: &str, name: &str, trace: &str) -> Option<&'a Span> {
    let hex = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).unwrap().simple().to_string();
    let found =
        spans.iter().find(|(of, span)| of.contains(service) && span.name == name && hex(&span.trace_id) == trace);
    found.map(|(_, span)| span)
}

/// The mails whose spans stand below that of the request.
fn below<'a>(spans: &'a [(String, Span)], request: &str, trace: &str) -> Vec<&'a Span> {
    let Some(request) = find(spans, "doorbook-api", request, trace) else { return Vec::new() };
    let is_below = |span: &Span| span.name == "job mail" && span.parent_span_id == request.span_id;
    spans.iter().filter(|(_, span)| is_below(span) && span.trace_id == request.trace_id).map(|(_, span)| span).collect()
}

/// Breaks when `worker/src/runner.rs`: `traces::join(&span, *trace.as_bytes(), job.span_id.map(i64::cast_unsigned));` → `traces::join(&span, *trace.as_bytes(), None);`.
#[tokio::test]
async fn a_mail_stands_below_the_request_that_caused_it_without_personal_data() {
    let receiver = Receiver::start().await;
    let house = house(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.base), ("LOG_LEVEL", "error")]).await;
    let email = someone();
    let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
    let (ours, theirs) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let caller = format!("00-{ours}-{theirs}-01");
    let headers = [("traceparent", caller.as_str()), ("User-Agent", "canary-agent")];
    let path = "/api/auth/register/?canary=query";
    let answer = house.client().send(reqwest::Method::POST, path, Some(body), &headers).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    let own = house.client().post("/api/auth/password/reset/", json!({ "email": email })).await.unwrap();
    let told = own.headers["traceparent"].to_str().unwrap().to_owned();
    let own = told.split('-').nth(1).unwrap().to_owned();
    // A newer link would make the first one's mail needless.
    house.mailed(&email, "dbp_").await;
    // A second request in the caller's trace: its mail is not the first one's.
    let again = json!({ "email": email });
    let headers = [("traceparent", caller.as_str())];
    let path = "/api/auth/password/reset/";
    house.client().send(reqwest::Method::POST, path, Some(again), &headers).await.unwrap();
    let (register, reset) = ("POST /api/auth/register/", "POST /api/auth/password/reset/");
    until("both traces have arrived", async || {
        let spans = spans(&receiver);
        let both = |name, trace: &str| {
            find(&spans, "doorbook-api", name, trace).is_some()
                && find(&spans, "doorbook-worker", "job mail", trace).is_some()
        };
        both(register, ours) && both(reset, &own) && below(&spans, reset, ours).len() == 1
    })
    .await;

    let spans = spans(&receiver);
    let child = find(&spans, "doorbook-api", register, ours).unwrap();
    assert_eq!(child.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert!(find(&spans, "doorbook-api", reset, &own).unwrap().parent_span_id.is_empty(), "the top of its trace");
    let attributes = |span: &Span| format!("{:?}", span.attributes);
    assert!(attributes(child).contains("IntValue(201)"), "{child:?}");
    for (request, trace) in [(register, ours), (reset, ours), (reset, own.as_str())] {
        let mails = below(&spans, request, trace);
        assert_eq!(mails.len(), 1, "{request} in {trace}: {spans:?}");
        assert!(attributes(mails[0]).contains("sent"), "{mails:?}");
    }
    let named = uuid::Uuid::from_slice(
        &[&[0; 8], find(&spans, "doorbook-api", reset, &own).unwrap().span_id.as_slice()].concat(),
    );
    assert_eq!(
        told.split('-').nth(2).unwrap(),
        &named.unwrap().simple().to_string()[16..],
        "the answer names the span"
    );
    let all = format!("{spans:?}");
    for canary in [email.as_str(), "@example.com", "canary", PASSWORD, "10.0."] {
        assert!(!all.contains(canary), "{canary}");
    }
    assert!(scrape(&house.api_ops).await["doorbook_trace_spans_total{outcome=\"sent\"}"] >= 2.0);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    // Nobody listens there.
    let house = house(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]).await;
    let email = house.registered().await;
    assert_eq!(house.login(&email, PASSWORD).await.status, 200);
    until("the lost spans are counted", async || {
        scrape(&house.api_ops).await["doorbook_trace_spans_total{outcome=\"lost\"}"] >= 2.0
    })
    .await;
    assert!(!house.mailed(&email, "dbv_").await.is_empty());
}
