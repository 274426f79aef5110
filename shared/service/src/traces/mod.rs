//! OpenTelemetry traces: what was done for a message, from a provider's request to the request to the next
//! provider, in spans with one trace id. Traces are off unless the standard `OTEL_*` variables say where to
//! send them (`environment`). `span` makes the spans, by the conventions for HTTP and for messaging, and
//! `export` sends them in the background and within limits.
//!
//! No span holds an identity, a text, a secret, or a URL's path and query: attributes are names of the
//! configuration, ids, numbers of attempts, and labels from closed sets.
//!
//! The ingress holds a [`RequestSpan`] for each request that it accepts, the dispatcher begins the span of
//! each delivery in `screen`, and [`Scope::sends`] makes the spans of published messages, whose headers
//! carry the trace across the broker. `Backend::send_within` gives connectors the scope in which they make
//! spans of their requests. The address for a delivery report carries the trace, too (`~` and a
//! `traceparent` at its end): a message's trace is stored nowhere, and without a message log nothing is
//! looked up. The price is a longer address while traces are on. The span of a message is a child of the
//! span that sent it, not only linked to it, so that one trace shows the whole way.

mod environment;
mod export;
mod request;
mod span;

pub use request::{Began, RequestSpan};
pub use span::{Scope, Sends, TraceSpan};

use crate::metrics::Metrics;
use environment::Environment;
use export::Counts;
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanContext, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SdkTracer, SdkTracerProvider},
};
use std::{fmt, sync::Arc, time::Duration};

/// How long exporting the last spans may take at the end of a drain.
const FLUSH: Duration = Duration::from_secs(3);

/// Makes spans, or nothing if traces are off. Clones share it.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    /// `messaging.system`.
    system: &'static str,
    /// Whether others' traces are continued, and ours passed on, over HTTP (`OTEL_PROPAGATORS`).
    propagates: bool,
}

/// The broker that messages go through, for `messaging.system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracedBroker {
    /// RabbitMQ.
    RabbitMq,
    /// The embedded broker.
    Embedded,
}

/// Why there can be no traces although the variables ask for them.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A variable asks for something that cannot be done. The text says which one, and what to set.
    #[error("{0}")]
    Variable(String),
    /// The metric of the spans is declared already.
    #[error(transparent)]
    Metric(#[from] prometheus::Error),
}

impl Traces {
    /// No traces.
    pub fn off() -> Self {
        Self::default()
    }

    /// Starts traces as the process's `OTEL_*` variables say, for the program `name` in the version
    /// `version`, whose messages go through `broker`. Logs what the variables ask for and Postern does not
    /// do. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`TracesError`]
    pub fn start(
        (name, version): (&'static str, &'static str),
        broker: TracedBroker,
        metrics: &Metrics,
    ) -> Result<Self, TracesError> {
        let Environment { exporting, remarks } = Environment::of_process().map_err(TracesError::Variable)?;
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        let Some(exporting) = exporting else { return Ok(Self::off()) };
        let counts = Counts::declare(metrics)?;
        let processor = export::processor(&exporting, counts).map_err(TracesError::Variable)?;
        let provider = SdkTracerProvider::builder().with_resource(resource(name, version));
        let provider = provider.with_span_processor(processor);
        let (endpoint, propagates) = (exporting.shown_endpoint(), exporting.propagates);
        tracing::info!(endpoint, "traces are exported");
        let system = match broker {
            TracedBroker::RabbitMq => "rabbitmq",
            TracedBroker::Embedded => "postern",
        };
        let provider = provider.build();
        let tracer = provider.tracer("postern");
        Ok(Self(Some(Arc::new(Tracing { tracer, provider, system, propagates }))))
    }

    /// Checks this process's `OTEL_*` variables, and returns what [`start`](Self::start) would log about them.
    ///
    /// # Errors
    /// Why [`start`](Self::start) would fail.
    pub fn check() -> Result<Vec<String>, String> {
        Ok(Environment::of_process()?.remarks)
    }

    /// Whether spans are made.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Exports what is left, for at most three seconds. No spans are made after that.
    pub async fn close(&self) {
        let Some(tracing) = self.0.clone() else { return };
        // This blocks until the thread that exports has ended.
        let closing = tokio::task::spawn_blocking(move || tracing.provider.shutdown_with_timeout(FLUSH));
        if !matches!(closing.await, Ok(Ok(()))) {
            let seconds = FLUSH.as_secs();
            tracing::warn!(seconds, "some spans could not be exported before the program ended");
        }
    }
}

impl Tracing {
    /// Begins the span that `builder` describes, below `parent`; without a parent, it begins a trace.
    fn begin(self: &Arc<Self>, builder: SpanBuilder, parent: Option<&SpanContext>) -> TraceSpan {
        let context = Context::new();
        let context = match parent {
            Some(parent) => context.with_remote_span_context(parent.clone()),
            None => context,
        };
        TraceSpan::new(self.tracer.build_with_context(builder, &context), self)
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("on", &self.is_on()).finish()
    }
}

/// What every span says about its process. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` come last,
/// and take precedence.
fn resource(name: &'static str, version: &'static str) -> Resource {
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", name),
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match environment::of_process("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name),
        None => resource,
    }
    .build()
}

#[cfg(test)]
mod tests;
