//! A part of the dispatcher: a worker on its queues, which drains alone or with the others. It joins
//! `consume`, which takes messages, to `screen`, which looks at each before its worker gets it.

use crate::{
    consume::{Queues, consume},
    drain::Drain,
    screen::Screening,
    worker::Worker,
};
use postern_broker::{Broker, BrokerError};
use std::sync::Arc;

/// What every part works with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) screening: Arc<Screening>,
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
        let Shared { broker, screening } = shared;
        let worker = self.worker;
        let names: Arc<Vec<_>> = Arc::new(worker.queues());
        let work = move |lane, delivery, permit| {
            let (screening, worker, names) = (screening.clone(), worker.clone(), names.clone());
            async move {
                if let Some((_, queue)) = names.iter().find(|(of, _)| *of == lane) {
                    screening.screen(worker, queue, lane, delivery, permit).await;
                }
            }
        };
        consume(&*broker, &self.queues, drain, work).await
    }
}
