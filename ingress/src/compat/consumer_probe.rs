//! Whether a backend's queue has a consumer, which Kannel's answer tells its clients.

use postern_broker::{Broker, QueueName};
use postern_shared::message::{BackendName, Priority};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a backend counts as served after a consumer was seen.
const FRESH: Duration = Duration::from_secs(1);
/// How long the broker may take to answer: the message is stored already, and its client waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// When each backend's queue was last seen to have a consumer.
#[derive(Debug, Default)]
pub(super) struct ConsumerProbe(Mutex<HashMap<BackendName, Instant>>);

impl ConsumerProbe {
    /// Whether `backend`'s queue has a consumer. `false` if the broker does not say: the message may wait in
    /// the spool.
    pub(super) async fn has_consumer(&self, broker: &dyn Broker, backend: &BackendName) -> bool {
        let seen = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen().get(backend).is_some_and(|at| at.elapsed() < FRESH) {
            return true;
        }
        let queue = QueueName::outbound(backend, Priority::Normal);
        let served = match tokio::time::timeout(PATIENCE, broker.depth(&queue)).await {
            Ok(Ok(depth)) => depth.consumers > 0,
            _ => false,
        };
        if served {
            seen().insert(backend.clone(), Instant::now());
        }
        served
    }
}
