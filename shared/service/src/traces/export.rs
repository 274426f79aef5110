//! Sends spans: a bounded queue, the library's thread that makes batches from it, and an HTTP client of our
//! own. Nothing waits for the receiver, even if it is gone: spans that do not fit are dropped and counted.
//!
//! The exporter's thread is the library's, but its HTTP client is ours: the library's async clients do not
//! work on that thread, and its blocking one brings a second runtime.

use super::environment::Exporting;
use crate::metrics::Metrics;
use async_trait::async_trait;
use opentelemetry::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use prometheus::{IntCounter, IntCounterVec};
use reqwest::{Client, redirect::Policy};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// The least time between two log lines about spans that are lost.
const SAYS: Duration = Duration::from_secs(60);
/// How long an unused connection is kept: less than receivers keep it. A batch that is written to a connection which
/// is just being closed is lost.
const IDLE: Duration = Duration::from_millis(1500);
/// The most bytes of a receiver's answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Why the last request that failed had no answer; the library only says "network error".
type LastProblem = Arc<Mutex<Option<String>>>;

/// Counts what happens to spans.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    exported: IntCounter,
    /// Spans for which there was no room.
    dropped: IntCounter,
    /// Spans that the receiver did not accept.
    failed: IntCounter,
}

impl Counts {
    /// Declares the counters on `metrics`.
    ///
    /// # Errors
    /// The metric is declared already.
    pub(super) fn declare(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let help = "Spans by outcome: exported, dropped (too many waited), failed (not accepted)";
        let spans: IntCounterVec = metrics.counter("trace_spans_total", help, &["outcome"])?;
        let [exported, dropped, failed] =
            ["exported", "dropped", "failed"].map(|outcome| spans.with_label_values(&[outcome]));
        Ok(Self { exported, dropped, failed })
    }
}

/// The processor that takes ended spans, and exports them as `exporting` says. Must be called within a
/// Tokio runtime.
///
/// # Errors
/// What is wrong with the variables.
pub(super) fn processor(exporting: &Exporting, counts: Counts) -> Result<impl SpanProcessor + use<>, String> {
    let unreached = Arc::new(Mutex::default());
    let client = ExportClient::new(exporting.timeout, Arc::clone(&unreached))?;
    // The library reads the address, the headers and the compression itself.
    let exporter = OtlpExporter::builder().with_http().with_http_client(client);
    let exporter = exporter.with_timeout(exporting.timeout).build();
    let exporter = exporter.map_err(|error| format!("OTEL_EXPORTER_OTLP_…: {error}"))?;
    let queued = Arc::new(AtomicUsize::new(0));
    let exporter = CountedExporter {
        exporter,
        queued: Arc::clone(&queued),
        counts: counts.clone(),
        unreached,
        said: Mutex::new(None),
    };
    let next = BatchSpanProcessor::builder(exporter).build();
    Ok(BoundedProcessor { next, queued, max: exporting.max_queued, dropped: counts.dropped })
}

/// Drops and counts the spans above the limit before the library's processor does, which does not report how
/// many it drops.
#[derive(Debug)]
struct BoundedProcessor {
    next: BatchSpanProcessor,
    /// How many spans wait.
    queued: Arc<AtomicUsize>,
    max: usize,
    dropped: IntCounter,
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queued.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
            return;
        }
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Counts spans that are exported and spans that are lost, and logs lost ones from time to time.
#[derive(Debug)]
struct CountedExporter {
    exporter: OtlpExporter,
    queued: Arc<AtomicUsize>,
    counts: Counts,
    unreached: LastProblem,
    /// When it was last logged that spans are lost. `None` while none are.
    said: Mutex<Option<Instant>>,
}

impl SpanExporter for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.queued.fetch_sub(spans, Ordering::Relaxed);
        let exported = self.exporter.export(batch).await;
        let counted = if exported.is_ok() { &self.counts.exported } else { &self.counts.failed };
        counted.inc_by(spans as u64);
        let unreached = self.unreached.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.say(exported.as_ref().err().map(|error| unreached.unwrap_or_else(|| error.to_string())));
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl CountedExporter {
    fn say(&self, error: Option<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            None if said.take().is_some() => tracing::info!("traces are exported again"),
            None => {}
            Some(error) if said.is_none_or(|said| said.elapsed() >= SAYS) => {
                *said = Some(Instant::now());
                let (failed, dropped) = (self.counts.failed.get(), self.counts.dropped.get());
                tracing::warn!(
                    error,
                    failed,
                    dropped,
                    "spans cannot be exported and are lost; messages are not affected"
                );
            }
            Some(_) => {}
        }
    }
}

/// The HTTP client of the exporter. It runs on the process's runtime, since the library's thread has none.
#[derive(Debug)]
struct ExportClient {
    client: Client,
    runtime: Handle,
    unreached: LastProblem,
}

impl ExportClient {
    fn new(timeout: Duration, unreached: LastProblem) -> Result<Self, String> {
        // Fails if another part of the process has installed a provider, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "follows no redirect and no proxy; where the operator sends traces"
        )]
        let builder = Client::builder().redirect(Policy::none()).no_proxy().timeout(timeout);
        let client = builder.pool_idle_timeout(IDLE).build();
        let client = client.map_err(|error| format!("traces: the HTTP client cannot be created: {error}"))?;
        Ok(Self { client, runtime: Handle::current(), unreached })
    }
}

#[async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        // All of it must run there: even the beginning of a request needs the runtime's clock.
        let answered = async move { read(client.execute(request).await?).await };
        let answered = self.runtime.spawn(answered).await?;
        answered.map_err(|error| {
            let why = innermost(&error);
            *self.unreached.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            error.without_url().into()
        })
    }
}

/// The answer, with the beginning of its body, which says what is wrong with spans that were accepted.
async fn read(mut answer: reqwest::Response) -> Result<Response<Bytes>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    response.headers_mut().clone_from(answer.headers());
    Ok(response)
}

/// The innermost cause of an error, without the address: "Connection refused".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
