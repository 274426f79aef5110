//! The part of the dispatcher that serves one backend: its connector is started, its messages are
//! sent, its connector is stopped.

use crate::{
    attempt::Sending,
    connectors::{self, Connector, ConnectorContext, ReceivedPublisher},
    consume::Queues,
    deliver::BackendWorker,
    drain::Drain,
    flow::PacedSender,
    part::{Shared, WorkerPart},
    retry::Schedule,
    settle::Settling,
};
use postern_broker::BrokerError;
use postern_config::backend::BackendConfig;
use postern_service::Monitoring;
use postern_shared::message::BackendName;
use std::sync::Arc;

/// One backend, ready to be served.
pub(crate) struct BackendPart {
    pub(crate) backend: Arc<BackendConfig>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) queues: Queues,
    pub(crate) schedule: Schedule,
    pub(crate) settling: Settling,
    pub(crate) monitoring: Monitoring,
}

impl BackendPart {
    /// The backend's name.
    pub(crate) fn name(&self) -> &BackendName {
        &self.backend.name
    }

    /// Serves the backend until the drain ends it. Until its connector has started, its messages wait
    /// in their queues.
    ///
    /// # Errors
    /// The broker was closed.
    pub(crate) async fn run(self, shared: Shared, drain: Drain) -> Result<(), BrokerError> {
        let context = self.context(&drain);
        let Some(sender) = connectors::start(&self.connector, &context).await else { return Ok(()) };
        let Self { backend, queues, schedule, settling, .. } = self;
        let sending = Sending {
            backend: Arc::clone(&backend),
            sender: PacedSender::new(&backend, sender.clone(), settling.metrics.clone()),
            schedule,
        };
        let worker = Arc::new(BackendWorker::new(sending, settling));
        let part = WorkerPart { name: backend.name.to_string(), worker, queues };
        let ended = part.run(shared, drain.clone()).await;
        // Where the broker was closed, the drain has not begun.
        context.shutdown.cancel();
        connectors::stop(&*sender, &context, drain.deadline()).await;
        ended
    }

    fn context(&self, drain: &Drain) -> ConnectorContext {
        ConnectorContext {
            backend: self.backend.name.clone(),
            publisher: ReceivedPublisher(self.settling.publisher.clone()),
            health: self.monitoring.health.reporter(&self.backend.name),
            metrics: self.monitoring.metrics.clone(),
            shutdown: drain.token(),
        }
    }
}
