//! Whether anybody takes what is queued for a backend: Kannel tells its clients.

use postern_shared::{
    broker::{Broker, QueueName},
    message::{BackendName, Lane},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So long a backend that was served counts as served.
const FRESH: Duration = Duration::from_secs(1);
/// The broker is given so long to say: the message is stored already, and its client waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// When each backend was last seen to be served.
#[derive(Debug, Default)]
pub(super) struct Served(Mutex<HashMap<BackendName, Instant>>);

impl Served {
    /// Whether somebody takes `backend`'s messages; where the broker does not say, nobody does: they
    /// may wait in the spool.
    pub(super) async fn is(&self, broker: &dyn Broker, backend: &BackendName) -> bool {
        let seen = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen().get(backend).is_some_and(|at| at.elapsed() < FRESH) {
            return true;
        }
        let queue = QueueName::outbound(backend, Lane::Normal);
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
