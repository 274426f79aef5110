//! How many messages wait in each queue, as metrics. A background task asks for one queue after the other,
//! instead of each read of `/metrics`: no scrape waits for a broker or costs a question for each queue, and
//! an answer that does not come holds up only one question.

use crate::{configured::Configured, current::Current, metrics::Metrics, waiting::WaitingLanes};
use jiff::Timestamp;
use postern_broker::{Broker, BrokerError, BrokerStatus, QueueName, Topology};
use postern_shared::message::{BackendName, Priority};
use prometheus::{Error, GaugeVec, IntGaugeVec, Opts};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The least time between two rounds.
const PERIOD: Duration = Duration::from_secs(5);
/// The least time between two rounds for each queue: one process asks a broker at most fifty times a second.
const PERIOD_EACH: Duration = Duration::from_millis(20);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// Shows how many messages wait in the queues of a topology.
#[derive(Debug)]
pub struct QueueDepths {
    broker: Arc<dyn Broker>,
    configured: Current<Configured>,
    waiting: WaitingLanes,
    limits: IntGaugeVec,
    messages: IntGaugeVec,
    dead: IntGaugeVec,
    oldest: GaugeVec,
}

impl QueueDepths {
    /// Declares the metrics of the `configured` queues, and shows each queue's limit. `waiting` are the
    /// lanes that this process serves.
    ///
    /// # Errors
    /// This process has declared them already.
    pub fn declare(
        metrics: &Metrics,
        broker: Arc<dyn Broker>,
        configured: Current<Configured>,
        waiting: WaitingLanes,
    ) -> Result<Self, Error> {
        let limits = metrics.gauge(
            "queue_max_messages",
            "How many messages the queue may hold; absent without a limit",
            &["queue"],
        )?;
        show_limits(&limits, &configured.get().topology);
        let oldest = Opts::new(
            "oldest_message_age_seconds",
            "The upper bound of the age of the oldest message that waits for the backend, 0 if none waits; for \
             the backends that this process serves",
        );
        Ok(Self {
            broker,
            configured,
            waiting,
            limits,
            messages: metrics.gauge(
                "queue_messages",
                "Messages that wait for a consumer in the queue; every process shows all queues",
                &["queue"],
            )?,
            dead: metrics.gauge("dead_letters_waiting", "Messages in postern.dead", &[])?,
            oldest: metrics.declare(GaugeVec::new(oldest, &["backend"])?)?,
        })
    }

    /// Asks repeatedly until the future is dropped. A number that cannot be had is not shown: an old one
    /// would look like a new one.
    pub async fn watch(self) {
        let mut status = self.broker.status();
        let mut shown = self.configured.get();
        loop {
            let configured = self.configured.get();
            if !Arc::ptr_eq(&configured, &shown) {
                // A reload may have removed queues.
                self.forget();
                self.limits.reset();
                show_limits(&self.limits, &configured.topology);
                shown = configured;
            }
            let queues = shown.queues();
            let each = PERIOD_EACH * u32::try_from(queues.len()).unwrap_or(u32::MAX).min(100_000);
            let usable =
                matches!(*status.borrow_and_update(), BrokerStatus::Ready | BrokerStatus::Blocked(_));
            if usable {
                self.ask(&queues, shown.backends()).await;
            } else {
                self.forget();
            }
            tokio::select! {
                () = sleep(PERIOD.max(each)) => {}
                // Ask at once when the broker is back.
                Ok(()) = status.changed() => {}
            }
        }
    }

    async fn ask(&self, queues: &[QueueName], backends: &BTreeSet<BackendName>) {
        let mut found = BTreeMap::new();
        for queue in queues {
            let depth = timeout(ANSWER, self.broker.depth(queue)).await;
            match depth.unwrap_or(Err(BrokerError::TimedOut(ANSWER))) {
                Ok(depth) => {
                    self.messages.with_label_values(&[queue.as_str()]).set(gauge(depth.ready));
                    found.insert(queue, depth.ready);
                }
                Err(error) => {
                    // The embedded broker has no queues for messages that wait for a retry.
                    tracing::trace!(queue = queue.as_str(), %error, "the depth of a queue is not known");
                    let _ = self.messages.remove_label_values(&[queue.as_str()]);
                }
            }
        }
        match found.get(&QueueName::dead()) {
            Some(letters) => self.dead.with_label_values::<&str>(&[]).set(gauge(*letters)),
            None => self.dead.reset(),
        }
        let now = Timestamp::now();
        for backend in backends {
            let age = |lane| {
                let ready = *found.get(&QueueName::outbound(backend, lane))?;
                self.waiting.age(backend, lane, ready, now)
            };
            let oldest = age(Priority::Normal).max(age(Priority::Bulk));
            match oldest {
                Some(age) => self.oldest.with_label_values(&[backend.as_str()]).set(age.as_secs_f64()),
                None => drop(self.oldest.remove_label_values(&[backend.as_str()])),
            }
        }
    }

    fn forget(&self) {
        self.messages.reset();
        self.dead.reset();
        self.oldest.reset();
    }
}

fn show_limits(limits: &IntGaugeVec, topology: &Topology) {
    for spec in topology.queues() {
        if let Some(limit) = spec.limit {
            limits.with_label_values(&[spec.name.as_str()]).set(gauge(limit.messages));
        }
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
