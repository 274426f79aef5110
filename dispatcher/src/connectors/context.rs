//! What a connector is started with.

use crate::publish::Publisher;
use postern_broker::{Address, BrokerError, Envelope};
use postern_service::{
    health::HealthReporter,
    metrics::{Metrics, ReportMetrics},
};
use postern_shared::message::{BackendName, Inbound, Report};
use tokio_util::sync::CancellationToken;

/// What a connector is started with. Clones are of the same backend.
#[derive(Debug, Clone)]
pub struct ConnectorContext {
    /// The backend's name.
    pub backend: BackendName,
    /// Publishes what the connector receives.
    pub publisher: ReceivedPublisher,
    /// Notes whether the connector is connected to its provider. Until it says otherwise, it counts as
    /// connected.
    pub health: HealthReporter,
    /// The process's metrics; [`declare`](Metrics::declare) adds the connector's own.
    pub metrics: Metrics,
    /// Cancelled when the backend begins to drain. From then on the connector should receive nothing
    /// more; it is still asked to send what was taken before, and then to stop.
    pub shutdown: CancellationToken,
}

/// Publishes what a connector receives from its provider.
#[derive(Debug, Clone)]
pub struct ReceivedPublisher {
    pub(crate) publisher: Publisher,
    pub(crate) reports: ReportMetrics,
}

impl ReceivedPublisher {
    /// Publishes a message that a person sent in. Once this returns `Ok`, the broker has stored it; only
    /// then may the provider be told that it was accepted.
    ///
    /// # Errors
    /// The broker did not store it: the provider should send it again.
    pub async fn inbound(&self, message: &Inbound) -> Result<(), BrokerError> {
        let address = Address::Inbound(message.backend.clone());
        self.publisher.publish_once(vec![(address, Envelope::from(message))]).await
    }

    /// Publishes a delivery report, as [`inbound`](Self::inbound) publishes a message.
    ///
    /// # Errors
    /// The broker did not store it: the provider should send it again.
    pub async fn report(&self, report: &Report) -> Result<(), BrokerError> {
        let address = Address::Reports(report.backend.clone());
        self.publisher.publish_once(vec![(address, Envelope::from(report))]).await?;
        self.reports.count(report);
        Ok(())
    }
}
