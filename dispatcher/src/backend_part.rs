//! The part of the dispatcher that serves one backend: it starts the connector, sends the messages, and
//! stops the connector.

use crate::{
    attempt::Sending,
    connectors::{self, Backend, Connector, ConnectorContext, ReceivedPublisher},
    consume::Queues,
    deliver::BackendWorker,
    drain::Drain,
    flow::{FlowControl, PacedSender},
    metrics::PollMetrics,
    part::{Shared, WorkerPart},
    polls::{self, PollWorker},
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
    /// The metrics of polls, if the provider is polled.
    pub(crate) polls: Option<PollMetrics>,
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
        // A pause that an operator commanded before this process started must hold here, too.
        tokio::select! {
            () = self.monitoring.control.until_read() => {}
            () = drain.started() => {}
        }
        let polls = self.polls(&sender);
        let Self { backend, queues, schedule, settling, taken, monitoring, .. } = self;
        let sending = Sending {
            backend: Arc::clone(&backend),
            sender: PacedSender::new(&backend, sender.clone(), settling.metrics.clone()),
            schedule,
        };
        let worker = Arc::new(BackendWorker::new(sending, settling, taken));
        let flows: Vec<_> =
            std::iter::once(&queues).chain(polls.as_ref().map(|polls| &polls.queues)).collect();
        let flows: Vec<_> = flows.into_iter().map(|queues| queues.flow.clone()).collect();
        let part = WorkerPart { name: backend.name.to_string(), worker, queues };
        let ended = tokio::select! {
            // Pauses are polled first, so that a paused backend takes nothing.
            biased;
            never = follow_pauses(&monitoring.control, &backend.name, &flows) => never,
            ended = serve(part, polls, shared, &drain) => ended,
        };
        // If the broker was closed, the drain has not begun and nothing has cancelled this yet.
        context.shutdown.cancel();
        connectors::stop(&*sender, &context, drain.deadline()).await;
        ended
    }

    /// The part that polls the provider through `sender`. `None` if the backend is not polled.
    fn polls(&self, sender: &Arc<dyn Backend>) -> Option<WorkerPart> {
        let (schedule, metrics) = self.settling.polls.clone().zip(self.polls.clone())?;
        let flow = Arc::new(FlowControl::fixed(polls::concurrency(&self.backend)));
        let queues = Queues { normal: schedule.queue().clone(), bulk: None, flow };
        let name = queues.normal.to_string();
        let reports = self.monitoring.metrics.reports().clone();
        reports.declare_backend(&self.backend.name);
        let (keys, publisher) = (self.settling.keys.clone(), self.settling.publisher.clone());
        let worker = PollWorker { sender: sender.clone(), schedule, keys, publisher, metrics, reports };
        Some(WorkerPart { name, worker: Arc::new(worker), queues })
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

/// Works on the backend's messages and, if there are any, on its `polls`, until the drain ends it.
///
/// # Errors
/// The broker was closed.
async fn serve(
    part: WorkerPart,
    polls: Option<WorkerPart>,
    shared: Shared,
    drain: &Drain,
) -> Result<(), BrokerError> {
    let Some(polls) = polls else { return part.run(shared, drain.clone()).await };
    let own = drain.part(&polls.name);
    let (sent, polled) = tokio::join!(part.run(shared.clone(), drain.clone()), polls.run(shared, own));
    sent.and(polled)
}

/// Holds `flows` while an operator's pause of `backend` is in force.
async fn follow_pauses(control: &Control, backend: &BackendName, flows: &[Arc<FlowControl>]) -> ! {
    let mut pause = control.state().pauses().get(backend).cloned();
    loop {
        match &pause {
            Some(_) => flows.iter().for_each(|flow| flow.hold()),
            None => flows.iter().for_each(|flow| flow.unhold()),
        }
        pause = control.pause_changes(backend, pause.as_ref()).await;
    }
}
