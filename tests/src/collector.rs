//! An OpenTelemetry collector: it accepts spans as OTLP over HTTP, and records them.

use crate::{
    program::Launch,
    provider::{Answer, Provider},
    wait::eventually,
    wire::Request,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as ProtoSpan, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use std::collections::BTreeMap;

/// The path at which OTLP/HTTP accepts spans.
const TRACES: &str = "/v1/traces";

/// A span that has arrived.
#[derive(Debug, Clone)]
pub struct Span {
    /// The trace's id: 32 hexadecimal digits.
    pub trace: String,
    /// The span's id: 16 hexadecimal digits.
    pub id: String,
    /// The parent's id; empty for the first span of a trace.
    pub parent: String,
    /// The `tracestate` header's value.
    pub state: String,
    /// `SERVER`, `PRODUCER` and so on.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The attributes: texts, and integers in decimal.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of its process.
    pub resource: BTreeMap<String, String>,
    /// The trace and the span of each link.
    pub links: Vec<(String, String)>,
    /// Whether its status says that it failed. The status must never contain a description.
    pub failed: bool,
    /// When it began and ended, in nanoseconds since 1970.
    pub time: (u64, u64),
}

impl Span {
    /// The attribute `name`; empty if it has none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// The collector. Dropping it stops it, as with a [`Provider`].
#[derive(Debug)]
pub struct Collector(Provider);

impl Collector {
    /// Starts one on a free port that accepts everything.
    pub async fn start() -> Self {
        Self(Provider::obliging().await)
    }

    /// Starts one that gives `answer` to every request.
    pub async fn answering(answer: Answer) -> Self {
        let provider = Provider::start().await;
        provider.otherwise(move |_| answer.clone());
        Self(provider)
    }

    /// Returns `launch` with the variables that send its spans here soon after they end.
    #[must_use]
    pub fn takes(&self, launch: Launch) -> Launch {
        launch
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.0.url(""))
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hush-key")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.0.requests()
    }

    /// The spans that have arrived.
    ///
    /// # Panics
    /// If a request is not an OTLP one.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests();
        for request in &requests {
            let about = (request.method.as_str(), request.path.as_str(), request.header("content-type"));
            assert_eq!(about, ("POST", TRACES, Some("application/x-protobuf")));
            assert_eq!(request.header("x-api-key"), Some("hush-key"));
        }
        requests.iter().flat_map(|request| decoded(&request.body)).collect()
    }

    /// Waits until `enough` accepts the spans that have arrived, and returns them.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        eventually(what, async || {
            let spans = self.spans();
            let names = || spans.iter().map(|span| &*span.name).collect::<Vec<_>>().join(", ");
            if enough(&spans) { Ok(spans) } else { Err(names()) }
        })
        .await
    }
}

fn decoded(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    let mut spans = Vec::new();
    for of_process in request.resource_spans {
        let resource = attributes(&of_process.resource.expect("a resource").attributes);
        let scopes = of_process.scope_spans.into_iter();
        spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| read(span, &resource)));
    }
    spans
}

fn read(span: ProtoSpan, resource: &BTreeMap<String, String>) -> Span {
    let status = span.status.clone().unwrap_or_default();
    assert_eq!(status.message, "", "a status says nothing in words");
    let kind = match span.kind() {
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
        SpanKind::Internal | SpanKind::Unspecified => "other",
    };
    Span {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        kind,
        name: span.name,
        attributes: attributes(&span.attributes),
        resource: resource.clone(),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: status.code() == StatusCode::Error,
        time: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", pair.key),
    };
    list.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
