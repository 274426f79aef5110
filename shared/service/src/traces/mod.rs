//! OpenTelemetry traces: what was done for a message, from a provider's request to the next provider's, in
//! spans that have one trace id. Off unless the standard `OTEL_*` variables say where to send them
//! (`environment`); then `span` makes them, by the conventions for HTTP and for messaging, and `export`
//! sends them, beside the work and within bounds.
//!
//! No span holds an identity, a text, a secret, or a URL's path and query: attributes are names of the
//! configuration, ids, numbers of attempts, and labels from closed sets.
//!
//! The ingress holds a [`RequestSpan`] for each request that is taken, the dispatcher begins the span of
//! each delivery in `screen`, and [`Scope::sends`] makes those of what is published, whose headers carry
//! the trace across the broker. `Backend::send_within` gives connectors the place below which they make
//! spans of their requests. A delivery report's address carries the trace too (`~` and a `traceparent` at
//! its end): a message's trace is stored nowhere, and without a message log nothing is looked up. The
//! price is a longer address while traces are on. A span is below the one that sent its message, not only
//! linked to it, so that one trace shows the whole way.

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

/// How long what is not exported yet may take at the end of a drain.
const FLUSH: Duration = Duration::from_secs(3);

/// Makes spans, or nothing if traces are off. Clones share it.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    /// `messaging.system`.
    system: &'static str,
    /// Whether traces are taken over from others and passed on to them over HTTP (`OTEL_PROPAGATORS`).
    propagates: bool,
}

/// The broker that messages go through, for `messaging.system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracedBroker {
    /// RabbitMQ.
    RabbitMq,
    /// Postern's own.
    Embedded,
}

/// Why there can be no traces although they are asked for.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A variable says something that cannot be done: which, and what to set.
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

    /// Traces as the process's `OTEL_*` variables say, of the program `name` with the version `version`, whose
    /// messages go through `broker`. What of them is not done as asked is said in the log. Within a Tokio
    /// runtime.
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

    /// What [`start`](Self::start) would say of this process's `OTEL_*` variables: remarks, where they are not
    /// taken as they stand.
    ///
    /// # Errors
    /// Why nothing would start.
    pub fn check() -> Result<Vec<String>, String> {
        Ok(Environment::of_process()?.remarks)
    }

    /// Whether spans are made.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Exports what is left, for at most three seconds, and makes no more spans.
    pub async fn close(&self) {
        let Some(tracing) = self.0.clone() else { return };
        // It waits for the thread that exports.
        let closing = tokio::task::spawn_blocking(move || tracing.provider.shutdown_with_timeout(FLUSH));
        if !matches!(closing.await, Ok(Ok(()))) {
            tracing::warn!(?FLUSH, "some spans could not be exported before the program ended");
        }
    }
}

impl Tracing {
    /// Begins the span that `builder` describes, below `parent`; without one it begins a trace.
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

/// What every span says of its process. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` come
/// last, and win.
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
