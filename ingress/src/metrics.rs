//! The metrics of the ingress, for Prometheus. Every label comes from a closed set: backends, reasons,
//! methods, statuses; never an identity, a text or an id.

use crate::refusal_reason::RefusalReason;
use actix_web::http::Method;
use postern_service::metrics::{Metrics, PublishMetrics, ReportMetrics, SECONDS};
use postern_shared::message::BackendName;
use prometheus::{Error, HistogramVec, IntCounterVec};

/// The metrics of the ingress. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct IngressMetrics {
    /// The metrics of publishing, which all parts of a process share.
    pub(crate) publish: PublishMetrics,
    /// The metrics of delivery reports.
    pub(crate) reports: ReportMetrics,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    duplicates: IntCounterVec,
    ignored: IntCounterVec,
    replaced: IntCounterVec,
    invalid_items: IntCounterVec,
    refused: IntCounterVec,
    /// The metrics of look-ups in the message log.
    pub(crate) lookups: LookupMetrics,
}

/// What a look-up asks the message log for while a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lookup {
    /// The message of a delivery report.
    Report,
    /// The first answer to a submission under a client's own id.
    Submission,
}

impl Lookup {
    /// All kinds of look-ups.
    pub(crate) const ALL: [Self; 2] = [Self::Report, Self::Submission];

    /// The name in metrics and log lines.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Submission => "submission",
        }
    }
}

/// The count of look-ups that the message log did not answer. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LookupMetrics(IntCounterVec);

impl LookupMetrics {
    fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let failures = metrics.counter(
            "ingress_log_lookup_failures_total",
            "Look-ups that the message log did not answer, or that were skipped because it had just failed: \
             the report or the submission was accepted without it",
            &["lookup"],
        )?;
        for lookup in Lookup::ALL {
            failures.with_label_values(&[lookup.as_str()]);
        }
        Ok(Self(failures))
    }

    /// Counts a look-up that failed or was skipped.
    pub(crate) fn failed(&self, lookup: Lookup) {
        self.0.with_label_values(&[lookup.as_str()]).inc();
    }
}

impl IngressMetrics {
    /// Declares the ingress's metrics on `metrics`.
    ///
    /// # Errors
    /// Another ingress of this process has declared them already.
    pub(crate) fn declare(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            lookups: LookupMetrics::declare(metrics)?,
            publish: metrics.publish().clone(),
            reports: metrics.reports().clone(),
            requests: metrics.counter(
                "ingress_requests_total",
                "Requests on the public port; backend is set only for a configured backend, compat only for \
                 a compatibility listener",
                &["backend", "compat", "method", "status"],
            )?,
            request_duration: metrics.histogram(
                "ingress_request_duration_seconds",
                "Time from a request's first byte to its answer, without the time that the client asked to \
                 wait (wait=)",
                &["backend"],
                &SECONDS,
            )?,
            duplicates: metrics.counter(
                "ingress_duplicates_total",
                "Repeated messages: accepted, but not queued again",
                &["backend"],
            )?,
            ignored: metrics.counter(
                "ingress_ignored_total",
                "Provider requests that were accepted with nothing to store: an empty list, or neither \
                 message nor report (receive.ignore)",
                &["backend"],
            )?,
            replaced: metrics.counter(
                "ingress_replaced_total",
                "Inbound messages with U+FFFD in place of bytes that are not valid in the charset: set \
                 receive.charset to the provider's charset",
                &["backend"],
            )?,
            invalid_items: metrics.counter(
                "ingress_invalid_items_total",
                "Invalid items of provider requests (receive.each, status.each) that were not stored, while \
                 other items of the request were: see invalid and fields in the log line",
                &["backend"],
            )?,
            refused: metrics.counter(
                "ingress_refused_total",
                "Requests on the public port that were refused, by reason; backend is empty for the API and if it is \
                 not known",
                &["backend", "reason"],
            )?,
        })
    }

    /// Counts a request on the public port. `backend` is `None` if the request names no configured backend;
    /// `compat` is the compatibility listener that answered it, else empty.
    pub(crate) fn request(
        &self,
        backend: Option<&BackendName>,
        compat: &'static str,
        (method, status): (&'static str, u16),
        seconds: f64,
    ) {
        let backend = backend.map_or("", BackendName::as_str);
        self.requests.with_label_values(&[backend, compat, method, &status.to_string()]).inc();
        self.request_duration.with_label_values(&[backend]).observe(seconds);
    }

    /// Makes the counters of `backend` appear from the start.
    pub(crate) fn declare_backend(&self, backend: &BackendName) {
        self.duplicates.with_label_values(&[backend.as_str()]);
        self.ignored.with_label_values(&[backend.as_str()]);
        self.replaced.with_label_values(&[backend.as_str()]);
        self.invalid_items.with_label_values(&[backend.as_str()]);
    }

    /// Counts a request of `backend`'s provider that was accepted although it brought nothing to store.
    pub(crate) fn ignored(&self, backend: &BackendName) {
        self.ignored.with_label_values(&[backend.as_str()]).inc();
    }

    /// Counts `messages` of `backend`'s provider that have U+FFFD in their text.
    pub(crate) fn replaced(&self, backend: &BackendName, messages: usize) {
        self.replaced.with_label_values(&[backend.as_str()]).inc_by(messages as u64);
    }

    /// Counts `items` of a request of `backend`'s provider that were invalid and not stored.
    pub(crate) fn invalid_items(&self, backend: &BackendName, items: usize) {
        self.invalid_items.with_label_values(&[backend.as_str()]).inc_by(items as u64);
    }

    /// Counts a message that `backend`'s provider or a client repeated, and that was not queued again.
    pub(crate) fn duplicate(&self, backend: &BackendName) {
        self.duplicates.with_label_values(&[backend.as_str()]).inc();
    }

    /// Makes the refusals of `backend`, or of the API and the compatibility listeners, appear from the
    /// start.
    pub(crate) fn declare_refused(&self, backend: Option<&BackendName>, reasons: &[RefusalReason]) {
        let backend = backend.map_or("", BackendName::as_str);
        for reason in reasons {
            self.refused.with_label_values(&[backend, reason.as_str()]);
        }
    }

    /// Counts a request that was refused. `backend` is `None` for the API, and if the request names no
    /// configured backend.
    pub(crate) fn refused(&self, backend: Option<&BackendName>, reason: RefusalReason) {
        let backend = backend.map_or("", BackendName::as_str);
        self.refused.with_label_values(&[backend, reason.as_str()]).inc();
    }
}

/// The label of a request's method, one of a closed set: anyone can make up methods.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
