//! The part of the dispatcher that serves one backend: its connector is started, its messages are
//! sent, its connector is stopped.

use crate::{
    attempt::Sending,
    connectors::{self, Connector, ConnectorContext, ReceivedPublisher},
    consume::Queues,
    deliver::BackendWorker,
    drain::Drain,
    flow::{FlowControl, PacedSender},
    part::{Shared, WorkerPart},
    retry::Schedule,
    settle::Settling,
};
use postern_broker::BrokerError;
use postern_config::backend::BackendConfig;
use postern_service::{Monitoring, control::Control, waiting::LanesTaken};
use postern_shared::message::BackendName;
use std::sync::Arc;

/// One backend, ready to be served.
pub(crate) struct BackendPart {
    pub(crate) backend: Arc<BackendConfig>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) queues: Queues,
    pub(crate) schedule: Schedule,
    pub(crate) settling: Settling,
    pub(crate) taken: LanesTaken,
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
        // What an operator paused before this process began is not sent by it either.
        tokio::select! {
            () = self.monitoring.control.until_read() => {}
            () = drain.started() => {}
        }
        let Self { backend, queues, schedule, settling, taken, monitoring, .. } = self;
        let sending = Sending {
            backend: Arc::clone(&backend),
            sender: PacedSender::new(&backend, sender.clone(), settling.metrics.clone()),
            schedule,
        };
        let worker = Arc::new(BackendWorker::new(sending, settling, taken));
        let flow = queues.flow.clone();
        let part = WorkerPart { name: backend.name.to_string(), worker, queues };
        let ended = tokio::select! {
            // First: a backend that is paused takes nothing.
            biased;
            never = follow_pauses(&monitoring.control, &backend.name, &flow) => never,
            ended = part.run(shared, drain.clone()) => ended,
        };
        // Where the broker was closed, the drain has not begun.
        context.shutdown.cancel();
        connectors::stop(&*sender, &context, drain.deadline()).await;
        ended
    }

    fn context(&self, drain: &Drain) -> ConnectorContext {
        ConnectorContext {
            backend: self.backend.name.clone(),
            publisher: ReceivedPublisher {
                publisher: self.settling.publisher.clone(),
                reports: self.monitoring.metrics.reports().clone(),
            },
            health: self.monitoring.health.reporter(&self.backend.name),
            metrics: self.monitoring.metrics.clone(),
            shutdown: drain.token(),
        }
    }
}

/// Holds `flow` whenever an operator's pause of `backend` holds.
async fn follow_pauses(control: &Control, backend: &BackendName, flow: &FlowControl) -> ! {
    let mut pause = control.state().pauses().get(backend).cloned();
    loop {
        match &pause {
            Some(_) => flow.hold(),
            None => flow.unhold(),
        }
        pause = control.pause_changes(backend, pause.as_ref()).await;
    }
}
