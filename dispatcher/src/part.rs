//! A part of the dispatcher: a worker on its queues, which drains alone or with the others. It joins
//! `consume`, which takes messages, to `poison`, which looks at each before its worker gets it.

use crate::{
    consume::{Queues, consume},
    drain::Drain,
    poison::DeliveryLimit,
    worker::Worker,
};
use postern_broker::{Broker, BrokerError};
use std::sync::Arc;

/// What every part works with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) limit: Arc<DeliveryLimit>,
}

/// A worker and the queues that it works through.
pub(crate) struct WorkerPart {
    /// How log lines and errors name it.
    pub(crate) name: String,
    pub(crate) worker: Arc<dyn Worker>,
    pub(crate) queues: Queues,
}

impl WorkerPart {
    /// Works until the drain ends it.
    ///
    /// # Errors
    /// The broker was closed.
    pub(crate) async fn run(self, shared: Shared, drain: Drain) -> Result<(), BrokerError> {
        let Shared { broker, limit } = shared;
        let worker = self.worker;
        let names: Arc<Vec<_>> = Arc::new(worker.queues());
        let work = move |lane, delivery, permit| {
            let (limit, worker, names) = (limit.clone(), worker.clone(), names.clone());
            async move {
                if let Some((_, queue)) = names.iter().find(|(of, _)| *of == lane) {
                    limit.work(worker, queue, lane, delivery, permit).await;
                }
            }
        };
        consume(&*broker, &self.queues, drain, work).await
    }
}
