//! The metric of delivery reports, which the ingress and connectors receive.

use postern_shared::message::{BackendName, Report, State};
use prometheus::{Error, IntCounterVec, Opts, Registry};

/// How many recipients providers reported on, by backend and state. Clones share it.
#[derive(Debug, Clone)]
pub struct ReportMetrics(IntCounterVec);

impl ReportMetrics {
    pub(super) fn declare(registry: &Registry) -> Result<Self, Error> {
        let help = "Recipients in providers' delivery reports, by state";
        let counter = IntCounterVec::new(Opts::new("reports_total", help), &["backend", "state"])?;
        super::declare(registry, counter).map(Self)
    }

    /// Makes the counters of `backend` appear from the start, for the states that a provider can report.
    pub fn declare_backend(&self, backend: &BackendName) {
        use State::{Buffered, Delivered, Expired, Failed, Sent, Undelivered, Unknown};
        for state in [Buffered, Delivered, Expired, Failed, Sent, Undelivered, Unknown] {
            self.0.with_label_values(&[backend.as_str(), state.as_str()]);
        }
    }

    /// Counts the recipients of a delivery report that is stored.
    pub fn count(&self, report: &Report) {
        for recipient in &report.recipients {
            self.0.with_label_values(&[report.backend.as_str(), recipient.state.as_str()]).inc();
        }
    }
}
